"""Where a field that is being learnt holds anything: a coarse grid of densities, so that rays skip what is empty."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zero123.fields.rendering import Field
from zero123.fields.voxels import cell_centres


class OccupancyGrid(nn.Module):
    """A running upper bound of the density in cells over a field's box.

    Appendix C of Müller et al., 2022 (arXiv:2201.05989): at each look old densities fade and are then raised to that at
    a random point of their cell. Unlike there all cells are looked at every time, which 32^3 cells allow.

    Args:
        cells: along each side.
        fading: factor of old densities at each look, in (0, 1).

    Attributes:
        density: (Z, Y, X), per world unit; infinite before the first look, so that nothing is skipped.
    """

    density: Tensor

    def __init__(self, cells: int = 32, fading: float = 0.9) -> None:
        super().__init__()
        if cells < 1 or not 0 < fading < 1:
            raise ValueError(f"cells must be at least 1 and fading between 0 and 1, got {cells} and {fading}")
        self.fading = fading
        self.register_buffer("density", torch.full((cells,) * 3, torch.inf))

    @torch.no_grad()
    def look(self, field: Field, generator: torch.Generator) -> None:
        """Look at the field once more."""
        shape = self.density.shape
        centres = cell_centres((shape[0], shape[1], shape[2]), field.low, field.high)
        aside = torch.rand(centres.shape, generator=generator).to(centres) - 0.5
        points = centres + aside * (field.high - field.low) / shape[0]
        found = torch.cat([field.sigma(part) for part in points.reshape(-1, 3).split(1 << 16)]).reshape(shape)
        self.density = torch.maximum(torch.where(self.density.isinf(), 0, self.density * self.fading), found)

    def occupied(self, thickness: float, length: float) -> Tensor:
        """Cells whose optical thickness over a length may reach `thickness`, and their neighbours, bool (Z, Y, X)."""
        marked = (self.density * length >= thickness).float()[None, None]
        return nn.functional.max_pool3d(marked, 3, 1, 1)[0, 0] > 0

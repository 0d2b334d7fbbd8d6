"""A dense voxel field: density and colour on a regular grid, read by trilinear interpolation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class VoxelField(nn.Module):
    """Density and colour anywhere in a box, as in SJC (Wang et al., 2022, arXiv:2212.00774), for any channel count.

    The value of voxel (z, y, x) sits in the middle of its cell. Outside the box and within half a voxel of its border
    the raw values fade to zero, as the original's do. Density is softplus(exp(log_gain) * raw + density_shift), per
    world unit.

    Attributes:
        density: raw values, (1, 1, Z, Y, X).
        colour: raw values, (1, C, Z, Y, X).
        log_gain: scalar; the original's learnt `d_scale`.
        low, high: corners of the box, (3,) each, world units, x y z.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        grid: tuple[int, int, int],
        channels: int = 3,
        box: tuple[tuple[float, float, float], tuple[float, float, float]] = ((-1.0,) * 3, (1.0,) * 3),
        density_shift: float = -1.0,
        squash: bool = True,
    ) -> None:
        """Make a field whose raw values are all zero.

        Args:
            grid: number of voxels along z, y, x.
            channels: colour channels, C; 3 for pictures, 4 for the latents of the original.
            box: lowest and highest corner, world units.
            density_shift: added to the raw density before softplus.
            squash: pass colours through a sigmoid, so that they stay in [0, 1]; False leaves them raw, as latents need.
        """
        super().__init__()
        low, high = torch.tensor(box[0]), torch.tensor(box[1])
        if min(grid) < 1 or not bool((high > low).all()):
            raise ValueError(f"grid and box must not be empty, got {grid} and {box}")
        self.density = nn.Parameter(torch.zeros(1, 1, *grid))
        self.colour = nn.Parameter(torch.zeros(1, channels, *grid))
        self.log_gain = nn.Parameter(torch.zeros(()))
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)
        self.density_shift = density_shift
        self.squash = squash

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of voxels along z, y, x."""
        z, y, x = self.density.shape[2:]
        return z, y, x

    @property
    def voxel(self) -> float:
        """Mean side of a voxel, world units."""
        counts = self.low.new_tensor(self.grid[::-1])
        return float(((self.high - self.low) / counts).mean())

    def sigma(self, points: Tensor) -> Tensor:
        """Density at world points, (P, 3) -> (P,), per world unit, at least 0."""
        return self.activate(read_grid(self.density, points, self.low, self.high)[:, 0])

    def features(self, points: Tensor) -> Tensor:
        """Colour at world points, (P, 3) -> (P, C)."""
        raw = read_grid(self.colour, points, self.low, self.high)
        return torch.sigmoid(raw) if self.squash else raw

    def activate(self, raw: Tensor) -> Tensor:
        """Density from raw values of any shape."""
        return nn.functional.softplus(torch.exp(self.log_gain) * raw + self.density_shift)

    def centres(self) -> Tensor:
        """World positions of the voxel centres, (Z, Y, X, 3)."""
        return cell_centres(self.grid, self.low, self.high)

    @torch.no_grad()
    def resized(self, grid: tuple[int, int, int]) -> VoxelField:
        """The same field on a finer or coarser grid over the same box."""
        box = (tuple(self.low.tolist()), tuple(self.high.tolist()))
        field = VoxelField(grid, self.colour.shape[1], box, self.density_shift, self.squash).to(self.density)
        for name in ("density", "colour"):
            values = getattr(self, name)
            getattr(field, name).copy_(
                nn.functional.interpolate(values, size=grid, mode="trilinear", align_corners=False)
            )
        field.log_gain.copy_(self.log_gain)
        return field


def cell_centres(grid: tuple[int, int, int], low: Tensor, high: Tensor) -> Tensor:
    """World positions of the cell centres of a (Z, Y, X) grid over a box, (Z, Y, X, 3)."""
    axes = [
        low[k] + (high[k] - low[k]) * (torch.arange(n, device=low.device, dtype=low.dtype) + 0.5) / n
        for k, n in enumerate(grid[::-1])
    ]
    z, y, x = torch.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    return torch.stack((x, y, z), dim=-1)


def read_grid(values: Tensor, points: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Trilinear values of a grid at world points; zero outside the box.

    Args:
        values: (1, C, Z, Y, X).
        points: (P, 3), x y z.
        low: lowest corner of the box, (3,).
        high: highest corner of the box, (3,).

    Returns:
        (P, C).
    """
    unit = (points - low) / (high - low) * 2 - 1
    read = nn.functional.grid_sample(values, unit[None, :, None, None], align_corners=False, padding_mode="zeros")
    return read[0, :, :, 0, 0].T

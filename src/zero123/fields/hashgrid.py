"""A field on hashed grids of many resolutions: fine where something is, in little memory, in plain PyTorch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_PRIMES = (1, 2654435761, 805459861)
"""Equation 4 of Müller et al., 2022 (arXiv:2201.05989)."""

_LOW_PRIMES = tuple((prime + 2**31) % 2**32 - 2**31 for prime in _PRIMES)
"""The same numbers modulo 2^32, as signed integers of 32 bits hold them."""


class HashEncoding(nn.Module):
    """Features of points in the unit cube, read from grids whose vertices share a table where they are too many.

    Section 3 of Müller et al., 2022, "Instant neural graphics primitives" (arXiv:2201.05989).

    Args:
        levels: grids.
        width: numbers a vertex holds.
        table: most entries of a level, a power of 2; a grid that needs no more is kept whole, without collisions.
        coarsest: cells along a side of the first grid.
        finest: of the last; those between grow by a constant factor.
    """

    sides: Tensor

    def __init__(
        self, levels: int = 16, width: int = 2, table: int = 2**16, coarsest: int = 16, finest: int = 1024
    ) -> None:
        super().__init__()
        if levels < 1 or width < 1 or table < 1 or table & (table - 1) or not 1 <= coarsest <= finest:
            raise ValueError(
                "levels and width must be at least 1, table a power of 2 and coarsest no more than finest, got "
                f"{levels}, {width}, {table}, {coarsest} and {finest}"
            )
        growth = (finest / coarsest) ** (1 / max(levels - 1, 1))
        sides = [int(coarsest * growth**level + 1e-6) for level in range(levels)]
        self.dense = [(side + 1) ** 3 <= table for side in sides]
        sizes = [(side + 1) ** 3 if dense else table for side, dense in zip(sides, self.dense, strict=True)]
        self.starts = [sum(sizes[:level]) for level in range(levels)]
        self.entries = nn.Parameter(torch.empty(sum(sizes), width).uniform_(-1e-4, 1e-4))
        self.table, self.width = table, width * levels
        self.register_buffer("sides", torch.tensor(sides), persistent=False)

    def forward(self, points: Tensor, levels: int | None = None) -> Tensor:
        """Features (P, width * levels) of points (P, 3) in [0, 1]; levels beyond the first `levels` are zero."""
        known = len(self.starts) if levels is None else levels
        read = [self._level(points, level) for level in range(known)]
        blank = points.new_zeros(len(points), self.width - sum(part.shape[1] for part in read))
        return torch.cat((*read, blank), dim=1)

    def _level(self, points: Tensor, level: int) -> Tensor:
        side = int(self.sides[level])
        place = points.clamp(0, 1) * side
        low = place.detach().floor().clamp(max=side - 1)
        within = place - low
        ends = torch.stack((1 - within, within), dim=1)  # shares of the lower and the upper vertex, (P, 2, 3)
        x, y, z = ends.unbind(-1)
        share = (z[:, :, None, None] * y[:, None, :, None] * x[:, None, None]).flatten(1)
        rows = self._rows(low.int(), side, self.dense[level])
        found = self.entries.index_select(0, (rows + self.starts[level]).reshape(-1).long()).view(*rows.shape, -1)
        return (share[..., None] * found).sum(1)

    def _rows(self, low: Tensor, side: int, dense: bool) -> Tensor:
        """Entries of the eight vertices around points whose lowest vertex is `low`, (P, 3) -> (P, 8), x fastest."""
        both = torch.stack((low, low + 1), dim=1).unbind(-1)
        if dense:
            x, y, z = (axis * (side + 1) ** k for k, axis in enumerate(both))
            return (z[:, :, None, None] + y[:, None, :, None] + x[:, None, None]).flatten(1)
        # The lowest bits of a product depend on the lowest bits of its factors alone: 32 of them are enough.
        x, y, z = (axis * _LOW_PRIMES[k] & (self.table - 1) for k, axis in enumerate(both))
        return (z[:, :, None, None] ^ y[:, None, :, None] ^ x[:, None, None]).flatten(1)


class HashField(nn.Module):
    """Density and colour anywhere in a box, by a hash encoding and two small networks; stands where `VoxelField` does.

    Density is softplus(raw + blob), per world unit; the blob, highest in the middle, starts training from an object
    there, as DreamFusion does (Poole et al., 2022, arXiv:2209.14988).

    Args:
        encoding: of points.
        channels: of colour.
        half_side: of the box, world units.
        hidden: width of the networks.
        blob: height of the blob at the origin, in raw density.
        blob_radius: where it has fallen to 0, world units.
        squash: colours pass a sigmoid, so that they stay in [0, 1].
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        encoding: HashEncoding,
        channels: int = 3,
        half_side: float = 1.0,
        hidden: int = 32,
        blob: float = 5.0,
        blob_radius: float = 0.5,
        squash: bool = True,
    ) -> None:
        super().__init__()
        self.encoding = encoding
        self.density_layers = nn.Sequential(nn.Linear(encoding.width, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.colour_layers = nn.Sequential(nn.Linear(encoding.width, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.register_buffer("low", torch.full((3,), -half_side), persistent=False)
        self.register_buffer("high", torch.full((3,), half_side), persistent=False)
        self.blob, self.blob_radius, self.squash = blob, blob_radius, squash
        self.levels: int | None = None  # of the encoding that are read; fewer early in training

    @property
    def voxel(self) -> float:
        """Side of the finest cell a march should meet, world units; steps finer than 1/128 of the box are waste."""
        finest = min(int(self.encoding.sides[-1]), 128)
        return float(self.high[0] - self.low[0]) / finest

    def sigma(self, points: Tensor) -> Tensor:
        """Density at world points, (P, 3) -> (P,), per world unit, at least 0."""
        raw = self.density_layers(self._encoded(points))[:, 0]
        bump = self.blob * (1 - points.norm(dim=-1) / self.blob_radius)
        return nn.functional.softplus(raw + bump)

    def features(self, points: Tensor) -> Tensor:
        """Colour at world points, (P, 3) -> (P, C)."""
        raw = self.colour_layers(self._encoded(points))
        return torch.sigmoid(raw) if self.squash else raw

    def normals(self, points: Tensor) -> Tensor:
        """Unit vectors out of the object, (P, 3): against the gradient of the density."""
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            slope = torch.autograd.grad(self.sigma(points).sum(), points, create_graph=torch.is_grad_enabled())[0]
        return -nn.functional.normalize(slope, dim=-1, eps=math.sqrt(torch.finfo(slope.dtype).tiny))

    def _encoded(self, points: Tensor) -> Tensor:
        return self.encoding((points - self.low) / (self.high - self.low), self.levels)

"""The colours that a field shows at points of its surface."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from zero123.fields.hashgrid import HashField
from zero123.fields.voxels import VoxelField


@torch.no_grad()
def field_colours(
    found: VoxelField | HashField,
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    samples: int = 7,
    chunk: int = 65536,
) -> NDArray[np.float32]:
    """What one sees of the field when one looks straight down at each point of its surface, (K, 3), in [0, 1].

    Light is gathered from 1.5 voxels above the surface to 1.5 below, as the renders of the fit did; reading the
    colour at the point alone would mix in voxels that no ray ever saw.

    Args:
        found: the field.
        points: (K, 3), world units.
        normals: unit normals there, (K, 3).
        samples: along each line of sight.
        chunk: points at a time.
    """
    heights = torch.linspace(1.5, -1.5, samples).to(found.low) * found.voxel
    colours = []
    for start in range(0, len(points), chunk):
        place, out = (torch.from_numpy(v[start : start + chunk]).to(found.low) for v in (points, normals))
        along = (place[:, None] + out[:, None] * heights[:, None]).reshape(-1, 3)
        optical = found.sigma(along).reshape(-1, samples) * float(heights[0] - heights[1])
        weights = 1e-4 - torch.expm1(-optical) * torch.exp(optical - optical.cumsum(dim=-1))
        colour = (weights[..., None] * found.features(along).reshape(-1, samples, 3)).sum(dim=1)
        colours.append((colour / weights.sum(dim=-1, keepdim=True)).clamp(0, 1).cpu())
    return torch.cat(colours).numpy().astype(np.float32)

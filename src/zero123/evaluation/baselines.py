"""What scores mean little without: views made by no model at all."""

from __future__ import annotations

import torch
from torch import Tensor

BASELINES = (
    "copy the input",
    "input's mean colour, input's silhouette",
    "oracle: mean colour, true silhouette",
    "white",
)

ORACLE = BASELINES[2]
"""It knows the true silhouettes, which no method does."""


def baseline_views(name: str, photo: Tensor, photo_mask: Tensor, true_mask: Tensor) -> Tensor:
    """Views on white, (B, 3, H, W).

    Args:
        name: one of `BASELINES`; the oracle is told the true silhouettes, which no method knows.
        photo: the input, (3, H, W) on white.
        photo_mask: its silhouette, (1, H, W) bool.
        true_mask: silhouettes of the targets, (B, 1, H, W) bool.
    """
    count = len(true_mask)
    white = torch.ones_like(photo)
    colour = photo[:, photo_mask[0]].mean(1)[:, None, None] if bool(photo_mask.any()) else white[:, :1, :1]
    if name == BASELINES[0]:
        return photo.expand(count, -1, -1, -1)
    if name == BASELINES[1]:
        return torch.where(photo_mask, colour, white).expand(count, -1, -1, -1)
    if name == BASELINES[2]:
        return torch.where(true_mask, colour[None], white[None])
    if name == BASELINES[3]:
        return white.expand(count, -1, -1, -1)
    raise ValueError(f"name must be one of {', '.join(BASELINES)}, got {name!r}")

"""Rendered pictures framed as `images.framing` frames a person's, many at once: for what must read both."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_WHITE = 0.98
"""Background is what is at least so bright in all colours."""

_SPREAD = 0.1
"""The object's size differs by up to this share from the size that is asked for."""


def reframed(pictures: Tensor, fraction: float | None, chance: Tensor) -> Tensor:
    """Each object's box centred, its longest side that share of the picture's, give or take a tenth.

    Args:
        pictures: on white, (B, 3, S, S) in [0, 1]; one that is all white stays so.
        fraction: of the picture's side that the box takes, see `Framing`; None leaves the pictures as they are.
        chance: decides the size, (B,) in [0, 1].

    Returns:
        Pictures of the same shape.
    """
    if fraction is None:
        return pictures
    inside = pictures.amin(1) < _WHITE
    (left, right), (top, bottom) = _ends(inside.any(1)), _ends(inside.any(2))
    side = pictures.shape[-1]
    longest = torch.maximum(right - left, bottom - top).clamp(min=1)
    shrink = longest / (side * fraction * (1 + _SPREAD * (2 * chance - 1)))
    matrix = pictures.new_zeros(len(pictures), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = shrink
    matrix[:, 0, 2], matrix[:, 1, 2] = (left + right) / side - 1, (top + bottom) / side - 1
    grid = functional.affine_grid(matrix, list(pictures.shape), align_corners=False)
    return 1 - functional.grid_sample(1 - pictures, grid, align_corners=False)  # outside of the picture is white


def _ends(any_inside: Tensor) -> tuple[Tensor, Tensor]:
    """First index and one past the last that is inside, (B,) float each, of (B, S) bool; 0 and S where none is."""
    side = any_inside.shape[1]
    index = torch.arange(side, device=any_inside.device)
    first = torch.where(any_inside, index, side).amin(1)
    last = torch.where(any_inside, index + 1, 0).amax(1)
    none = ~any_inside.any(1)
    return first.masked_fill(none, 0).float(), last.masked_fill(none, side).float()

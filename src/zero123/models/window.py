"""The part of a picture that shows its object: a square around it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

WHITE = 0.98
"""Background of a picture on white is what is at least so bright in all colours."""

_MARGIN = 1.1
"""The square's side over the longest side of the object's box."""

_LEAST = 0.1
"""Of a picture's side, the smallest square."""


def windows(pictures: Tensor) -> Tensor:
    """A square around each object.

    Args:
        pictures: on white, (P, 3, S, S) in [0, 1].

    Returns:
        Middle, x to the right and y down, and half a side, where the picture is from -1 to 1, (P, 3); all of a picture
        that shows nothing.
    """
    left, right, top, bottom = boxes(pictures)
    longest = torch.maximum(right - left, bottom - top).clamp(_LEAST / _MARGIN, 1 / _MARGIN)
    return torch.stack((left + right - 1, top + bottom - 1, _MARGIN * longest), dim=-1)


def boxes(pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Left, right, top and bottom of what is not background, as shares of the picture's side, (P,) each.

    Args:
        pictures: on white, (P, 3, S, S) in [0, 1]; of one that shows nothing, all of it.
    """
    inside = pictures.amin(1) < WHITE
    return *_ends(inside.any(1)), *_ends(inside.any(2))


def cut(pictures: Tensor, window: Tensor) -> Tensor:
    """What windows (P, 3) show of pictures on white (P, 3, S, S), as many pixels; white beyond the picture."""
    matrix = pictures.new_zeros(len(pictures), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = window[:, 2]
    matrix[:, :, 2] = window[:, :2]
    grid = functional.affine_grid(matrix, list(pictures.shape), align_corners=False)
    return 1 - functional.grid_sample(1 - pictures, grid, align_corners=False)


def _ends(any_inside: Tensor) -> tuple[Tensor, Tensor]:
    """First that is inside and one past the last, over S, (B,) each, of (B, S) bool; 0 and 1 where none is."""
    side = any_inside.shape[1]
    index = torch.arange(side, device=any_inside.device)
    first = torch.where(any_inside, index, side).amin(1)
    last = torch.where(any_inside, index + 1, 0).amax(1)
    none = ~any_inside.any(1)
    return first.masked_fill(none, 0) / side, last.masked_fill(none, side) / side

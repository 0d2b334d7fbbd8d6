"""Rendered pictures framed as `images.framing` frames a person's, or in other colours, many at once."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor

from zero123.models.window import boxes, cut

_SPREAD = 0.1
"""The object's size differs by up to this share from the size that is asked for."""

_ALL, _EACH = 0.5, 0.25
"""Largest logarithm of the power that all colours are raised to, and of that of each beside it."""

CHANCE = 8
"""Numbers that decide what becomes of a picture."""


def altered(
    pictures: Tensor, chance: Tensor, reframe: float, recolour: float, fraction: float | None
) -> tuple[Tensor, Tensor]:
    """Some pictures framed like a person's, and some in other colours, by chance.

    Args:
        pictures: on white, (B, 3, S, S) in [0, 1].
        chance: decides which and how, (B, CHANCE) in [0, 1).
        reframe: share that is reframed.
        recolour: share that is recoloured.
        fraction: see `reframed`.

    Returns:
        Pictures of the same shape; and which of them keep their framing, (B,) bool.
    """
    framed, coloured = chance[:, 0] < reframe, chance[:, 2] < recolour
    some = framed[:, None, None, None], coloured[:, None, None, None]
    pictures = torch.where(some[0], reframed(pictures, fraction, chance[:, 1]), pictures)
    return torch.where(some[1], recoloured(pictures, chance[:, 3:]), pictures), ~framed


def recoloured(pictures: Tensor, chance: Tensor) -> Tensor:
    """Each picture's channels exchanged and made lighter or darker, one more than another; white stays white.

    Args:
        pictures: on white, (B, 3, S, S) in [0, 1].
        chance: decides which and how far, (B, 5) in [0, 1).

    Returns:
        Pictures of the same shape.
    """
    orders = torch.tensor(list(permutations(range(3))), device=pictures.device)
    order = orders[(chance[:, 0] * len(orders)).long()]
    exchanged = pictures.gather(1, order[:, :, None, None].expand_as(pictures))
    power = (_ALL * (2 * chance[:, 1:2] - 1) + _EACH * (2 * chance[:, 2:] - 1)).exp()
    return exchanged.clamp(min=1e-4) ** power[:, :, None, None]


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
    left, right, top, bottom = boxes(pictures)
    longest = torch.maximum(right - left, bottom - top)
    half = longest / (fraction * (1 + _SPREAD * (2 * chance - 1)))
    return cut(pictures, torch.stack((left + right - 1, top + bottom - 1, half), dim=-1))

"""Outlines a model is unsure of: how far it must believe in the object somewhere for the object to be there."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

_WIDTH = 0.1
"""Belief over which an outline goes from outside to inside."""
_LEAST = 0.1
"""Belief below which there is nothing, however little there is beside it."""


def hardened(belief: Tensor, share: float = 0.6, reach: float = 1 / 16) -> Tensor:
    """Silhouettes of what a model believes in: where it does so nearly as much as anywhere near.

    A model that does not know where exactly a thin part is believes in it a little at many places, and one level for
    all would lose the part; the object is then too short, or swollen where the model is sure. So the outline is at
    a share of what there is.

    Args:
        belief: in each pixel, (V, H, W), in [0, 1].
        share: of the largest belief nearby that the outline is at.
        reach: how far that is, share of the picture's height to each side.

    Returns:
        (V, H, W), in [0, 1].
    """
    pixels = max(round(reach * belief.shape[-2]), 1)
    largest = functional.max_pool2d(belief[:, None], 2 * pixels + 1, 1, pixels)[:, 0]
    return ((belief - (share * largest).clamp(min=_LEAST)) / _WIDTH + 0.5).clamp(0, 1)

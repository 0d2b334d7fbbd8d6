"""Outlines a model is unsure of: how sure of the object it must be somewhere for the object to be there."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from zero123.geometry.camera import Camera
from zero123.reconstruction.hull import HullSettings, reached

_WIDTH = 0.1
"""Belief over which an outline goes from outside to inside."""
_HALVINGS = 5
_CELLS = 48
"""Enough to know how long an object is."""


def hardened(belief: Tensor, level: float) -> Tensor:
    """Silhouettes, in [0, 1], of where a model believes in the object; half at `level`; any shape."""
    return ((belief - level) / _WIDTH + 0.5).clamp(0, 1)


@torch.no_grad()
def level_of_length(belief: Tensor, camera: Camera, settings: HullSettings) -> float:
    """The belief from which on there is something, such that the object is as long as it is known to be.

    A model that does not know where a thin part is believes in it a little at many places. A fixed level loses such
    parts, or swells what is sure. The length of the whole tells them apart: the hull shrinks as the level rises, and
    the level is found by halving.

    Args:
        belief: in each pixel, (V, H, W), in [0, 1]; the first view's is its true silhouette.
        camera: V cameras.
        settings: of the hull; `length` is the object's longest side, `levels` are the least and the most that is said.
    """
    low, high = settings.levels
    if settings.length is None:
        return (low + high) / 2
    coarse = replace(settings, cells=min(settings.cells, _CELLS))
    size = (min(camera.hw[0], 64), min(camera.hw[0], 64) * camera.hw[1] // camera.hw[0])
    small, cameras = functional.interpolate(belief[:, None], size, mode="area")[:, 0], camera.resized(size)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        outlines = torch.cat((small[:1], hardened(small[1:], middle)))
        if reached(outlines, cameras, coarse) > settings.length:
            low = middle
        else:
            high = middle
    return (low + high) / 2

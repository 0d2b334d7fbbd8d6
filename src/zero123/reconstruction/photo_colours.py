"""Colours of the sides that a photo does not show, brought nearer to what it shows in front of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zero123.geometry.camera import Camera
from zero123.meshes.bake import Paint
from zero123.reconstruction.hull import seen_at

_BLUR = 1 / 16
"""Standard deviation, share of the picture's height: a face must not look out of the back of a head."""

_SHOWN = 0.02
"""Share of a blurred picture's light that the object must have stopped for its colour to be known."""


def tinted(paint: Paint, photo: Tensor, camera: Camera, share: float) -> Paint:
    """The same paint, mixed everywhere with the blurred photo's colour along the same line of sight.

    Views that a model draws of sides it cannot know are means of what these may look like: paler and greyer than any of
    them. Most objects are about as red, or as dark, behind as they are in front.

    Args:
        paint: what the field says.
        photo: straight alpha, (4, H, W).
        camera: that took it, of that size.
        share: of the photo in the mixture, in [0, 1].
    """
    if not share:
        return paint
    layers = _blurred(torch.cat((photo[:3] * photo[3:], photo[3:]))).to(camera.position)

    def mixed(points: NDArray[np.float32], normals: NDArray[np.float32]) -> NDArray[np.float32]:
        here = seen_at(layers, camera, torch.from_numpy(points).to(layers)).cpu().numpy()
        weight = share * (here[3:] > _SHOWN).T
        return ((1 - weight) * paint(points, normals) + weight * (here[:3] / here[3:].clip(1e-3)).T).astype(np.float32)

    return mixed


def _blurred(layers: Tensor) -> Tensor:
    """Layers (C, H, W) through a normal distribution's window, float32, on the CPU."""
    from scipy.ndimage import gaussian_filter

    width = _BLUR * layers.shape[-2]
    return torch.from_numpy(gaussian_filter(layers.cpu().float().numpy(), (0, width, width)))

"""The photo's own fine detail, given back to views that show the same surface."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zero123.models.feature_volume import THIN, Projected

_FINE = 1 / 32
"""What is finer than this share of the picture's side (standard deviation) is detail."""
_HIDDEN, _SHOWN = 0.5, 0.8
"""`Projected.seen` up to which a pixel gets none of the photo's detail, and from which on it gets all."""


def detailed(images: Tensor, seen: Projected, share: float) -> Tensor:
    """Views with the detail of the photo, as the volume has moved it, in place of their own.

    A network that does not know exactly how deep a surface lies learns to draw the mean of where its detail may be,
    which has none: the mean is right about what is coarse, and a face turned by 45 degrees is gone. What is fine is
    therefore the photo's, in the one place that the volume holds most likely, wherever it says that the photo shows
    what the view shows. It may be off by some pixels.

    Args:
        images: V views on white, (V, 3, H, W).
        seen: of the same views.
        share: of the detail that is exchanged, in [0, 1].
    """
    size = images.shape[-2:]
    layers = torch.cat((seen.opacity, seen.seen), dim=1)
    opacity, shown = F.interpolate(layers, size, mode="bilinear").to(images).split(1, dim=1)
    outline = seen.silhouette.to(images)
    outline = outline if outline.shape[-2:] == size else F.interpolate(outline, size, mode="bilinear")
    own = (1 - seen.warped.to(images)) / opacity.clamp(min=THIN)
    weight = outline * ((shown - _HIDDEN) / (_SHOWN - _HIDDEN)).clamp(0, 1)
    apart = own - (1 - images) / outline.clamp(min=THIN)
    around, total = blurred(torch.cat((apart * weight, weight), dim=1), _FINE * size[0]).split((3, 1), dim=1)
    return images - share * weight * (apart - around / total.clamp(min=0.02))


def blurred(layers: Tensor, deviation: float) -> Tensor:
    """Layers (V, C, H, W) through the window of a normal distribution, `deviation` pixels wide; 0 beyond the frame."""
    reach = max(round(3 * deviation), 1)
    away = torch.arange(-reach, reach + 1, device=layers.device)
    window = torch.exp(-((away / deviation) ** 2) / 2).to(layers)
    window = (window / window.sum()).view(1, 1, -1, 1)
    flat = layers.flatten(0, 1)[:, None]
    flat = F.conv2d(flat, window, padding=(reach, 0))
    return F.conv2d(flat, window.mT, padding=(0, reach)).view_as(layers)

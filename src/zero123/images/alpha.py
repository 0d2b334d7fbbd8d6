"""Transparency: compositing, premultiplied colour, and where the opaque part lies."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from zero123.images.io import PictureError


class Box(NamedTuple):
    """A rectangle of pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top


def composite(rgba: Tensor, background: Tensor) -> Tensor:
    """Lay a straight-alpha image over a plain background.

    Args:
        rgba: image, (..., 4, H, W), in [0, 1].
        background: colour, (3,), or picture, (..., 3, H, W), in [0, 1].

    Returns:
        Opaque image, (..., 3, H, W), in [0, 1].

    Raises:
        ValueError: `rgba` has no alpha channel.
    """
    _need_alpha(rgba)
    colour, alpha = rgba[..., :3, :, :], rgba[..., 3:, :, :]
    ground = background.to(rgba)
    if ground.ndim == 1:
        ground = ground[:, None, None]
    return alpha * colour + (1 - alpha) * ground


def premultiply(rgba: Tensor) -> Tensor:
    """Colour times alpha, alpha kept, (..., 4, H, W): the form in which pixels may be averaged."""
    _need_alpha(rgba)
    alpha = rgba[..., 3:, :, :]
    return torch.cat((rgba[..., :3, :, :] * alpha, alpha), -3)


def straighten(premultiplied: Tensor) -> Tensor:
    """The inverse of `premultiply`, (..., 4, H, W); fully transparent pixels become black."""
    _need_alpha(premultiplied)
    alpha = premultiplied[..., 3:, :, :]
    colour = premultiplied[..., :3, :, :] / alpha.clamp(min=torch.finfo(alpha.dtype).tiny)
    return torch.cat((torch.where(alpha > 0, colour, 0).clamp(0, 1), alpha), -3)


def bounding_box(alpha: Tensor, threshold: float = 0.5) -> Box:
    """The smallest box around all pixels whose alpha is over `threshold`.

    Args:
        alpha: (H, W), in [0, 1].
        threshold: exclusive, in [0, 1).

    Raises:
        PictureError: no pixel is over the threshold.
    """
    if alpha.ndim != 2:
        raise ValueError(f"alpha must be (H, W), got {tuple(alpha.shape)}")
    inside = alpha > threshold
    rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
    if not len(rows):
        raise PictureError("the picture is transparent everywhere: no object is left to look at")
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _need_alpha(image: Tensor) -> None:
    if image.ndim < 3 or image.shape[-3] != 4:
        raise ValueError(f"rgba must be (..., 4, H, W), got {tuple(image.shape)}")

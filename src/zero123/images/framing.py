"""The framing a model was trained on: where the object stands in the square picture, and how large."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from zero123.images.alpha import Box, bounding_box, composite
from zero123.images.io import from_pillow, resized, to_pillow

_HARD_THRESHOLD = 127 / 255  # the original's: 8-bit alpha over 127 is foreground
_SOFT_THRESHOLD = 0.1  # a soft edge belongs to the object, a haze does not


@dataclass(frozen=True)
class Framing:
    """How a picture is brought into the square a model was trained on.

    Attributes:
        size: side of the square, pixels.
        foreground_fraction: longest side of the object's box over `size`, in (0, 1]; None stretches the whole
            picture over the square and keeps its alpha.
        enlarge: whether objects smaller than that are enlarged; the original never does.
        hard_mask: whether alpha is cut at one half first, as the original does.
    """

    size: int = 256
    foreground_fraction: float | None = 200 / 256
    enlarge: bool = True
    hard_mask: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {self.size}")
        if self.foreground_fraction is not None and not 0 < self.foreground_fraction <= 1:
            raise ValueError(f"foreground_fraction must be in (0, 1], got {self.foreground_fraction}")


ORIGINAL = Framing(256, 200 / 256, enlarge=False, hard_mask=True)
"""What the original page does with "preprocess" on: cut out, at most 200 pixels, centred on 256."""

ORIGINAL_STRETCH = Framing(256, None)
"""What the original page does with "preprocess" off."""


def frame(rgba: Tensor, framing: Framing) -> Tensor:
    """The object centred in a square, aspect kept, antialiased.

    Colours are averaged premultiplied, or over white after a hard mask, as the original does: what is hidden under
    transparent pixels does not bleed in.

    Args:
        rgba: picture with straight alpha, (4, H, W), in [0, 1].
        framing: the square and the object's place in it.

    Returns:
        (4, size, size), straight alpha, in [0, 1].

    Raises:
        PictureError: the picture is transparent everywhere.
        ValueError: `rgba` is not (4, H, W).
    """
    if rgba.ndim != 3 or rgba.shape[0] != 4:
        raise ValueError(f"rgba must be (4, H, W), got {tuple(rgba.shape)}")
    box, (height, width) = placement(rgba[3], framing)
    cut = rgba[:, box.top : box.bottom, box.left : box.right]
    small = (_resized_hard if framing.hard_mask else resized)(cut, height, width)
    top, left = (framing.size - height) // 2, (framing.size - width) // 2
    canvas = small.new_zeros(4, framing.size, framing.size)
    canvas[:, top : top + height, left : left + width] = small
    return canvas


def original_training_view(rgba: Tensor, size: int = 256) -> Tensor:
    """A rendered view on white as the original's data loader gave it to training: edges are not blended.

    Pixels of alpha 0 are white and all others keep their straight colour, so soft edges stay dark; then bilinear with
    antialiasing (`ObjaverseData.load_im` and its transforms). Everything else here lays over white by `composite`.

    Args:
        rgba: picture with straight alpha, (4, H, W), in [0, 1].
        size: shorter side of the result, pixels.

    Returns:
        (3, h, w), in [0, 1].
    """
    if rgba.ndim != 3 or rgba.shape[0] != 4:
        raise ValueError(f"rgba must be (4, H, W), got {tuple(rgba.shape)}")
    hard = composite(torch.cat((rgba[:3], rgba[3:].gt(0).to(rgba))), torch.ones(3))
    height, width = (int(size * side / min(rgba.shape[1:])) for side in rgba.shape[1:])
    return from_pillow(to_pillow(hard).resize((width, height), Image.Resampling.BILINEAR)).to(rgba)


def placement(alpha: Tensor, framing: Framing) -> tuple[Box, tuple[int, int]]:
    """The box cut out of a picture and the (height, width) in pixels it takes in the frame; its centre is the frame's.

    Raises:
        PictureError: alpha, (H, W), is zero everywhere.
    """
    box = bounding_box(alpha, _HARD_THRESHOLD if framing.hard_mask else _SOFT_THRESHOLD)
    if framing.foreground_fraction is None:
        return Box(0, 0, alpha.shape[1], alpha.shape[0]), (framing.size, framing.size)
    limit = max(1, round(framing.foreground_fraction * framing.size))
    if max(box.width, box.height) <= limit and not framing.enlarge:
        return box, (box.height, box.width)
    aspect = box.width / box.height
    if aspect > 1:
        return box, (_whole(limit / aspect, lambda rows: abs(aspect - limit / rows)), limit)
    return box, (limit, _whole(limit * aspect, lambda columns: abs(aspect - columns / limit)))


def _resized_hard(rgba: Tensor, height: int, width: int) -> Tensor:
    """The original's way: cut alpha at one half, lay over white, resize; then alpha is put back."""
    alpha = (rgba[3:] > _HARD_THRESHOLD).to(rgba)
    over_white = composite(torch.cat((rgba[:3], alpha)), torch.ones(3))
    return _lifted_from_white(torch.cat((resized(over_white, height, width), resized(alpha, height, width))))


def _lifted_from_white(small: Tensor) -> Tensor:
    """Straight RGBA from (colour over white, alpha), (4, H, W), that gives back that colour over white exactly.

    Ringing of the filter can leave a colour darker than alpha allows; alpha is raised where it does.
    """
    over_white, alpha = small[:3], small[3:]
    alpha = torch.maximum(alpha, 1 - over_white.amin(0, keepdim=True))
    colour = (over_white - 1 + alpha) / alpha.clamp(min=torch.finfo(alpha.dtype).tiny)
    return torch.cat((torch.where(alpha > 0, colour, 0.0).clamp(0, 1), alpha))


def _whole(length: float, error: Callable[[int], float]) -> int:
    """The whole number of pixels beside `length` with the smaller error, at least 1."""
    return min((max(1, math.floor(length)), max(1, math.ceil(length))), key=error)


def shifted(picture: Tensor, by: Tensor) -> Tensor:
    """A straight-alpha picture (4, H, W) moved by whole pixels (x, y), (2,); what comes in from outside is empty."""
    across, down = (int(v) for v in by)
    height, width = picture.shape[-2:]
    room = max(abs(across), abs(down))
    wide = torch.nn.functional.pad(picture, (room,) * 4)
    return wide[:, room - down : room - down + height, room - across : room - across + width]

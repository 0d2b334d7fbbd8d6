"""Pictures in every form a person holds them in, and as notebooks show them."""

from __future__ import annotations

import base64
import os
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from zero123.images.io import MAX_PIXELS, MAX_SIDE, MIN_SIDE, PictureError, from_opened, load, resized, to_pillow

PictureLike = str | os.PathLike[str] | Image.Image | NDArray[Any] | Tensor
"""A file, a Pillow image, a numpy array (H, W) or (H, W, 1|3|4), or a tensor (1|3|4, H, W); whole numbers reach to the
largest of their type, fractions from 0 to 1; alpha is straight."""


def as_picture(picture: PictureLike) -> Tensor:
    """The same picture as a tensor, as `io.load` gives a file.

    Returns:
        (3, H, W) in [0, 1], or (4, H, W) with straight alpha; no side over `MAX_SIDE`.

    Raises:
        PictureError: a file that cannot be read, another shape or type, values out of range, or a side under
            `MIN_SIDE`.
    """
    if isinstance(picture, str | os.PathLike):
        return load(picture)
    if isinstance(picture, Image.Image):
        _refuse_size(*picture.size)
        return from_opened(picture)
    if isinstance(picture, np.ndarray):
        image = _channels_first(picture)
    elif isinstance(picture, Tensor):
        image = picture.detach()
    else:
        raise PictureError(
            f"a picture must be a file, a Pillow image, an array or a tensor, got {type(picture).__name__}"
        )
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4):
        raise PictureError(f"a tensor's picture must be (1|3|4, H, W), got {tuple(image.shape)}")
    image = _fractions(image)
    height, width = image.shape[1:]
    _refuse_size(width, height)
    image = image.expand(3, -1, -1) if len(image) == 1 else image
    ratio = MAX_SIDE / max(height, width)
    return image if ratio >= 1 else resized(image, max(1, round(height * ratio)), max(1, round(width * ratio)))


def png(image: Tensor) -> bytes:
    """A picture, (1|3|4, H, W) in [0, 1], as the bytes of a PNG file."""
    file = BytesIO()
    to_pillow(image).save(file, "PNG")
    return file.getvalue()


def moving_html(frames: Tensor, fps: float, words: str) -> str:
    """Pictures that follow each other for ever, as an `<img>` that holds them itself and runs no script.

    Args:
        frames: (V, 3, H, W), in [0, 1].
        fps: pictures per second.
        words: what is seen, for those who cannot.
    """
    file = BytesIO()
    first, *rest = [to_pillow(frame) for frame in frames]
    moving: dict[str, Any] = {"save_all": True, "append_images": rest, "duration": round(1000 / fps), "loop": 0}
    first.save(file, "WEBP", quality=85, method=4, **moving)
    data = base64.b64encode(file.getvalue()).decode()
    width, height = first.size
    return f'<img src="data:image/webp;base64,{data}" width="{width}" height="{height}" alt="{words}">'


def _refuse_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise PictureError(f"the picture is too small: {width}x{height}, at least {MIN_SIDE} pixels a side are needed")
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"the picture has {width}x{height} pixels, over {MAX_PIXELS / 1e6:g} million: shrink it first"
        )


def _channels_first(array: NDArray[Any]) -> Tensor:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise PictureError(f"an array's picture must be (H, W) or (H, W, 1|3|4), got {array.shape}")
    if array.dtype == np.uint16:  # torch counts in few operations with it
        array = array / np.float32(65535)
    if array.dtype.kind not in "buf":
        raise PictureError(f"a picture's numbers must be fractions or 8 or 16 bits without a sign, got {array.dtype}")
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def _fractions(image: Tensor) -> Tensor:
    """Numbers in [0, 1], float32 unless they are fractions already."""
    if image.dtype == torch.bool:
        return image.float()
    if image.dtype == torch.uint8:
        return image.float() / 255
    if not image.is_floating_point():
        raise PictureError(f"a picture's numbers must be fractions or 8 or 16 bits without a sign, got {image.dtype}")
    low, high = (float(value) for value in image.aminmax())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # nan too
        raise PictureError(f"a picture's fractions must be from 0 to 1, got {low:g} to {high:g}")
    return image.clamp(0, 1)


_ROUNDING = 1e-3
"""How far networks and resizing push fractions over their ends."""

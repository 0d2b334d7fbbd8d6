"""Picture files to float tensors and back; the only place that knows uint8, file formats and colour modes."""

from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from zero123.files import atomic_path

MIN_SIDE = 16  # pixels; smaller pictures hold no object worth turning
MAX_PIXELS = 100_000_000  # refused by the header, before any pixel is decoded
MAX_SIDE = 1536  # pixels; larger pictures are shrunk on load, as the original page did

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error)
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class PictureError(ValueError):
    """A picture that cannot be used; the message is one line for the person who gave it."""


def load(path: str | os.PathLike[str], max_side: int = MAX_SIDE) -> Tensor:
    """The picture in a file, upright, in sRGB; of an animation, its first frame.

    Reads PNG, JPEG, WebP, GIF and BMP in any colour mode. EXIF rotation and embedded colour profiles are applied.

    Args:
        path: picture file.
        max_side: pictures with a longer side, in pixels, are shrunk to it (antialiased).

    Returns:
        (3, H, W) in [0, 1], or (4, H, W) with straight alpha if the file carries transparency.

    Raises:
        PictureError: no such file, not a picture, damaged, under `MIN_SIDE` on a side, or over `MAX_PIXELS`.
    """
    path = Path(path)
    if path.is_dir():
        raise PictureError(f"{path} is a folder, a picture file is needed")
    if not path.exists():
        raise PictureError(f"no such picture: {path}")
    return _read(path, str(path), _FORMATS, max_side, MAX_PIXELS)


def loads(
    data: bytes, name: str, formats: tuple[str, ...] = _FORMATS, max_side: int = MAX_SIDE, max_pixels: int = MAX_PIXELS
) -> Tensor:
    """The same of a file's bytes.

    Args:
        data: the whole file.
        name: to call it in errors.
        formats: in which it may be, as Pillow names them.
        max_side: as for `load`.
        max_pixels: over which it is refused, by its header.

    Raises:
        PictureError: as for `load`.
    """
    return _read(io.BytesIO(data), name, formats, max_side, max_pixels)


def from_opened(image: Image.Image, max_side: int = MAX_SIDE) -> Tensor:
    """A Pillow image of any mode as `load` gives its file; the image itself stays as it is.

    Raises:
        PictureError: damaged.
    """
    try:
        return _decoded(image.copy(), max_side)
    except _DECODE_ERRORS as error:
        raise PictureError("the picture is damaged or cut short and cannot be decoded") from error


def save(path: str | os.PathLike[str], image: Tensor, quality: int = 95) -> None:
    """Write a picture as PNG, WebP (lossless) or JPEG, by the ending of `path`; whole or not at all.

    Args:
        path: file to write; missing folders are made.
        image: (1, H, W), (3, H, W) or (4, H, W) with straight alpha; values are clamped to [0, 1].
        quality: of JPEG, 1 to 100.

    Raises:
        PictureError: unknown ending, or transparency in a JPEG.
        ValueError: `image` has another shape or holds values that are not finite.
        OSError: the folder cannot be written.
    """
    path = Path(path)
    form = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}.get(path.suffix.lower())
    if form is None:
        raise PictureError(f"{path}: pictures are written as .png, .jpg or .webp, got '{path.suffix}'")
    if form == "JPEG" and image.shape[0] == 4:
        raise PictureError(f"{path}: JPEG holds no transparency, write .png or .webp")
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"lossless": True, "exact": True},
    }
    picture = to_pillow(image)
    with atomic_path(path) as temporary:
        picture.save(temporary, format=form, **options.get(form, {}))


def to_pillow(image: Tensor) -> Image.Image:
    """The 8-bit Pillow image of a float picture, (1|3|4, H, W), rounded to the nearest level."""
    if image.ndim != 3 or image.shape[0] not in _MODES:
        raise ValueError(f"image must be (1|3|4, H, W), got {tuple(image.shape)}")
    if not bool(torch.isfinite(image).all()):
        raise ValueError("image must be finite, got nan or inf")
    levels = (image.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    array = levels.permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if len(levels) == 1 else array))


def from_pillow(image: Image.Image) -> Tensor:
    """The float picture of an 8-bit Pillow image of mode L, RGB or RGBA; (1|3|4, H, W) in [0, 1]."""
    array = np.asarray(image, dtype=np.float32) / 255
    array = array[..., None] if array.ndim == 2 else array
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """Lanczos with antialiasing in 8 bits, the resampler of Pillow's `thumbnail`; colours are averaged premultiplied.

    Args:
        image: (1, H, W), (3, H, W) or (4, H, W) with straight alpha, in [0, 1].
        height: of the result, pixels.
        width: of the result, pixels.

    Returns:
        (C, height, width), in [0, 1].
    """
    small = to_pillow(image).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return from_pillow(small).to(image)


def _read(source: Path | io.BytesIO, name: str, formats: tuple[str, ...], max_side: int, max_pixels: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # everything Pillow warns of is either harmless or raised here
        try:
            with Image.open(source, formats=formats) as image:
                _check_size(name, image.size, max_pixels)
                return _decoded(image, max_side)
        except PictureError:
            raise
        except Image.DecompressionBombError as error:
            raise PictureError(f"{name} has over {max_pixels / 1e6:g} million pixels: shrink it first") from error
        except UnidentifiedImageError as error:
            known = ", ".join(formats[:-1]).replace("WEBP", "WebP")
            last = formats[-1].replace("WEBP", "WebP")
            raise PictureError(f"{name} is not a picture ({known} or {last} is needed)") from error
        except PermissionError as error:
            raise PictureError(f"{name} may not be read: permission denied") from error
        except _DECODE_ERRORS as error:
            raise PictureError(f"{name} is damaged or cut short and cannot be decoded") from error


def _check_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise PictureError(f"{name} has {width}x{height} pixels, over {max_pixels / 1e6:g} million: shrink it first")
    if min(width, height) < MIN_SIDE:
        raise PictureError(f"{name} is too small: {width}x{height}, at least {MIN_SIDE} pixels a side are needed")


def _decoded(image: Image.Image, max_side: int) -> Tensor:
    """Decode, turn upright, bring to sRGB, shrink; (3|4, H, W) in [0, 1]."""
    ratio = min(1.0, max_side / max(image.size))
    target = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
    image.draft(None, target)  # JPEG decodes straight to a smaller size; other formats ignore this
    image.load()
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        channels = _sixteen_bit_grey(image, target)
        return torch.from_numpy(_upright(channels, image.getexif().get(0x0112, 1)))
    transparent = image.has_transparency_data
    image = _srgb(ImageOps.exif_transpose(image, in_place=False))
    image = image.convert("RGBA" if transparent else "RGB")
    if ratio < 1:
        # Pillow premultiplies RGBA before it resizes, so hidden colours do not bleed out.
        flipped = (image.width > image.height) != (target[0] > target[1])
        image = image.resize(target[::-1] if flipped else target, Image.Resampling.LANCZOS)
    return from_pillow(image)


def _sixteen_bit_grey(image: Image.Image, target: tuple[int, int]) -> NDArray[np.float32]:
    """16-bit grey as (3|4, H, W) in [0, 1]; Pillow's own conversion would clip it at 255."""
    values = np.asarray(image, dtype=np.float32)
    layers = [values / 65535]
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        layers.append((values != clear).astype(np.float32))
    if target != image.size:
        layers = [np.asarray(Image.fromarray(x).resize(target, Image.Resampling.BOX)) for x in layers]
    return np.stack([layers[0]] * 3 + layers[1:]).clip(0, 1)


def _upright(channels: NDArray[np.float32], orientation: int) -> NDArray[np.float32]:
    """Undo an EXIF orientation, 1 to 8, of (C, H, W)."""
    if orientation in (5, 6, 7, 8):
        channels = channels.transpose(0, 2, 1)
    if orientation in (2, 3, 6, 7):
        channels = channels[:, :, ::-1]
    if orientation in (3, 4, 7, 8):
        channels = channels[:, ::-1]
    return np.ascontiguousarray(channels)


def _srgb(image: Image.Image) -> Image.Image:
    """Colours of an embedded profile (phones: Display P3, print: CMYK) brought to sRGB; a broken profile is ignored."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode) or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image

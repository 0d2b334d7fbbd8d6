"""Many pictures at once: contact sheets with labels, and orbit videos."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from zero123.files import atomic_path
from zero123.images.io import PictureError, from_pillow, to_pillow

_INK = (70, 70, 70)


def contact_sheet(images: Tensor, columns: int, labels: Sequence[str] | None = None, gap: int = 4) -> Tensor:
    """Pictures in rows on white, left to right and top to bottom, each with a label underneath.

    Args:
        images: (V, 3, H, W), in [0, 1].
        columns: pictures in a row, at least 1.
        labels: one short text per picture, cut off at the picture's width; None for no labels.
        gap: pixels of white around each picture.

    Returns:
        The sheet, (3, H', W'), in [0, 1].

    Raises:
        ValueError: wrong shape, no pictures, or another number of labels than pictures.
    """
    _check(images, "images")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"labels must be as many as images, {len(images)}, got {len(labels)}")
    strip = 0 if labels is None else max(12, images.shape[-2] // 12)
    cells = F.pad(images.detach().cpu().float(), (gap, gap, gap, gap + strip), value=1.0)
    if labels is not None:
        for cell, label in zip(cells, labels, strict=True):
            cell[:, -gap - strip :] = _label(label, gap + strip, cell.shape[-1])
    missing = -len(cells) % columns
    cells = torch.cat((cells, cells.new_ones(missing, *cells.shape[1:])))
    rows, (height, width) = len(cells) // columns, cells.shape[-2:]
    grid = cells.reshape(rows, columns, 3, height, width)
    return grid.permute(2, 0, 3, 1, 4).reshape(3, rows * height, columns * width).clamp(0, 1)


def save_video(path: str | os.PathLike[str], frames: Tensor, fps: float = 15.0) -> None:
    """Write a moving picture: `.mp4` (H.264, plays everywhere), or an endless `.webp` or `.gif`; whole or not at all.

    Args:
        path: file to write; its ending says which.
        frames: (V, 3, H, W), in [0, 1]; for .mp4 an odd side is padded by one pixel.
        fps: frames per second, over 0.

    Raises:
        PictureError: another ending.
        ValueError: wrong shape or `fps`.
        OSError: the folder cannot be written, or no ffmpeg can be run for .mp4.
    """
    path = Path(path)
    _check(frames, "frames")
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps must be over 0, got {fps}")
    ending = path.suffix.lower()
    if ending not in (".mp4", ".webp", ".gif"):
        raise PictureError(f"{path}: videos are written as .mp4, .webp or .gif, got '{path.suffix}'")
    with atomic_path(path) as temporary:
        if ending == ".mp4":
            _write_mp4(temporary, frames, fps)
            return
        first, *rest = [to_pillow(frame) for frame in frames]
        # Equal frames are kept, so that the length is what was asked for.
        options: dict[str, Any] = (
            {"quality": 90, "method": 4} if ending == ".webp" else {"disposal": 2, "optimize": False}
        )
        duration = round(1000 / fps)
        first.save(temporary, save_all=True, append_images=rest, duration=duration, loop=0, **options)


def _write_mp4(path: Path, frames: Tensor, fps: float) -> None:
    import imageio_ffmpeg

    height, width = frames.shape[-2:]
    even = F.pad(frames.detach().cpu().float(), (0, width % 2, 0, height % 2), mode="replicate")
    try:
        writer = imageio_ffmpeg.write_frames(
            str(path),
            (even.shape[-1], even.shape[-2]),
            fps=fps,
            codec="libx264",
            pix_fmt_in="rgb24",
            pix_fmt_out="yuv420p",
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=["-crf", "18", "-movflags", "+faststart"],
        )
        writer.send(None)
        try:
            for frame in even:
                writer.send(to_pillow(frame).tobytes())
        finally:
            writer.close()
    except RuntimeError as error:
        raise OSError("no ffmpeg that writes H.264 could be run: write the video as .webp or .gif") from error


def _label(text: str, height: int, width: int) -> Tensor:
    """Dark text on white, (3, height, width)."""
    canvas = Image.new("RGB", (width, height), "white")
    font = ImageFont.load_default(size=max(8, round(0.7 * height)))
    ImageDraw.Draw(canvas).text((width / 2, height / 2), text, fill=_INK, font=font, anchor="mm")
    return from_pillow(canvas)


def _check(pictures: Tensor, name: str) -> None:
    if pictures.ndim != 4 or pictures.shape[1] != 3 or not len(pictures):
        raise ValueError(f"{name} must be (V, 3, H, W) with V over 0, got {tuple(pictures.shape)}")

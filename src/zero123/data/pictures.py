"""Rendered views as training sees them: on white, at the model's size, edges blended or hard as the original's."""

from __future__ import annotations

import logging
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from zero123.data.view_files import ViewLevels
from zero123.data.view_set import ViewSetError
from zero123.images.alpha import composite
from zero123.images.io import from_pillow

Edges = Literal["blended", "original"]
"""Soft edges are blended with white, or keep their straight colour as in the original's training, and so stay dark."""

log = logging.getLogger(__name__)


def training_pictures(views: ViewLevels, size: int | None = None, edges: Edges = "blended") -> Tensor:
    """The views on white, resized as the original does: bilinear with antialiasing, in 8 bits.

    Args:
        views: with straight alpha.
        size: side of the result, pixels; None keeps the views'.
        edges: how half-transparent pixels are shown; "original" gives what `original_training_view` does.

    Returns:
        (V, 3, size, size), in [0, 1].

    Raises:
        ViewSetError: the views are not square, and `size` is given.
        ValueError: `edges` is neither.
    """
    if edges not in get_args(Edges):
        raise ValueError(f"edges must be one of {', '.join(get_args(Edges))}, got {edges!r}")
    height, width = views.levels.shape[1:3]
    if size is not None and height != width:
        raise ViewSetError(f"views must be square to train on, got {width}x{height}")
    if edges == "blended" and size in (None, width):
        return composite(views.views().images, torch.ones(3))  # without rounding
    white = [_on_white(levels, edges) for levels in views.levels]
    if size not in (None, width):
        white = [picture.resize((size or width, size or width), Image.Resampling.BILINEAR) for picture in white]
    return torch.stack([from_pillow(picture) for picture in white])


def _on_white(levels: NDArray[np.uint8], edges: Edges) -> Image.Image:
    """A picture, (H, W, 4), on white in 8 bits; Pillow does it in a tenth of the time floats take."""
    if edges == "original":
        return Image.fromarray(np.where(levels[..., 3:] == 0, np.uint8(255), levels[..., :3]))
    ground = Image.new("RGBA", levels.shape[1::-1], "white")
    ground.alpha_composite(Image.fromarray(levels))
    return ground.convert("RGB")


class OpaqueNotice:
    """Says once per source that its pictures have no transparency, and so are taken with whatever is behind them."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def look(self, views: ViewLevels, source: str) -> None:
        """Warn if these are the first opaque views of the source."""
        if source not in self._told and bool((views.levels[..., 3] == 255).all()):
            self._told.add(source)
            log.warning("%s: pictures without transparency are taken as they are, background and all", source)

"""A picture made ready for a model: the object cut out and framed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zero123.images.alpha import composite
from zero123.images.forms import png
from zero123.images.matting import Matte


@dataclass(frozen=True)
class Photo:
    """A picture made ready.

    Attributes:
        rgba: the object alone, framed as the model knows objects, (4, S, S), straight alpha.
        matte: how the object was told from the background.
        mask: the object's alpha in the picture as it came, (1, H, W).
    """

    rgba: Tensor
    matte: Matte
    mask: Tensor

    @property
    def on_white(self) -> Tensor:
        """The framed object on white, (3, S, S)."""
        return composite(self.rgba[None], torch.ones(3))[0]

    def __repr__(self) -> str:
        return f"<photo of {self.rgba.shape[-1]} pixels, object found by {self.matte.method}>"

    def _repr_png_(self) -> bytes:
        return png(self.rgba)

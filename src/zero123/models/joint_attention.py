"""Views of one object that look at each other: the UNet's self-attention runs over all of their positions at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from zero123.models.view_model import ViewModel


def join_views(model: ViewModel, views: int) -> None:
    """From now on every `views` rows of a call, one behind the other, are views of one object; in place.

    No weight changes and none is added: keys and values of a position are those of all views' positions. The joint
    denoising of MVDream (Section 3.1 of Shi et al., 2023, arXiv:2308.16512) and of Wonder3D (Long et al., 2023,
    arXiv:2310.15008). Guidance lays one set of views behind another, so that it needs nothing more.

    Args:
        model: whose UNet is changed.
        views: views of an object, at least 1; 1 brings the ordinary attention back.

    Raises:
        ValueError: `views` is below 1.
    """
    if views < 1:
        raise ValueError(f"views must be at least 1, got {views}")
    for name, processor in model.unet.attn_processors.items():
        if ".attn1." not in name:
            continue
        library = processor.library if isinstance(processor, _Joint) else processor
        layer = model.unet.get_submodule(name.removesuffix(".processor"))
        layer.set_processor(library if views == 1 else _Joint(library, views))


@contextmanager
def joined_views(model: ViewModel, views: int) -> Iterator[None]:
    """`join_views` while the block runs."""
    before = model.unet.attn_processors
    join_views(model, views)
    try:
        yield
    finally:
        for name, processor in before.items():
            model.unet.get_submodule(name.removesuffix(".processor")).set_processor(processor)


class _Joint:
    """Attention processor of one self-attention layer over the positions of several views."""

    def __init__(self, library: Any, views: int) -> None:
        self.library = library
        self._views = views

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """What the block adds to its input, (B * V, positions, C); arguments as diffusers names them."""
        rows, positions, width = hidden_states.shape
        if rows % self._views:
            raise ValueError(f"a call must hold whole sets of {self._views} views, got {rows} rows")
        together = hidden_states.reshape(rows // self._views, self._views * positions, width)
        result: Tensor = self.library(attn, together, encoder_hidden_states, attention_mask, temb)
        return result.reshape(rows, positions, width)

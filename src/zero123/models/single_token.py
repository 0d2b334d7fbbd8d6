"""Cross-attention to one token is a constant: it is computed once per picture, not at every step and position."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class SingleTokenAttention:
    """What a UNet's cross-attention layers add when the context is one token, for all layers at once.

    A softmax over one key is 1, whatever the query, so a layer adds `to_out(to_v(token))` at every position: two small
    products a picture in place of four large ones a step. Exact, not an approximation. With several tokens, or while
    gradients are recorded, the layers work as ever.

    Args:
        unet: diffusers' `UNet2DConditionModel`; its cross-attention layers learn to take the constants.
    """

    def __init__(self, unet: Any) -> None:
        names = [name.removesuffix(".processor") for name in unet.attn_processors if ".attn2." in name]
        self._layers = [unet.get_submodule(name) for name in names]
        self.width = sum(layer.to_out[0].out_features for layer in self._layers)
        start = 0
        for layer in self._layers:
            stop = start + layer.to_out[0].out_features
            layer.set_processor(_Constant(layer.processor, slice(start, stop), self.width))
            start = stop

    @property
    def in_place(self) -> bool:
        """Whether the layers still take constants; whoever gave them other processors wants those to work."""
        return all(isinstance(layer.processor, _Constant) for layer in self._layers)

    def __call__(self, tokens: Tensor) -> Tensor:
        """The layers' constants side by side, (B, 1, width), of tokens (B, 1, D)."""
        return torch.cat([layer.to_out[0](layer.to_v(tokens)) for layer in self._layers], dim=-1)


class _Constant:
    """Attention processor of one layer: takes its share of the constants where it is given them."""

    def __init__(self, library: Any, share: slice, width: int) -> None:
        self.library = library
        self._share = share
        self._width = width

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """What the block adds to its input, (B, 1, C) or (B, positions, C); arguments as diffusers names them."""
        if encoder_hidden_states is not None and encoder_hidden_states.shape[-1] == self._width:
            return encoder_hidden_states[..., self._share]
        result: Tensor = self.library(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        return result

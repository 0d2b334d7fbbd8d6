"""The input picture as tokens: a CLIP vision tower, pooled to one token or kept as a grid."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Tokens = Literal["pooled", "grid"]

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class ImageEncoder(nn.Module):
    """Tokens that say what is in a picture.

    Args:
        network: transformers' `CLIPVisionModelWithProjection`, of any size.
        tokens: "pooled" for the one projected class token the released weights use; "grid" for one token per patch,
            which lets cross-attention look somewhere.
    """

    def __init__(self, network: nn.Module, tokens: Tokens) -> None:
        super().__init__()
        if tokens not in ("pooled", "grid"):
            raise ValueError(f"tokens must be 'pooled' or 'grid', got {tokens!r}")
        self.network: Any = network
        self.tokens = tokens

    @property
    def width(self) -> int:
        """Length of a token."""
        return int(self.network.config.projection_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (B, N, D), not normalised, of pictures (B, 3, H, W) in [0, 1]."""
        pixels = preprocess(images, self.network.config.image_size)
        output = self.network(pixel_values=pixels.to(self.network.dtype))
        if self.tokens == "pooled":
            return output.image_embeds[:, None]
        patches = self.network.vision_model.post_layernorm(output.last_hidden_state[:, 1:])
        return self.network.visual_projection(patches)


def preprocess(images: Tensor, size: int) -> Tensor:
    """What CLIP sees of pictures (B, 3, H, W) in [0, 1]: (B, 3, size, size), normalised.

    Bicubic with aligned corners and no antialiasing, since Zero-1-to-3 was trained so (its `FrozenCLIPImageEmbedder`).
    """
    if images.shape[-2:] != (size, size):
        images = F.interpolate(images, (size, size), mode="bicubic", align_corners=True, antialias=False)
    mean, deviation = (
        torch.tensor(v, device=images.device, dtype=images.dtype)[:, None, None] for v in (_MEAN, _DEVIATION)
    )
    return (images - mean) / deviation

"""A small autoencoder: patches in a linear basis of their own."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

_WHITE = 1.0
_OBJECT = 0.98
"""Background is what is at least so bright in all colours."""


class PatchCodec(ModelMixin, ConfigMixin):
    """Pixels in [-1, 1] to latents and back, both linear.

    Each `patch` x `patch` block of pixels, less white, in a basis of orthonormal patches (their principal components),
    each coefficient divided by its `spread`. So colour is exact from the first step of training, latents are
    uncorrelated, and white background is 0.

    Args:
        patch: side of a patch, pixels.
        latent_channels: coefficients kept of each patch.
    """

    @register_to_config
    def __init__(self, patch: int = 8, latent_channels: int = 32) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.zeros(latent_channels, 3 * patch**2), requires_grad=False)
        self.spread = nn.Parameter(torch.ones(latent_channels), requires_grad=False)

    def encode(self, pixels: Tensor) -> Tensor:
        """Latents (B, C, H / patch, W / patch) of pixels (B, 3, H, W) in [-1, 1]."""
        patches = F.pixel_unshuffle(pixels - _WHITE, self.config.patch)
        return torch.einsum("bphw,cp->bchw", patches, self.basis / self.spread[:, None])

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, H, W), about [-1, 1], of latents (B, C, H / patch, W / patch)."""
        patches = torch.einsum("bchw,cp->bphw", latents, self.basis * self.spread[:, None])
        return F.pixel_shuffle(patches, self.config.patch) + _WHITE

    @torch.no_grad()
    def fit(self, pixels: Tensor, exponent: float = 0.5) -> None:
        """Set basis and spread from pictures, (B, 3, H, W) in [-1, 1]; only patches that are not all white count.

        Args:
            pixels: pictures of the kind that will be encoded.
            exponent: 1 gives every coefficient the same variance, 0 keeps their variances; the overall variance is 1.
        """
        patches = F.pixel_unshuffle(pixels - _WHITE, self.config.patch).permute(0, 2, 3, 1).flatten(0, 2)
        patches = patches[patches.abs().amax(1) > 0.02].double()
        if len(patches) < self.config.latent_channels:
            raise ValueError(f"pixels must show {self.config.latent_channels} patches or more, got {len(patches)}")
        second_moment = patches.T @ patches / len(patches)
        variance, vectors = torch.linalg.eigh(second_moment)
        order = variance.argsort(descending=True)[: self.config.latent_channels]
        deviation = variance[order].clamp(min=1e-12).sqrt()
        spread = deviation**exponent
        spread *= ((deviation / spread) ** 2).mean().sqrt()
        self.basis.copy_(vectors[:, order].T)
        self.spread.copy_(spread)

    @torch.no_grad()
    def psnr(self, pixels: Tensor) -> float:
        """PSNR in decibels over the object's pixels of pictures (B, 3, H, W) in [-1, 1], coded and decoded."""
        mask = (pixels.amin(1, keepdim=True) < _OBJECT).expand_as(pixels)
        found = self.decode(self.encode(pixels)).clamp(-1, 1)
        return float(-10 * torch.log10(F.mse_loss(found[mask] / 2, pixels[mask] / 2)))


def is_patch_codec(config: dict[str, Any]) -> bool:
    """Whether a `vae/config.json` describes this codec (else it is diffusers' AutoencoderKL)."""
    return config.get("_class_name") == PatchCodec.__name__

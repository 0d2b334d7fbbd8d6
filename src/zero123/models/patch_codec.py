"""A small autoencoder: patches in a fixed linear basis, and a learned residual that sharpens the decoded picture."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

_WHITE = 1.0


class PatchCodec(ModelMixin, ConfigMixin):
    """Pixels in [-1, 1] to latents and back.

    The encoder is linear: each `patch` x `patch` block of pixels, less white, in a basis of orthonormal patches
    (their principal components), each coefficient divided by its `spread`. So colour is exact from the first step of
    training, latents are uncorrelated, and white background is 0. The decoder adds what a small network predicts to
    the linear inverse.

    Args:
        patch: side of a patch, pixels.
        latent_channels: coefficients kept of each patch.
        decoder_channels: widths of the residual decoder from twice the latent resolution down to the latent's own.
        decoder_layers: residual blocks at each resolution.
    """

    @register_to_config
    def __init__(
        self,
        patch: int = 8,
        latent_channels: int = 32,
        decoder_channels: tuple[int, ...] = (64, 128),
        decoder_layers: int = 1,
    ) -> None:
        super().__init__()
        self.upscale = 2 ** (len(decoder_channels) - 1)
        if patch % self.upscale:
            raise ValueError(f"patch must be a multiple of {self.upscale} for this decoder, got {patch}")
        self.basis = nn.Parameter(torch.zeros(latent_channels, 3 * patch**2), requires_grad=False)
        self.spread = nn.Parameter(torch.ones(latent_channels), requires_grad=False)
        self.residual = Decoder(
            in_channels=latent_channels,
            out_channels=3 * (patch // self.upscale) ** 2,
            up_block_types=("UpDecoderBlock2D",) * len(decoder_channels),
            block_out_channels=tuple(decoder_channels),
            layers_per_block=decoder_layers,
            norm_num_groups=16,
            mid_block_add_attention=False,
        )
        nn.init.zeros_(self.residual.conv_out.weight)
        nn.init.zeros_(self.residual.conv_out.bias)

    def encode(self, pixels: Tensor) -> Tensor:
        """Latents (B, C, H / patch, W / patch) of pixels (B, 3, H, W) in [-1, 1]."""
        patches = F.pixel_unshuffle(pixels - _WHITE, self.config.patch)
        return torch.einsum("bphw,cp->bchw", patches, self.basis / self.spread[:, None])

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, H, W), about [-1, 1], of latents (B, C, H / patch, W / patch)."""
        return self.decode_linear(latents) + F.pixel_shuffle(self.residual(latents), self.config.patch // self.upscale)

    def decode_linear(self, latents: Tensor) -> Tensor:
        """The linear inverse alone: the picture nearest to the encoded one that the basis can show."""
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


def is_patch_codec(config: dict[str, Any]) -> bool:
    """Whether a `vae/config.json` describes this codec (else it is diffusers' AutoencoderKL)."""
    return config.get("_class_name") == PatchCodec.__name__

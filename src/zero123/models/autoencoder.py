"""Pictures to latents and back; the only home of pixels in [-1, 1] and of the latent scale."""

from __future__ import annotations

from typing import Any

from torch import Generator, Tensor, nn

from zero123.models.patch_codec import PatchCodec


class Autoencoder(nn.Module):
    """A library autoencoder behind pictures in [0, 1].

    Args:
        network: diffusers' `AutoencoderKL`, or our `PatchCodec`.
        scale: diffused latents are the network's latents times this (0.18215 in Stable Diffusion; Rombach et al., 2022,
            arXiv:2112.10752, section D.1).
        scale_condition: whether the input picture's latents, which condition the network, are scaled too.
            Zero-1-to-3's are not.
    """

    def __init__(self, network: nn.Module, scale: float, scale_condition: bool) -> None:
        super().__init__()
        self.network: Any = network
        self.scale = scale
        self.scale_condition = scale_condition

    @property
    def factor(self) -> int:
        """Pixels per latent pixel."""
        config = self.network.config
        return int(config.patch) if isinstance(self.network, PatchCodec) else 2 ** (len(config.block_out_channels) - 1)

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return int(self.network.config.latent_channels)

    def encode(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Latents to diffuse.

        Args:
            images: (B, 3, H, W) in [0, 1].
            generator: draws from the posterior, as training does; None takes its mode.

        Returns:
            Scaled latents, (B, C, h, w).
        """
        return self._encode(images, generator) * self.scale

    def encode_condition(self, images: Tensor) -> Tensor:
        """Latents of the input picture as the network is conditioned on them, (B, C, h, w)."""
        return self._encode(images, None) * (self.scale if self.scale_condition else 1)

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), float32, about [0, 1] and not clamped, of scaled latents (B, C, h, w)."""
        decoded = self.network.decode(latents / self.scale)
        pixels = decoded if isinstance(decoded, Tensor) else decoded.sample
        return (pixels.float() + 1) / 2  # bfloat16 has only 128 steps from 1 to 2

    def _encode(self, images: Tensor, generator: Generator | None) -> Tensor:
        encoded = self.network.encode(images * 2 - 1)
        if isinstance(encoded, Tensor):
            return encoded
        posterior = encoded.latent_dist
        return posterior.mode() if generator is None else posterior.sample(generator)

"""A volume of features behind the input picture: depth for every pixel, so that any other camera can look at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from zero123.fields.rendering import composite
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.models.frustum import gathered, own_rays, target_samples

_SLOPE, _SOLID = 4.0, 6.0
"""Density, per world unit, is `_SOLID * softplus(_SLOPE * x)` of an output x, so that steps of x about 1 matter."""
_MIST = -1.0
"""What a fresh network says everywhere: a mist that stops a seventh of the light."""
_NEAR = 0.1
"""A point so far behind the input's surface, as normalised depth, is half hidden from it."""


@dataclass(frozen=True)
class Volume:
    """What the network believes is behind the pixels of P pictures.

    Attributes:
        values: density per world unit, colour (3) and features (F) of cells, (P, D, S, S, 4 + F), float32.
        depth: where the pictures' own rays end, normalised depth in [-1, 1], (P, 1, S, S).
        photo: the pictures, (P, 3, H, W) in [0, 1].
        source: poses of their cameras, (P,).
    """

    values: Tensor
    depth: Tensor
    photo: Tensor
    source: OrbitPose


@dataclass(frozen=True)
class Projected:
    """A volume as V target cameras see it, R pixels a side.

    Attributes:
        opacity: share of the light that the object stops, (V, 1, R, R).
        colour: on white, about [0, 1], (V, 3, R, R).
        features: for the denoising network, 0 where nothing is, (V, F, R, R).
        seen: how far the input picture shows what the target sees, in [0, 1], (V, 1, R, R).
        warped: the input picture's pixels, moved to where the target sees them, on white, (V, 3, H, W).
    """

    opacity: Tensor
    colour: Tensor
    features: Tensor
    seen: Tensor
    warped: Tensor

    def channels(self) -> Tensor:
        """All but `warped`, at half the resolution, (V, 4 * (5 + F), R / 2, R / 2); 0 where nothing is."""
        return F.pixel_unshuffle(torch.cat((self.opacity, self.colour - 1, self.features, self.seen), dim=1), 2)


class FeatureVolume(nn.Module):
    """One picture to a volume that any camera can look at, for networks that shall not have to learn geometry.

    The conditioning of GeNVS (Chan et al., 2023, arXiv:2304.02602, section 3.1): pixels and depths of the input span a
    volume, target rays march through it, and the denoising network gets the feature picture they see. Opacity and
    colour of the volume are trained on the target's picture itself, as in pixelNeRF (Yu et al., 2021,
    arXiv:2012.02190); and the expected surface moves the input's own pixels to where the target sees them.

    Args:
        token_width: length D of an image token; the tokens are a grid of half the volume's side.
        side: cells along the picture's sides, S.
        shrink: pixels a cell along the picture's sides.
        depth: cells along the depth.
        features: of a cell, F, for the denoising network.
        layers: transformer layers that know the input's pose, before the volume is made.
        width: of the convolutions that make it.
        samples: points along a target ray.
    """

    def __init__(
        self,
        token_width: int,
        side: int = 32,
        shrink: int = 4,
        depth: int = 32,
        features: int = 8,
        layers: int = 3,
        width: int = 192,
        samples: int = 48,
    ) -> None:
        super().__init__()
        sizes = {"side": side, "shrink": shrink, "depth": depth, "features": features, "layers": layers}
        self.config = {"token_width": token_width, **sizes, "width": width, "samples": samples}
        self.side, self.shrink, self.depth, self.features, self.samples = side, shrink, depth, features, samples
        half, heads = width // 2, max(token_width // 32, 1)
        self.stem = nn.Sequential(
            nn.Conv2d(3 * shrink**2, half, 3, padding=1), nn.SiLU(), nn.Conv2d(half, half, 3, padding=1)
        )
        self.place = nn.Linear(4, token_width)
        self.blocks = nn.ModuleList(
            BasicTransformerBlock(token_width, heads, token_width // heads, activation_fn="gelu") for _ in range(layers)
        )
        self.norm = nn.LayerNorm(token_width)
        self.grow = nn.Linear(token_width, 4 * width)
        self.mix = nn.Conv2d(width + half, width, 3, padding=1)
        self.cells = nn.Conv2d(width, depth * (4 + features), 1)

    @property
    def image_size(self) -> int:
        """Side of the pictures, pixels."""
        return self.side * self.shrink

    @property
    def channels(self) -> int:
        """Channels of `Projected.channels`."""
        return 4 * (5 + self.features)

    def forward(self, photo: Tensor, tokens: Tensor, source: OrbitPose) -> Volume:
        """The volumes of pictures.

        Args:
            photo: (P, 3, H, W) in [0, 1].
            tokens: of the image encoder, (P, (S / 2)², D).
            source: poses of the pictures' cameras, (P,).
        """
        stem = self.stem(F.pixel_unshuffle(1 - photo, self.shrink))
        angle = source.elevation
        pose = torch.stack((angle, angle.sin(), angle.cos(), source.radius), dim=-1)
        hidden = tokens + self.place(pose.to(tokens))[:, None]
        for block in self.blocks:
            hidden = block(hidden)
        grid = self.grow(self.norm(hidden)).transpose(1, 2).unflatten(-1, (self.side // 2, self.side // 2))
        cells = self.cells(F.silu(self.mix(F.silu(torch.cat((F.pixel_shuffle(grid, 2), stem), dim=1)))))
        with torch.autocast(photo.device.type, enabled=False):
            raw = cells.float().unflatten(1, (self.depth, 4 + self.features))
            pixels = F.avg_pool2d(photo.float(), self.shrink)[:, None]  # what is behind a pixel starts in its colour
            density = _SOLID * F.softplus(_SLOPE * (raw[:, :, :1] + _MIST))
            values = torch.cat((density, raw[:, :, 1:4] + pixels, raw[:, :, 4:]), dim=2).movedim(2, -1).contiguous()
            return Volume(values, self._own_depth(values, source.radius), photo, source)

    def attend_with(self, processor: Any) -> None:
        """Let all layers compute attention by one of diffusers' processors."""
        for layer in self.modules():
            if isinstance(layer, Attention):
                layer.set_processor(processor)

    def look(self, volume: Volume, relative: RelativePose) -> Projected:
        """What V target cameras see, a row of V / P of them for each of P volumes.

        Args:
            volume: from `forward`.
            relative: moves from the input cameras, (V,).
        """
        with torch.autocast(volume.values.device.type, enabled=False):
            each = torch.arange(len(volume.values), device=volume.values.device)
            each = each.repeat_interleave(len(relative) // len(each))
            source = volume.source.to(torch.float32)[each]
            points, length = target_samples(source, relative, self.side, self.samples, self.training)
            found, inside = gathered(volume.values, points, random=self.training)
            share = _shares(found[..., 0] * length[..., None] * inside)
            seen = torch.einsum("vnk,vnkc->vnc", share, found[..., 1:])
            opacity = share.sum(-1, keepdim=True)
            picture = torch.cat((opacity, seen), dim=-1).transpose(1, 2).unflatten(-1, (self.side, self.side))
            with torch.no_grad():
                surface = torch.einsum("vnk,vnkc->vnc", share, points) / opacity.clamp(min=1e-3)
                surface = surface.transpose(1, 2).unflatten(-1, (self.side, self.side))
                visible, warped = self._input_there(volume, surface, picture[:, :1], each)
            return Projected(picture[:, :1], picture[:, 1:4] + 1 - picture[:, :1], picture[:, 4:], visible, warped)

    def _own_depth(self, values: Tensor, radius: Tensor) -> Tensor:
        """Expected normalised depth along the input's own rays, (P, 1, S, S): they run along the cells."""
        with torch.no_grad():
            density = values[..., 0].permute(0, 2, 3, 1)
            share = _shares(density * own_rays(self.side, radius.float())[..., None] / self.depth)
            depths = (torch.arange(self.depth, device=values.device) + 0.5) / self.depth * 2 - 1
            rest = 1 - share.sum(-1)  # a ray that meets nothing ends at the far side
            return ((share * depths).sum(-1) + rest)[:, None]

    def _input_there(self, volume: Volume, surface: Tensor, opacity: Tensor, each: Tensor) -> tuple[Tensor, Tensor]:
        """Whether the input shows the surfaces (V, 3, R, R) that targets see, and its pixels from there."""
        depth = F.grid_sample(
            volume.depth[each], surface[:, :2].movedim(1, -1), align_corners=False, padding_mode="border"
        )
        behind = (surface[:, 2:] - depth).clamp(min=0) / _NEAR
        visible = opacity * torch.exp2(-behind.square())
        fine = [F.interpolate(t, scale_factor=float(self.shrink), mode="bilinear") for t in (surface[:, :2], opacity)]
        ink = F.grid_sample(1 - volume.photo.float()[each], fine[0].movedim(1, -1), align_corners=False)
        return visible, 1 - ink * fine[1]


def _shares(optical: Tensor) -> Tensor:
    """Share of each sample in what a ray sees, (..., K), of density times length, (..., K)."""
    return composite(optical.flatten(0, -2))[0].view_as(optical)

"""A volume of features behind the input picture: depth for every pixel, so that any other camera can look at it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zero123.geometry.orbit import RADIUS, OrbitPose, RelativePose
from zero123.models.frustum import march, own_rays, shares

_SLOPE, _SOLID = 4.0, 6.0
"""Density, per world unit, is `_SOLID * softplus(_SLOPE * x)` of an output x, so that steps of x about 1 matter."""
_MIST = -1.0
"""What a fresh network says everywhere: a mist that stops a seventh of the light."""
_FAINT = 0.3
"""Ink is given back as to a pixel that shows the object so far, where it shows less."""
THIN = 0.3
"""Colours are known from this opacity on."""
_NEAR = 0.1
"""A point so far behind the input's surface, as normalised depth, is half hidden from it."""


@dataclass(frozen=True)
class Volume:
    """What the network believes is behind the pixels of P pictures.

    Attributes:
        values: density per world unit, colour (3) and features (F) of cells, (P, D, S, S, 4 + F), float32.
        depth: where the pictures' own rays end, normalised depth in [-1, 1], (P, 1, S, S).
        photo: the pictures, (P, 3, H, W) in [0, 1].
    """

    values: Tensor
    depth: Tensor
    photo: Tensor

    def __getitem__(self, index: Tensor) -> Volume:
        """Of chosen pictures, also several times, (P')."""
        return Volume(self.values[index], self.depth[index], self.photo[index])


@dataclass(frozen=True)
class Projected:
    """A volume as V target cameras see it, R pixels a side.

    Attributes:
        opacity: share of the light that the object stops, (V, 1, R, R).
        colour: on white, about [0, 1], (V, 3, R, R).
        features: for the denoising network, 0 where nothing is, (V, F, R, R).
        seen: how far the input picture shows what the target sees, in [0, 1], (V, 1, R, R).
        warped: the input picture's pixels, moved to where the target sees them, on white, (V, 3, H, W).
        draft: the view as `Draft` draws it from all of that, on white, (V, 3, H, W); None where there is none.
        outline: how far the draft shows the object, in [0, 1], (V, 1, H, W); None where there is no draft.
        doubt: how wrong the draft expects to be, standard deviation, (V, 1, H, W); None where there is no draft.
    """

    opacity: Tensor
    colour: Tensor
    features: Tensor
    seen: Tensor
    warped: Tensor
    draft: Tensor | None = None
    outline: Tensor | None = None
    doubt: Tensor | None = None

    @property
    def silhouette(self) -> Tensor:
        """How far the object is shown, as finely as is known: the draft's outline, else the opacity, (V, 1, R, R)."""
        return self.opacity if self.outline is None else self.outline

    def channels(self) -> Tensor:
        """All of the volume's resolution, at half of it, (V, 4 * (5 + F), R / 2, R / 2); 0 where nothing is."""
        return F.pixel_unshuffle(torch.cat((self.opacity, self.colour - 1, self.features, self.seen), dim=1), 2)


class FeatureVolume(nn.Module):
    """One picture to a volume that any camera can look at, for networks that shall not have to learn geometry.

    The conditioning of GeNVS (Chan et al., 2023, arXiv:2304.02602, section 3.1): pixels and depths of the input span a
    volume, target rays march through it, and the denoising network gets the feature picture they see. Opacity and
    colour of the volume are trained on the target's picture itself, as in pixelNeRF (Yu et al., 2021,
    arXiv:2012.02190); and the expected surface moves the input's own pixels to where the target sees them.

    The volume lies in the input camera's own axes; told how high and how far away that camera was, the network knows
    better what is up, and what the picture shows.

    Args:
        network: diffusers' `UNet2DConditionModel` at the volume's own resolution, S x S. It takes the picture's pixels,
            3 * k * k channels for k pixels a cell, attends to the image tokens, gets `place_numbers` as class labels,
            and gives the cells, `depth * (4 + F)` channels.
        depth: cells along the depth, D.

    Raises:
        ValueError: the network's channels do not go with the depth.
    """

    def __init__(self, network: nn.Module, depth: int) -> None:
        super().__init__()
        self.network: Any = network
        config: Any = network.config
        taken, given = int(config.in_channels), int(config.out_channels)
        self.side, self.shrink, self.depth = int(config.sample_size), math.isqrt(taken // 3), depth
        if taken != 3 * self.shrink**2 or given % depth or given <= 4 * depth:
            raise ValueError(
                f"the volume's network must take 3 channels for each pixel of a cell and give a multiple of {depth} "
                f"over {4 * depth}, takes {taken} and gives {given}"
            )
        self.features = given // depth - 4
        self.samples = depth * 3 // 2
        self.march: Callable[..., tuple[Tensor, Tensor]] = march  # which training may compile

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
            tokens: of the image encoder, (P, N, T).
            source: where the pictures were taken from, or seem to have been, (P,).
        """
        step = torch.zeros(len(photo), device=photo.device)  # the network was made to denoise; here nothing is noisy
        ink, labels = F.pixel_unshuffle(1 - photo, self.shrink), place_numbers(source).to(tokens)
        cells = self.network(ink, step, tokens, class_labels=labels, return_dict=False)[0]
        with torch.autocast(photo.device.type, enabled=False):
            raw = cells.float().unflatten(1, (self.depth, 4 + self.features))
            pixels = F.avg_pool2d(photo.float(), self.shrink)[:, None]  # what is behind a pixel starts in its colour
            density = _SOLID * F.softplus(_SLOPE * (raw[:, :, :1] + _MIST))
            values = torch.cat((density, raw[:, :, 1:4] + pixels, raw[:, :, 4:]), dim=2).movedim(2, -1).contiguous()
            return Volume(values, self._own_depth(values), photo)

    def look(self, volume: Volume, source: OrbitPose, relative: RelativePose) -> Projected:
        """What V target cameras see, a row of V / P of them for each of P volumes.

        Args:
            volume: from `forward`.
            source: poses of the input cameras, (V,).
            relative: moves from the input cameras, (V,).
        """
        random = self.training and volume.values.requires_grad  # what is not trained may look as in use
        with torch.autocast(volume.values.device.type, enabled=False):
            each = torch.arange(len(volume.values), device=volume.values.device)
            each = each.repeat_interleave(len(relative) // len(each))
            picture, surface = self.march(
                volume.values, source.to(torch.float32), relative, self.side, self.samples, random
            )
            opacity, colour, features = picture.split((1, 3, self.features), dim=1)
            with torch.no_grad():
                visible, warped = self._input_there(volume, surface, opacity, each)
            return Projected(opacity, colour + 1 - opacity, features, visible, warped)

    def _own_depth(self, values: Tensor) -> Tensor:
        """Expected normalised depth along the input's own rays, (P, 1, S, S): they run along the cells."""
        with torch.no_grad():
            density = values[..., 0].permute(0, 2, 3, 1)
            share = shares(density * own_rays(self.side).to(values)[..., None] / self.depth)
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


def outlined(images: Tensor, opacity: Tensor, level: float) -> Tensor:
    """Pictures (V, 3, H, W) on white, faded to white where nothing is believed to be.

    A denoiser short of training veils the surroundings of what it draws; what was trained on outlines alone knows
    better where nothing is. Where the object may be or not be, a mean picture is its colour thinned by white; what
    stays of it gets some of its ink back, by the root of its likelihood: all of it would leave dark rims.

    Args:
        images: in [0, 1].
        opacity: `Projected.outline` or, where there is no draft, `Projected.opacity`, (V, 1, R, R).
        level: opacity at which half of a picture's ink stays; all does at 0.05 above it, none at 0.05 below.
    """
    size = images.shape[-2:]
    fine = (opacity if opacity.shape[-2:] == size else F.interpolate(opacity, size, mode="bicubic")).to(images)
    return 1 - (1 - images) * ((fine - level) / 0.1 + 0.5).clamp(0, 1) / fine.clamp(_FAINT, 1).sqrt()


def place_numbers(source: OrbitPose) -> Tensor:
    """What the volume's network is told of a place: elevation, its sine and cosine, radius less the usual, (P, 4)."""
    high = source.elevation
    return torch.stack((high, high.sin(), high.cos(), source.radius - RADIUS), dim=-1)

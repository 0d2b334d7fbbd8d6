"""Where a picture was taken from, read from the picture alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zero123.geometry.orbit import RADIUS, OrbitPose
from zero123.models.window import cut, windows

_GROUPS = 8


class PlaceReader(nn.Module):
    """Elevation and distance of the camera that took a picture, by a small convolutional network of its own.

    It looks at the part of the picture that shows the object, and is told which part that was: an object's longest
    side is 1, so that its size tells the distance, roughly. The azimuth is 0 by definition. It learns from inputs and
    targets alike, many more pictures than the other networks can afford.

    Args:
        size: side the picture is shrunk to, pixels; a multiple of 4.
        widths: channels, from a quarter of the side on, halved at each but the first.
    """

    def __init__(self, size: int = 128, widths: Sequence[int] = (24, 48, 96, 160)) -> None:
        super().__init__()
        if size % 4 or not widths or any(width < 1 or width % _GROUPS for width in widths):
            raise ValueError(f"size must be a multiple of 4 and widths of {_GROUPS}, got {size} and {list(widths)}")
        self.config = {"size": size, "widths": list(widths)}
        self.size = size
        self.first = nn.Conv2d(3, widths[0], 5, stride=2, padding=2)
        self.blocks = nn.Sequential(
            *[_Block(given, width) for given, width in zip((widths[0], *widths), widths, strict=False)]
        )
        self.last = nn.Sequential(nn.Linear(widths[-1] + 3, 128), nn.SiLU(), nn.Linear(128, 2))

    def forward(self, photo: Tensor) -> OrbitPose:
        """Poses (B,), float32, of pictures on white (B, 3, H, W) in [0, 1]; azimuth 0."""
        if photo.shape[-1] != self.size:
            photo = F.interpolate(photo, (self.size, self.size), mode="area")
        with torch.autocast(photo.device.type, enabled=False):
            window = windows(photo.float())
            shown = cut(photo.float(), window).to(photo)
        hidden = self.blocks(F.silu(self.first(1 - shown))).mean((2, 3))
        part = torch.cat((window[:, :2], window[:, 2:].log()), dim=-1).to(hidden)
        high, far = self.last(torch.cat((hidden, part), dim=-1)).float().unbind(-1)
        return OrbitPose(torch.zeros_like(high), torch.tanh(high) * (math.pi / 2), RADIUS * torch.exp(far / 5))


class _Block(nn.Module):
    """Two convolutions beside a short cut, at half the resolution."""

    def __init__(self, given: int, width: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(given, width, 3, stride=2, padding=1)
        self.two = nn.Conv2d(width, width, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(_GROUPS, width) for _ in range(2))
        self.past = nn.Conv2d(given, width, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norms[1](self.two(F.silu(self.norms[0](self.one(x)))))
        return F.silu(inner + self.past(x))

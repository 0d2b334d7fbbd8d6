"""What lies behind a field: one learnt colour for every direction."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class DirectionTexture(nn.Module):
    """A small picture wrapped around the world, read bilinearly by the direction of a ray.

    The background of SJC (Wang et al., 2022, arXiv:2212.00774): one coordinate is the angle from straight up over pi,
    the other the azimuth over a whole turn.

    Attributes:
        texture: (1, C, h, w).
    """

    def __init__(self, channels: int, hw: tuple[int, int] = (4, 4), generator: torch.Generator | None = None) -> None:
        """Start from standard normal colours.

        Args:
            channels: C.
            hw: height and width of the texture, at least 1.
            generator: of the start.
        """
        super().__init__()
        if min(hw) < 1 or channels < 1:
            raise ValueError(f"channels and hw must be at least 1, got {channels} and {hw}")
        self.texture = nn.Parameter(torch.randn(1, channels, *hw, generator=generator))

    def forward(self, directions: Tensor) -> Tensor:
        """Colours (N, C) behind rays with directions (N, 3), of any length over 0."""
        x, y, z = directions.unbind(-1)
        fall = torch.atan2(torch.hypot(x, y), z) / math.pi
        turn = torch.atan2(y, x) / (2 * math.pi) + 0.5
        place = torch.stack((fall, turn), dim=-1) * 2 - 1
        read = nn.functional.grid_sample(self.texture, place[None, None], padding_mode="border", align_corners=False)
        return read[0, :, 0].T

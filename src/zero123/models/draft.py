"""A first picture of a view: what the volume behind the input says, in the input's own pixels where it shows them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zero123.models.feature_volume import THIN, Projected

_GROUPS = 8
_CERTAIN, _DOUBT = 6.0, 4.0
"""Before it has learned anything a draft takes the input's pixels where `Projected.seen` is over 2/3."""
_EDGE, _LEVEL = 20.0, 0.3
"""And the object ends where the volume stops this share of the light, within 1 / `_EDGE` of it."""
_UNLEARNED = -3.0
"""Logarithm of the error that a fresh network expects everywhere."""
_LEAST, _MOST = -5.5, 0.0
"""What that logarithm is kept within: a level of 255, and black for white."""


class Draft(nn.Module):
    """Pictures from what targets see of a volume, by a small convolutional network at their full resolution.

    A volume is coarse, and a latent denoiser takes long to learn to copy what it is shown. This network decides pixel
    by pixel how far to trust the input's pixels that the volume has moved to where they are seen, where the object
    ends, and what to add. The denoiser is then left with what the draft got wrong: a regression for the mean and a
    diffusion of the residual, as in CorrDiff (Mardani et al., 2023, arXiv:2309.15214).

    It also says how wrong it expects to be, pixel by pixel, as a network that is trained by the likelihood of a normal
    distribution about its answer does (Nix and Weigend, 1994; Kendall and Gal, 2017, arXiv:1703.04977, section 2.2).

    Args:
        features: of the volume, F.
        shrink: pixels of a picture for each of the volume's, a side.
        widths: channels at the volume's resolution and at half of it.
        fine: channels at the picture's own.
    """

    def __init__(self, features: int, shrink: int, widths: Sequence[int] = (48, 96), fine: int = 16) -> None:
        super().__init__()
        if len(widths) != 2 or any(width < 1 or width % _GROUPS for width in (*widths, fine)):
            raise ValueError(f"widths must be two multiples of {_GROUPS} and fine one, got {list(widths)} and {fine}")
        self.config = {"features": features, "shrink": shrink, "widths": list(widths), "fine": fine}
        wide, deep = widths
        self.shrink = shrink
        self.first = nn.Conv2d(5 + features, wide, 3, padding=1)
        self.coarse = nn.Sequential(_Block(wide), _Block(wide))
        self.down = nn.Conv2d(wide, deep, 3, stride=2, padding=1)
        self.deep = nn.Sequential(_Block(deep), _Block(deep))
        self.up = nn.Conv2d(deep, wide, 1)
        self.last_coarse = _Block(wide)
        self.spread = nn.Conv2d(wide, fine * shrink**2, 1)
        self.mix = nn.Conv2d(fine + 8, fine, 3, padding=1)
        self.out = nn.Conv2d(fine, 6, 3, padding=1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, seen: Projected) -> tuple[Tensor, Tensor, Tensor]:
        """V views, all float32.

        Returns:
            Pictures on white, (V, 3, H, W), about [0, 1]; how far each pixel shows the object, (V, 1, H, W) in [0, 1];
            and the error expected of the pictures, (V, 1, H, W), standard deviation, root mean square over channels.
        """
        low = torch.cat((seen.opacity, seen.colour - 1, seen.features, seen.seen), dim=1)
        size = seen.warped.shape[-2:]
        opacity, colour, shown = (
            F.interpolate(t, size, mode="bilinear") for t in (seen.opacity, seen.colour, seen.seen)
        )
        thick = opacity.clamp(min=THIN)
        ink, own = (1 - colour) / thick, (1 - seen.warped) / thick
        fine = self._network(low, torch.cat((ink, own, opacity, shown), dim=1)).float()
        gate, shape, more, doubt = fine.split((1, 1, 3, 1), 1)
        trust = torch.sigmoid(gate + _CERTAIN * shown - _DOUBT)
        inside = torch.sigmoid(shape + _EDGE * (opacity - _LEVEL))
        picture = 1 - (ink + trust * (own - ink) + more) * inside
        return picture, inside, (doubt + _UNLEARNED).clamp(_LEAST, _MOST).exp()

    def _network(self, low: Tensor, high: Tensor) -> Tensor:
        dtype = self.out.weight.dtype
        hidden = self.coarse(self.first(low.to(dtype)))
        deep = self.up(self.deep(self.down(hidden)))
        hidden = self.last_coarse(hidden + F.interpolate(deep, hidden.shape[-2:], mode="nearest"))
        fine = F.pixel_shuffle(self.spread(hidden), self.shrink)
        return self.out(F.silu(self.mix(torch.cat((fine, high.to(fine)), dim=1))))


class _Block(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.one = nn.Conv2d(width, width, 3, padding=1)
        self.two = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(F.silu(self.one(F.silu(self.norm(x)))))

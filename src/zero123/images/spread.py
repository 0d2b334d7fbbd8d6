"""Where a model guesses: several samples of each view, their mean, their spread pixel by pixel, and its picture."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zero123.files import atomic_path

SPREAD_TOP = 0.25
"""Spread that the darkest colour stands for: half of what pixels that are black or white at random have."""

_RAMP = ((1.0, 1.0, 1.0), (1.0, 0.88, 0.45), (0.95, 0.48, 0.20), (0.66, 0.10, 0.36), (0.16, 0.02, 0.26))
"""White, yellow, orange, crimson, near black: lightness falls all the way, so it also reads in grey."""


@dataclass(frozen=True)
class Samples:
    """Pictures of each view that differ by their noise only.

    Attributes:
        pictures: (V, K, 3, H, W), in [0, 1].
        doubt: how wrong the model expects any of them to be, standard deviation, (V, H, W); None of models that do not
            say it.
    """

    pictures: Tensor
    doubt: Tensor | None = None

    def __post_init__(self) -> None:
        views, doubt = self.pictures[:, 0, 0], self.doubt
        if doubt is not None and doubt.shape != views.shape:
            raise ValueError(f"doubt must be {tuple(views.shape)}, like the views, got {tuple(doubt.shape)}")

    @classmethod
    def of(cls, pictures: Tensor, samples: int, doubt: Tensor | None = None) -> Samples:
        """From pictures (V * K, 3, H, W), samples of one view side by side, as `NovelViews` returns them.

        Raises:
            ValueError: the pictures are not `samples` for each view, or the doubt is not of as many views.
        """
        if pictures.ndim != 4 or samples < 1 or not len(pictures) or len(pictures) % samples:
            raise ValueError(f"pictures must be {samples} for each view, got shape {tuple(pictures.shape)}")
        return cls(pictures.unflatten(0, (-1, samples)), doubt)

    @property
    def mean(self) -> Tensor:
        """The mean of each view's samples, (V, 3, H, W): blurred where they differ, and of the least squared error."""
        return self.pictures.mean(1)

    @property
    def spread(self) -> Tensor:
        """How far true views may be from these, (V, H, W): standard deviation, root mean square over channels.

        In units of pictures, so 0.1 is 25 levels of 255. It is how far the samples differ and, by the law of total
        variance, what the model doubts of each. Unbiased variance, so that it does not grow with K; of models that
        doubt nothing it is noisy with 2 or 3 samples, 8 give a usable picture.

        Raises:
            ValueError: there is one sample of each view only, and no doubt.
        """
        several = self.pictures.shape[1] > 1
        if not several and self.doubt is None:
            raise ValueError("spread needs 2 samples of each view or more, got 1; ask for more samples")
        differ = self.pictures.float().var(1).mean(1) if several else torch.zeros(())
        return (differ + (0 if self.doubt is None else self.doubt.square())).sqrt()


def spread_picture(spread: Tensor, top: float = SPREAD_TOP) -> Tensor:
    """Spread as colours: white for none, darker and redder for more; (..., H, W) to (..., 3, H, W) in [0, 1].

    Args:
        spread: 0 or more.
        top: shown in the darkest colour, and all above it. The same for all pictures, so that they can be compared.
    """
    if not top > 0:
        raise ValueError(f"top must be over 0, got {top}")
    ramp = torch.tensor(_RAMP, device=spread.device)
    place = (spread.float() / top).clamp(0, 1) * (len(ramp) - 1)
    low = place.long().clamp(max=len(ramp) - 2)
    share = (place - low)[..., None]
    return ((1 - share) * ramp[low] + share * ramp[low + 1]).movedim(-1, -3)


def laid_over(pictures: Tensor, spread: Tensor, top: float = SPREAD_TOP) -> Tensor:
    """Pictures with their spread over them: untouched where samples agree, in the colours of doubt where they differ.

    Args:
        pictures: (..., 3, H, W), in [0, 1].
        spread: 0 or more, (..., H, W).
        top: shown in the darkest colour, see `spread_picture`.

    Returns:
        (..., 3, H, W), in [0, 1].
    """
    share = (spread / top).clamp(0, 1).sqrt()[..., None, :, :]  # the root, so that a little doubt is seen
    return (1 - share) * pictures + share * spread_picture(spread, top)


def save_spread(path: str | os.PathLike[str], spread: Tensor) -> None:
    """Write the spread of one view, (H, W), as a `.npy` array of float32; whole or not at all."""
    with atomic_path(path) as temporary:
        np.save(temporary, spread.detach().cpu().float().numpy())

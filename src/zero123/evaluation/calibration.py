"""Whether a model knows where it guesses: rank correlation of the spread over its samples with its true error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation, in [-1, 1]; nan where one of the two is the same at every pixel.

    Attributes:
        pooled: over the pixels of all views together: also says whether views that are hard are known to be.
        per_view: over the pixels of each view, (V,): says whether the places within a view are known.
    """

    pooled: float
    per_view: Tensor

    @property
    def mean(self) -> float:
        """Mean over the views for which it is defined."""
        return float(self.per_view.nanmean())


def pixel_error(image: Tensor, truth: Tensor) -> Tensor:
    """Error at each pixel, root mean square over channels, (V, 3, H, W) to (V, H, W); the unit of spread."""
    return (image - truth).square().mean(1).sqrt()


def rank_correlation(spread: Tensor, error: Tensor, mask: Tensor | None = None) -> RankCorrelation:
    """Whether high spread means high error, whatever the units.

    Spearman, 1904, "The proof and measurement of association between two things"; equal values share their mean rank.
    On white backgrounds most pixels have neither spread nor error, and a figure over all of them is high for nothing:
    state it over the object, with the union of true and predicted silhouettes as `mask`.

    Args:
        spread: (V, H, W).
        error: of the same shape, for example `pixel_error(samples.mean, truth)`.
        mask: pixels that count, (V, H, W) bool; None for all.

    Raises:
        ValueError: shapes that differ, or no views.
    """
    mask = torch.ones_like(error, dtype=torch.bool) if mask is None else mask
    if spread.ndim != 3 or not len(spread) or spread.shape != error.shape or spread.shape != mask.shape:
        shapes = ", ".join(str(tuple(t.shape)) for t in (spread, error, mask))
        raise ValueError(f"spread, error and mask must be of one shape (V, H, W), got {shapes}")
    each = [_spearman(s[m], e[m]) for s, e, m in zip(spread, error, mask, strict=True)]
    return RankCorrelation(_spearman(spread[mask], error[mask]), torch.tensor(each, dtype=torch.float64))


def _spearman(first: Tensor, second: Tensor) -> float:
    ranks = torch.stack((_ranks(first), _ranks(second)))
    ranks = ranks - ranks.mean(1, keepdim=True)
    return float((ranks[0] * ranks[1]).sum() / (ranks[0].norm() * ranks[1].norm()))


def _ranks(values: Tensor) -> Tensor:
    """Places in order of size from 1, (N,); equal values share the mean of theirs."""
    _, group, count = torch.unique(values, return_inverse=True, return_counts=True)
    return (count.cumsum(0) - (count - 1) / 2).double()[group]

"""How sure a mean over objects is: percentile bootstrap intervals, of one method and of two on the same objects."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Difference(NamedTuple):
    """Mean of the first method minus mean of the second, and the interval around it."""

    mean: float
    low: float
    high: float


def interval(values: Tensor, level: float = 0.95, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Where the mean over all objects of this kind lies, as far as these objects tell.

    Percentile bootstrap (Efron, 1979, "Bootstrap methods: another look at the jackknife"): objects are drawn with
    replacement, as many as there are, and the ends are quantiles of the means. Each value must stand for one object:
    views of one object are not independent, so average over them first. Under about 20 objects the interval is too
    narrow, by a factor of sqrt(1 - 1/N) and for want of tails.

    Args:
        values: one score per object, (N,).
        level: share of cases in which the interval holds the true mean, in (0, 1).
        draws: how often the objects are drawn again.
        seed: same seed, same interval, to the digit.

    Returns:
        Low and high end, float64; the same number twice for one object.

    Raises:
        ValueError: no values, not (N,), not finite, or `level` or `draws` out of range.
    """
    return _ends(_checked(values, "values"), level, draws, seed)


def paired_difference(
    first: Tensor, second: Tensor, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Difference:
    """How much better the first method is on the same objects; they differ at this level where 0 lies outside.

    Args:
        first: one score per object, (N,).
        second: the other method's on the same objects in the same order, (N,).
        level: as for `interval`.
        draws: as for `interval`.
        seed: as for `interval`.

    Raises:
        ValueError: as for `interval`, or different numbers of objects.
    """
    first, second = _checked(first, "first"), _checked(second, "second")
    if first.shape != second.shape:
        raise ValueError(f"first and second must be scores of the same objects, got {len(first)} and {len(second)}")
    return Difference(float((first - second).mean()), *_ends(first - second, level, draws, seed))


def _ends(values: Tensor, level: float, draws: int, seed: int) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(values), (draws, len(values)), generator=generator)
    tail = (1 - level) / 2
    low, high = torch.quantile(values[chosen].mean(1), values.new_tensor([tail, 1 - tail])).tolist()
    return low, high


def _checked(values: Tensor, name: str) -> Tensor:
    values = torch.as_tensor(values, dtype=torch.float64).cpu()
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name} must be (N,) with N over 0, got shape {tuple(values.shape)}")
    if not bool(values.isfinite().all()):
        raise ValueError(f"{name} must be finite, got {int((~values.isfinite()).sum())} that are not")
    return values

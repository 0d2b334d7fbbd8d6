"""From the numbers of objects to those of a table: means over objects with confidence intervals, kind by kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zero123.evaluation import bootstrap
from zero123.evaluation.baselines import BASELINES
from zero123.evaluation.calibration import rank_correlation
from zero123.evaluation.metrics import over_samples
from zero123.evaluation.protocols import Protocol
from zero123.evaluation.scoring import ObjectScores

MODEL = "model"
ALL = "all objects"
COPY = BASELINES[0]


class Mean(NamedTuple):
    """A mean over objects and its confidence interval."""

    mean: float
    low: float
    high: float


class Row(NamedTuple):
    """One line of a table.

    Attributes:
        method: whose line it is.
        metrics: by name.
    """

    method: str
    metrics: dict[str, Mean]


class Bin(NamedTuple):
    """The targets within a range of angles from the input.

    Attributes:
        low, high: of the range, degrees; the upper end is in it.
        objects, views: how many.
        means: metrics of each method, means over objects; no method where there are no views.
    """

    low: float
    high: float
    objects: int
    views: int
    means: dict[str, dict[str, float]]


class Group(NamedTuple):
    """The objects of one kind.

    Attributes:
        kind: its name, or `ALL` where the protocol knows no kinds.
        objects, views: how many.
        samples: pictures of each view.
        rows: the method's mean over samples, its best over them where there are several, the baselines.
        gain: of the method's mean over copying the input, paired by object.
        bins: by angle.
        elevation: error of the believed elevation, degrees, mean absolute and median; None where none is believed.
        spread: rank correlation of the spread over samples with the error, over pixels (mean over views) and over
            views; None for one sample.
    """

    kind: str
    objects: int
    views: int
    samples: int
    rows: list[Row]
    gain: dict[str, Mean]
    bins: list[Bin]
    elevation: dict[str, float] | None
    spread: dict[str, float] | None

    def row(self, method: str) -> dict[str, Mean]:
        """The metrics of a method.

        Raises:
            KeyError: there is no such line.
        """
        return {row.method: row.metrics for row in self.rows}[method]


Chosen = Callable[[ObjectScores], dict[str, Tensor]]


def lower_is_better(metric: str) -> bool:
    """Whether a metric is a distance."""
    return metric.startswith(("lpips", "fid", "chamfer"))


def summarise(scores: Sequence[ObjectScores], protocol: Protocol) -> list[Group]:
    """The tables, kinds in the order in which they appear.

    Raises:
        ValueError: no objects.
    """
    if not scores:
        raise ValueError("there are no objects to summarise")
    kinds = list(dict.fromkeys(one.kind for one in scores))
    return [_group(kind or ALL, [one for one in scores if one.kind == kind], protocol) for kind in kinds]


def mean_of_samples(one: ObjectScores) -> dict[str, Tensor]:
    """The method's metrics, mean over samples, each (T,)."""
    return {m: over_samples(v.flatten(), v.shape[1], not lower_is_better(m))[0] for m, v in one.model.items()}


def best_of_samples(one: ObjectScores) -> dict[str, Tensor]:
    """The method's metrics, best over samples by each metric itself, each (T,)."""
    return {m: over_samples(v.flatten(), v.shape[1], not lower_is_better(m))[1] for m, v in one.model.items()}


def best_label(samples: int) -> str:
    """What the line of best-of-k is called."""
    return f"best of {samples}, told the truth"


def _group(kind: str, scores: list[ObjectScores], protocol: Protocol) -> Group:
    samples = next(iter(scores[0].model.values())).shape[1]
    methods: dict[str, Chosen] = {MODEL: mean_of_samples}
    if samples > 1:
        methods[best_label(samples)] = best_of_samples
    methods |= {b: lambda one, b=b: one.baselines[b] for b in BASELINES}  # type: ignore[misc]
    values = {name: _per_object(scores, chosen) for name, chosen in methods.items()}
    settings = protocol.bootstrap
    gain = {
        metric: Mean(
            *bootstrap.paired_difference(own, values[COPY][metric], settings.level, settings.draws, settings.seed)
        )
        for metric, own in values[MODEL].items()
    }
    ends = (0.0, *protocol.bins)
    return Group(
        kind,
        len(scores),
        sum(len(one.numbers) for one in scores),
        samples,
        [Row(name, {m: _mean(v, protocol) for m, v in metrics.items()}) for name, metrics in values.items()],
        gain,
        [_bin(scores, methods, low, high) for low, high in pairwise(ends)],
        _elevation(scores),
        _spread(scores),
    )


def _per_object(scores: Sequence[ObjectScores], chosen: Chosen) -> dict[str, Tensor]:
    """Each metric's mean over an object's views, (N,): views of one object are not independent."""
    each = [chosen(one) for one in scores]
    return {metric: torch.stack([values[metric].mean() for values in each]) for metric in each[0]}


def _mean(values: Tensor, protocol: Protocol) -> Mean:
    settings = protocol.bootstrap
    return Mean(float(values.mean()), *bootstrap.interval(values, settings.level, settings.draws, settings.seed))


def _bin(scores: Sequence[ObjectScores], methods: dict[str, Chosen], low: float, high: float) -> Bin:
    """Means over the objects that have views in the range; 0 belongs to the first."""
    inside = [(one, (one.angles <= high) & ((one.angles > low) | (low == 0))) for one in scores]
    inside = [(one, mask) for one, mask in inside if bool(mask.any())]
    if not inside:
        return Bin(low, high, 0, 0, {})
    means = {}
    for method, chosen in methods.items():
        each = [{m: v[mask].mean() for m, v in chosen(one).items()} for one, mask in inside]
        means[method] = {m: float(torch.stack([e[m] for e in each]).mean()) for m in each[0]}
    return Bin(low, high, len(inside), sum(int(mask.sum()) for _, mask in inside), means)


def _elevation(scores: Sequence[ObjectScores]) -> dict[str, float] | None:
    known = [one.elevation for one in scores if one.elevation is not None]
    if not known:
        return None
    error = torch.rad2deg(torch.tensor([abs(told - true) for true, told in known], dtype=torch.float64))
    return {"mean_absolute_deg": float(error.mean()), "median_deg": float(error.median()), "objects": len(known)}


def _spread(scores: Sequence[ObjectScores]) -> dict[str, float] | None:
    known = [one.spread for one in scores if one.spread is not None]
    if not known:
        return None
    spread, error = (torch.cat([getattr(one, name) for one in known])[None, None] for name in ("mean", "error"))
    pixels = torch.cat([one.correlation for one in known]).nanmean()
    return {"pixels": float(pixels), "views": rank_correlation(spread, error).pooled}


def as_json(group: Group) -> dict[str, Any]:
    """The same as JSON values."""
    return {
        "objects": group.objects,
        "views": group.views,
        "samples": group.samples,
        "methods": {row.method: {m: v._asdict() for m, v in row.metrics.items()} for row in group.rows},
        "gain_over_copying": {m: v._asdict() for m, v in group.gain.items()},
        "by_angle": [b._asdict() for b in group.bins],
        "elevation": group.elevation,
        "spread_tells_error": None if group.spread is None else {k: or_null(v) for k, v in group.spread.items()},
    }


def or_null(value: float) -> float | None:
    """A number for JSON, which knows no nan."""
    return None if math.isnan(value) else value

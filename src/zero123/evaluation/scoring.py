"""Every number of one object: the method's samples and the baselines, view by view."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from zero123.evaluation.baselines import BASELINES, baseline_views
from zero123.evaluation.calibration import pixel_error, rank_correlation
from zero123.evaluation.cases import Case, eight_bit
from zero123.evaluation.methods import Answer
from zero123.evaluation.metrics import all_metrics, silhouette
from zero123.images.io import resized
from zero123.images.spread import Samples

Metric = Callable[[Tensor, Tensor], Tensor]
"""Pictures and truth, each (B, 3, H, W) in [0, 1], to one number each, (B,); lower is better."""


@dataclass(frozen=True)
class Spread:
    """How far a method's views spread (see `images.spread`), and how wrong they are, over the silhouettes.

    Attributes:
        mean: spread, mean over pixels, (T,).
        error: of the samples' mean, (T,).
        correlation: Spearman's, of spread with error over the pixels of each view, (T,); nan where either is constant.
    """

    mean: Tensor
    error: Tensor
    correlation: Tensor


@dataclass(frozen=True)
class ObjectScores:
    """The numbers of one object.

    Attributes:
        name, kind: of the object.
        numbers: of its targets, T of them.
        angles: between input and targets, degrees, (T,).
        model: metrics of the method, each (T, K).
        baselines: by name, metrics, each (T,).
        views_sha256: of the truth.
        pictures_sha256: of what was judged.
        elevation: of the input as it is and as the method believes, radians; None where it says nothing of it.
        spread: None for one sample of a method that doubts nothing.
    """

    name: str
    kind: str
    numbers: tuple[int, ...]
    angles: Tensor
    model: dict[str, Tensor]
    baselines: dict[str, dict[str, Tensor]]
    views_sha256: str
    pictures_sha256: str
    elevation: tuple[float, float] | None = None
    spread: Spread | None = None


def score(case: Case, answer: Answer, distances: Mapping[str, Metric] | None = None) -> ObjectScores:
    """Judge what a method makes of an object.

    Args:
        case: what is true.
        answer: of the method; its pictures are brought to the protocol's size where they have another.
        distances: more metrics by name.

    Raises:
        ValueError: not as many pictures as targets.
    """
    truth, mask, views, elevation = case.white[1:], case.mask[1:], answer.views, answer.elevation
    if len(views) != len(truth):
        raise ValueError(f"{case.name}: expected pictures of {len(truth)} targets, got {len(views)}")
    judged, samples = at_size(views, truth.shape[-1]), views.shape[1]
    flat = _scores(
        judged.flatten(0, 1), truth.repeat_interleave(samples, 0), mask.repeat_interleave(samples, 0), distances
    )
    baselines = {
        b: _scores(baseline_views(b, case.white[0], case.mask[0], mask), truth, mask, distances) for b in BASELINES
    }
    believed = None if elevation is None else (float(case.pose.elevation[0]), elevation)
    return ObjectScores(
        case.name,
        case.kind,
        case.numbers[1:],
        case.angles,
        {metric: values.unflatten(0, (len(truth), samples)) for metric, values in flat.items()},
        baselines,
        case.digest,
        hashlib.sha256((views * 255).round().to(torch.uint8).contiguous().numpy().tobytes()).hexdigest(),
        believed,
        None if (drawn := several(answer, truth.shape[-1])) is None else spread_scores(drawn, truth, mask),
    )


def several(answer: Answer, size: int) -> Samples | None:
    """An answer's samples at a size, with what the method doubts; None of one sample without doubt."""
    views, doubt = answer.views, answer.doubt
    if views.shape[1] < 2 and doubt is None:
        return None
    if doubt is not None and doubt.shape[-1] != size:
        doubt = functional.interpolate(doubt[:, None], (size, size), mode="bilinear", antialias=True)[:, 0]
    return Samples(at_size(views, size), doubt)


def spread_scores(drawn: Samples, truth: Tensor, mask: Tensor) -> Spread:
    """Whether spread tells error, over the union of the true silhouette and that of the samples' mean.

    Args:
        drawn: samples of each target, T of them.
        truth: (T, 3, H, W).
        mask: where the object truly is, (T, 1, H, W) bool.
    """
    mean, spread = drawn.mean, drawn.spread
    error, inside = pixel_error(mean, truth), (silhouette(mean) | mask)[:, 0]
    count = inside.flatten(1).sum(1).clamp(min=1)
    return Spread(
        (spread * inside).flatten(1).sum(1) / count,
        (error * inside).flatten(1).sum(1) / count,
        rank_correlation(spread, error, inside).per_view,
    )


def at_size(views: Tensor, size: int) -> Tensor:
    """Pictures (T, K, 3, S, S) at another size, in 8-bit levels, antialiased."""
    if views.shape[-1] == size:
        return eight_bit(views)
    flat = [resized(image, size, size) for image in views.flatten(0, 1)]
    return torch.stack(flat).unflatten(0, views.shape[:2])


def _scores(images: Tensor, truth: Tensor, mask: Tensor, distances: Mapping[str, Metric] | None) -> dict[str, Tensor]:
    values = all_metrics(images, truth, mask)
    values |= {metric: distance(images, truth).cpu() for metric, distance in (distances or {}).items()}
    return {metric: v.double() for metric, v in values.items()}

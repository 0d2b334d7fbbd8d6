"""Which views a report shows, and their pictures: input, truth, ours, error, uncertainty where the method has one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zero123.evaluation.cases import Case
from zero123.evaluation.methods import Answer
from zero123.evaluation.scoring import ObjectScores, at_size, several

RANKED_BY = "psnr_foreground"
"""What worst and best go by: the mean over samples of the foreground's PSNR."""

ERROR_FULL = 0.5
"""Mean absolute error over channels that is shown as the brightest colour."""

SPREAD_FULL = 0.25
"""Spread (`images.spread`) that is shown as the brightest colour."""

NEAR_DEG = 30.0
"""Views as near as this must look like the input's object to a person."""

_STOPS = torch.tensor([[0.0, 0.0, 0.02], [0.34, 0.06, 0.43], [0.73, 0.21, 0.33], [0.98, 0.55, 0.04], [0.99, 1.0, 0.64]])


@dataclass(frozen=True)
class Example:
    """A view that is shown.

    Attributes:
        name, kind: of the object.
        number: of the target.
        angle: between input and target, degrees.
        scores: the method's metrics, mean over samples.
        index: of the target among the object's.
    """

    name: str
    kind: str
    number: int
    angle: float
    scores: dict[str, float]
    index: int

    @property
    def caption(self) -> str:
        """Object, view and what it scored."""
        numbers = f"{self.scores[RANKED_BY]:.1f} dB, IoU {self.scores['iou']:.2f}"
        return f"{self.name}, view {self.number}, {self.angle:.0f}° away: {numbers}"


def all_examples(scores: Sequence[ObjectScores]) -> list[Example]:
    """Every view of every object, in their order."""
    found = []
    for one in scores:
        means = {metric: values.mean(1) for metric, values in one.model.items()}
        for index, number in enumerate(one.numbers):
            own = {metric: float(values[index]) for metric, values in means.items()}
            found.append(Example(one.name, one.kind, number, float(one.angles[index]), own, index))
    return found


def choose(examples: Sequence[Example], count: int, seed: int = 0) -> dict[str, list[Example]]:
    """Worst first, best first, at random, and the worst of those near the input; at most `count` of each.

    Random ones are drawn by `seed` alone, whatever the scores. Of an object, worst and best show one view, or as few as
    fill the page, so that one hard object does not fill it alone.
    """
    ranked = sorted(examples, key=lambda e: (e.scores[RANKED_BY], e.name, e.number))
    near = [e for e in ranked if e.angle <= NEAR_DEG]
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = {
        "worst": _spread_out(ranked, count),
        "best": _spread_out(ranked[::-1], count),
        "random": [examples[index] for index in order[:count]],
        f"worst within {NEAR_DEG:g}°": near[:count],
    }
    return {title: shown for title, shown in chosen.items() if shown}


def _spread_out(ranked: Sequence[Example], count: int) -> list[Example]:
    """The first of a ranking, at most an equal share of any one object."""
    share = math.ceil(count / len({e.name for e in ranked}))
    taken: Counter[str] = Counter()
    kept = []
    for example in ranked:
        taken[example.name] += 1
        if taken[example.name] <= share:
            kept.append(example)
    return kept[:count]


def tiles(case: Case, answer: Answer, index: int) -> dict[str, Tensor]:
    """The pictures of one target by their title, each (3, H, H) in [0, 1].

    "ours" is the first sample, whatever it scores; error is its own, uncertainty is the spread of all.

    Args:
        case: the object.
        answer: the method's.
        index: which target.
    """
    size, truth = case.white.shape[-1], case.white[1 + index]
    one = slice(index, index + 1)
    answer = Answer(answer.views[one], doubt=None if answer.doubt is None else answer.doubt[one])
    made = at_size(answer.views, size)[0]
    shown = {"input": case.white[0], "truth": truth, "ours": made[0]}
    shown["error"] = heat((made[0] - truth).abs().mean(0) / ERROR_FULL)
    if (drawn := several(answer, size)) is not None:
        shown["uncertainty"] = heat(drawn.spread[0] / SPREAD_FULL)
    return shown


def heat(values: Tensor) -> Tensor:
    """Numbers in [0, 1], (H, W), as colours from black over red to light yellow, (3, H, W)."""
    place = values.clamp(0, 1) * (len(_STOPS) - 1)
    low = place.floor().clamp(max=len(_STOPS) - 2)
    share = (place - low)[..., None]
    index = low.long()
    return torch.lerp(_STOPS[index], _STOPS[index + 1], share).permute(2, 0, 1)

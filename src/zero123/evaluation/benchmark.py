"""A protocol run from end to end: pictures made, every one judged beside the baselines, numbers and report written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from zero123.evaluation.agreement import agreement
from zero123.evaluation.cases import Case, Cases
from zero123.evaluation.distribution import FeatureNet
from zero123.evaluation.making import Gallery, Progress, make_all
from zero123.evaluation.methods import Method, OfFolder
from zero123.evaluation.picture_sets import PictureSets
from zero123.evaluation.protocols import Protocol
from zero123.evaluation.report import write_report
from zero123.evaluation.results import Results, write_results
from zero123.evaluation.scoring import Metric, ObjectScores, at_size, score
from zero123.evaluation.summary import MODEL, mean_of_samples, summarise
from zero123.files import atomic_path, writable_folder
from zero123.images import io
from zero123.images.sheets import contact_sheet

PICTURES = "pictures"


@dataclass(frozen=True)
class Judging:
    """What is measured and shown besides the protocol's own metrics.

    Attributes:
        distances: of pairs of pictures, by name, such as LPIPS.
        networks: of the features of Fréchet distances.
        shown: views in each sheet of the report.
        consistency: whether the views of an object agree; a reconstruction for each object.
    """

    distances: Mapping[str, Metric] = field(default_factory=dict)
    networks: Sequence[FeatureNet] = ()
    shown: int = 12
    consistency: bool = False


def run(
    protocol: Protocol,
    cases: Cases,
    method: Method,
    out: Path,
    samples: int,
    departures: Sequence[str] = (),
    judging: Judging | None = None,
    progress: Progress | None = None,
) -> Results:
    """Ask a method, judge its answers, write `results.json`, `table.md`, `report.html`, sheets and pictures to `out`.

    Pictures that an interrupted run left are not made again.

    Args:
        protocol: what is asked; `size` must be set.
        cases: its objects.
        method: who answers.
        out: folder for everything.
        samples: pictures of each view.
        departures: what is done otherwise than the protocol says.
        judging: more metrics, and how much is shown.
        progress: told objects made and judged, and twice their number.

    Raises:
        ValueError: broken views, or `out` holds pictures made with something else.
        OSError: `out` cannot be written.
    """
    judging = judging or Judging()
    for _ in cases:  # a broken object is told before hours are spent, and before anything is written
        pass
    writable_folder(out)
    described, half = method.describe(), len(cases)
    gallery = None
    if not isinstance(method, OfFolder):
        made_with = {"method": described, "targets": list(protocol.numbers), "size": protocol.size}
        gallery = Gallery(out / PICTURES, made_with, samples)
        make_all(cases, method, gallery, None if progress is None else lambda done, _: progress(done, 2 * half))
    scores, agreements, sets = [], {}, PictureSets(judging.networks)
    for index, case in enumerate(cases):
        answer = method(case) if gallery is None else gallery.answer(case)
        scores.append(score(case, answer, judging.distances))
        sets.add(case, answer.views)
        if judging.consistency:
            agreements[case.name] = agreement(case, answer.views)
        if progress is not None:
            progress(half + index + 1, 2 * half)
    groups = summarise(scores, protocol)
    results = Results(protocol, tuple(departures), described, scores, groups, sets.distances(), agreements)
    write_results(results, out)
    write_report(results, cases, method if gallery is None else gallery.answer, out, judging.shown)
    return results


def write_simple(results: Results, cases: Cases, out: Path) -> None:
    """Write `scores.json`, means of every object, and `sheet.png`, 12 evenly chosen objects with four targets each."""
    objects = {one.name: _means(one) for one in results.scores}
    first = next(iter(objects.values()))
    mean = {m: {k: sum(o[m][k] for o in objects.values()) / len(objects) for k in first[m]} for m in first}
    asked: dict[str, Any] = {"targets": len(results.protocol.targets), **results.method}
    text = json.dumps({"protocol": asked, "mean": mean, "objects": objects}, indent=1)
    with atomic_path(out / "scores.json") as temporary:
        temporary.write_text(text, encoding="utf-8")
    gallery = OfFolder(out / PICTURES, results.groups[0].samples)
    io.save(out / "sheet.png", _sheet(cases, gallery))


def _means(one: ObjectScores) -> dict[str, dict[str, float]]:
    methods = {MODEL: mean_of_samples(one), **one.baselines}
    return {method: {metric: float(v.mean()) for metric, v in metrics.items()} for method, metrics in methods.items()}


def _sheet(cases: Cases, gallery: OfFolder, rows: int = 12, targets: int = 4) -> torch.Tensor:
    """A row per object: input, then truth beside the model's view; objects evenly chosen from the list."""
    rows = min(rows, len(cases))
    chosen = [cases.load(cases.objects[(2 * k + 1) * len(cases) // (2 * rows)]) for k in range(rows)]
    targets = min(targets, len(chosen[0].numbers) - 1)
    pictures = torch.cat([_row(case, gallery, targets) for case in chosen])
    labels = (["input"] + ["truth", "ours"] * targets) * len(chosen)
    return contact_sheet(pictures, 1 + 2 * targets, labels)


def _row(case: Case, gallery: OfFolder, targets: int) -> torch.Tensor:
    made = at_size(gallery(case).views[:targets, :1], case.white.shape[-1])[:, 0]
    pairs = torch.stack((case.white[1 : 1 + targets], made), dim=1).flatten(0, 1)
    return torch.cat((case.white[:1], pairs))

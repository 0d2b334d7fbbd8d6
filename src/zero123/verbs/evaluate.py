"""`evaluate`: a model, or pictures of any method, judged beside baselines."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from zero123.diffusion.sampling import SamplingSettings
from zero123.evaluation import benchmark
from zero123.evaluation.asking import asked, chosen, made, refuse_missing
from zero123.evaluation.benchmark import Judging
from zero123.evaluation.cases import Cases, side_in
from zero123.evaluation.methods import Method, OfFolder, OfModel
from zero123.evaluation.protocols import departures
from zero123.evaluation.results import Results
from zero123.pipeline import NovelViews
from zero123.verbs.models import ready
from zero123.verbs.progress import Told, progress_shown


@dataclass(frozen=True)
class EvaluateSettings:
    """What is asked of whom, besides a protocol.

    Attributes:
        targets: without a protocol, views 1 to this are the targets; None for 8.
        pattern: which objects, as a shell pattern.
        limit: only the first so many objects; None for all.
        samples: pictures of each view; mean and best of them go apart.
        known_source: tell the model where the input was taken from.
        sampling: how views are drawn.
        judging: more metrics, and how much the report shows.
    """

    targets: int | None = None
    pattern: str = "*"
    limit: int | None = None
    samples: int = 1
    known_source: bool = False
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    judging: Judging = field(default_factory=Judging)


def evaluate(
    views: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    protocol: str | None = None,
    *,
    model: str | Path | NovelViews | OfFolder = "mini",
    settings: EvaluateSettings | None = None,
    progress: bool | Told = True,
) -> Results:
    """Scores on views of objects, with confidence intervals, beside baselines; a notebook shows the tables.

    >>> zero123.evaluate("views/", protocol="corpus-test")

    Args:
        views: folder of true views, in any format that training reads.
        out: folder for pictures, report and numbers; None leaves nothing behind.
        protocol: name of one (`zero123 evaluate --protocols`), or its file; None: view 0 in, the next out.
        model: "mini", a name of `zero123 weights list`, a path, one that is loaded, or pictures of another method.
        settings: None for the defaults.
        progress: whether a bar is shown, or who is told instead.

    Raises:
        ValueError: views are missing or broken, no such protocol, or `out` holds pictures made with something else.
        WeightsError: the model cannot be loaded.
        OSError: `out` cannot be written.
    """
    settings, folder = settings or EvaluateSettings(), Path(views)
    wanted = asked(protocol, settings.targets, settings.known_source)
    narrowed = chosen(folder, wanted, None, settings.pattern, settings.limit)
    with ExitStack() as stack:
        told = stack.enter_context(progress_shown(progress))
        count, making = made(folder, narrowed)
        for index, _ in enumerate(making):
            told("making views", index + 1, count)
        refuse_missing(folder, narrowed)
        method, side = _method(folder, model, settings)
        narrowed = replace(narrowed, size=narrowed.size or side)
        as_asked = narrowed.objects, settings.known_source, settings.sampling.seed, settings.samples
        return benchmark.run(
            narrowed,
            Cases(folder, narrowed),
            method,
            Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory())),
            settings.samples,
            departures(wanted, *as_asked) if protocol is not None else (),
            settings.judging,
            lambda done, total: told("evaluating", done, total),
        )


def _method(folder: Path, model: str | Path | NovelViews | OfFolder, settings: EvaluateSettings) -> tuple[Method, int]:
    """Who answers, and the side of its pictures, pixels."""
    if isinstance(model, OfFolder):
        return replace(model, samples=settings.samples), side_in(folder)
    loaded = ready(model)
    name = "" if isinstance(model, NovelViews) else str(model)
    answers = OfModel(loaded, settings.sampling, settings.samples, settings.known_source, name)
    return answers, loaded.model.settings.image_size

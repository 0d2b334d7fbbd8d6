"""The verb that judges: a model, or pictures of any method, by a protocol; see docs/evaluation.md."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zero123.cli.console import Bars, bar, say
from zero123.cli.options import RunOptions, SamplingOptions, grouped
from zero123.cli.shapes import ShapeOptions, judge_meshes

if TYPE_CHECKING:
    from zero123.diffusion.sampling import SamplingSettings
    from zero123.evaluation.benchmark import Judging
    from zero123.evaluation.methods import Method
    from zero123.evaluation.protocols import Protocol

_MINUTE = 60.0


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(grouped(evaluate))


def _show_protocols(asked: bool) -> None:
    if asked:
        from zero123.evaluation import protocols

        for name in protocols.names():
            one = protocols.load(name)
            say(f"{name} (version {one.version}): {one.title}")
        raise typer.Exit


@dataclass(frozen=True)
class ObjectOptions:
    """Which objects are judged."""

    pattern: Annotated[str, typer.Option(help="Which objects, as a shell pattern.")] = "*"
    objects: Annotated[
        Path | None,
        typer.Option(
            "--objects", "--listed", help="File of objects, NAME or NAME KIND a line; kinds are reported apart."
        ),
    ] = None
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many objects.", show_default=False)] = None


@dataclass(frozen=True)
class JudgingOptions:
    """What is measured and shown."""

    samples: Annotated[int, typer.Option(min=1, help="Pictures of each view; mean and best of them go apart.")] = 1
    lpips: Annotated[
        Path | None, typer.Option(help="Folder of LPIPS weights: backbone and linear of alex, vgg, squeeze.")
    ] = None
    fid: Annotated[
        list[str] | None, typer.Option(help="inception=FILE or clip=FOLDER, of features' weights; may be repeated.")
    ] = None
    consistency: Annotated[
        bool, typer.Option("--consistency", help="Also whether the views of an object agree with each other.")
    ] = False
    shown: Annotated[int, typer.Option(min=1, help="Views in each sheet of the report.")] = 12

    def load(self, device: str | None) -> Judging:
        """The same, with weights read.

        Raises:
            ValueError: weights that are missing, or of something else.
        """
        from zero123.evaluation.benchmark import Judging
        from zero123.evaluation.distribution import ClipFeatures, InceptionFeatures
        from zero123.evaluation.perceptual import lpips_in
        from zero123.machine import usable_device

        place = usable_device(device)
        kinds: dict[str, Callable[..., Any]] = {"inception": InceptionFeatures, "clip": ClipFeatures}
        networks = []
        for text in self.fid or ():
            kind, equals, path = text.partition("=")
            if kind not in kinds or not equals:
                raise ValueError(f"--fid takes inception=FILE or clip=FOLDER, got {text!r}")
            networks.append(kinds[kind](path, place))
        found = {} if self.lpips is None else lpips_in(self.lpips, place)
        moved = {name: (lambda a, b, net=net: net(a.to(place), b.to(place))) for name, net in found.items()}
        return Judging(moved, networks, self.shown, self.consistency)


def evaluate(
    views: Annotated[Path, typer.Argument(help="Folder of views, in any format that training reads.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")],
    protocol: Annotated[
        str | None,
        typer.Option(help="Name of a protocol, or its file. [default: view 0 in, the next out]", show_default=False),
    ] = None,
    protocols: Annotated[
        bool,
        typer.Option("--protocols", callback=_show_protocols, is_eager=True, help="List the protocols, and stop."),
    ] = False,
    targets: Annotated[
        int | None, typer.Option(min=1, help="Without a protocol: views 1 to this. [default: 8]")
    ] = None,
    known_source: Annotated[
        bool, typer.Option("--known-source", help="Tell the model where the input was taken from.")
    ] = False,
    pictures: Annotated[
        Path | None, typer.Option(help="Judge pictures made elsewhere, PICTURES/OBJECT/NNN.png, in place of a model.")
    ] = None,
    *,
    objects: ObjectOptions,
    judging: JudgingOptions,
    shapes: ShapeOptions,
    run: RunOptions,
    sampling: SamplingOptions,
) -> None:
    """Judge a model beside baselines; writes results.json, table.md, report.html, sheets and all pictures to OUT.

    With --meshes FOLDER it makes meshes instead, judges them against the true ones, and writes shapes.json, shapes.md
    and all meshes.
    """
    from zero123.evaluation import benchmark
    from zero123.evaluation.asking import asked, chosen
    from zero123.evaluation.cases import Cases
    from zero123.evaluation.protocols import departures
    from zero123.evaluation.tables import score_table

    shapes.check()
    if shapes.meshes is not None:
        _refuse_pictures(judging, {"targets": targets, "known-source": known_source, "pictures": pictures})
        targets = None if protocol else 1  # only inputs are used
    wanted, drawn = asked(protocol, targets, known_source), sampling.settings()
    narrowed = chosen(views, wanted, objects.objects, objects.pattern, objects.limit)
    _complete(views, narrowed)
    if shapes.meshes is not None:
        told = departures(wanted, narrowed.objects, wanted.known_source, drawn.seed, wanted.samples) if protocol else ()
        judge_meshes(views, out, narrowed, told, shapes, run, sampling)
        return
    judge = judging.load(run.device)
    method, size = _method(views, pictures, run, drawn, known_source, judging.samples)
    narrowed = replace(narrowed, size=narrowed.size or size())
    otherwise = departures(wanted, narrowed.objects, known_source, drawn.seed, judging.samples) if protocol else ()
    found = Cases(views, narrowed)
    with bar(f"{len(found)} objects") as update:
        report = _told(update, len(found))
        results = benchmark.run(narrowed, found, method, out, judging.samples, otherwise, judge, report)
    if protocol is None and pictures is None:
        benchmark.write_simple(results, found, out)
    for group in results.groups:
        say(f"{group.kind}: {group.objects} objects, {group.views} views\n{score_table(group).markdown()}")
    say(f"{out}/report.html")


def _refuse_pictures(judging: JudgingOptions, given: dict[str, Any]) -> None:
    """Raise ValueError, in one line, for an option of pictures beside `--meshes`."""
    for field in fields(judging):
        if (value := getattr(judging, field.name)) != field.default:
            given = {**given, field.name: value}
    if wrong := next((name for name, value in given.items() if value), None):
        raise ValueError(f"--{wrong} is of pictures and goes without --meshes")


def _method(
    views: Path, pictures: Path | None, run: RunOptions, drawn: SamplingSettings, known_source: bool, samples: int
) -> tuple[Method, Callable[[], int]]:
    """Who answers, and the side of the pictures where no protocol says it, pixels."""
    from zero123.evaluation import cases, methods

    if pictures is not None:
        return methods.OfFolder(pictures, samples), lambda: cases.side_in(views)
    model = run.load()
    method = methods.OfModel(model, drawn, samples, known_source, run.model)
    return method, lambda: model.model.settings.image_size


def _complete(views: Path, protocol: Protocol) -> None:
    """Make what can be made, and name everything else that is missing.

    Raises:
        ValueError: files are missing; they are told above it, one a line.
    """
    from zero123.evaluation.asking import made, refuse_missing
    from zero123.evaluation.cases import MissingViews

    count, making = made(views, protocol)
    if count:
        with bar(f"making {count} objects") as update:
            for done, _ in enumerate(making, start=1):
                update(done, count)
    try:
        refuse_missing(views, protocol)
    except MissingViews as error:
        for file in error.files:
            say(file)
        raise


def _told(update: Bars, objects: int) -> Callable[[int, int], None]:
    """Progress on the bar or, where standard error is no terminal, a line a minute with the time left."""
    start = told = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal told
        update(done, total)
        now = time.monotonic()
        if now - told > _MINUTE and done <= objects and not sys.stderr.isatty():
            told = now
            minutes = (objects - done) * (now - start) / done / _MINUTE
            say(f"{done} of {objects} objects made, {minutes:.0f} minutes left")

    return report

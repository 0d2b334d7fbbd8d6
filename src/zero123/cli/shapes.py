"""`zero123 evaluate --meshes`: meshes made of the inputs, judged against the true ones; options, and how it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from zero123.cli.console import bar, say
from zero123.cli.options import RunOptions, SamplingOptions
from zero123.cli.score import METHODS, MethodOptions, Start, grown

if TYPE_CHECKING:
    from zero123.diffusion.sampling import SamplingSettings
    from zero123.evaluation.protocols import Protocol
    from zero123.evaluation.shapes.benchmark import Line
    from zero123.evaluation.shapes.judging import ShapeJudging
    from zero123.evaluation.shapes.makers import Grow
    from zero123.geometry.orbit import OrbitPose
    from zero123.images.photo import Photo
    from zero123.pipeline import NovelViews
    from zero123.presets import ScoreSettings
    from zero123.reconstruction.score_run import Growing

_ELEVATIONS = {"given": ("given",), "estimated": ("estimated",), "both": ("given", "estimated")}


@dataclass(frozen=True)
class ShapeOptions:
    """What is made of the inputs in place of pictures, and how it is judged."""

    meshes: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the objects' true meshes: judge meshes made of the inputs, not pictures.",
            show_default=False,
        ),
    ] = None
    method: Annotated[
        list[str] | None,
        typer.Option(help="Of --meshes: views, sjc or sds; may be repeated. [default: views]", show_default=False),
    ] = None
    preset: Annotated[str | None, typer.Option(help="Of --method sjc or sds, see reconstruct.", show_default=False)] = (
        None
    )
    change: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of --method sjc or sds, see reconstruct.")
    ] = None
    time: Annotated[
        str | None, typer.Option(help="Of --meshes and views: see reconstruct. [default: no limit]", show_default=False)
    ] = None
    rounds: Annotated[int, typer.Option(min=1, max=8, help="Of --meshes and views: see reconstruct.")] = 1
    elevation: Annotated[
        str | None,
        typer.Option(
            help="Of --meshes: the input's elevation is given, estimated, or both in turn. [default: both]",
            show_default=False,
        ),
    ] = None
    frame: Annotated[
        str | None,
        typer.Option(
            "--framing",
            help="Of --meshes: rendered (the object as it stands in the input) or photo (framed anew, as reconstruct "
            "frames pictures). [default: rendered]",
            show_default=False,
        ),
    ] = None
    search: Annotated[
        str | None,
        typer.Option(
            help="Of --meshes: rotations tried for a second set of figures: none, vertical, full. [default: full]",
            show_default=False,
        ),
    ] = None

    def check(self) -> None:
        """Refuse options that go with `--meshes` only, or have no such choice.

        Raises:
            ValueError: in one line.
        """
        names: dict[str, Any] = {"method": self.method, "preset": self.preset, "set": self.change, "time": self.time}
        names |= {"elevation": self.elevation, "framing": self.frame, "search": self.search}
        names |= {"rounds": self.rounds > 1}
        if self.meshes is None and (given := [n for n, v in names.items() if v]):
            raise ValueError(f"--{given[0]} goes with --meshes FOLDER")
        if unknown := [m for m in self.method or () if m not in METHODS]:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {unknown[0]!r}")
        for name, value, choices in (
            ("elevation", self.elevation, tuple(_ELEVATIONS)),
            ("framing", self.frame, ("rendered", "photo")),
            ("search", self.search, ("none", "vertical", "full")),
        ):
            if value is not None and value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        if (self.preset is not None or self.change) and len(self.methods) > 1:
            raise ValueError("--preset and --set go with one --method")

    @property
    def methods(self) -> tuple[str, ...]:
        """Their names, each once."""
        return tuple(dict.fromkeys(self.method or METHODS[:1]))

    def judging(self) -> ShapeJudging:
        """How meshes are judged."""
        from zero123.evaluation.shapes.judging import ShapeJudging

        return ShapeJudging(search=cast(Any, self.search or "full"))  # checked before

    def settings(self, sampling: SamplingOptions, run: RunOptions) -> dict[str, ScoreSettings | None]:
        """Of each method; None for views.

        Raises:
            ValueError: a preset or a setting is unknown, or options do not go together; in one line.
        """
        return {m: self._of(m).settings(sampling, run) for m in self.methods}

    def _of(self, method: str) -> MethodOptions:
        own = {"time": self.time, "rounds": self.rounds} if method == METHODS[0] else {}
        return MethodOptions(method, self.preset, self.change, **cast(Any, own))

    def lines(
        self, views: NovelViews, settings: dict[str, ScoreSettings | None], sampling: SamplingSettings
    ) -> list[Line]:
        """The methods and the baselines, for each way to know the elevation."""
        from zero123.evaluation.shapes.benchmark import Line
        from zero123.evaluation.shapes.makers import ByScore, ByViews, Maker, baselines

        makers: list[Maker] = []
        for name, own in settings.items():
            if own is None:
                makers.append(ByViews(views, self._of(name).photo_settings(sampling)))
            else:
                makers.append(ByScore(views, name, own, own.steps, _grow(own, self.frame != "photo")))
        makers += baselines(views)
        told = _ELEVATIONS[self.elevation or "both"]
        return [Line(maker, cast(Any, way)) for way in told for maker in makers]


def _grow(settings: ScoreSettings, placed: bool) -> Grow:
    """How a field begins; a photo that keeps its object's place is as far away as its pose says."""

    def begin(views: NovelViews, photo: Photo, pose: OrbitPose) -> Growing:
        own = replace(settings, input_radius=float(pose.radius[0])) if placed else settings
        return grown(Start(views, photo, None), float(pose.elevation[0]), own)

    return begin


def judge_meshes(
    views: Path,
    out: Path,
    protocol: Protocol,
    departures: Sequence[str],
    options: ShapeOptions,
    run: RunOptions,
    sampling: SamplingOptions,
) -> None:
    """Make and judge, and say the tables; every object without a true mesh is named.

    Raises:
        ValueError: true meshes or views are missing, or options do not go together; in one line.
    """
    from zero123.evaluation.cases import Cases, MissingViews, side_in
    from zero123.evaluation.shapes import benchmark, summary
    from zero123.evaluation.shapes.truth import true_sources

    settings, drawn = options.settings(sampling, run), sampling.settings()
    try:
        sources = true_sources(cast(Path, options.meshes), protocol)
    except MissingViews as error:
        for name in error.files:
            say(name)
        raise
    protocol = replace(protocol, size=protocol.size or side_in(views))
    cases, model = Cases(views, protocol), run.load()
    lines = options.lines(model, settings, drawn)
    frame = cast(Any, options.frame or "rendered")  # checked before
    job = benchmark.Job(protocol, sources, lines, model, options.judging(), out, frame)
    with bar(f"{len(cases)} objects") as update:
        found = benchmark.run(job, cases, update)
    for group in summary.write(found, job, departures):
        say(f"{group.kind}: {group.objects} objects\n{summary.main_table(group).markdown()}")
    for name, line, fault in summary.failures(found):
        say(f"failed: {name}, {line}: {fault}")
    say(f"{out}/{summary.TABLE}")

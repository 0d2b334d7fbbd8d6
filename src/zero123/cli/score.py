"""`zero123 reconstruct --method sjc` and `sds`: a field made by the model's score; its options, and how it runs."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from zero123.cli.console import bar, say
from zero123.cli.mesh_options import MeshOptions
from zero123.cli.options import RunOptions, SamplingOptions

if TYPE_CHECKING:
    from zero123.diffusion.sampling import SamplingSettings
    from zero123.geometry.orbit import OrbitPose
    from zero123.images.photo import Photo
    from zero123.pipeline import NovelViews
    from zero123.presets import ScoreSettings
    from zero123.reconstruction.from_photo import PhotoSettings
    from zero123.reconstruction.score_run import Growing

METHODS = ("views", "sjc", "sds")


@dataclass(frozen=True)
class MethodOptions:
    """How a mesh is made of a picture."""

    method: Annotated[
        str, typer.Option(help="views: views first. sjc, sds: a field grown by the model's score; takes long.")
    ] = "views"
    preset: Annotated[
        str | None,
        typer.Option(help="Of sjc: original or quick; of sds: sds. [default: quick, sds]", show_default=False),
    ] = None
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="NAME=VALUE of any setting of sjc or sds, such as near_weight=0; a wrong NAME lists them."
        ),
    ] = None
    time: Annotated[
        str | None,
        typer.Option(help="Of views: all it may take, as 30s, 2m, 10m. [default: as it needs]", show_default=False),
    ] = None
    rounds: Annotated[
        int,
        typer.Option(
            min=1,
            max=8,
            help="Of views: how often they are drawn; from the second time on they begin from renders of what the last "
            "ones gave, so that they agree with each other.",
        ),
    ] = 1
    refine: Annotated[
        int,
        typer.Option(
            min=0, max=10_000, help="Of views: steps by the model's score where no view saw the object, such as 60."
        ),
    ] = 0
    frame: Annotated[int, typer.Option(min=0, help="Frame of a scene's transforms_train.json.")] = 0

    @property
    def seconds(self) -> float | None:
        """All that views may take; None for no limit.

        Raises:
            ValueError: that is no time, or too short; in one line.
        """
        from zero123.reconstruction.budget import seconds_in

        return None if self.time is None else seconds_in(self.time)

    def photo_settings(self, sampling: SamplingSettings) -> PhotoSettings:
        """Of views."""
        from zero123.reconstruction.from_photo import PhotoSettings
        from zero123.reconstruction.unseen import UnseenSettings

        unseen = UnseenSettings(self.refine, seed=sampling.seed)
        return PhotoSettings(sampling=sampling, seconds=self.seconds, rounds=self.rounds, unseen=unseen)

    def settings(self, sampling: SamplingOptions, run: RunOptions) -> ScoreSettings | None:
        """The preset with what the person changed: steps, scale and seed first, then `--set`; None for views.

        Raises:
            ValueError: a choice or a value is unknown, or options do not go together; in one line.
        """
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if self.method == "views":
            if self.preset is not None or self.change:
                raise ValueError("--preset and --set are of --method sjc and sds")
            if self.refine and run.offload:
                raise ValueError("--offload goes without --refine, which needs all networks at every step")
            return None
        if self.time is not None:
            raise ValueError(f"--time is of --method views: {self.method} ends after --steps")
        if self.rounds > 1 or self.refine:
            name = "rounds" if self.rounds > 1 else "refine"
            raise ValueError(f"--{name} is of --method views: {self.method} draws no views")
        for name in ("guidance_interval", "solver", "spacing", "joint", "symmetry"):
            if getattr(sampling, name) != next(f.default for f in fields(sampling) if f.name == name):
                raise ValueError(f"--{name.replace('_', '-')} is of --method views: {self.method} draws no views")
        if run.offload:
            raise ValueError(f"--offload is of --method views: {self.method} needs all networks at every step")
        from zero123.presets import SCORE_PRESETS
        from zero123.training.settings import changed

        known = SCORE_PRESETS[self.method]
        preset = next(iter(known)) if self.preset is None else self.preset
        if preset not in known:
            raise ValueError(f"preset of {self.method} must be one of {', '.join(known)}, got {preset!r}")
        given = {name: getattr(sampling, name) for name in ("steps", "scale", "seed")}
        settings = replace(cast(Any, known[preset]), **{k: v for k, v in given.items() if v is not None})
        return cast("ScoreSettings", changed(settings, self.change or []))


@dataclass(frozen=True)
class Start:
    """What a field is grown from.

    Attributes:
        views: the model.
        photo: made ready.
        source: pose of its camera, (1,), if it is known.
    """

    views: NovelViews
    photo: Photo
    source: OrbitPose | None


def by_score(start: Start, settings: ScoreSettings, file: Path, wanted: MeshOptions) -> Path:
    """Mesh and turntable, whose file is returned; the run's own files go into the folder `FILE-run` beside it.

    Raises:
        ValueError: a stopped run in that folder had other settings, or nothing came of this one; in one line.
    """
    import torch

    from zero123.reconstruction.elevation import found_source
    from zero123.reconstruction.score_run import PREVIEW, forget, run, unfinished

    photo, folder = start.photo, file.with_name(f"{file.stem}-run")
    elevation = float((found_source(start.views, photo) if start.source is None else start.source).elevation[0])
    said = {
        "model": start.views.model.settings.name,
        "photo": hashlib.sha256(photo.rgba.numpy().tobytes()).hexdigest()[:16],
        "photo_elevation_deg": round(elevation * 180 / torch.pi, 3),
        **asdict(settings),
    }
    say(f"picture taken to be from {said['photo_elevation_deg']:.0f}° above the horizon")
    going_on = unfinished(folder)
    if going_on:
        _same(folder, said)
        say(f"going on with the run in {folder}")
    say(f"how it goes: {folder / PREVIEW}")
    with bar("preparing", "growing the field") as update:
        growing = grown(start, elevation, settings)
        try:
            run(growing, settings.steps, folder, photo.on_white, said, lambda d, t: update.named("", d, t))
        except torch.OutOfMemoryError as error:
            raise ValueError(f"out of memory ({str(error).splitlines()[0]}); try a smaller --set grid") from error
    turning = wanted.write(file, growing.mesh(wanted.faces))
    forget(folder)
    return turning


def grown(start: Start, elevation: float, settings: ScoreSettings) -> Growing:
    """The field at its start; `elevation` of the photo's camera, radians."""
    from zero123.reconstruction.score_fit import ScoreFit, ScoreFitSettings
    from zero123.reconstruction.sds_fit import SdsFit

    model, photo = start.views.model, start.photo
    if isinstance(settings, ScoreFitSettings):
        return ScoreFit(model, photo.on_white[None], elevation, settings, photo.rgba[3])
    return SdsFit(model, photo.rgba, elevation, settings)


def _same(folder: Path, said: dict[str, Any]) -> None:
    from zero123.training.settings import changes_since

    if changes := changes_since(folder / "settings.json", said, {}, ()):
        raise ValueError(
            f"{folder}: a run that was stopped here differs ({'; '.join(changes)}); go on with its settings, choose "
            "another --out, or remove the folder"
        )

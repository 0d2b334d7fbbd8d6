"""The verb for thousands of pictures: views of each, and meshes, over processes or machines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from zero123.cli.console import bar, say
from zero123.cli.options import PhotoOptions, RunOptions, SamplingOptions, WorkerOptions, grouped

if TYPE_CHECKING:
    from zero123.batch.run import Result


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(grouped(batch))


@dataclass(frozen=True)
class MadeOptions:
    """What is made of every picture."""

    views: Annotated[
        int | None, typer.Option(min=0, max=360, help="Views all around. [default: 6]", show_default=False)
    ] = None
    orbit: Annotated[
        int | None, typer.Option(min=3, max=360, help="Views all around, and a video of them.", show_default=False)
    ] = None
    azimuth_deg: Annotated[
        list[float] | None, typer.Option(help="Camera to the right; repeat for several views.", show_default=False)
    ] = None
    elevation_deg: Annotated[list[float] | None, typer.Option(help="Camera up; one, or one per view.")] = None
    radius: Annotated[list[float] | None, typer.Option(help="Camera away; one, or one per view.")] = None
    samples: Annotated[int, typer.Option(min=1, max=64, help="Pictures of each view, from SEED on.")] = 1
    fps: Annotated[float, typer.Option(min=1, max=60, help="Pictures per second of the video.")] = 12.0
    mesh: Annotated[bool, typer.Option("--mesh", help="A coloured 3D mesh, model.glb; --views 0 for nothing else.")] = (
        False
    )
    faces: Annotated[int, typer.Option(min=100, max=1_000_000, help="Triangles, at most about this many.")] = 30_000

    def azimuths(self) -> list[float]:
        """Of all views, degrees.

        Raises:
            ValueError: more than one way to say them.
        """
        if sum(given is not None for given in (self.views, self.orbit, self.azimuth_deg or None)) > 1:
            raise ValueError("give only one of --views, --orbit and --azimuth-deg")
        if self.azimuth_deg:
            return self.azimuth_deg
        count = self.orbit or (6 if self.views is None else self.views)
        return [360.0 * k / count for k in range(count)]


def batch(
    pictures: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG or WebP of one object each, or folders of them.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder that receives a folder per picture.")],
    *,
    made: MadeOptions,
    run: RunOptions,
    sampling: SamplingOptions,
    about: PhotoOptions,
    workers: WorkerOptions,
) -> None:
    """Views of many pictures, and meshes; what is there already is skipped, so that a stopped batch goes on."""
    from zero123.batch.pictures import pictures_of
    from zero123.batch.run import make_all
    from zero123.batch.settings import BatchSettings

    settings = BatchSettings(
        azimuth_deg=tuple(made.azimuths()),
        elevation_deg=tuple(made.elevation_deg or (0.0,)),
        radius=tuple(made.radius or (0.0,)),
        fps=made.fps if made.orbit is not None else None,
        faces=made.faces if made.mesh else None,
        sampling=replace(sampling.settings(), samples=made.samples),
        background=cast(Any, about.background),  # checked there
        photo_elevation_deg=about.photo_elevation_deg,
    )
    found = pictures_of(pictures, out)
    results = make_all(
        found, out, settings, run.choice(), workers.workers(), workers.cluster, retry_failed=workers.retry_failed
    )
    states = _follow(results, len(found))
    failed = f"{states['failed']} failed" + (f" ({out}/failures.jsonl says why)" if states["failed"] else "")
    say(f"{states['made']} pictures done, {states['there']} were there, {failed}; see {out}/manifest.jsonl")
    if states["failed"] == len(found):
        raise ValueError("nothing could be made; see the lines above")


_SHOWN = 20
"""Failures that are told on the screen; the report holds them all."""

_MINUTE = 60.0


def _follow(results: Iterator[Result], total: int) -> Counter[str]:
    """Show how a batch goes, with the time left: a bar on a terminal, a line a minute anywhere.

    Args:
        results: of the pictures, those without work first.
        total: pictures.

    Returns:
        How many ended in each state.
    """
    states: Counter[str] = Counter()
    tried, start = 0, time.monotonic()
    told = start
    with bar(f"{total} pictures") as update:
        for result in results:
            states[result.state] += 1
            if result.state == "failed" and states["failed"] <= _SHOWN:
                say(f"failed: {result.picture.name}: {result.reason}")
            if not result.tried:
                continue
            tried += 1
            left = total - states.total()
            update(tried, tried + left)
            now = time.monotonic()
            if now - told > _MINUTE:
                told = now
                minutes = left * (now - start) / tried / _MINUTE
                say(f"{states.total()} of {total} pictures, {states['failed']} failed, {minutes:.0f} minutes left")
    if states["failed"] > _SHOWN:
        say(f"... and {states['failed'] - _SHOWN} more failed")
    return states

"""The verb for thousands of pictures: views of each, and meshes, over processes or machines."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from zero123.cli.console import follow, say
from zero123.cli.mesh_options import EvenLight, Faces, Texture
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


@dataclass(frozen=True)
class BatchMeshOptions:
    """How each mesh is made, see `reconstruct`."""

    faces: Faces = 30_000
    texture: Texture = None
    even_light: EvenLight = 0.0
    rounds: Annotated[
        int, typer.Option(min=1, max=8, help="How often a mesh's views are drawn, so that they agree with each other.")
    ] = 1
    refine: Annotated[
        int,
        typer.Option(min=0, max=10_000, help="Steps by the model's score where no view saw the object, such as 60."),
    ] = 0
    time: Annotated[
        str | None,
        typer.Option(help="All that a mesh may take, as 30s, 2m, 10m. [default: as it needs]", show_default=False),
    ] = None

    def check(self, wanted: bool, run: RunOptions) -> None:
        """Refuse what goes with meshes only, unless they are wanted, and what goes with no offloaded model.

        Raises:
            ValueError: in one line.
        """
        for one in fields(self):
            if not wanted and one.name != "faces" and getattr(self, one.name) != one.default:
                raise ValueError(f"--{one.name.replace('_', '-')} goes with --mesh")
        if self.refine and run.offload:
            raise ValueError("--offload goes without --refine, which needs all networks at every step")


def batch(
    pictures: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG or WebP of one object each, or folders of them.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder that receives a folder per picture.")],
    *,
    made: MadeOptions,
    mesh: BatchMeshOptions,
    run: RunOptions,
    sampling: SamplingOptions,
    about: PhotoOptions,
    workers: WorkerOptions,
) -> None:
    """Views of many pictures, and meshes; what is there already is skipped, so that a stopped batch goes on."""
    from zero123.batch.pictures import pictures_of
    from zero123.batch.run import make_all
    from zero123.batch.settings import BatchSettings
    from zero123.reconstruction.budget import seconds_in

    mesh.check(made.mesh, run)
    settings = BatchSettings(
        azimuth_deg=tuple(made.azimuths()),
        elevation_deg=tuple(made.elevation_deg or (0.0,)),
        radius=tuple(made.radius or (0.0,)),
        fps=made.fps if made.orbit is not None else None,
        faces=mesh.faces if made.mesh else None,
        texture=mesh.texture,
        even_light=mesh.even_light,
        rounds=mesh.rounds,
        refine=mesh.refine,
        seconds=None if mesh.time is None else seconds_in(mesh.time),
        sampling=replace(sampling.settings(), samples=made.samples),
        background=cast(Any, about.background),  # checked there
        photo_elevation_deg=about.photo_elevation_deg,
    )
    found = pictures_of(pictures, out)
    results = make_all(
        found, out, settings, run.choice(), workers.workers(), workers.cluster, retry_failed=workers.retry_failed
    )
    ended = follow(((_fault(result), result.tried) for result in results), len(found), "pictures")
    failed = f"{ended.failed} failed" + (f" ({out}/failures.jsonl says why)" if ended.failed else "")
    say(f"{ended.made} pictures done, {ended.there} were there, {failed}; see {out}/manifest.jsonl")
    if ended.failed == len(found):
        raise ValueError("nothing could be made; see the lines above")


def _fault(result: Result) -> str | None:
    return f"{result.picture.name}: {result.reason}" if result.state == "failed" else None

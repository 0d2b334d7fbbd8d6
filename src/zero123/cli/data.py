"""The verbs that make training data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from zero123.cli import datasets
from zero123.cli.console import bar, follow, say
from zero123.cli.options import WorkerOptions, grouped

if TYPE_CHECKING:
    from zero123.data.render.batch import CameraSettings, Machine, RenderSettings, Source

app = typer.Typer(help="Render objects and prepare them for training.")
datasets.register(app)

Views = Annotated[int, typer.Option(min=1, max=1000, help="Pictures of each object; rings and list say it themselves.")]
Size = Annotated[int, typer.Option(min=16, max=4096, help="Side of the pictures, pixels.")]
Seed = Annotated[int, typer.Option(help="Decides cameras and lights.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder that receives a view set per object.")]


@dataclass(frozen=True)
class CameraOptions:
    """Where the cameras stand."""

    sampler: Annotated[
        str | None,
        typer.Option(
            help="band (between two elevations), sphere, original (as Zero-1-to-3: uniform in a cube, normalised), "
            "rings, or list. [default: band, or list with --camera-list]",
            show_default=False,
        ),
    ] = None
    elevation_deg: Annotated[tuple[float, float], typer.Option(help="Lowest and highest camera of band.")] = (-17, 72)
    radius: Annotated[tuple[float, float], typer.Option(help="Nearest and farthest camera, world units.")] = (1.5, 2.2)
    rings_deg: Annotated[str, typer.Option(help="Elevations of rings, with commas.")] = "-10,20,50"
    azimuths: Annotated[int, typer.Option(min=1, help="Cameras on each ring.")] = 12
    camera_list: Annotated[
        Path | None,
        typer.Option(
            help="JSON file of cameras: azimuth_deg, elevation_deg, radius of each, or world_from_camera.",
            show_default=False,
        ),
    ] = None

    def settings(self, views: int) -> CameraSettings:
        """The same, checked."""
        from zero123.data.render.batch import CameraSettings
        from zero123.data.render.cameras import read_cameras

        try:
            heights = tuple(float(part) for part in self.rings_deg.split(","))
        except ValueError:
            raise ValueError(f"--rings-deg takes numbers with commas between them, got {self.rings_deg!r}") from None
        sampler = self.sampler or ("band" if self.camera_list is None else "list")
        if (sampler == "list") != (self.camera_list is not None):
            raise ValueError("--sampler list and --camera-list FILE go together")
        return CameraSettings(
            sampler=cast(Any, sampler),  # checked there
            views=views,
            elevation_deg=self.elevation_deg,
            radius=self.radius,
            rings_deg=heights,
            azimuths=self.azimuths,
            given=() if self.camera_list is None else read_cameras(self.camera_list),
        )


@dataclass(frozen=True)
class RendererOptions:
    """What renders, and how it looks."""

    renderer: Annotated[str, typer.Option(help="embree (fast) or blender (Cycles; also reads FBX).")] = "embree"
    light: Annotated[str, typer.Option(help="studio, or original: a bulb and a wide lamp, blender only.")] = "studio"
    cycles_samples: Annotated[int, typer.Option(min=1, help="Of blender: paths per pixel.")] = 128
    filter_width: Annotated[
        float, typer.Option(help="Of blender: of the pixel filter, pixels; 0.01 as the original, 1.5 smooth.")
    ] = 0.01
    denoise: Annotated[bool, typer.Option(help="Of blender: clean pictures of noise.")] = True
    view_transform: Annotated[str, typer.Option(help="Of blender: Standard, Filmic (as the original) or AgX.")] = (
        "Standard"
    )
    allow_missing_textures: Annotated[
        bool,
        typer.Option(
            "--allow-missing-textures", help="Render objects whose textures are lost grey; otherwise they fail."
        ),
    ] = False
    blender: Annotated[
        str | None,
        typer.Option(help="A Python with bpy, or a Blender. [default: $ZERO123_BLENDER]", show_default=False),
    ] = None
    device: Annotated[str, typer.Option(help="Of blender: cpu, cuda or optix.")] = "cpu"
    stretch: Annotated[
        float, typer.Option(help="Of embree: stretch each object along its axes by up to this factor, at random.")
    ] = 1.0
    swell: Annotated[
        float, typer.Option(help="Of embree: make it thicker here and thinner there by up to this factor, at random.")
    ] = 1.0

    def settings(self, cameras: CameraSettings, size: int, seed: int) -> RenderSettings:
        """The same, checked."""
        from zero123.data.render.batch import CyclesSettings, RenderSettings

        cycles = CyclesSettings(
            samples=self.cycles_samples,
            filter_width=self.filter_width,
            denoise=self.denoise,
            view_transform=cast(Any, self.view_transform),
        )
        return RenderSettings(
            cameras=cameras,
            size=size,
            renderer=cast(Any, self.renderer),
            light=cast(Any, self.light),
            cycles=cycles,
            need_textures=not self.allow_missing_textures,
            stretch=self.stretch,
            swell=self.swell,
            seed=seed,
        )

    def machine(self, threads: int) -> Machine:
        """Where Blender is."""
        from zero123.data.render.batch import Machine

        return Machine(self.blender, cast(Any, self.device), threads)


@app.command()
@grouped
def render(
    meshes: Annotated[list[Path], typer.Argument(help="GLB, glTF, OBJ, PLY, STL, FBX files, or folders of them.")],
    out: Out,
    renderer: RendererOptions,
    cameras: CameraOptions,
    workers: WorkerOptions,
    views: Views = 12,
    size: Size = 256,
    seed: Seed = 0,
) -> None:
    """Render meshes to view sets; objects that are there already are skipped, so that a stopped run goes on.

    Objects that fail are listed in OUT/failures.jsonl; the exit code is 2 only where none could be rendered.
    """
    from zero123.data.render.batch import sources_of

    settings = renderer.settings(cameras.settings(views), size, seed)
    _render(sources_of(meshes), out, settings, renderer.machine(workers.threads), workers)


@app.command()
@grouped
def procedural(
    out: Out,
    renderer: RendererOptions,
    cameras: CameraOptions,
    workers: WorkerOptions,
    count: Annotated[int, typer.Option(min=1, help="Objects to make.")] = 100,
    first: Annotated[int, typer.Option(help="Seed of the first object; the others follow.")] = 0,
    views: Views = 8,
    size: Size = 256,
    seed: Seed = 0,
) -> None:
    """Make and render procedural objects; no download, no end."""
    from zero123.data.render.batch import Source

    sources = [Source(f"procedural-{first + k:07d}", None, first + k) for k in range(count)]
    _render(
        sources, out, renderer.settings(cameras.settings(views), size, seed), renderer.machine(workers.threads), workers
    )


@app.command()
def objaverse(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder that receives the objects and attribution.csv.")],
    uids: Annotated[Path | None, typer.Option(help="Text file of uids, one a line.", show_default=False)] = None,
    lvis: Annotated[bool, typer.Option("--lvis", help="Only the LVIS subset.")] = False,
    category: Annotated[list[str] | None, typer.Option(help="Only this LVIS category; may be repeated.")] = None,
    xl: Annotated[
        Path | None, typer.Option(help="Objaverse-XL by its manifest: CSV or Parquet.", show_default=False)
    ] = None,
    licence: Annotated[list[str] | None, typer.Option(help="by, by-sa, by-nc, cc0, mit, ...; may be repeated.")] = None,
    still: Annotated[bool, typer.Option("--still", help="Only objects without animation.")] = False,
    max_megabytes: Annotated[float | None, typer.Option(help="Largest file.", show_default=False)] = None,
    max_faces: Annotated[int | None, typer.Option(help="Most faces.", show_default=False)] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, at random.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Downloads at a time.")] = 4,
    get: Annotated[
        bool, typer.Option("--download", help="Fetch the objects; without it they are only listed.")
    ] = False,
) -> None:
    """List or download objects of Objaverse. Reads annotations from the network, objects with --download only."""
    from zero123.data.objaverse import Choice, choose, choose_xl, lvis_uids, read_uids
    from zero123.data.objaverse_files import download, write_list
    from zero123.files import writable_folder

    if sum(map(bool, (uids, lvis or category, xl))) > 1:
        raise ValueError("give only one of --uids, --lvis or --category, and --xl")
    choice = Choice(tuple(v.lower() for v in licence or ()), still, max_megabytes, max_faces, limit, seed)
    writable_folder(out)
    if xl is not None:
        entries = choose_xl(xl, choice)
    else:
        named = read_uids(uids) if uids else lvis_uids(category or ()) if lvis or category else None
        with bar("reading annotations") as update:
            entries = choose(choice, named, update)
    say(f"{len(entries)} objects, named in {write_list(entries, out)}")
    if not get:
        say("nothing downloaded; --download fetches them")
        return
    there = sum(entry.file(out).is_file() for entry in entries)
    done = _done((error for _, error in download(entries, out, processes)), len(entries), there)
    say(f"{done} objects in {out}, with attribution.csv, {len(entries) - done} failed")
    if entries and not done:
        raise ValueError("nothing could be downloaded; see the lines above")


def _render(
    sources: list[Source], out: Path, settings: RenderSettings, machine: Machine, workers: WorkerOptions
) -> None:
    from zero123.data.render.batch import render_all

    there = sum((out / source.name).is_dir() for source in sources)
    results = render_all(
        sources,
        out,
        settings,
        replace(workers.workers(), gpus=machine.device != "cpu"),
        workers.cluster,
        machine=machine,
        retry_failed=workers.retry_failed,
    )
    done = _done((failure for _, failure in results), len(sources), there)
    left = len(sources) - done
    say(f"{done} objects in {out}, {left} failed" + (f" ({out}/failures.jsonl says why)" if left else ""))
    if not done:
        raise ValueError("nothing could be rendered; see the lines above")


def _done(failures: Iterator[str | None], total: int, there: int) -> int:
    """How many objects did not fail, once all have ended; the first `there` are there already and take no time."""
    if there:
        say(f"{there} of {total} objects are there already")
    ended = follow(((failure, index >= there) for index, failure in enumerate(failures)), total, "objects")
    return ended.made + ended.there

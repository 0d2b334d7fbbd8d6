"""The verbs that start from a picture: views, orbit, reconstruct, and demo, which is all of them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from zero123.cli.console import bar, say
from zero123.cli.mesh_options import MeshOptions
from zero123.cli.options import MeshPhotoOptions, PhotoOptions, RunOptions, SamplingOptions, grouped
from zero123.cli.score import MethodOptions, Start, by_score

if TYPE_CHECKING:
    from torch import Tensor

    from zero123.diffusion.sampling import SamplingSettings
    from zero123.geometry.orbit import OrbitPose, RelativePose
    from zero123.images.photo import Photo
    from zero123.images.spread import Samples
    from zero123.pipeline import NovelViews
    from zero123.reconstruction.from_photo import PhotoSettings

Picture = Annotated[Path, typer.Argument(help="PNG, JPEG or WebP of one object.", show_default=False)]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Folder for the results. [default: out/PICTURE]")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    for verb in (views, orbit, reconstruct, demo):
        app.command()(grouped(verb))


def views(
    picture: Picture,
    azimuth_deg: Annotated[list[float], typer.Option(help="Camera to the right; repeat for several views.")] = [30.0],  # noqa: B006
    elevation_deg: Annotated[list[float], typer.Option(help="Camera up; one, or one per view.")] = [0.0],  # noqa: B006
    radius: Annotated[list[float], typer.Option(help="Camera away; one, or one per view.")] = [0.0],  # noqa: B006
    samples: Annotated[
        int, typer.Option(min=1, max=64, help="Pictures of each view, from SEED on; with 2 or more also their spread.")
    ] = 1,
    out: Out = None,
    *,
    run: RunOptions,
    sampling: SamplingOptions,
    about: PhotoOptions,
) -> None:
    """Make views from other sides; angles are relative to the picture's camera."""
    from dataclasses import replace

    from zero123.geometry.orbit import relative_moves
    from zero123.images import io
    from zero123.images.sheets import contact_sheet

    relative = relative_moves(azimuth_deg, elevation_deg, radius)
    work = _start(picture, out, run, sampling, about)
    work = replace(work, sampling=replace(work.sampling, samples=samples))
    drawn = work.samples(relative)
    pictures = drawn.pictures.flatten(0, 1)
    for index, image in enumerate(pictures):
        name = f"{index // samples:03d}" + (f"-{index % samples}" if samples > 1 else "")
        io.save(work.folder / "views" / f"{name}.png", image)
    if samples > 1:
        work.write_spread(drawn)
        say(f"where the model guesses: spread of the {samples} samples in {work.folder}/views/*-spread.png and .npy")
    else:
        io.save(work.folder / "sheet.png", contact_sheet(work.with_photo(pictures), min(len(pictures) + 1, 6)))
    say(f"{len(pictures)} views in {work.folder}/views, all of them in {work.folder}/sheet.png")


def orbit(
    picture: Picture,
    frames: Annotated[int, typer.Option(min=3, max=360, help="Pictures in the video.")] = 24,
    elevation_deg: Annotated[float, typer.Option(help="Camera up from the picture's camera.")] = 0.0,
    fps: Annotated[float, typer.Option(min=1, max=60, help="Pictures per second.")] = 12.0,
    out: Out = None,
    *,
    run: RunOptions,
    sampling: SamplingOptions,
    about: PhotoOptions,
) -> None:
    """Make a video of a camera going once around the object."""
    from zero123.geometry.orbit import relative_moves
    from zero123.images.sheets import save_video

    relative = relative_moves([360.0 * f / frames for f in range(frames)], [elevation_deg], [0.0])
    work = _start(picture, out, run, sampling, about)
    save_video(work.folder / "orbit.mp4", work.draw(relative), fps)
    say(f"{work.folder}/orbit.mp4")


def reconstruct(
    picture: Annotated[
        Path,
        typer.Argument(
            help="PNG, JPEG or WebP of one object, or a scene with transforms_train.json.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Mesh file: .glb, .obj, .ply, .stl. [default: out/PICTURE/model.FORMAT]"),
    ] = None,
    *,
    how: MethodOptions,
    mesh: MeshOptions,
    run: RunOptions,
    sampling: SamplingOptions,
    about: MeshPhotoOptions,
) -> None:
    """Make a textured 3D mesh: views all around, then a field fitted to them; or a field made by the model's score."""
    file, settings = mesh.file(out, picture), how.settings(sampling, run)
    wanted = how.photo_settings(sampling.settings())
    if settings is not None:
        mesh.refuse_views(how.method)
    if settings is not None and about.distance is not None:
        raise ValueError(f"--distance is of --method views; of {how.method} it is --set input_radius")
    work = _start(picture, file.parent, run, sampling, about, how.frame, about.distance)
    if settings is None:
        turning = work.reconstruct(file, mesh, wanted)
    else:
        turning = by_score(Start(work.views, work.photo, work.source), settings, file, mesh)
    say(f"{file}, turning in {turning}")


def demo(picture: Picture, out: Out = None, *, run: RunOptions, sampling: SamplingOptions, about: PhotoOptions) -> None:
    """Everything at once: 12 views, an orbit video, a contact sheet and a mesh."""
    from zero123.geometry.orbit import relative_moves
    from zero123.images import io
    from zero123.images.sheets import contact_sheet, save_video

    start = time.monotonic()
    work = _start(picture, out, run, sampling, about)
    pictures = work.draw(relative_moves([30.0 * k for k in range(12)], [0.0], [0.0]))
    for index, image in enumerate(pictures):
        io.save(work.folder / "views" / f"{index:03d}.png", image)
    labels = ["picture"] + [f"{30 * k}°" for k in range(12)]
    io.save(work.folder / "sheet.png", contact_sheet(work.with_photo(pictures), 5, labels))
    save_video(work.folder / "orbit.mp4", pictures, 6)
    work.reconstruct(work.folder / "model.glb", MeshOptions(), MethodOptions().photo_settings(work.sampling))
    say(f"done in {time.monotonic() - start:.0f} s")
    say(f"{work.folder}: views/, sheet.png, orbit.mp4, model.glb, turntable.mp4, mask.png")


@dataclass(frozen=True)
class _Work:
    """What every verb has after its first steps."""

    folder: Path
    views: NovelViews
    photo: Photo
    sampling: SamplingSettings
    source: OrbitPose | None
    distance: float | None = None

    def draw(self, relative: RelativePose) -> Tensor:
        """Views (V * samples, 3, S, S) with a progress bar."""
        return self.samples(relative).pictures.flatten(0, 1)

    def samples(self, relative: RelativePose) -> Samples:
        """Samples of views, with a progress bar."""
        with bar(f"drawing {len(relative) * self.sampling.samples} views") as update:
            return self.views.samples(self.photo, relative, self.sampling, self.source, update)

    def with_photo(self, pictures: Tensor) -> Tensor:
        """The framed picture in front of the views."""
        import torch

        return torch.cat((self.photo.on_white[None], pictures))

    def write_spread(self, drawn: Samples) -> None:
        """Spread of samples beside the views, as array and picture, and a sheet with a row for each view."""
        import torch

        from zero123.images import io
        from zero123.images.sheets import contact_sheet
        from zero123.images.spread import save_spread, spread_picture

        heat, shown = spread_picture(drawn.spread), min(self.sampling.samples, 6)
        rows, labels = [], []
        for index, view in enumerate(drawn.pictures):
            save_spread(self.folder / "views" / f"{index:03d}-spread.npy", drawn.spread[index])
            io.save(self.folder / "views" / f"{index:03d}-spread.png", heat[index])
            rows.append(torch.cat((self.photo.on_white[None], view[:shown], heat[index : index + 1])))
            labels += ["picture", *(f"{index:03d}-{sample}" for sample in range(shown)), "spread"]
        io.save(self.folder / "sheet.png", contact_sheet(torch.cat(rows), shown + 2, labels))

    def reconstruct(self, file: Path, mesh: MeshOptions, settings: PhotoSettings) -> Path:
        """Mesh, turntable, the views behind them and what else is wanted, written beside `file`; the turntable.

        What there is so far is written at once and kept if the run is stopped.
        """
        from dataclasses import replace

        from zero123.images.remarks import remark_on_height
        from zero123.reconstruction.from_photo import from_photo

        settings = replace(settings, radius=self.distance, reconstruction=mesh.settings(settings.reconstruction))
        if self.source is not None:
            settings = replace(settings, elevation_deg=float(self.source.elevation[0].rad2deg()))
        refining = ("refining what no view saw",) if settings.unseen.steps else ()
        unread = self.source is None and self.views.model.place_reader is None
        stages = ("drawing views all around", "fitting the object", *refining)
        watch = mesh.watch(file, self.photo)
        with mesh.what_is_left(file), bar(*(("finding the elevation",) if unread else ()), *stages) as update:
            found, images, poses = from_photo(self.views, self.photo, settings, update.named, watch)
        degrees = float(poses.elevation[0].rad2deg())
        say(f"picture taken to be from {degrees:.0f}° above the horizon")
        if remark := remark_on_height(degrees):
            say(f"note: {remark}")
        return mesh.write_with_views(file, found, images, poses, settings.reconstruction.hull.halo)


def _start(
    picture: Path,
    out: Path | None,
    run: RunOptions,
    sampling: SamplingOptions,
    about: PhotoOptions,
    frame: int | None = None,
    distance: float | None = None,
) -> _Work:
    """Check everything that can be wrong before any work, load the model, cut the object out and show how.

    `frame` is the one wanted if the picture may be a scene; None if it may not. A picture from a known `distance`,
    world units, keeps its framing.
    """
    from zero123.files import writable_folder
    from zero123.images import io
    from zero123.images.remarks import remarks
    from zero123.reconstruction.scene import prepare_whole, scene_folder, scene_photo

    scene = None if frame is None else scene_folder(picture)
    taken = None if scene is None else scene_photo(scene, frame or 0)
    image = io.load(picture) if taken is None else taken.rgba
    with bar("loading the model"):
        settings, source = sampling.settings(), about.source()
        views = run.load()
        prepare = views.prepare if taken is None and distance is None else partial(prepare_whole, views)
        photo = prepare(image, cast(Any, about.background))  # checked there
        folder = writable_folder(out or Path("out") / picture.stem)  # made once nothing else can be wrong
    source = taken.pose if source is None and taken is not None else source
    io.save(folder / "mask.png", photo.mask)
    io.save(folder / "input.png", photo.rgba)
    matte, model = photo.matte, views.model.settings
    say(f"model {model.name}; licence: {model.licence}")
    say(f"object found by {matte.method}, {matte.coverage:.0%} of the picture; see {folder}/mask.png")
    for remark in remarks(photo.rgba, matte.cropped):
        say(f"note: {remark}")
    if settings.symmetry == "auto":
        say(_plane_found(views, photo, source, settings))
    return _Work(folder, views, photo, settings, source, distance)


def _plane_found(views: NovelViews, photo: Photo, source: OrbitPose | None, sampling: SamplingSettings) -> str:
    """About which plane the model guesses that the object is symmetric, in words.

    Raises:
        ValueError: the model has no use for one.
    """
    from zero123.geometry.orbit import relative_moves

    believed = views.belief(photo, relative_moves([0.0], [0.0], [0.0]), source, sampling)
    if believed is None or believed.plane is None:
        raise ValueError(f"--symmetry must be left out: {views.model.settings.name} has no use for it")
    degrees = math.degrees(believed.plane)
    degrees = degrees - 180 if degrees > 90 else degrees  # a plane has two sides, of which the nearer one is told
    return f"left and right taken to be alike about {degrees:.0f}° to the right of the camera; --symmetry DEGREES tells"

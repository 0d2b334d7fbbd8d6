"""What takes the page's worker longer than a view: an orbit, and a mesh with everything it can be downloaded as."""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from zero123.ui.tasks import Models, Report, Request, prepared, remark_on

if TYPE_CHECKING:
    from torch import Tensor

    from zero123.diffusion.sampling import SamplingSettings
    from zero123.reconstruction.from_photo import PhotoSettings

_AT_ONCE = 4
"""Views of an orbit that are drawn between two previews."""

_VIEWS_SHARE = 0.35
"""Of the time of a mesh that goes into its views."""


@dataclass(frozen=True)
class Orbit:
    """A camera that went once around.

    Attributes:
        video: MP4.
        views: ZIP of the views, NNN.png.
        seconds: it took.
        remark: on what was asked and not done, or "".
    """

    video: Path
    views: Path
    seconds: float
    remark: str


@dataclass(frozen=True)
class MeshOptions:
    """What a mesh is made with.

    Attributes:
        faces: triangles, at most about this many.
        texture: bake a texture; else colours at the vertices.
        draft: fewer views and a coarser field: a rough mesh in a fraction of the time.
    """

    faces: int = 30_000
    texture: bool = True
    draft: bool = False


@dataclass(frozen=True)
class MadeMesh:
    """A mesh in every format.

    Attributes:
        glb, ply: files.
        obj: ZIP of the OBJ, its material and its texture.
        dataset: ZIP of views and cameras, for nerfstudio, COLMAP and gsplat.
        turntable: MP4.
        sheet: the views it was made of.
        faces: triangles.
        seconds: it took.
    """

    glb: Path
    obj: Path
    ply: Path
    dataset: Path
    turntable: Path
    sheet: Path
    faces: int
    seconds: float


def orbit(models: Models, report: Report, request: Request, frames: int, fps: float, folder: Path) -> Orbit:
    """Views all around at the request's elevation and radius, as a video and as pictures."""
    import torch

    from zero123.geometry.orbit import relative_moves
    from zero123.images import io
    from zero123.images.sheets import save_video

    start, out = time.monotonic(), _fresh(folder, "orbit", request, frames, fps)
    report(0.0, "loading the model")
    views, photo, sampling, known = prepared(models, request)
    sampling = replace(sampling, samples=1)
    wanted, drawn = request.view, []
    moves = relative_moves([360.0 * f / frames for f in range(frames)], [wanted.elevation], [wanted.radius])
    for first in range(0, frames, _AT_ONCE):
        drawn.append(views(photo, moves[first : first + _AT_ONCE], sampling, known, _stopping(report, first / frames)))
        done = min(first + _AT_ONCE, frames)
        for index, picture in enumerate(drawn[-1], start=first):
            io.save(out / "views" / f"{index:03d}.png", picture)
        report(done / frames, f"view {done} of {frames}", out / "views" / f"{done - 1:03d}.png")
    save_video(out / "orbit.mp4", torch.cat(drawn), fps)
    return Orbit(out / "orbit.mp4", _zipped(out / "views"), time.monotonic() - start, remark_on(request, views))


def mesh(models: Models, report: Report, request: Request, options: MeshOptions, folder: Path) -> MadeMesh:
    """The object as a mesh, in every format; previews are its views, then the mesh itself."""
    import torch

    from zero123.geometry.camera import Camera
    from zero123.images import io
    from zero123.images.alpha import composite
    from zero123.images.sheets import contact_sheet, save_video
    from zero123.meshes.export import export_mesh
    from zero123.reconstruction.from_photo import Watch, from_photo
    from zero123.reconstruction.results import export_dataset
    from zero123.reconstruction.turntable import render_turntable

    start, out = time.monotonic(), _fresh(folder, "mesh", request, options)
    report(0.0, "loading the model")
    views, photo, sampling, _ = prepared(models, request)
    sheet = out / "views.png"

    def shown(images: Tensor) -> None:
        io.save(sheet, contact_sheet(images, 7))
        report(_VIEWS_SHARE, "fitting the object", sheet)

    if request.front is not None:  # of use to the mesh, whatever the model
        sampling = replace(sampling, symmetry=request.front)
    settings = _settings(request, replace(sampling, samples=1), options)
    found, images, poses = from_photo(views, photo, settings, _Stages(report), Watch(views=shown))
    report(0.92, "writing the files")
    for ending in (".glb", ".ply"):
        export_mesh(found.mesh, out / f"model{ending}")
    export_mesh(found.mesh, out / "obj" / "model.obj")
    camera = Camera.from_orbit(poses, hw=(images.shape[-2], images.shape[-1]))
    export_dataset(out / "dataset", found, images, camera, settings.reconstruction.hull.halo)
    turning = composite(render_turntable(found.mesh), torch.ones(3))
    save_video(out / "turntable.mp4", turning, 12)
    return MadeMesh(
        out / "model.glb",
        _zipped(out / "obj"),
        out / "model.ply",
        _zipped(out / "dataset"),
        out / "turntable.mp4",
        sheet,
        len(found.mesh.faces),
        time.monotonic() - start,
    )


class _Stages:
    """Progress of `from_photo` as one fraction; reports a few times a second, which is also where a job is stopped."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        if (now := time.monotonic()) - self._told < 0.3:
            return
        self._told = now
        low, high = (_VIEWS_SHARE, 0.92) if stage == "fit" else (0.0, _VIEWS_SHARE)
        words = {"elevation": "reading the elevation", "views": "drawing views all around"}
        self._report(low + (high - low) * done / total, words.get(stage, f"fitting the object, {done} of {total}"))


def _settings(request: Request, sampling: SamplingSettings, options: MeshOptions) -> PhotoSettings:
    from zero123.reconstruction.from_photo import PhotoSettings

    settings = PhotoSettings(sampling=sampling, elevation_deg=request.photo_elevation)
    made = replace(settings.reconstruction, faces=options.faces, texture=None if options.texture else 0)
    if not options.draft:
        return replace(settings, reconstruction=made)
    rough = replace(made, fit=replace(made.fit, grids=(40,), steps=(60,), rays=2048))
    return replace(settings, crown=4, low=0, reconstruction=rough)


def _stopping(report: Report, fraction: float) -> Callable[[int, int], None]:
    """Reports between network calls, so that a job can be stopped there."""
    return lambda done, total: report(fraction, "drawing")


def _fresh(folder: Path, kind: str, *wanted: object) -> Path:
    """An empty folder for what comes of `wanted`."""
    out = folder / f"{kind}-{sha256(repr(wanted).encode()).hexdigest()[:16]}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    return out


def _zipped(folder: Path) -> Path:
    """A folder's files as a ZIP beside it."""
    from zero123.files import atomic_path

    files = sorted(file for file in folder.rglob("*") if file.is_file())
    target = folder.with_suffix(".zip")
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in files:
            packed.write(file, file.relative_to(folder).as_posix())
    return target

"""Who makes a mesh of one picture: a model by views or by its score, and baselines that know the outline alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from zero123.evaluation.methods import weights_hash
from zero123.evaluation.shapes.outline_solids import extruded_outline, fitted_ellipsoid
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.images.photo import Photo
from zero123.meshes.mesh import Mesh
from zero123.pipeline import NovelViews
from zero123.reconstruction.elevation import found_source
from zero123.reconstruction.from_photo import PhotoSettings, from_photo
from zero123.reconstruction.score_run import Growing, forget, run

Grow = Callable[[NovelViews, Photo, OrbitPose], Growing]
"""The field of a photo taken from a pose, (1,), at its start."""


@dataclass(frozen=True)
class Made:
    """What became of a picture.

    Attributes:
        mesh: in the world of the photo: its camera at azimuth 0.
        elevation: from which the photo was taken to be taken, radians.
        views: that it was made of, the photo first, on white, (V, 3, S, S); None where none were drawn.
        poses: of their cameras, (V,), in the mesh's world.
    """

    mesh: Mesh
    elevation: float
    views: Tensor | None = None
    poses: OrbitPose | None = None


class Maker(Protocol):
    """Makes a mesh of a picture."""

    @property
    def name(self) -> str:
        """Of its line in tables and of its files."""

    def describe(self) -> dict[str, Any]:
        """Everything its meshes depend on, as JSON values."""

    def __call__(self, photo: Photo, source: OrbitPose | None, folder: Path) -> Made:
        """A mesh.

        Args:
            photo: the object, framed for the model.
            source: pose of the photo's camera, (1,), azimuth 0; None to have it estimated.
            folder: its own, for what it keeps while it works.

        Raises:
            ValueError: nothing came of the picture.
        """


@dataclass(frozen=True)
class ByViews:
    """Views first, as `zero123 reconstruct` does it; see `from_photo`."""

    views: NovelViews
    settings: PhotoSettings
    name: str = "views"

    def describe(self) -> dict[str, Any]:
        """The model, and the settings of views and reconstruction."""
        return {**_model(self.views), "settings": _plain(asdict(self.settings))}

    def __call__(self, photo: Photo, source: OrbitPose | None, folder: Path) -> Made:
        """See `Maker`."""
        settings = self.settings
        if source is not None:
            elevation_deg, radius = math.degrees(float(source.elevation[0])), float(source.radius[0])
            settings = replace(settings, elevation_deg=elevation_deg, radius=radius)
        found, images, poses = from_photo(self.views, photo, settings)
        return Made(found.mesh, float(poses.elevation[0]), images, poses)


@dataclass(frozen=True)
class ByScore:
    """A field that the model's score grows; a stopped one goes on.

    Attributes:
        views: the model.
        name: of the method.
        settings: of it, a dataclass.
        steps: in all.
        grow: the field at its start.
        faces: triangles of the mesh, at most.
    """

    views: NovelViews
    name: str
    settings: Any
    steps: int
    grow: Grow
    faces: int = 30000

    def describe(self) -> dict[str, Any]:
        """The model, and the settings of the method."""
        return {**_model(self.views), "settings": _plain(asdict(self.settings)), "faces": self.faces}

    def __call__(self, photo: Photo, source: OrbitPose | None, folder: Path) -> Made:
        """See `Maker`."""
        pose = found_source(self.views, photo) if source is None else source
        growing, told = self.grow(self.views, photo, pose), float(pose.elevation[0])
        run(growing, self.steps, folder, photo.on_white, {**self.describe(), "elevation": told})
        mesh = growing.mesh(self.faces)
        forget(folder)
        return Made(mesh, told)


@dataclass(frozen=True)
class ByOutline:
    """A baseline: a solid that is fitted to the input's outline.

    Attributes:
        views: says the pose where it is not given, and nothing else.
        name: of the baseline.
        solid: picture with straight alpha, (4, S, S), and its camera to a mesh.
    """

    views: NovelViews
    name: str
    solid: Callable[[Tensor, Camera], Mesh]

    def describe(self) -> dict[str, Any]:
        """Its name, and the model that estimates elevations and frames the picture."""
        return {"baseline": self.name, **_model(self.views)}

    def __call__(self, photo: Photo, source: OrbitPose | None, folder: Path) -> Made:
        """See `Maker`."""
        pose = found_source(self.views, photo) if source is None else source
        size = (photo.rgba.shape[-2], photo.rgba.shape[-1])
        mesh = self.solid(photo.rgba, Camera.from_orbit(pose.to("cpu", torch.float32), hw=size)[0])
        return Made(mesh, float(pose.elevation[0]))


def baselines(views: NovelViews) -> list[ByOutline]:
    """The visual hull of the input alone, and the ellipsoid around its object."""
    return [ByOutline(views, "hull of the input", extruded_outline), ByOutline(views, "ellipsoid", fitted_ellipsoid)]


def _model(views: NovelViews) -> dict[str, Any]:
    model = views.model
    return {
        "model": model.settings.name,
        "weights_sha256": weights_hash(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": views.device.type,
        "torch": torch.__version__,
    }


def _plain(value: Any) -> Any:
    """Tuples as JSON gives them back: lists."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value

"""`reconstruct`: one picture in, a textured mesh out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zero123.geometry.camera import Camera
from zero123.images.alpha import composite
from zero123.images.forms import PictureLike, moving_html, png
from zero123.images.matting import Method
from zero123.images.photo import Photo
from zero123.images.sheets import contact_sheet
from zero123.meshes.export import export_mesh, to_glb
from zero123.meshes.mesh import Mesh
from zero123.pipeline import NovelViews
from zero123.reconstruction.from_photo import PhotoSettings, from_photo
from zero123.reconstruction.from_views import Reconstruction
from zero123.reconstruction.results import export_dataset
from zero123.reconstruction.turntable import render_turntable
from zero123.verbs.models import ready
from zero123.verbs.progress import Told, progress_shown

if TYPE_CHECKING:
    import trimesh

_TURN, _SIDE, _FPS = 24, 224, 12.0
"""Of the turning picture in a notebook: pictures, pixels, pictures per second."""


@dataclass(frozen=True)
class Object3D:
    """An object of a picture; a notebook shows it turning, beside the picture.

    Attributes:
        photo: the picture made ready.
        reconstruction: mesh, field, and how well the views agreed.
        views: the views it was made from, (1 + V, 3, S, S) in [0, 1], the picture first.
        camera: of those views, (1 + V,).
        settings: it was made with.
    """

    photo: Photo
    reconstruction: Reconstruction
    views: Tensor
    camera: Camera
    settings: PhotoSettings

    def __repr__(self) -> str:
        return f"<mesh of {len(self.mesh.faces)} triangles, of {len(self.views)} views>"

    @property
    def mesh(self) -> Mesh:
        """The closed, textured surface; plain arrays, z up, front to +x."""
        return self.reconstruction.mesh

    @property
    def elevation_deg(self) -> float:
        """Height above the horizon from which the picture is taken to be, degrees."""
        return float(self.camera[0].orbit().elevation.rad2deg())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the mesh as .glb, .obj, .ply or .stl, by the ending; +Y up, front to +Z.

        Raises:
            ValueError: another ending.
            OSError: the file cannot be written.
        """
        return export_mesh(self.mesh, path)

    def save_scene(self, folder: str | os.PathLike[str]) -> Path:
        """Write views and cameras for nerfstudio, COLMAP and gsplat; see `data.formats.scene`.

        Raises:
            OSError: the folder cannot be written.
        """
        halo = self.settings.reconstruction.hull.halo
        export_dataset(Path(folder), self.reconstruction, self.views, self.camera, halo)
        return Path(folder)

    def to_trimesh(self) -> trimesh.Trimesh:
        """The mesh with its material for the trimesh library, +Y up as in a GLB file."""
        import trimesh

        return trimesh.load_mesh(BytesIO(to_glb(self.mesh)), file_type="glb")

    def turning(self, count: int = 36, side: int = 256) -> Tensor:
        """The mesh all around on white, (count, 3, side, side), counter-clockwise from the front; drawn in software."""
        return composite(render_turntable(self.mesh, count, (side, side)), torch.ones(3))

    @cached_property
    def _shown(self) -> Tensor:
        """What a notebook shows, drawn once: pictures of a turn, each beside the photo."""
        turn = self.turning(_TURN, _SIDE)
        photo = torch.nn.functional.interpolate(self.photo.on_white[None], (_SIDE, _SIDE), mode="bilinear")
        return torch.cat((photo.expand(_TURN, -1, -1, -1), turn), dim=3)

    def _repr_html_(self) -> str:
        return moving_html(
            self._shown, _FPS, f"a picture, and its object as a mesh of {len(self.mesh.faces)} triangles"
        )

    def _repr_png_(self) -> bytes:
        return png(contact_sheet(self._shown[:: _TURN // 4, :, :, _SIDE:], 4))


def reconstruct(
    picture: PictureLike,
    model: str | Path | NovelViews = "mini",
    settings: PhotoSettings | None = None,
    *,
    background: Method = "auto",
    progress: bool | Told = True,
) -> Object3D:
    """The object of a picture as a textured mesh, by way of its views.

    >>> zero123.reconstruct("chair.png").save("chair.glb")

    Args:
        picture: a file, a Pillow image, a numpy array (H, W, 3|4), or a tensor (3|4, H, W).
        model: "mini", a name of `zero123 weights list`, a path, or one that is loaded.
        settings: which views, and how they become a mesh: triangles, texture, elevation; None for the defaults.
        background: how the object is found; see `images.matting.foreground`.
        progress: whether bars are shown, or who is told instead.

    Raises:
        PictureError: the picture cannot be used.
        WeightsError: the model cannot be loaded.
        ValueError: the views share no volume.
    """
    settings = settings or PhotoSettings()
    loaded = ready(model)
    photo = loaded.prepare(picture, background)
    with progress_shown(progress) as told:
        found, images, poses = from_photo(loaded, photo, settings, told)
    camera = Camera.from_orbit(poses, hw=(images.shape[-2], images.shape[-1]))
    return Object3D(photo, found, images, camera, settings)

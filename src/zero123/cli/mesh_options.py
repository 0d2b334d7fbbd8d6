"""What `zero123 reconstruct` is asked to make: the mesh's size and format, and what is written beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zero123.cli.console import say

if TYPE_CHECKING:
    from torch import Tensor

    from zero123.geometry.orbit import OrbitPose
    from zero123.images.photo import Photo
    from zero123.meshes.mesh import Mesh
    from zero123.reconstruction.from_photo import Watch
    from zero123.reconstruction.from_views import Reconstruction, ReconstructionSettings

Faces = Annotated[int, typer.Option(min=100, max=1_000_000, help="Triangles, at most this many.")]
Texture = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=8192,
        help="Side of the texture, texels; 0 for colours at the vertices. [default: as sharp as the picture]",
        show_default=False,
    ),
]
EvenLight = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Share of the light in the colours that is taken out, for scenes with lamps of their own; 1 for all "
        "that depends on how surfaces face.",
    ),
]

_KINDS = ("glb", "obj", "ply", "stl")
_MOVING = ("mp4", "gif", "webp")
VIEWS, PREVIEW = "reconstruction-views.png", "preview.png"
"""Beside the mesh: the views it is made of, and what there is of it while it is made."""


@dataclass(frozen=True)
class MeshOptions:
    """How large the mesh is, in which format, and what lies beside it."""

    faces: Faces = 30_000
    format: Annotated[
        str | None, typer.Option(help="glb, obj, ply or stl. [default: as --out ends, else glb]", show_default=False)
    ] = None
    texture: Texture = None
    even_light: EvenLight = 0.0
    turntable: Annotated[str, typer.Option(help="The mesh turning, as mp4, gif or webp.")] = "mp4"
    depth_normals: Annotated[
        bool, typer.Option("--depth-normals", help="Also depth and normals of the mesh from all sides.")
    ] = False
    export_dataset: Annotated[
        Path | None,
        typer.Option(help="Folder for views and cameras, for nerfstudio, COLMAP and gsplat.", show_default=False),
    ] = None

    def file(self, out: Path | None, picture: Path) -> Path:
        """Where the mesh goes.

        Raises:
            ValueError: no such format, or two that differ; in one line.
        """
        if self.format is not None and self.format not in _KINDS:
            raise ValueError(f"--format must be {', '.join(_KINDS)}, got {self.format}")
        if self.turntable not in _MOVING:
            raise ValueError(f"--turntable must be {', '.join(_MOVING)}, got {self.turntable}")
        file = out or Path("out") / picture.stem / f"model.{self.format or 'glb'}"
        if file.suffix.lower()[1:] not in _KINDS or file.is_dir():
            raise ValueError(f"{file}: must be a file whose name ends in {', '.join(f'.{kind}' for kind in _KINDS)}")
        if self.format is not None and file.suffix.lower() != f".{self.format}":
            raise ValueError(f"{file}: ends in another format than --format {self.format}")
        return file

    def settings(self, given: ReconstructionSettings) -> ReconstructionSettings:
        """The settings of a reconstruction with these."""
        from dataclasses import replace

        return replace(given, faces=self.faces, texture=self.texture, even_light=self.even_light)

    def refuse_views(self, method: str) -> None:
        """Raise ValueError, in one line, if something is wanted that only a mesh made of views has."""
        views = {"texture": self.texture, "even-light": self.even_light, "export-dataset": self.export_dataset}
        for name, wanted in views.items():
            if wanted:
                raise ValueError(f"--{name} is of --method views: {method} draws no views and colours vertices")

    def watch(self, file: Path, photo: Photo) -> Watch:
        """Writes the views and the growing field beside `file` as soon as there are any."""
        from zero123.images import io
        from zero123.images.sheets import contact_sheet
        from zero123.reconstruction.from_photo import Watch
        from zero123.reconstruction.preview import field_preview

        def smaller(settings: ReconstructionSettings) -> None:
            say(f"note: memory is short; trying again with {settings.fit.grids[-1]} voxels a side")

        return Watch(
            lambda images: io.save(file.parent / VIEWS, contact_sheet(images, 7)),
            lambda field: io.save(file.parent / PREVIEW, field_preview(field, photo.on_white)),
            smaller,
        )

    @contextmanager
    def what_is_left(self, file: Path) -> Iterator[None]:
        """Says what a stopped run leaves behind, and takes the preview away once there is something better."""
        try:
            yield
        except KeyboardInterrupt:
            if kept := [name for name in (VIEWS, PREVIEW) if (file.parent / name).is_file()]:
                say(f"what there is so far is kept in {file.parent}: {', '.join(kept)}")
            raise
        (file.parent / PREVIEW).unlink(missing_ok=True)

    def write(self, file: Path, mesh: Mesh) -> Path:
        """The mesh, its turntable and what else of it is wanted; says what else, and returns the turntable."""
        import torch

        from zero123.images.alpha import composite
        from zero123.images.sheets import save_video
        from zero123.meshes.export import export_mesh
        from zero123.reconstruction.results import write_depth_and_normals
        from zero123.reconstruction.turntable import render_turntable

        export_mesh(mesh, file)
        turning = file.parent / f"turntable.{self.turntable}"
        save_video(turning, composite(render_turntable(mesh), torch.ones(3)), 12)
        if self.depth_normals:
            write_depth_and_normals(file.parent / "sides", mesh)
            say(f"depth and normals from all sides in {file.parent / 'sides'}")
        return turning

    def write_with_views(
        self, file: Path, found: Reconstruction, images: Tensor, poses: OrbitPose, halo: float
    ) -> Path:
        """The same, and the views it was made of."""
        from zero123.geometry.camera import Camera
        from zero123.reconstruction.results import export_dataset

        turning = self.write(file, found.mesh)
        if self.export_dataset is not None:
            camera = Camera.from_orbit(poses, hw=(images.shape[-2], images.shape[-1]))
            export_dataset(self.export_dataset, found, images, camera, halo)
            say(f"views and cameras in {self.export_dataset}: transforms.json, sparse/0")
        return turning

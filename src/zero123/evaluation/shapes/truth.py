"""The true meshes of a protocol's objects, placed as they were for its views, and what a turn around them shows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zero123.data.render.batch import view_of
from zero123.data.render.light import Light
from zero123.data.render.settings import RenderSettings
from zero123.data.render.source import Source, sources_of
from zero123.evaluation.cases import Case, MissingViews
from zero123.evaluation.own_views import settings_of
from zero123.evaluation.protocols import Protocol
from zero123.geometry.camera import Camera
from zero123.meshes.load import MeshError
from zero123.meshes.mesh import Mesh, concatenate, welded
from zero123.meshes.surface import is_watertight

_PLACED = 0.9
"""Overlap of the mesh's outline with the input's below which they are not one object, or not placed alike."""


_HALF = 0.499
"""Files hold a half as 128 of 255, renderers as 0.5; both must fall on one side."""


@dataclass(frozen=True)
class TrueShape:
    """What an object truly is.

    Attributes:
        parts: one per material, in the unit cube, as the renderer of the views had them.
        mesh: the bare shape of all parts, vertices that lie at one place joined.
        closed: whether it encloses a volume without a hole, so that volumes can be compared.
        light: of the object's views.
        sha256: of the file, or of the seed's digits.
    """

    parts: list[Mesh]
    mesh: Mesh
    closed: bool
    light: Light
    sha256: str

    def pictures(self, camera: Camera) -> Tensor:
        """What V cameras see under the light of the object's views, straight alpha, (V, 4, H, W) in [0, 1].

        Raises:
            ImportError: embreex is not installed; names the extra.
        """
        from zero123.data.render.embree import EmbreeRenderer

        renderer = EmbreeRenderer(self.parts)
        return torch.stack([renderer.render(camera[k], self.light) for k in range(len(camera.world_from_camera))])


def true_sources(folder: Path, protocol: Protocol) -> dict[str, Source]:
    """Where the mesh of each of the protocol's objects comes from; names are given as for rendering.

    Args:
        folder: of mesh files, at any depth; not looked at for objects that are made from a seed.
        protocol: with its objects.

    Raises:
        MissingViews: some objects have no mesh there; all of them are named.
        ValueError: no such folder, no meshes in it, or two of one name.
    """
    listed = protocol.objects or ()
    known = {one.name: Source(one.name, None, one.seed) for one in listed if one.seed is not None}
    if len(known) < len(listed):
        known |= {source.name: source for source in sources_of([folder])}
    if missing := [one.name for one in listed if one.name not in known]:
        raise MissingViews(f"{folder}: {len(missing)} objects have no mesh there, those above", missing)
    return {one.name: known[one.name] for one in listed}


def true_shape(source: Source, protocol: Protocol) -> TrueShape:
    """Read a true mesh: moved and scaled to the unit cube and turned to z up, exactly as for its views.

    Raises:
        MeshError: the file cannot be read, or its place or size are absurd.
        ValueError: its views were rendered under a light that only Blender knows.
    """
    parts = source.parts()
    shape = welded(concatenate([Mesh(part.vertices, part.faces) for part in parts]))[0]
    light = view_of(source, RenderSettings() if protocol.render is None else settings_of(protocol))[1]
    if not isinstance(light, Light):
        raise ValueError(f"{protocol.name}: its views' light is Blender's own; turntables need the light 'studio'")
    data = str(source.seed).encode() if source.path is None else source.path.read_bytes()
    return TrueShape(parts, shape, is_watertight(shape), light, hashlib.sha256(data).hexdigest())


def check_placed(truth: TrueShape, case: Case) -> None:
    """Refuse a mesh that is not what the case's input shows from its camera.

    Raises:
        MeshError: another object, turned, moved or scaled.
    """
    size = (case.photo.shape[1], case.photo.shape[2])
    camera = Camera(case.camera.world_from_camera[:1].float(), case.camera.field_of_view, size)
    overlap = outline_overlap(truth.pictures(camera)[:, 3:], case.photo[None, 3:])
    if float(overlap[0]) < _PLACED:
        raise MeshError(
            f"its mesh is not what its input shows: their outlines overlap to {float(overlap[0]):.2f}; another "
            "object, or another version of it"
        )


def outline_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of silhouettes, alpha a half or more, (V, 1, H, W), to (V,); 1 where both are empty."""
    a, b = (first > _HALF).flatten(1), (second > _HALF).flatten(1)
    union = (a | b).sum(1)
    return torch.where(union > 0, (a & b).sum(1) / union.clamp(min=1), 1.0).double()

"""The objects of a protocol, found in a folder and read: input, targets, silhouettes and cameras; what is missing."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123.data.formats.detect import open_source
from zero123.data.formats.view_folders import ViewFolders
from zero123.data.shards.index import INDEX
from zero123.data.sources import ObjectSource
from zero123.data.view_files import ViewLevels, read_views, view_names
from zero123.evaluation.protocols import ListedObject, Place, Protocol
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.images.alpha import composite
from zero123.images.io import from_pillow, resized, to_pillow

_TOLERANCE = 0.01
"""How far a camera may stand from where the protocol lists it, world units."""


class MissingViews(ValueError):
    """Views that a protocol needs and the folder lacks.

    Attributes:
        files: all of them, by name.
    """

    def __init__(self, message: str, files: Sequence[str]) -> None:
        super().__init__(message)
        self.files = list(files)


@dataclass(frozen=True)
class Case:
    """One object, ready to be asked of a method and to judge its answer.

    Attributes:
        name, kind: of the object.
        photo: the input, straight alpha, (4, S, S) at the size of its file.
        white: input and targets on white in 8-bit levels, at the protocol's size, (1 + T, 3, H, H) in [0, 1].
        mask: their silhouettes, (1 + T, 1, H, H) bool.
        camera: of all of them, (1 + T).
        numbers: of all of them in the object's folder.
        digest: SHA-256 of pictures and cameras as read.
    """

    name: str
    kind: str
    photo: Tensor
    white: Tensor
    mask: Tensor
    camera: Camera
    numbers: tuple[int, ...]
    digest: str

    @property
    def pose(self) -> OrbitPose:
        """Where the cameras stand, (1 + T,)."""
        return self.camera.orbit()

    @property
    def angles(self) -> Tensor:
        """Angle between the directions of input and targets, seen from the object, degrees, (T,)."""
        direction = torch.nn.functional.normalize(self.camera.position.double(), dim=-1)
        across = torch.linalg.cross(direction[:1].expand_as(direction[1:]), direction[1:]).norm(dim=-1)
        return torch.rad2deg(torch.atan2(across, (direction[:1] * direction[1:]).sum(-1)))


def names_in(folder: Path) -> list[str]:
    """The objects whose views are in a folder.

    Raises:
        ValueError: no folder, or no views in it.
    """
    return list(_opened(folder).names)


def side_in(folder: Path) -> int:
    """The width of the first object's first view, pixels.

    Raises:
        ValueError: no folder, or no views in it.
    """
    return int(_opened(folder).load(0, [0]).levels.shape[2])


class Cases:
    """The objects of a protocol in a folder, in the protocol's order.

    Args:
        folder: views, in any format that `open_source` reads.
        protocol: what is wanted of them; `size` must be set.

    Raises:
        MissingViews: what is missing, all of it; or no views at all.
        ValueError: the folder is of no known format.
    """

    def __init__(self, folder: Path, protocol: Protocol) -> None:
        if protocol.size is None:
            raise ValueError("the protocol must say the size of its pictures")
        self._protocol = protocol
        if missing := missing_files(folder, protocol):
            each = " of each object" if protocol.objects is None else ""
            raise MissingViews(f"{protocol.name}: {len(missing)} files{each} are missing in {folder}", missing)
        if protocol.sha256 and protocol.objects is not None and _plain_folders(folder):
            self.objects = protocol.objects
            inside = [protocol.folder.format(object=one.name) for one in self.objects]
            self._source: ObjectSource = ViewFolders(folder, inside)
            self._index = {one.name: index for index, one in enumerate(self.objects)}
            return
        self._source = _opened(folder)
        self._index = {name: index for index, name in enumerate(self._source.names)}
        self.objects = protocol.objects or tuple(ListedObject(name) for name in self._index)
        if unknown := [one.name for one in self.objects if one.name not in self._index]:
            raise ValueError(f"{folder}: holds no views of {unknown[0]} ({len(unknown)} objects in all)")

    def __len__(self) -> int:
        return len(self.objects)

    def __iter__(self) -> Iterator[Case]:
        return (self.load(one) for one in self.objects)

    def load(self, one: ListedObject) -> Case:
        """An object's case.

        Raises:
            ValueError: broken, too few or too small views, or a camera that is not where the protocol lists it.
        """
        protocol, index = self._protocol, self._index[one.name]
        size, count = protocol.size or 0, self._source.views(index)
        if count < protocol.views:
            raise ValueError(f"{one.name}: {protocol.name} needs {protocol.views} views, it has {count}")
        levels = _read(self._source, index, one, protocol)
        height, width = levels.levels.shape[1:3]
        if height != width or height < size:
            raise ValueError(
                f"{one.name}: {protocol.name} needs square views of at least {size} pixels, got {width}x{height}"
            )
        if protocol.camera_rule == "listed":
            _check_cameras(levels.camera, one, protocol)
        rgba = levels.views().images
        white, mask = zip(*(_on_white(view, size, protocol) for view in rgba), strict=True)
        digest = hashlib.sha256(levels.levels.tobytes())
        digest.update(levels.camera.world_from_camera.double().numpy().round(5).tobytes())
        return Case(
            one.name, one.kind, rgba[0], torch.stack(white), torch.stack(mask), levels.camera,
            protocol.numbers, digest.hexdigest(),
        )  # fmt: skip


def missing_files(folder: Path, protocol: Protocol) -> list[str]:
    """What a protocol needs and the folder lacks: files, or names of objects where they are not in folders.

    Of a protocol without objects, the files of an `OBJECT` are named if there is no folder. A protocol that is no file
    asks for no files by name: an object has enough views or it does not.
    """
    if not protocol.sha256:
        return []
    if protocol.objects is None:
        needed = [str(folder / file) for file in _needed("OBJECT", protocol)]
        return [] if folder.exists() else needed
    if _plain_folders(folder):
        files = (folder / file for one in protocol.objects for file in _needed(one.name, protocol))
        return [str(path) for path in files if not path.is_file()]
    there = set(_opened(folder).names)
    return [f"{folder}: {one.name}" for one in protocol.objects if one.name not in there]


def _needed(name: str, protocol: Protocol) -> Iterator[str]:
    """The files an object must have, below the folder of all; listed cameras need no files."""
    for number in protocol.numbers:
        for ending in ("png", "npy") if protocol.camera_rule == "own" else ("png",):
            yield f"{protocol.folder.format(object=name)}/{number:03d}.{ending}"


def _plain_folders(folder: Path) -> bool:
    """Whether objects are looked for as folders of pictures, and not in shards or NeRF's scenes."""
    return not (folder / INDEX).is_file() and not any(folder.glob("*/transforms*.json"))


def _opened(folder: Path) -> ObjectSource:
    if folder.is_dir() and not any(p.is_dir() or p.suffix in (".tar", ".png", ".json") for p in folder.iterdir()):
        raise ValueError(f"{folder}: holds no view sets that match")
    return open_source(folder)


def _read(source: ObjectSource, index: int, one: ListedObject, protocol: Protocol) -> ViewLevels:
    """The views wanted; where no cameras lie beside them, they have the listed ones."""
    places = protocol.places(one)
    if protocol.camera_rule == "own" or not isinstance(source, ViewFolders):
        return source.load(index, protocol.numbers)
    files = source.files(index)
    pictures = view_names(files)
    if not any(picture.replace(".png", ".npy") in files for picture in pictures):
        for picture, matrix in zip(pictures, _camera(places, protocol).to_blender_rt(), strict=False):
            stored = io.BytesIO()
            np.save(stored, matrix.numpy())
            files[picture.replace(".png", ".npy")] = stored.getvalue()
    return read_views(files, one.name, protocol.numbers)


def _camera(places: Sequence[Place], protocol: Protocol) -> Camera:
    azimuth, elevation, radius = torch.tensor(places, dtype=torch.float64).unbind(-1)
    return Camera.from_orbit(OrbitPose.from_degrees(azimuth, elevation, radius), protocol.field_of_view)


def _check_cameras(camera: Camera, one: ListedObject, protocol: Protocol) -> None:
    listed = _camera([protocol.places(one)[number] for number in protocol.numbers], protocol)
    away = (camera.position.double() - listed.position).norm(dim=-1)
    worst = int(away.argmax())
    if float(away[worst]) > _TOLERANCE:
        azimuth, elevation, radius = protocol.places(one)[protocol.numbers[worst]]
        raise ValueError(
            f"{one.name}: view {protocol.numbers[worst]} was taken {float(away[worst]):.2f} away from where "
            f"{protocol.name} has it (azimuth {azimuth:g}, elevation {elevation:g}, radius {radius:g})"
        )
    if not math.isclose(camera.field_of_view, protocol.field_of_view, abs_tol=1e-3):
        raise ValueError(
            f"{one.name}: its lens sees {math.degrees(camera.field_of_view):.2f} degrees, "
            f"{protocol.name} has {math.degrees(protocol.field_of_view):.2f}"
        )


def _on_white(rgba: Tensor, size: int, protocol: Protocol) -> tuple[Tensor, Tensor]:
    """A view on white in 8-bit levels, (3, size, size), and its silhouette, (1, size, size) bool."""
    if protocol.edges == "hard":
        hard = torch.cat((rgba[:3], rgba[3:].gt(0).to(rgba)))
        both = composite(hard[None], torch.ones(3))[0], rgba[3:]
        way = Image.Resampling.BICUBIC
        white, alpha = (from_pillow(to_pillow(image).resize((size, size), way)) for image in both)
        return white, alpha > 0.5
    if rgba.shape[-1] != size:
        rgba = resized(rgba, size, size)
    return eight_bit(composite(rgba[None], torch.ones(3))[0]), rgba[3:] > 0.5


def eight_bit(image: Tensor) -> Tensor:
    """The picture in 256 levels, as a file holds it."""
    return (image.clamp(0, 1) * 255).round() / 255

"""Cameras of programs that draw pictures: Blender, OpenGL and PyTorch3D."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from zero123.geometry.camera import Camera
from zero123.geometry.conventions.pinhole import (
    camera_from_world,
    field_of_view,
    joined,
    world_from_camera_of,
)


@dataclass(frozen=True)
class Blender:
    """An object's `matrix_world` and its camera's lens: camera to world, x right, y up, looking along -z.

    Attributes:
        matrix_world: (..., 4, 4), world units.
        lens: focal length, millimetres.
        sensor_width: millimetres; 32 is the one of Zero-1-to-3's renders.
        resolution: width and height of the render, pixels; `resolution_x` and `_y` at 100 %.
        sensor_fit: HORIZONTAL; Blender's own AUTO takes the longer side, which is another lens for upright pictures.
    """

    matrix_world: Tensor
    lens: float
    sensor_width: float
    resolution: tuple[int, int]
    sensor_fit: str = "HORIZONTAL"

    @classmethod
    def of(cls, camera: Camera, sensor_width: float = 32.0) -> Blender:
        """From ours."""
        lens = sensor_width / 2 / math.tan(camera.field_of_view / 2)
        return cls(camera.to_opengl(), lens, sensor_width, (camera.hw[1], camera.hw[0]))

    def camera(self) -> Camera:
        """To ours.

        Raises:
            ValueError: `sensor_fit` is VERTICAL; AUTO is followed as Blender does.
        """
        if self.sensor_fit not in ("HORIZONTAL", "AUTO"):
            raise ValueError(f"sensor_fit must be HORIZONTAL or AUTO, got {self.sensor_fit}")
        width, height = self.resolution
        fitted = max(width, height) if self.sensor_fit == "AUTO" else width
        half = self.sensor_width / 2 * width / fitted
        return Camera.from_opengl(self.matrix_world, 2 * math.atan(half / self.lens), (height, width))


@dataclass(frozen=True)
class OpenGL:
    """World to camera, x right, y up, looking along -z; columns: `clip = projection @ view @ (x, y, z, 1)`.

    After division by w, x and y reach from -1 to 1, x to the right, y up, and z from -1 at `near` to 1 at `far`.

    Attributes:
        view: (..., 4, 4).
        projection: (4, 4).
        hw: height and width of the picture, pixels.
    """

    view: Tensor
    projection: Tensor
    hw: tuple[int, int]

    @classmethod
    def of(cls, camera: Camera, near: float = 0.1, far: float = 100.0) -> OpenGL:
        """From ours; what lies nearer or further than `near` and `far`, world units, is cut away.

        Raises:
            ValueError: not 0 < near < far.
        """
        if not 0 < near < far:
            raise ValueError(f"near and far must be 0 < near < far, got {near} and {far}")
        world_from_gl = camera.to_opengl()
        view = joined(*camera_from_world(world_from_gl))
        across, up = (2 * camera.focal / side for side in (camera.hw[1], camera.hw[0]))
        deep, shift = -(far + near) / (far - near), -2 * far * near / (far - near)
        rows = [[across, 0, 0, 0], [0, up, 0, 0], [0, 0, deep, shift], [0, 0, -1, 0]]
        return cls(view, view.new_tensor(rows), camera.hw)

    def camera(self) -> Camera:
        """To ours.

        Raises:
            ValueError: a projection that is not a pinhole's in the middle with square pixels.
        """
        height, width = self.hw
        p = self.projection.double()
        if p[3].tolist() != [0, 0, -1, 0]:
            raise ValueError(f"projection must be a perspective one with last row 0 0 -1 0, got {p[3].tolist()}")
        middle = (width / 2 * (1 - float(p[0, 2])), height / 2 * (1 + float(p[1, 2])))
        focal = float(p[0, 0]) * width / 2, float(p[1, 1]) * height / 2
        lens = field_of_view(*focal, middle, self.hw, "the third column 0 0")
        world_from_gl = world_from_camera_of(self.view[..., :3, :3], self.view[..., :3, 3])
        return Camera.from_opengl(world_from_gl, lens, self.hw)


@dataclass(frozen=True)
class PyTorch3D:
    """World to camera, x left, y up, z forward; rows: `x_camera = x_world @ R + T`; pixel centres at +0.5.

    For `PerspectiveCameras(R=R, T=T, focal_length=focal_length, principal_point=(principal_point,),
    image_size=(image_size,), in_ndc=False)`, each with the batch's first axis.

    Attributes:
        R: (..., 3, 3), for rows: the transpose of what columns take.
        T: (..., 3), world units.
        focal_length: pixels.
        principal_point: (x, y), pixels from the upper left corner.
        image_size: height and width of the picture, pixels.
    """

    R: Tensor
    T: Tensor
    focal_length: float
    principal_point: tuple[float, float]
    image_size: tuple[int, int]

    @classmethod
    def of(cls, camera: Camera) -> PyTorch3D:
        """From ours."""
        rotation, translation = camera_from_world(camera.world_from_camera)
        turn = rotation.new_tensor((-1.0, -1.0, 1.0))
        height, width = camera.hw
        rows = (turn[:, None] * rotation).transpose(-1, -2)
        return cls(rows, turn * translation, camera.focal, (width / 2, height / 2), camera.hw)

    @property
    def focal_ndc(self) -> float:
        """The focal length for `in_ndc=True`, in halves of the picture's shorter side."""
        return 2 * self.focal_length / min(self.image_size)

    def camera(self) -> Camera:
        """To ours.

        Raises:
            ValueError: a principal point that is not the picture's middle.
        """
        turn = self.R.new_tensor((-1.0, -1.0, 1.0))
        lens = field_of_view(
            self.focal_length, self.focal_length, self.principal_point, self.image_size, "PyTorch3D's W / 2"
        )
        rotation = turn[:, None] * self.R.transpose(-1, -2)
        return Camera(world_from_camera_of(rotation, turn * self.T), lens, self.image_size)

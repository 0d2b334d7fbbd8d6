"""Cameras of programs that measure pictures: OpenCV, COLMAP and nerfstudio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zero123.geometry.camera import Camera
from zero123.geometry.conventions.pinhole import (
    PIXELS,
    camera_from_world,
    field_of_view,
    with_last_row,
    world_from_camera_of,
)


@dataclass(frozen=True)
class OpenCV:
    """World to camera, x right, y down, z forward; columns: `x_camera = R @ x_world + t`; pixel centres at integers.

    Attributes:
        K: pixels of the lens, (3, 3); its middle is ((W - 1) / 2, (H - 1) / 2).
        R: rotations, (..., 3, 3).
        t: translations, (..., 3), world units.
        hw: height and width of the picture, pixels.
    """

    K: Tensor
    R: Tensor
    t: Tensor
    hw: tuple[int, int]

    @classmethod
    def of(cls, camera: Camera) -> OpenCV:
        """From ours."""
        rotation, translation = camera_from_world(camera.world_from_camera)
        (height, width), focal = camera.hw, camera.focal
        lens = [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]
        return cls(rotation.new_tensor(lens), rotation, translation, camera.hw)

    def camera(self) -> Camera:
        """To ours.

        Raises:
            ValueError: pixels that are not square, a middle that is not the picture's, or skew.
        """
        if abs(float(self.K[0, 1])) > PIXELS:
            raise ValueError(f"K must have no skew, got {float(self.K[0, 1]):g}")
        middle = float(self.K[0, 2]) + 0.5, float(self.K[1, 2]) + 0.5
        lens = field_of_view(float(self.K[0, 0]), float(self.K[1, 1]), middle, self.hw, "OpenCV's (W - 1) / 2")
        return Camera(world_from_camera_of(self.R, self.t), lens, self.hw)


@dataclass(frozen=True)
class Colmap:
    """World to camera as a quaternion, x right, y down, z forward; pixel centres at +0.5 (COLMAP, "Output format").

    Attributes:
        qvec: unit quaternions (w, x, y, z), w not negative, (..., 4).
        tvec: translations, (..., 3), world units.
        params: of the model, pixels: (f, f, W / 2, H / 2) of PINHOLE, (f, W / 2, H / 2) of SIMPLE_PINHOLE.
        width, height: of the picture, pixels.
        model: PINHOLE or SIMPLE_PINHOLE.
    """

    qvec: Tensor
    tvec: Tensor
    params: tuple[float, ...]
    width: int
    height: int
    model: str = "PINHOLE"

    @classmethod
    def of(cls, camera: Camera) -> Colmap:
        """From ours."""
        from scipy.spatial.transform import Rotation

        rotation, translation = camera_from_world(camera.world_from_camera)
        flat = rotation.reshape(-1, 3, 3).double().cpu().numpy()
        quaternion = torch.from_numpy(Rotation.from_matrix(flat).as_quat()).roll(1, -1)
        quaternion = torch.where(quaternion[:, :1] < 0, -quaternion, quaternion)
        height, width = camera.hw
        lens = (camera.focal, camera.focal, width / 2, height / 2)
        return cls(quaternion.to(rotation).reshape(*rotation.shape[:-2], 4), translation, lens, width, height)

    def camera(self) -> Camera:
        """To ours.

        Raises:
            ValueError: another model, pixels that are not square, or a middle that is not the picture's.
        """
        from scipy.spatial.transform import Rotation

        if (self.model, len(self.params)) not in (("PINHOLE", 4), ("SIMPLE_PINHOLE", 3)):
            raise ValueError(
                f"model must be PINHOLE or SIMPLE_PINHOLE with 4 or 3 params, got {self.model} with "
                f"{len(self.params)}; run COLMAP's image_undistorter first"
            )
        hw = (self.height, self.width)
        lens = field_of_view(self.params[0], self.params[-3], self.params[-2:], hw, "COLMAP's W / 2")
        flat = self.qvec.reshape(-1, 4).double().cpu().roll(-1, -1).numpy()
        rotation = torch.from_numpy(Rotation.from_quat(flat).as_matrix()).to(self.qvec)
        return Camera(world_from_camera_of(rotation.reshape(*self.qvec.shape[:-1], 3, 3), self.tvec), lens, hw)


@dataclass(frozen=True)
class Nerfstudio:
    """Camera to world, x right, y up, looking along -z; pixel centres at +0.5: `nerfstudio.cameras.Cameras`.

    Attributes:
        camera_to_worlds: (..., 3, 4), world units.
        fx, fy, cx, cy: of the lens, pixels.
        width, height: of the picture, pixels.
    """

    camera_to_worlds: Tensor
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    @classmethod
    def of(cls, camera: Camera) -> Nerfstudio:
        """From ours."""
        (height, width), focal = camera.hw, camera.focal
        return cls(camera.to_opengl()[..., :3, :], focal, focal, width / 2, height / 2, width, height)

    def camera(self) -> Camera:
        """To ours.

        Raises:
            ValueError: pixels that are not square, or a middle that is not the picture's.
        """
        hw = (self.height, self.width)
        lens = field_of_view(self.fx, self.fy, (self.cx, self.cy), hw, "nerfstudio's W / 2")
        return Camera.from_opengl(with_last_row(self.camera_to_worlds), lens, hw)

    def transforms(self, names: Sequence[str]) -> dict[str, Any]:
        """The content of a `transforms.json`, also for readers of NeRF-synthetic scenes.

        Args:
            names: file of each picture, from the JSON's folder, as many as there are cameras.
        """
        matrices = with_last_row(self.camera_to_worlds).double().tolist()
        return {
            "camera_model": "OPENCV",
            "camera_angle_x": 2 * math.atan(self.width / 2 / self.fx),
            "camera_angle_y": 2 * math.atan(self.height / 2 / self.fy),
            "fl_x": self.fx,
            "fl_y": self.fy,
            "cx": self.cx,
            "cy": self.cy,
            "w": self.width,
            "h": self.height,
            **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0),
            "frames": [
                {"file_path": name, "transform_matrix": matrix} for name, matrix in zip(names, matrices, strict=True)
            ],
        }

    @classmethod
    def from_transforms(cls, content: dict[str, Any]) -> Nerfstudio:
        """From the content of a `transforms.json` with one lens for all frames.

        Raises:
            ValueError: a lens that bends lines, one of each frame's own, or a key that is missing.
        """
        if bent := [key for key in ("k1", "k2", "k3", "k4", "p1", "p2") if content.get(key, 0)]:
            raise ValueError(
                f"transforms has a lens that bends lines ({', '.join(bent)}); undistort its pictures first"
            )
        try:
            matrices = torch.tensor([frame["transform_matrix"] for frame in content["frames"]], dtype=torch.float64)
            fx, fy, cx, cy = (float(content[key]) for key in ("fl_x", "fl_y", "cx", "cy"))
            return cls(matrices[:, :3], fx, fy, cx, cy, int(content["w"]), int(content["h"]))
        except KeyError as error:
            raise ValueError(f"transforms must have one lens for all and a matrix of each frame: no {error}") from error

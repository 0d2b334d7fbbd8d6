"""Relative camera pose to numbers, and the numbers joined to the image tokens: the one home of pose conditioning."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zero123.geometry.camera import Camera
from zero123.geometry.orbit import RADIUS, OrbitPose, RelativePose

PoseFormat = Literal["radius", "source_polar"]
"""What the fourth pose number is; see `pose_vector`."""


def pose_vector(relative: RelativePose, source: OrbitPose | None = None, pose_format: PoseFormat = "radius") -> Tensor:
    """The four numbers of Zero-1-to-3, (..., 4): changes of polar angle and of azimuth (sine, cosine), and one more.

    The polar angle is measured from straight above, so its change is minus that of the elevation. Section 3.2 of Liu
    et al., 2023 (arXiv:2303.11328).

    Args:
        relative: move from the input camera to the target's, (...).
        source: pose of the input camera, (...); needed for "source_polar" only.
        pose_format: "radius" is the change of radius, as in every release of the paper's authors; "source_polar" is the
            polar angle of the input camera itself, in radians, as Stable-Zero123 was trained (it ignores the radius).

    Raises:
        ValueError: `source` is missing where it is needed.
    """
    last = relative.radius
    if pose_format == "source_polar":
        if source is None:
            raise ValueError("source must be given for poses of the format 'source_polar', got None")
        last = (math.pi / 2 - source.elevation).expand_as(relative.elevation)
    return torch.stack((-relative.elevation, torch.sin(relative.azimuth), torch.cos(relative.azimuth), last), dim=-1)


def source_vector(source: OrbitPose) -> Tensor:
    """The input camera itself: sine and cosine of its elevation, its radius less the usual one, (..., 3)."""
    return torch.stack((torch.sin(source.elevation), torch.cos(source.elevation), source.radius - RADIUS), dim=-1)


def ray_map(source: OrbitPose, relative: RelativePose, hw: tuple[int, int]) -> Tensor:
    """The target's rays as the input camera sees them, Plücker coordinates, (B, 6, h, w).

    Direction d and moment o x d in the input camera's axes. The epipolar line of a target pixel in the input picture
    is the set of input rays r with r . moment = 0, so attention can find it by a product.

    Args:
        source: pose of the input camera, (B,); its azimuth does not matter.
        relative: move to the target camera, (B,).
        hw: height and width of the map, latent pixels.
    """
    world_from_input = Camera.from_orbit(source, hw=hw).world_from_camera
    target = Camera.from_orbit(source.moved(relative), hw=hw)
    input_from_target = torch.linalg.inv(world_from_input) @ target.world_from_camera
    origins, directions = Camera(input_from_target, target.field_of_view, hw).rays()
    plucker = torch.cat((directions, torch.linalg.cross(origins, directions)), dim=-1)
    return plucker.unflatten(-2, hw).movedim(-1, -3)


class PoseConditioning(nn.Module):
    """Image tokens and pose joined to the context of cross-attention: the paper's `cc_projection`.

    One linear layer on [token; pose], which starts as the identity on the token. Section 3.2 of Liu et al., 2023
    (arXiv:2303.11328).

    Args:
        token_width: length of an image token, D.
        absolute: the layer also gets `source_vector`, three more numbers.
    """

    def __init__(self, token_width: int = 768, absolute: bool = False) -> None:
        super().__init__()
        self.config = {"token_width": token_width, "absolute": absolute}
        self.absolute = absolute
        self.pose_width = 7 if absolute else 4
        self.projection = nn.Linear(token_width + self.pose_width, token_width)
        with torch.no_grad():
            self.projection.weight[:, :token_width] = torch.eye(token_width)
            self.projection.bias.zero_()

    def vector(self, relative: RelativePose, source: OrbitPose, pose_format: PoseFormat = "radius") -> Tensor:
        """All the pose numbers the layer takes, (B, 4) or (B, 7)."""
        relative_part = pose_vector(relative, source, pose_format)
        if not self.absolute:
            return relative_part
        return torch.cat((relative_part, source_vector(source)), dim=-1)

    def forward(self, tokens: Tensor, pose: Tensor) -> Tensor:
        """Context (B, N, D), in the tokens' type, of tokens (B, N, D) and pose numbers (B, P)."""
        pose = pose[:, None].expand(-1, tokens.shape[1], -1)
        joined = torch.cat((tokens.to(pose), pose), dim=-1)
        layer = self.projection
        # once a picture, so in the poses' own precision: bfloat16 would round an angle by up to a quarter of a degree
        return F.linear(joined, layer.weight.to(pose), layer.bias.to(pose)).to(tokens)

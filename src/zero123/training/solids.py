"""Which points lie inside an object, as far as its outlines in many pictures say."""

from __future__ import annotations

from torch import Tensor

from zero123.data.pairs import Outlines
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose


def in_hull(points: Tensor, outlines: Outlines) -> Tensor:
    """Whether points lie in the visual hull of the outlines (Laurentini, 1994): in all of them that show the place.

    Args:
        points: of P objects, in the world, (P, N, 3).
        outlines: K of each object.

    Returns:
        (P, N) bool.
    """
    masks = outlines.masks
    height, width = masks.shape[-2:]
    pose = OrbitPose(*(t.to(points) for t in (outlines.poses.azimuth, outlines.poses.elevation, outlines.poses.radius)))
    camera = Camera.from_orbit(pose, hw=(height, width))
    turn, centre = camera.world_from_camera[..., :3, :3], camera.position
    seen = points[:, None] @ turn - (centre[:, :, None] @ turn)  # (P, K, N, 3), in the cameras' axes
    at = seen[..., :2] * (camera.focal / seen[..., 2:].clamp(min=0.1))
    x, y = (at[..., 0] + width / 2).floor().long(), (at[..., 1] + height / 2).floor().long()
    shown = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    place = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    return (masks.flatten(2).gather(2, place) | ~shown).all(1)

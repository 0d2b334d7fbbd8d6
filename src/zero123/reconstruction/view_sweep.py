"""Which elevation of a photo makes views around it agree: the photo is seen again in them under each candidate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from zero123.geometry.camera import Camera
from zero123.geometry.orbit import RADIUS, OrbitPose, RelativePose
from zero123.reconstruction.hull import silhouettes

_REACH = 0.8
"""How far in front of the origin and behind it surfaces are looked for, world units; the whole frame shows 1.7."""

_FAR = math.radians(50)
"""Views further apart than this show too little in common to be compared."""

_MOST = 0.25
"""Mean squared difference of colours beyond which it no longer counts: the point is hidden in the other view."""

_FLOOR = 0.001
"""Mean squared difference that even perfect views leave, by resampling and light that stays; less is no evidence."""

_LEAST_PIXELS = 16


@dataclass(frozen=True)
class SweepSettings:
    """How candidates are tried.

    Attributes:
        size: side the pictures are shrunk to, pixels.
        depths: places along each ray at which its surface may lie.
        limit_deg: the candidates reach from minus this to this.
        coarse_deg, fine_deg: steps between candidates: everywhere, and near the best of those.
        evidence: how many independent observations the pictures count for, the exponent of the likelihood. 8 makes the
            deviation fit the errors with views that `mini` draws; true views would be worth more
            (`docs/experiments-3d.md`).
    """

    size: int = 64
    depths: int = 32
    limit_deg: float = 80.0
    coarse_deg: float = 10.0
    fine_deg: float = 2.5
    evidence: float = 8.0

    def __post_init__(self) -> None:
        if not (self.size > 7 and self.depths > 1 and 0 < self.fine_deg <= self.coarse_deg and self.evidence > 0):
            raise ValueError(
                "size must be at least 8, depths 2, steps and evidence over 0 and fine_deg at most coarse_deg, "
                f"got {self}"
            )
        if not self.coarse_deg <= self.limit_deg < 90:
            raise ValueError(f"limit_deg must be from {self.coarse_deg} to under 90, got {self.limit_deg}")


@dataclass(frozen=True)
class Sweep:
    """Every candidate tried.

    Attributes:
        elevation: candidates in rising order, radians, (C,).
        cost: mean squared difference of colours that remains under each, (C,).
        probability: density over elevation, per radian, (C,); flat before the pictures are seen.
        mean, deviation: of that density, radians.
    """

    elevation: Tensor
    cost: Tensor
    probability: Tensor
    mean: float
    deviation: float


def nearby_moves() -> RelativePose:
    """The views that are asked for, (4,): 20 and 40 degrees to both sides of the photo, at its height.

    To first order, a turn of the camera by a about the upright axis moves what is seen at x of the picture by
    a x sin(elevation) up or down, at whatever depth it lies: the picture rolls. Moves up and down say nothing of
    elevation, since they are the same in the photo camera's axes from any height.
    """
    return RelativePose.from_degrees([-40.0, -20.0, 20.0, 40.0], [0.0] * 4)


@torch.no_grad()
def sweep(images: Tensor, relative: RelativePose, settings: SweepSettings | None = None) -> Sweep:
    """Try elevations of a photo on views around it, coarse to fine.

    After the elevation estimate of One-2-3-45 (Liu et al., 2023, arXiv:2306.16928, section 3.2.2), which triangulates
    matched keypoints and asks for the least reprojection error. Here every object pixel is matched, along its ray
    (plane sweep), so that smooth and soft views count too: the cost of a candidate is the mean over the object's
    pixels of the least colour difference along their rays. The likelihood is Gaussian with the noise that remains
    unexplained and its variance profiled out, `cost ** (-evidence / 2)`.

    Args:
        images: the photo and then the views, on white, (1 + V, 3, S, S) in [0, 1].
        relative: moves from the photo's camera to those of the views, (V,), of azimuth and elevation only.
        settings: None for the defaults.

    Raises:
        ValueError: shapes that do not fit, or a picture in which nothing is seen.
    """
    settings = settings or SweepSettings()
    small = shrunk(images, settings.size)
    if len(relative.shape) != 1 or len(relative) != len(small) - 1 or not len(relative):
        raise ValueError(f"images must be one more than moves, got {len(images)} and {tuple(relative.shape)}")
    limit, count = settings.limit_deg, round(settings.limit_deg / settings.coarse_deg)
    costs = {a: cost_at(small, relative, math.radians(a), settings.depths) for a in _spread(0, limit, count)}
    best = min(costs, key=lambda angle: costs[angle])
    for angle in _spread(best, settings.coarse_deg, math.ceil(settings.coarse_deg / settings.fine_deg)):
        if abs(angle) <= limit and angle not in costs:
            costs[angle] = cost_at(small, relative, math.radians(angle), settings.depths)
    angles = sorted(costs)
    cost = torch.tensor([costs[angle] for angle in angles], dtype=torch.float64)
    return judged(torch.tensor(angles, dtype=torch.float64).deg2rad(), cost, settings.evidence)


def judged(elevation: Tensor, cost: Tensor, evidence: float) -> Sweep:
    """What costs (C,) of rising candidates (C,), radians, say of the elevation; cubic between candidates."""
    from scipy.interpolate import PchipInterpolator

    everywhere = torch.linspace(float(elevation[0]), float(elevation[-1]), 641, dtype=torch.float64)
    logarithm = PchipInterpolator(elevation.numpy(), (cost + _FLOOR).log().numpy())
    weight = torch.softmax(-evidence / 2 * torch.from_numpy(logarithm(everywhere.numpy())), 0)
    mean = float((weight * everywhere).sum())
    deviation = float((weight * (everywhere - mean) ** 2).sum().sqrt())
    share = (elevation - everywhere[0]) / (everywhere[-1] - everywhere[0]) * (len(everywhere) - 1)
    density = weight[share.round().long()] / float(everywhere[1] - everywhere[0])
    return Sweep(elevation, cost, density, mean, deviation)


def shrunk(images: Tensor, size: int) -> Tensor:
    """Pictures as differences from white, (V, 3, size, size), float32: 0 is what lies beyond the frame.

    Raises:
        ValueError: not square pictures, or one in which nothing is seen.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images must be (V, 3, S, S), got {tuple(images.shape)}")
    if images.shape[-1] > size:
        images = functional.interpolate(images.float(), (size, size), mode="area")
    for index, mask in enumerate(_masks(images)):
        if int(mask.sum()) < _LEAST_PIXELS:
            raise ValueError(f"the elevation cannot be found from views: nothing is seen in view {index}")
    return 1 - images.float()


def cost_at(small: Tensor, relative: RelativePose, elevation: float, depths: int) -> float:
    """Mean squared difference of colours that a candidate, radians, leaves; every picture is seen again in the others.

    Args:
        small: from `shrunk`, the photo first, (1 + V, 3, S, S).
        relative: moves to the views, (V,).
        elevation: the candidate.
        depths: places along each ray.
    """
    camera, pose = _cameras(small, relative, elevation)
    total = seen = 0.0
    for view, mask in enumerate(_masks(1 - small)):
        others = _near(pose, view)
        if others:
            least = _least(small, camera, view, others, mask, depths)[0]
            total, seen = total + float(least.sum()), seen + len(least)
    return total / seen


def seen_again(small: Tensor, relative: RelativePose, elevation: float, depths: int) -> Tensor:
    """The photo as the views show it under a candidate, radians: colours on white, (3, S, S); arguments as `cost_at`.

    It is sharp under the right candidate and torn or doubled under wrong ones.
    """
    camera, pose = _cameras(small, relative, elevation)
    mask = _masks(1 - small[:1])[0]
    _, colours = _least(small, camera, 0, _near(pose, 0), mask, depths)
    picture = torch.ones_like(small[0])
    picture[:, mask] = 1 - colours
    return picture


def _spread(middle: float, reach: float, count: int) -> list[float]:
    return [middle + reach * k / count for k in range(-count, count + 1)]


def _masks(images: Tensor) -> Tensor:
    return silhouettes(images)[0] > 0.5


def _cameras(small: Tensor, relative: RelativePose, elevation: float) -> tuple[Camera, OrbitPose]:
    """Cameras and poses of the photo, at azimuth 0, and of the views; one distance for all, since it is scale only."""
    angle = torch.tensor([elevation], dtype=torch.float32)
    source = OrbitPose(torch.zeros(1), angle, torch.full((1,), RADIUS))
    views = source.moved(relative.to("cpu", torch.float32))
    pose = OrbitPose.cat([source, OrbitPose(views.azimuth, views.elevation, torch.full_like(views.azimuth, RADIUS))])
    return Camera.from_orbit(pose, hw=(small.shape[-2], small.shape[-1])), pose


def _near(pose: OrbitPose, view: int) -> list[int]:
    """The other views not too far from one, by their azimuths and elevations alone, so whatever the candidate."""
    away = torch.remainder(pose.azimuth - pose.azimuth[view] + math.pi, 2 * math.pi) - math.pi
    apart = torch.hypot(away, pose.elevation - pose.elevation[view])
    return [other for other in range(len(pose)) if other != view and float(apart[other]) < _FAR]


def _least(
    small: Tensor, camera: Camera, view: int, others: list[int], mask: Tensor, depths: int
) -> tuple[Tensor, Tensor]:
    """Least difference along the rays of a view's object pixels, (N,), and the others' mean colour there, (3, N)."""
    origins, directions = camera[view].rays(camera[view].pixel_centres()[mask])
    along = torch.linspace(RADIUS - _REACH, RADIUS + _REACH, depths)
    points = (origins[:, None] + directions[:, None] * along[:, None]).reshape(-1, 3)
    own = small[view][:, mask][..., None]
    difference = colours = torch.zeros(1)
    for other in others:
        unit = camera[other].project(points)[0] / small.shape[-1] * 2 - 1
        read = functional.grid_sample(small[other][None], unit[None, None], align_corners=False)[0, :, 0]
        read = read.reshape(3, -1, depths)
        difference = difference + (read - own).square().mean(0).clamp(max=_MOST)
        colours = colours + read
    least, place = (difference / len(others)).min(dim=1)
    mean = (colours / len(others)).gather(2, place[None, :, None].expand(3, -1, 1))[..., 0]
    return least, mean

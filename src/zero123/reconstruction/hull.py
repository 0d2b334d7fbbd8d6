"""What the outlines of all views agree on: silhouettes, a voted visual hull, and how far each view is out of place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from zero123.fields.rendering import cells_at, ray_box
from zero123.fields.voxels import cell_centres
from zero123.geometry.camera import Camera

_TILT = math.radians(30)
"""How far the plane of parts that stick out is turned upright, at most."""


@dataclass(frozen=True)
class HullSettings:
    """How outlines are put together.

    Attributes:
        reach: half the side of the cube that is searched for the object, world units.
        cells: cells along a side of that cube.
        agreement: share of the views' votes that a cell needs to belong to the object, in (0, 1].
        doubt: share of the votes below which a cell is certainly empty.
        shift: how far a view may be moved to meet the others, share of the picture's width; 0 leaves views in place.
        rounds: how often the shifts and the views' weights are found anew.
        halo: softness of the views' outlines, see `silhouettes`.
        first_whole: the box has room for all that the first view shows, whatever the others say.
    """

    reach: float = 0.8
    cells: int = 64
    agreement: float = 0.9
    doubt: float = 0.7
    shift: float = 0.05
    rounds: int = 2
    halo: float = 0.0
    first_whole: bool = False


@dataclass(frozen=True)
class Hull:
    """What the outlines say.

    Attributes:
        votes: share of the views in whose outline a cell lies, (Z, Y, X), in [0, 1], over the box.
        low, high: corners of the box, (3,) each, world units; it holds the object with a margin.
        shifts: pixels (x, y) by which each view's picture is displaced, (V, 2).
        weights: trust in each view, (V,), in [0, 1]; 1 for the first.
    """

    votes: Tensor
    low: Tensor
    high: Tensor
    shifts: Tensor
    weights: Tensor


def silhouettes(images: Tensor, halo: float = 0.0) -> tuple[Tensor, Tensor]:
    """Where the object is in pictures on white, and how sure that is.

    Colours near white that touch the frame are background. White areas enclosed by the object may be holes or white
    paint: they count as background with little confidence. With an alpha channel, alpha is the answer.

    Args:
        images: (V, 3, H, W) on white or (V, 4, H, W) with straight alpha, in [0, 1].
        halo: for soft views, whose outlines fade to white: colours nearer to white than this share of the object's
            usual distance from white are background. 0 for sharp views.

    Returns:
        Soft silhouettes and confidences, (V, H, W) each, in [0, 1].
    """
    if images.shape[1] == 4:
        return images[:, 3], torch.ones_like(images[:, 3])
    away = (1 - images).amax(dim=1)
    usual = torch.stack([a[a > 0.12].median() if bool((a > 0.12).any()) else a.max() for a in away])[:, None, None]
    middle, width = (halo * usual).clamp(min=0.075), (halo * usual / 2).clamp(min=0.09)
    alpha = ((away - middle) / width + 0.5).clamp(0, 1)
    outside = _connected_to_frame(away < middle - 0.015)
    enclosed = (alpha < 0.5) & ~outside
    return alpha, torch.where(enclosed, 0.2, 1.0).to(images)


def beside_outlines(alpha: Tensor, width: int) -> Tensor:
    """The part of silhouettes, (V, H, W), that lies within `width` pixels of their outlines, bool."""
    solid = (alpha > 0.5).to(alpha)[:, None]
    core = -functional.max_pool2d(-functional.pad(solid, (width,) * 4), 2 * width + 1, 1)
    return (alpha > 0) & (core[:, 0] < 0.5)


def _connected_to_frame(free: Tensor) -> Tensor:
    """The part of a mask (V, H, W) that is connected to the frame of its picture."""
    import numpy as np
    from skimage.measure import label

    result = np.zeros(free.shape, bool)
    for number, mask in enumerate(free.cpu().numpy()):
        framed = np.pad(mask, 1, constant_values=True)
        parts = label(framed, connectivity=1)
        result[number] = (parts == parts[0, 0])[1:-1, 1:-1]
    return torch.from_numpy(result).to(free.device)


def count_votes(alpha: Tensor, camera: Camera, points: Tensor, shifts: Tensor, weights: Tensor) -> Tensor:
    """Weighted share of the views in whose silhouette each point lies.

    Views that do not show a point have no vote, but points that less than half of the views show cannot reach a full
    share.

    Args:
        alpha: silhouettes, (V, H, W).
        camera: cameras, `world_from_camera` (V, 4, 4).
        points: (P, 3), world units.
        shifts: displacement of the pictures, pixels (x, y), (V, 2).
        weights: (V,).

    Returns:
        (P,), in [0, 1]; 0 where no view votes.
    """
    size = alpha.new_tensor((camera.hw[1], camera.hw[0]))
    votes, total = alpha.new_zeros(len(points)), alpha.new_zeros(len(points))
    for view in range(len(alpha)):
        pixels, depth = camera[view].project(points)
        unit = (pixels + shifts[view]) / size * 2 - 1
        read = functional.grid_sample(alpha[view][None, None], unit[None, None], align_corners=False)[0, 0, 0]
        shown = ((unit.abs() < 1).all(dim=-1) & (depth > 0)).to(alpha) * weights[view]
        # A soft outline of half a pixel must not cost a vote: half covered already counts as inside.
        votes += shown * (read * 2).clamp(max=1)
        total += shown
    return votes / torch.maximum(total, weights.sum() / 2).clamp(min=1e-6)


def within(alpha: Tensor, camera: Camera, points: Tensor) -> Tensor:
    """How far a silhouette (H, W) shows points (P, 3), (P,); fully beyond the frame, where it says nothing."""
    return 1 - seen_at(1 - alpha[None], camera, points)[0]


def seen_at(layers: Tensor, camera: Camera, points: Tensor) -> Tensor:
    """What layers (C, H, W) of a camera's picture show where points (P, 3) appear, (C, P); 0 beyond the frame."""
    pixels, _ = camera.project(points)
    unit = pixels / pixels.new_tensor((camera.hw[1], camera.hw[0])) * 2 - 1
    return functional.grid_sample(layers[None], unit[None, None], align_corners=False)[0, :, 0]


def outline_of(occupied: Tensor, camera: Camera, low: Tensor, high: Tensor, hw: tuple[int, int]) -> Tensor:
    """Silhouettes of marked cells, bool (Z, Y, X), seen by V cameras: (V, h, w), 0 or 1."""
    small = Camera(camera.world_from_camera, camera.field_of_view, camera.hw).resized(hw)
    step = float((high - low)[0]) / occupied.shape[2]
    pictures = []
    for view in range(len(camera.world_from_camera)):
        origins, directions = small[view].rays()
        near, far = ray_box(origins, directions, low, high)
        count = int(float((far - near).max()) / step) + 2
        distance = near[:, None] + torch.arange(count).to(near) * step
        points = origins[:, None] + directions[:, None] * distance[..., None]
        hit = cells_at(occupied, points.reshape(-1, 3), low, high).reshape(distance.shape)
        pictures.append(hit.any(dim=1).reshape(hw).to(near))
    return torch.stack(pictures)


def displacement(seen: Tensor, expected: Tensor, limit: int) -> Tensor:
    """Whole pixels (x, y) by which pictures are displaced from what was expected, by their correlation, (V, 2).

    Args:
        seen: (V, H, W).
        expected: (V, H, W).
        limit: largest displacement along each axis, pixels.
    """
    height, width = seen.shape[-2:]
    spectrum = torch.fft.rfft2(seen) * torch.fft.rfft2(expected).conj()
    match = torch.fft.fftshift(torch.fft.irfft2(spectrum, s=(height, width)), dim=(-2, -1))
    top, left = height // 2, width // 2
    window = match[:, top - limit : top + limit + 1, left - limit : left + limit + 1]
    best = window.flatten(1).argmax(dim=1)
    side = 2 * limit + 1
    return torch.stack((best % side - limit, best // side - limit), dim=-1).to(seen)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of soft masks, (V, H, W) each -> (V,); 1 where both are empty."""
    both, either = torch.minimum(a, b).sum(dim=(1, 2)), torch.maximum(a, b).sum(dim=(1, 2))
    return torch.where(either > 0, both / either.clamp(min=1e-9), 1.0)


def trust(error: Tensor) -> Tensor:
    """Weights in [0, 1] that fall for views whose error stands out; the first view is always trusted, (V,).

    A Gaussian of the error beyond the median, in units of the median (0.05 at least): views of usual error keep their
    weight.
    """
    usual = error.median().clamp(min=0.05)
    weights = torch.exp(-(((error - usual).clamp(min=0) / usual) ** 2))
    weights[0] = 1
    return weights


@torch.no_grad()
def voted_hull(alpha: Tensor, camera: Camera, settings: HullSettings) -> Hull:
    """Find the object by its outlines, although some views are out of place or wrong.

    Visual hull (Laurentini, 1994) by votes instead of by carving, so that one wrong view cannot cut a piece off.

    Args:
        alpha: silhouettes, (V, H, W).
        camera: V cameras with the same picture size.
        settings: see there.

    Raises:
        ValueError: no cell is inside enough outlines.
    """
    low = alpha.new_full((3,), -settings.reach)
    high, grid = -low, (settings.cells,) * 3
    points = cell_centres(grid, low, high).reshape(-1, 3)
    shifts, weights = alpha.new_zeros(len(alpha), 2), alpha.new_ones(len(alpha))
    small = (min(camera.hw[0], 64), min(camera.hw[0], 64) * camera.hw[1] // camera.hw[0])
    scale = camera.hw[0] / small[0]
    coarse = functional.interpolate(alpha[:, None], small, mode="area")[:, 0]
    for _ in range(settings.rounds):
        votes = count_votes(alpha, camera, points, shifts, weights).reshape(grid)
        occupied = votes > min(settings.agreement, 0.95 * float(votes.max()))
        expected = outline_of(occupied, camera, low, high, small)
        limit = round(settings.shift * small[1])
        moved = displacement(coarse, expected, limit)
        moved[0] = 0
        aligned = torch.stack(
            [torch.roll(p, (-int(y), -int(x)), (0, 1)) for p, (x, y) in zip(coarse, moved, strict=True)]
        )
        weights = trust(1 - overlap(aligned, expected))
        shifts = moved * scale
    votes = count_votes(alpha, camera, points, shifts, weights).reshape(grid)
    return _tight(votes, low, high, alpha, camera, shifts, weights, settings)


def _tight(
    votes: Tensor,
    low: Tensor,
    high: Tensor,
    alpha: Tensor,
    camera: Camera,
    shifts: Tensor,
    weights: Tensor,
    settings: HullSettings,
) -> Hull:
    """The votes once more, in a cube just around the object, so that no resolution is wasted on empty space."""
    inside = torch.nonzero(votes > settings.agreement - 0.05)
    if not len(inside):
        raise ValueError("images must show one object from all sides, got outlines that share no volume")
    cell = (high - low) / votes.shape[0]
    first = low + inside.amin(dim=0).flip(0) * cell
    last = low + (inside.amax(dim=0).flip(0) + 1) * cell
    if settings.first_whole:
        corners = _corners(alpha[0], camera[0], (first + last) / 2)
        first, last = torch.minimum(first, corners.amin(0)), torch.maximum(last, corners.amax(0))
    middle, half = (first + last) / 2, float((last - first).max()) / 2 + 2 * float(cell[0])
    low, high = middle - half, middle + half
    points = cell_centres(tuple(votes.shape), low, high).reshape(-1, 3)  # type: ignore[arg-type]
    tight = count_votes(alpha, camera, points, shifts, weights).reshape(votes.shape)
    return Hull(tight, low, high, shifts, weights)


def facing(camera: Camera) -> Tensor:
    """Unit normal, (3,), of the plane in which a part most likely lies that sticks out of what is known of an object.

    Masts, legs, ears and handles stand upright, or out to the side: the plane is upright and faces the camera. What is
    seen from steeply above or below is as likely to point at the camera: it is at most 30 degrees off the picture's
    plane.
    """
    down, forward = camera.world_from_camera[:3, 1], camera.world_from_camera[:3, 2]
    turn = -torch.asin(forward[2].clamp(-1, 1)).clamp(-_TILT, _TILT)
    return forward * torch.cos(turn) - down * torch.sin(turn)


def _corners(alpha: Tensor, camera: Camera, middle: Tensor) -> Tensor:
    """Corners of a silhouette's box about a point (3,), (4, 3): room for what others miss.

    The upper ones lie in the plane that faces the camera, where what stands upright would end; the lower ones as far
    from the camera as the point, since what is lowest in a picture is mostly the near edge of a base.
    """
    rows, columns = (alpha > 0.5).nonzero(as_tuple=True)
    if not len(rows):
        return middle[None]
    left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    pixels = torch.stack([torch.stack((x, y)) for y in (top, bottom) for x in (left, right)])
    origins, directions = camera.rays(pixels.to(middle))
    normal = facing(camera)
    upper = ((middle - origins) @ normal / (directions @ normal))[:2]
    lower = (middle - origins).norm(dim=-1)[2:]
    return origins + directions * torch.cat((upper, lower))[:, None]

"""Primitive solids: boxes, balls, cylinders, cones, tori, tubes, lathes and extrusions, meshed to a spacing."""

from __future__ import annotations

import numpy as np

from zero123.data.procedural.solid import Array, Solid, close_rows, refine, wrap_rows

QUARTER = np.pi / 2


def circle(count: int) -> Array:
    """`count` points of the unit circle, counter-clockwise, (count, 2)."""
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def segments(radius: float, spacing: float) -> int:
    """Number of points of a circle of this radius at this spacing; even, 14 to 128."""
    return int(np.clip(2 * round(np.pi * radius / spacing), 14, 128))


def ball(radii: tuple[float, float, float], spacing: float, power: float = 2.0) -> Solid:
    """Ellipsoid (power 2) or superquadric |x/a|^p + |y/b|^p + |z/c|^p = 1, centred at the origin."""
    size = max(radii)
    around = segments(size, spacing)
    rows = int(np.clip(round(np.pi * size / spacing), 8, 64))
    polar = np.linspace(-QUARTER, QUARTER, rows + 1)[1:-1, None]
    ring = circle(around)[None]
    height = np.broadcast_to(np.sin(polar)[..., None], (rows - 1, around, 1))
    points = np.concatenate([np.cos(polar)[..., None] * ring, height], -1)
    if power != 2.0:
        points = points / (np.abs(points) ** power).sum(-1, keepdims=True) ** (1 / power)
    tip = np.array([0.0, 0.0, radii[2]])
    return close_rows(points * np.array(radii), -tip, tip)


def lathe(profile: Array, spacing: float) -> Solid:
    """Surface of revolution about z; `profile` (K, 2) holds (radius, z) from the foot of the axis to its top."""
    profile = refine(np.asarray(profile, dtype=np.float64), spacing)
    ring = circle(segments(float(profile[:, 0].max()), spacing))
    inner = profile[1:-1]
    rows = np.concatenate(
        [inner[:, :1, None] * ring[None], np.broadcast_to(inner[:, 1, None, None], (len(inner), len(ring), 1))], -1
    )
    return close_rows(rows, np.array([0.0, 0.0, profile[0, 1]]), np.array([0.0, 0.0, profile[-1, 1]]))


def edge(bevel: float, steps: int) -> Array:
    """Quarter round of an edge: (steps + 1, 2) of (inset, depth below the cap), from the side to the cap."""
    angle = np.linspace(0, QUARTER, steps + 1)
    return np.stack([bevel * (1 - np.cos(angle)), bevel * (1 - np.sin(angle))], 1)


def cylinder(radius: float, height: float, spacing: float, top: float | None = None, bevel: float = 0.01) -> Solid:
    """Cylinder or frustum (with radius `top` above), centred at the origin, edges rounded by `bevel`."""
    top = radius if top is None else top
    half = height / 2
    low, high = min(bevel, 0.45 * radius, 0.45 * height), min(bevel, 0.45 * top, 0.45 * height)
    steps = 1 if bevel <= 0.015 else 4
    lower, upper = edge(low, steps)[::-1], edge(high, steps)
    profile = np.concatenate(
        [
            [[0.0, -half]],
            np.stack([radius - lower[:, 0], -half + lower[:, 1]], 1),
            np.stack([top - upper[:, 0], half - upper[:, 1]], 1),
            [[0.0, half]],
        ]
    )
    return lathe(profile, spacing)


def cone(radius: float, height: float, spacing: float) -> Solid:
    """Cone with a slightly blunt tip, centred at half height."""
    return cylinder(radius, height, spacing, top=0.04 * radius)


def capsule(radius: float, length: float, spacing: float) -> Solid:
    """Cylinder with round ends along z, centred; `length` includes the ends."""
    half = max(length / 2 - radius, 0.0)
    angle = np.linspace(0, QUARTER, 7)
    arc = np.stack([radius * np.sin(angle), -half - radius * np.cos(angle)], 1)
    upper = arc[::-1] * np.array([1.0, -1.0])
    return lathe(np.concatenate([arc, upper]), spacing)


def torus(radius: float, thickness: float, spacing: float, squash: float = 1.0) -> Solid:
    """Ring in the xy plane with centre line `radius` and tube radius `thickness`; `squash` scales its height."""
    ring = circle(segments(radius + thickness, spacing))
    tube = circle(max(8, segments(thickness, spacing) * 2 // 3))
    reach = radius + thickness * tube[:, 0]
    height = np.broadcast_to(squash * thickness * tube[None, :, 1, None], (len(ring), len(tube), 1))
    rows = np.concatenate([reach[None, :, None] * ring[:, None], height], -1)
    return wrap_rows(rows[:, ::-1])


def extrude(outline: Array, height: float, spacing: float, bevel: float = 0.01, top: float = 1.0) -> Solid:
    """Plate of an outline in xy, centred in z.

    Args:
        outline: (S, 2) counter-clockwise, every point visible from the origin (star-shaped).
        height: thickness along z.
        spacing: largest step between vertices.
        bevel: radius of the rounded edges.
        top: scale of the upper face relative to the lower one (taper).
    """
    outline = refine(outline, spacing, closed=True)
    ahead, behind = np.roll(outline, -1, 0) - outline, outline - np.roll(outline, 1, 0)
    tangent = _unit(ahead) + _unit(behind)
    outward = _unit(np.stack([tangent[:, 1], -tangent[:, 0]], 1))
    bevel = min(bevel, 0.45 * height)
    rounding = edge(bevel, 1 if bevel <= 0.015 else 4)
    caps = max(2, int(np.linalg.norm(outline, axis=1).max() / spacing / 1.3))
    shrink = np.arange(1, caps) / caps
    inset = rounding[::-1, 0]
    depth = rounding[::-1, 1]
    lower = [(bevel, s, -height / 2) for s in shrink] + [
        (i, 1.0, d - height / 2) for i, d in zip(inset, depth, strict=True)
    ]
    side = refine(np.array([[0.0, 1.0, bevel - height / 2], [0.0, 1.0, height / 2 - bevel]]), spacing)[1:-1]
    rows = np.array(lower + [tuple(r) for r in side] + [(i, s, -z) for i, s, z in lower[::-1]])
    taper = 1 + (top - 1) * (rows[:, 2] / height + 0.5)
    flat = (outline[None] - rows[:, 0, None, None] * outward[None]) * (rows[:, 1] * taper)[:, None, None]
    points = np.concatenate([flat, np.broadcast_to(rows[:, 2, None, None], (*flat.shape[:2], 1))], -1)
    tip = np.array([0.0, 0.0, height / 2])
    return close_rows(points, -tip, tip)


def rounded_rectangle(width: float, depth: float, radius: float) -> Array:
    """Rectangle of the given sides with rounded corners, counter-clockwise, (S, 2)."""
    radius = min(radius, 0.49 * width, 0.49 * depth)
    count = 3 if radius < 0.03 else 7
    angle = np.linspace(0, QUARTER, count)
    corners = []
    for k, (sx, sy) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        arc = radius * np.stack([np.cos(angle + k * QUARTER), np.sin(angle + k * QUARTER)], 1)
        corners.append(arc + np.array([sx * (width / 2 - radius), sy * (depth / 2 - radius)]))
    return np.concatenate(corners)


def box(x: float, y: float, z: float, spacing: float, bevel: float = 0.008, top: float = 1.0) -> Solid:
    """Box of the given sides, centred, edges rounded by `bevel`, tapered to `top` of its section above."""
    bevel = min(bevel, 0.45 * x, 0.45 * y, 0.45 * z)
    return extrude(rounded_rectangle(x, y, bevel * 1.05), z, spacing, bevel, top)


def tube(path: Array, radius: Array | float, spacing: float) -> Solid:
    """Round tube along a path (K, 3) with round ends; `radius` is one number or (K,)."""
    thickness = np.broadcast_to(np.asarray(radius, dtype=np.float64), (len(path),))
    track = refine(np.concatenate([path, thickness[:, None]], 1), max(spacing, 0.5 * float(thickness.min())))
    path, thickness = track[:, :3], track[:, 3].copy()
    tangent = _unit(np.gradient(path, axis=0))
    ring = circle(segments(float(thickness.max()), spacing) // 2 * 2)
    side = np.zeros_like(path)
    seed = np.eye(3)[np.argmin(np.abs(tangent[0]))]
    for k, along in enumerate(tangent):
        seed = seed - along * (seed @ along)
        side[k] = seed = seed / np.linalg.norm(seed)
    other = np.cross(tangent, side)
    rows = path[:, None] + thickness[:, None, None] * (
        ring[None, :, :1] * side[:, None] + ring[None, :, 1:] * other[:, None]
    )
    ends = []
    for k, sign in ((0, -1.0), (-1, 1.0)):
        steps = [(np.cos(a), np.sin(a)) for a in (0.5, 1.0)]
        caps = [path[k] + c * (rows[k] - path[k]) + sign * s * thickness[k] * tangent[k] for c, s in steps]
        ends.append((np.stack(caps), path[k] + sign * thickness[k] * tangent[k]))
    rows = np.concatenate([ends[0][0][::-1], rows, ends[1][0]])
    return close_rows(rows, ends[0][1], ends[1][1])


def _unit(vectors: Array) -> Array:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)

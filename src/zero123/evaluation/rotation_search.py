"""The rotation that brings one shape nearest to another: methods differ in which way their objects face."""

from __future__ import annotations

from typing import Literal

import numpy as np

from zero123.evaluation.surface_distance import Array, surface_points
from zero123.meshes.mesh import Mesh

Family = Literal["vertical", "full"]

_COARSE_POINTS, _FINE_POINTS = 512, 2048
_SPREAD = 1500
"""Rotations tried at first, about 18 degrees from their neighbours."""


class _Fit:
    """Distance between two shapes as a function of the first one's rotation, each in its own unit cube.

    Both trees are built once: turning a shape turns distances with it.
    """

    def __init__(self, made: Mesh, truth: Mesh, points: int, seed: int) -> None:
        from scipy.spatial import cKDTree

        self.points, self.truth = surface_points(made, points, seed), surface_points(truth, points, seed + 1)
        self.corners = _outermost(made.vertices[np.unique(made.faces)].astype(np.float64))
        self.tree, self.truth_tree = cKDTree(self.points), cKDTree(self.truth)

    def box(self, rotation: Array) -> tuple[Array, float]:
        """Middle and longest side of the turned shape's bounding box."""
        turned = self.corners @ rotation.T
        low, high = turned.min(0), turned.max(0)
        return (low + high) / 2, float((high - low).max())

    def distance(self, rotation: Array) -> float:
        """Chamfer distance (mean of distances, mean of both ways) after rotation and normalisation."""
        middle, side = self.box(rotation)
        ahead = self.truth_tree.query((self.points @ rotation.T - middle) / side)[0]
        back = self.tree.query((self.truth * side + middle) @ rotation)[0] / side
        return float(ahead.mean() + back.mean()) / 2

    def improved(self, rotation: Array) -> Array:
        """One step of iterative closest points (Besl and McKay, 1992) with pairs from both sides; rotation only.

        The best rotation for given pairs is Kabsch's (1976), by a singular value decomposition.
        """
        middle, side = self.box(rotation)
        turned = (self.points @ rotation.T - middle) / side
        partner = self.truth[self.truth_tree.query(turned)[1]]
        other = turned[self.tree.query((self.truth * side + middle) @ rotation)[1]]
        made, true = np.concatenate((turned, other)), np.concatenate((partner, self.truth))
        left, _, right = np.linalg.svd((true - true.mean(0)).T @ (made - made.mean(0)))
        mirrored = np.sign(np.linalg.det(left @ right))
        return np.asarray(left @ np.diag([1, 1, mirrored]) @ right @ rotation)


def best_rotation(made: Mesh, truth: Mesh, family: Family, seed: int = 0) -> Array:
    """The rotation after which `made`, normalised to the unit cube, lies nearest to `truth`; (3, 3).

    "vertical" turns about the z axis: every 5 degrees, then finer around the four best. "full" tries the 24 rotations
    that swap axes, 1500 evenly spread ones and the best vertical one, improves the eight best by iterative closest
    points and the two best of those by ever smaller turns. Shapes that are nearly symmetric may land in the wrong one
    of their near-symmetries; the distance is then nearly the same. Position and size are never searched: they come from
    the normalisation.

    Args:
        made: to be turned.
        truth: already in the unit cube around the origin.
        family: which rotations.
        seed: of the points on the surfaces that are compared.

    Returns:
        The best found; the identity where nothing is nearer.

    Raises:
        ValueError: another family, or a mesh without area.
    """
    if family not in ("vertical", "full"):
        raise ValueError(f"family must be 'vertical' or 'full', got {family!r}")
    coarse, fine = _Fit(made, truth, _COARSE_POINTS, seed), _Fit(made, truth, _FINE_POINTS, seed)
    upright = [_turn((0, 0, 2 * np.pi * k / 72)) for k in range(72)]
    starts = _nearest(coarse, upright, 4)
    found = [np.eye(3), *(_finer(fine, start, ((0, 0, 1),), np.deg2rad(2.5)) for start in starts)]
    if family == "full":
        best = _nearest(fine, found, 1)
        starts = best + _nearest(coarse, _even_rotations(), 8)
        for index in range(1, len(starts)):
            for _ in range(12):
                starts[index] = fine.improved(starts[index])
        axes = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
        found += [_finer(fine, start, axes, np.deg2rad(4)) for start in _nearest(fine, starts, 2)]
    return _nearest(fine, found, 1)[0]


def _nearest(fit: _Fit, rotations: list[Array], count: int) -> list[Array]:
    """The rotations with the smallest distances, best first; the earlier one of equals."""
    order = np.argsort([fit.distance(rotation) for rotation in rotations], kind="stable")
    return [rotations[k] for k in order[:count]]


def _finer(fit: _Fit, rotation: Array, axes: tuple[tuple[int, int, int], ...], step: float) -> Array:
    """Ever smaller turns about the axes, kept where they help, down to 0.05 degrees."""
    best = fit.distance(rotation)
    while step > np.deg2rad(0.05):
        tried = [_turn(np.array(axis) * sign * step) @ rotation for axis in axes for sign in (1, -1)]
        distances = [fit.distance(t) for t in tried]
        if min(distances) < best:
            best, rotation = min(distances), tried[int(np.argmin(distances))]
        else:
            step /= 2
    return rotation


def _even_rotations() -> list[Array]:
    """The 24 rotations of a cube and `_SPREAD` others, evenly spread.

    Super-Fibonacci spirals: Alexa, 2022, "Super-Fibonacci spirals: fast, low-discrepancy sampling of SO(3)".
    """
    from scipy.spatial.transform import Rotation

    s = np.arange(_SPREAD) + 0.5
    inner, outer = np.sqrt(s / _SPREAD), np.sqrt(1 - s / _SPREAD)
    alpha, beta = 2 * np.pi * s / np.sqrt(2), 2 * np.pi * s / 1.533751168755204288118041
    four = np.stack((inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta)), axis=1)
    return [*Rotation.create_group("O").as_matrix(), *Rotation.from_quat(four).as_matrix()]


def _turn(vector: object) -> Array:
    """Rotation about a vector by its length, radians, (3, 3)."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(np.asarray(vector, np.float64)).as_matrix())


def _outermost(points: Array) -> Array:
    """Those that can decide a bounding box after any rotation."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        return np.asarray(points[ConvexHull(points).vertices])
    except QhullError:  # flat: all of them, then
        return points

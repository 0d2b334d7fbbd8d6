"""Generated objects are reproducible, well-formed, coloured, connected and varied."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from zero123.data.procedural import FAMILIES, ObjectSettings, family_of, generate
from zero123.data.procedural.solid import Solid, refine
from zero123.meshes.mesh import Mesh

SEEDS = range(200)


@functools.cache
def _object(seed: int) -> Mesh:
    return generate(seed)


def _only(family: str) -> ObjectSettings:
    return ObjectSettings(weights={family: 1.0}, spacing=0.04)


def _components(mesh: Mesh) -> np.ndarray:
    label = np.arange(len(mesh.vertices))
    while True:
        least = label[mesh.faces].min(1)
        new = label.copy()
        for k in range(3):
            np.minimum.at(new, mesh.faces[:, k], least)
        new = new[new]
        if (new == label).all():
            return np.unique(label, return_inverse=True)[1]
        label = new


@pytest.mark.parametrize("seed", [0, 7, 123, 2**40])
def test_same_seed_gives_the_same_bytes(seed):
    first, second = generate(seed), generate(seed)
    assert first.vertices.tobytes() == second.vertices.tobytes()
    assert first.faces.tobytes() == second.faces.tobytes()
    assert first.vertex_colours.tobytes() == second.vertex_colours.tobytes()


def test_objects_fill_the_unit_cube_with_finite_points_and_colours_in_range():
    for seed in SEEDS:
        mesh = _object(seed)
        assert np.isfinite(mesh.vertices).all()
        assert mesh.vertices.dtype == np.float32 and mesh.vertex_colours.dtype == np.float32
        assert np.abs(mesh.vertices).max() <= 0.5 + 1e-4
        assert np.ptp(mesh.vertices, axis=0).max() == pytest.approx(1, abs=1e-3)
        assert mesh.vertex_colours.min() >= 0 and mesh.vertex_colours.max() <= 1


def test_faces_index_three_vertices_of_the_mesh_and_stay_within_the_budget():
    for seed in SEEDS:
        mesh = _object(seed)
        assert 0 < len(mesh.faces) <= 20_000
        assert mesh.faces.min() >= 0 and mesh.faces.max() < len(mesh.vertices)
        a, b, c = mesh.faces.T
        assert (a != b).all() and (b != c).all() and (a != c).all()


def test_no_two_of_two_hundred_seeds_are_equal():
    shapes = {(_object(seed).vertices.tobytes(), _object(seed).vertex_colours.tobytes()) for seed in SEEDS}
    assert len(shapes) == len(SEEDS)


def test_colours_vary_between_objects():
    means = np.stack([_object(seed).vertex_colours.mean(0) for seed in SEEDS])
    assert means.std(0).min() > 0.15


def test_every_family_is_drawn():
    assert {family_of(seed) for seed in range(2000)} == set(FAMILIES)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_parts_are_closed_wound_outwards_and_touch(family):
    for seed in range(5):
        mesh = generate(seed, _only(family))
        a, b = mesh.faces, np.roll(mesh.faces, -1, 1)
        there = np.sort((a * len(mesh.vertices) + b).ravel())
        back = np.sort((b * len(mesh.vertices) + a).ravel())
        assert (there == back).all(), "every edge is used once in each direction"
        part = _components(mesh)
        corners = mesh.vertices[mesh.faces].astype(np.float64)
        volume = np.einsum("fi,fi->f", np.cross(corners[:, 0], corners[:, 1]), corners[:, 2]) / 6
        assert (np.bincount(part[mesh.faces[:, 0]], volume) > 0).all()
        assert _all_reached(mesh, part), f"seed {seed} has floating parts"


def _all_reached(mesh: Mesh, part: np.ndarray) -> bool:
    """Whether the bounding boxes of the parts, grown by 0.003, form one group."""
    boxes = [(mesh.vertices[part == k].min(0), mesh.vertices[part == k].max(0)) for k in range(part.max() + 1)]
    low, high = (np.stack(side) for side in zip(*boxes, strict=True))
    touch = ((low[:, None] <= high[None] + 0.003) & (high[:, None] + 0.003 >= low[None])).all(-1)
    reached = touch[0]
    for _ in boxes:
        reached = touch[reached].any(0)
    return bool(reached.all())


def test_mirror_image_keeps_the_winding():
    solid = Solid(np.eye(4, 3), np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]]))

    def volume(s: Solid) -> float:
        p, q, r = (s.vertices[s.faces[:, k]] for k in range(3))
        return float((np.cross(p, q) * r).sum())

    assert volume(solid.mirrored()) == pytest.approx(volume(solid))


def test_refined_line_keeps_its_corners_and_spacing():
    corners = np.array([[0.0, 0], [1, 0], [1, 0.3]])
    line = refine(corners, 0.25)
    assert all((np.abs(line - c).max(1) < 1e-12).any() for c in corners)
    assert np.linalg.norm(np.diff(line, axis=0), axis=1).max() <= 0.25 + 1e-9


def test_a_small_face_budget_is_kept():
    mesh = generate(3, ObjectSettings(max_faces=6000))
    assert len(mesh.faces) <= 6000


@pytest.mark.parametrize(("seed", "weights"), [(-1, {"car": 1.0}), (0, {"dragon": 1.0}), (0, {"car": 0.0}), (0, {})])
def test_bad_arguments_are_refused(seed, weights):
    with pytest.raises(ValueError, match="must"):
        generate(seed, ObjectSettings(weights=weights))

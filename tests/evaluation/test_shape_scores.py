"""3D metrics against closed forms: spheres, boxes, points whose distances are known, objects that were turned."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from zero123.data.procedural import generate
from zero123.evaluation.rotation_search import best_rotation
from zero123.evaluation.shape_scores import ShapeSettings, compare_shapes
from zero123.evaluation.surface_distance import (
    OneWay,
    chamfer,
    f_score,
    nearest,
    normal_consistency,
    one_way_distances,
    surface_points,
    surface_samples,
)
from zero123.evaluation.volume import occupancy, volume_iou
from zero123.meshes.mesh import Mesh, concatenate

FAST = ShapeSettings(points=5000)


def mesh(solid):
    return Mesh(np.asarray(solid.vertices, np.float32), np.asarray(solid.faces, np.int64))


def ball(radius):
    return mesh(trimesh.creation.icosphere(4, radius))


def box(*sides, at=(0, 0, 0)):
    return mesh(trimesh.creation.box(sides).apply_translation(at))


def asymmetric():
    """Three boxes in the unit cube, no rotation of which looks the same."""
    parts = [
        box(1, 0.3, 0.2, at=(0, 0, -0.2)),
        box(0.2, 0.3, 0.5, at=(0.35, 0, 0.1)),
        box(0.2, 0.5, 0.2, at=(-0.4, 0.25, 0)),
    ]
    return concatenate(parts).unit_cube()


def turned(shape, vector, size=1.7, shift=3.0):
    turn = Rotation.from_rotvec(vector).as_matrix()
    return shape.replace(vertices=(shape.vertices @ turn.T * size + shift).astype(np.float32)), turn


# Points and distances


def test_points_lie_on_the_surface_evenly_by_area():
    points = surface_points(box(1, 1, 0.5), 20_000, seed=1)
    top = np.isclose(points[:, 2], 0.25)
    on_side = np.isclose(np.abs(points), np.array([0.5, 0.5, 0.25])).any(1)
    assert on_side.all()
    assert top.mean() == pytest.approx(1 / 4, abs=0.01)  # of an area of 1 + 1 + 4 * 0.5
    assert np.abs(points[top][:, :2].mean(0)).max() < 0.02
    assert np.histogram(points[top][:, 0], 4, (-0.5, 0.5))[0] / top.sum() == pytest.approx([0.25] * 4, abs=0.02)
    np.testing.assert_array_equal(points, surface_points(box(1, 1, 0.5), 20_000, seed=1))


def test_a_flat_line_and_no_points_are_refused():
    line = Mesh(np.float32([[0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match="a surface with area is needed, got 1 faces without any"):
        surface_points(line, 10)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        surface_points(ball(1), 0)


def test_the_four_chamfer_distances_of_known_points():
    made, truth = np.array([[0.0, 0, 0], [0, 0, 1]]), np.array([[0.0, 0, 3]])
    distances = one_way_distances(made, truth)
    assert (distances.from_made.tolist(), distances.from_truth.tolist()) == ([3, 2], [2])
    assert chamfer(distances) == {
        "chamfer_mean": 2.25,
        "chamfer_sum": 4.5,
        "chamfer_squared_mean": 5.25,
        "chamfer_squared_sum": 10.5,
    }


def test_the_f_score_is_the_harmonic_mean_of_precision_and_recall():
    distances = OneWay(np.array([0.0, 0.2, 0.2, 0.2]), np.array([0.0, 0.05]))
    assert f_score(distances, 0.1) == pytest.approx(2 * 0.25 * 1 / 1.25)
    assert f_score(distances, 0.3) == 1
    assert f_score(OneWay(np.ones(2), np.ones(2)), 0.1) == 0


def test_balls_in_one_another_are_the_difference_of_their_radii_apart():
    inner, outer = (surface_points(ball(r), 30_000, seed) for seed, r in enumerate((0.3, 0.4)))
    distances = one_way_distances(inner, outer)
    scores = chamfer(distances)
    assert scores["chamfer_mean"] == pytest.approx(0.1, rel=0.01)
    assert scores["chamfer_squared_sum"] == pytest.approx(0.02, rel=0.02)
    assert (f_score(distances, 0.097), f_score(distances, 0.11)) == (0, 1)


def test_normals_agree_as_the_cosine_of_the_angle_between_the_surfaces():
    """A plate, the same plate turned by 60 degrees, and the plate with pits that its distances hardly see."""
    across = np.linspace(-0.5, 0.5, 81)
    grid = np.stack(np.meshgrid(across, across, indexing="ij"), -1).reshape(-1, 2)
    corner = np.arange(80)[:, None] * 81 + np.arange(80)
    faces = np.stack((corner, corner + 81, corner + 82, corner, corner + 82, corner + 1), -1).reshape(-1, 3)

    def plate(height):
        return Mesh(np.concatenate((grid, height[:, None]), 1).astype(np.float32), faces)

    flat, pits = plate(0 * grid[:, 0]), plate(0.01 * np.sin(160 * grid[:, 0]))
    turn = Rotation.from_rotvec([np.deg2rad(60), 0, 0]).as_matrix()
    own = surface_samples(flat, 20_000)
    others = (flat, flat.replace(vertices=(flat.vertices @ turn.T).astype(np.float32)), pits)
    scores, distances = [], []
    for seed, mesh in enumerate(others):
        samples = surface_samples(mesh, 20_000, seed + 1)
        apart, numbers = nearest(samples.points, own.points)
        scores.append(normal_consistency(samples, own, numbers))
        distances.append(chamfer(apart)["chamfer_mean"])
    slope = np.diff(pits.vertices.reshape(81, 81, 3)[:, 0, 2]) / np.diff(across)
    assert scores[:2] == pytest.approx([1, 0.5], abs=1e-4)
    assert scores[2] == pytest.approx((1 / np.sqrt(1 + slope**2)).mean(), abs=0.04)
    assert distances[2] < 0.012


# Volumes


def test_boxes_on_the_grid_fill_their_cells_exactly():
    assert occupancy(box(0.5, 0.25, 1), 64).sum() == 32 * 16 * 64
    inside = occupancy(box(0.25, 0.25, 0.25, at=(0.25, 0, -0.125)), 8)
    assert np.argwhere(inside).min(0).tolist() == [5, 3, 2] and np.argwhere(inside).max(0).tolist() == [6, 4, 3]


def test_shifted_cubes_overlap_by_their_closed_form():
    for shift, expected in ((0.0, 1.0), (0.125, 3 / 5), (0.25, 1 / 3), (0.5, 0.0)):
        assert (
            volume_iou(box(0.5, 0.5, 0.5, at=(-0.25, 0, 0)), box(0.5, 0.5, 0.5, at=(-0.25 + shift, 0, 0))) == expected
        )


def test_balls_overlap_by_the_cube_of_their_radii():
    assert volume_iou(ball(0.5), ball(0.4)) == pytest.approx(0.512, abs=0.005)
    assert occupancy(ball(0.5)).mean() == pytest.approx(np.pi / 6, abs=0.005)


def test_parts_that_overlap_are_filled_and_shells_are_hollow():
    both = concatenate([box(0.5, 0.5, 0.5, at=(-0.125, 0, 0)), box(0.5, 0.5, 0.5, at=(0.125, 0, 0))])
    assert occupancy(both, 32).sum() == 24 * 16 * 16
    hole = box(0.25, 0.25, 0.25)
    shell = concatenate([box(0.5, 0.5, 0.5), hole.replace(faces=hole.faces[:, ::-1])])
    assert occupancy(shell, 32).sum() == 16**3 - 8**3


def test_windings_do_not_matter_and_holes_in_one_side_neither():
    cube = box(0.5, 0.5, 0.5)
    whole = occupancy(cube, 32)
    assert (occupancy(cube.replace(faces=cube.faces[:, ::-1]), 32) == whole).all()
    normals = cube.face_normals()
    lidless = cube.replace(faces=cube.faces[normals[:, 2] < 0.5])
    assert (occupancy(lidless, 32) == whole).all()


def test_empty_space_overlaps_with_nothing():
    far = box(0.5, 0.5, 0.5, at=(5, 0, 0))
    assert volume_iou(far, far) == 0
    with pytest.raises(ValueError, match="resolution must be at least 1, got 0"):
        occupancy(far, 0)


# Whole comparisons


def test_size_and_place_do_not_matter():
    shape = asymmetric()
    moved, _ = turned(shape, [0, 0, 0], size=0.01, shift=-7)
    same, scores = (
        compare_shapes(shape, shape, settings=FAST).scores,
        compare_shapes(moved, shape, settings=FAST).scores,
    )
    assert scores == pytest.approx(same, rel=0.01) and scores["volume_iou"] == pytest.approx(1, abs=0.01)
    assert set(scores) == {
        *("chamfer_mean", "chamfer_sum", "chamfer_squared_mean", "chamfer_squared_sum", "volume_iou"),
        "normal_consistency",
        *(f"f_score@{t}" for t in ("0.01", "0.02", "0.05", "0.1", "0.2")),
    }


def test_vertices_that_no_face_uses_do_not_count():
    shape = asymmetric()
    stray = Mesh(np.concatenate((shape.vertices, np.float32([[99, 99, 99]]))), shape.faces)
    assert compare_shapes(stray, shape, settings=FAST).scores == compare_shapes(shape, shape, settings=FAST).scores


def test_a_shape_against_itself_has_the_distance_of_two_samplings():
    scores = compare_shapes(box(1, 1, 1), box(1, 1, 1), settings=ShapeSettings(points=20_000)).scores
    assert scores["chamfer_mean"] == pytest.approx(0.5 / np.sqrt(20_000 / 6), rel=0.05)  # of random points in a plane


def test_a_turn_about_the_vertical_is_found():
    shape = asymmetric()
    made, turn = turned(shape, [0, 0, np.deg2rad(123)])
    least, lost = (compare_shapes(m, shape, settings=FAST).scores["chamfer_mean"] for m in (shape, made))
    found = compare_shapes(made, shape, "vertical", FAST)
    assert lost > 5 * least and found.scores["chamfer_mean"] < 1.1 * least
    assert found.scores["volume_iou"] > 0.97
    assert np.rad2deg(Rotation.from_matrix(found.rotation @ turn).magnitude()) < 0.5
    np.testing.assert_allclose(found.rotation[2], [0, 0, 1], atol=1e-12)


def test_any_turn_is_found_by_the_full_search_only():
    shape = asymmetric()
    made, turn = turned(shape, [1.1, 0.7, -0.4])
    upright, full = (compare_shapes(made, shape, search, FAST) for search in ("vertical", "full"))
    assert full.scores["chamfer_mean"] < 0.3 * upright.scores["chamfer_mean"]
    assert full.scores["volume_iou"] > 0.95
    assert np.rad2deg(Rotation.from_matrix(full.rotation @ turn).magnitude()) < 0.5


def test_a_shape_that_needs_no_turn_is_not_turned():
    shape = asymmetric()
    for search in ("vertical", "full"):
        turn = best_rotation(shape, shape, search)
        assert np.rad2deg(Rotation.from_matrix(turn).magnitude()) < 0.5


@pytest.mark.parametrize("seed", [5, 13])
def test_real_objects_are_found_again_too(seed):
    shape = generate(seed)
    made, _ = turned(shape, [-0.5, 2.0, 0.9])
    least = compare_shapes(shape, shape, settings=FAST).scores["chamfer_mean"]
    assert compare_shapes(made, shape, "full", FAST).scores["chamfer_mean"] < 1.1 * least


def test_flat_shapes_are_searched_too():
    flat = Mesh(np.float32([[0, 0, 0], [1, 0, 0], [0, 0.4, 0]]), np.array([[0, 1, 2]]))
    made, _ = turned(flat, [0, 0, 1.0])
    assert compare_shapes(made, flat, "vertical", FAST).scores["chamfer_mean"] < 0.01


def test_what_cannot_be_compared_is_refused():
    empty = Mesh(np.zeros((3, 3), np.float32), np.zeros((0, 3), np.int64))
    with pytest.raises(ValueError, match="made must have faces"):
        compare_shapes(empty, ball(1))
    with pytest.raises(ValueError, match="truth must have faces"):
        compare_shapes(ball(1), empty)
    with pytest.raises(ValueError, match="search must be 'none', 'vertical' or 'full', got 'some'"):
        compare_shapes(ball(1), ball(1), "some")
    with pytest.raises(ValueError, match="family must be 'vertical' or 'full', got 'none'"):
        best_rotation(ball(1), ball(1), "none")

"""Meshes judged against true ones: the judge is exact where the answer is known, and baselines are what they say."""

import math

import numpy as np
import pytest
import torch
import trimesh

from zero123.data.procedural.generate import generate
from zero123.data.render.batch import render_object, view_of
from zero123.data.render.embree import EmbreeRenderer
from zero123.data.render.settings import CameraSettings, RenderSettings
from zero123.data.render.source import Source
from zero123.evaluation.cases import Case
from zero123.evaluation.protocols import Protocol
from zero123.evaluation.shape_scores import ShapeSettings, compare_shapes
from zero123.evaluation.shapes.cost import measured
from zero123.evaluation.shapes.judging import (
    ShapeJudging,
    Turn,
    agreement_of,
    in_true_world,
    judge,
    true_turn,
    turntable_scores,
)
from zero123.evaluation.shapes.makers import Made
from zero123.evaluation.shapes.outline_solids import coloured_by, extruded_outline, fitted_ellipsoid
from zero123.evaluation.shapes.truth import TrueShape, check_placed, outline_overlap, true_shape, true_sources
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.geometry.paths import turntable
from zero123.images.alpha import composite
from zero123.images.io import PictureError
from zero123.meshes.export import export_mesh
from zero123.meshes.load import MeshError
from zero123.meshes.mesh import Mesh, concatenate
from zero123.meshes.raster import draw_picture
from zero123.meshes.surface import is_watertight
from zero123.reconstruction.fit import FitSettings
from zero123.reconstruction.from_views import ReconstructionSettings, from_views
from zero123.reconstruction.hull import HullSettings

FAST = ShapeJudging(shape=ShapeSettings(points=4000, resolution=48), search="none", views=4, size=48)
RENDER = RenderSettings(cameras=CameraSettings(views=3), size=384)
_MOVES = ((0, 2), (1, 2), (-1, 2), (1, 3), (-1, 3))
PLAIN = Protocol("own views", (1,), size=64)


def camera_at(azimuth_deg=0.0, elevation_deg=20.0, size=96):
    pose = OrbitPose.from_degrees(torch.tensor([azimuth_deg]), torch.tensor([elevation_deg]), torch.tensor([1.85]))
    return Camera.from_orbit(pose, hw=(size, size))[0]


def spheroid(w, h, at=(0.0, 0.0, 0.0)):
    ball = trimesh.creation.icosphere(4)
    vertices = np.asarray(ball.vertices) * (w, w, h) + at
    colours = 0.5 + 0.5 * np.asarray(ball.vertices)
    return Mesh(vertices.astype(np.float32), np.asarray(ball.faces), vertex_colours=colours.astype(np.float32))


@pytest.fixture(scope="module")
def made_object(tmp_path_factory):
    """A generated object as a GLB file, with views rendered from the file."""
    folder = tmp_path_factory.mktemp("meshes")
    export_mesh(generate(11).replace(vertices=generate(11).vertices * 3 + 7), folder / "thing.glb")
    source = Source("thing", folder / "thing.glb")
    return source, render_object(source, RENDER)


def case_of(views, size=384):
    white = torch.ones(len(views), 3, size, size)
    return Case("thing", "", views.images[0], white, views.images[:, 3:] > 0.5, views.camera, (0, 1, 2), "digest")


# The true mesh


def test_the_true_mesh_lies_where_it_was_rendered(made_object):
    """By the software rasteriser, which shares nothing with the renderer of the views; one pixel off is told."""
    source, views = made_object
    truth = true_shape(source, PLAIN)
    drawn = torch.stack([torch.from_numpy(draw_picture(truth.mesh, views.camera[k])) for k in range(3)])
    lie = [outline_overlap(drawn[:, 3:].roll(by, dims), views.images[:, 3:]).min() for by, dims in _MOVES]
    assert float(lie[0]) > 0.98 and max(lie) == lie[0]
    check_placed(truth, case_of(views))


def test_the_true_mesh_is_lit_as_in_its_views(made_object):
    source, views = made_object
    pictures = true_shape(source, PLAIN).pictures(view_of(source, RENDER)[0])
    torch.testing.assert_close(pictures, views.images)


def test_a_mesh_of_another_object_or_turned_is_refused(made_object):
    source, views = made_object
    truth = true_shape(source, PLAIN)
    turned = [part.replace(vertices=part.vertices[:, [2, 0, 1]]) for part in truth.parts]
    for parts in (turned, [spheroid(0.2, 0.5)]):
        other = TrueShape(parts, truth.mesh, True, truth.light, "")
        with pytest.raises(MeshError, match="its mesh is not what its input shows: their outlines overlap to 0"):
            check_placed(other, case_of(views))


def test_every_object_without_a_mesh_is_named(made_object):
    source, _ = made_object
    asked = PLAIN.only([*map(_listed, ("thing", "ant", "bee"))])
    with pytest.raises(ValueError, match="2 objects have no mesh there") as error:
        true_sources(source.path.parent, asked)
    assert error.value.files == ["ant", "bee"]
    assert true_sources(source.path.parent, PLAIN.only([_listed("thing")])) == {"thing": source}


def _listed(name):
    from zero123.evaluation.protocols import ListedObject

    return ListedObject(name)


# The judge


def test_a_mesh_against_itself_is_perfect(made_object):
    truth = true_shape(made_object[0], PLAIN)
    truth = TrueShape(truth.parts, truth.mesh, True, truth.light, "")
    bare = concatenate([Mesh(p.vertices, p.faces, vertex_colours=p.vertex_colours) for p in truth.parts])
    turn = true_turn(truth, FAST)
    scores = judge(bare.replace(vertices=bare.vertices * 5 - 2), truth, turn, FAST).scores
    assert scores["volume_iou"] == pytest.approx(1, abs=0.01) and scores["f_score@0.05"] > 0.999
    assert scores["chamfer_mean"] < 0.012  # the points are drawn twice
    assert scores["turntable_iou"] > 0.999
    assert turntable_scores(turn.pictures, Turn(turn.pictures, turn.pictures[:, 3:])) == {
        "turntable_iou": 1,
        "turntable_psnr": pytest.approx(100),
        "turntable_psnr_foreground": pytest.approx(100),
    }


def test_a_mesh_made_from_any_side_is_brought_back_to_the_objects_own_world():
    box = trimesh.creation.box((1, 0.4, 0.2)).apply_translation((0, 0.1, 0))
    truth = Mesh(np.asarray(box.vertices, np.float32), np.asarray(box.faces, np.int64))
    azimuth = math.radians(70)
    seen = draw_picture(truth, camera_at(70.0))
    photo_world = in_true_world(truth, -azimuth)
    np.testing.assert_allclose(draw_picture(photo_world, camera_at(0.0)), seen, atol=0.02)
    np.testing.assert_allclose(in_true_world(photo_world, azimuth).vertices, truth.vertices, atol=1e-6)


def test_no_volume_is_compared_where_the_truth_is_open(made_object):
    truth = true_shape(made_object[0], PLAIN)
    open_truth = TrueShape(truth.parts, truth.mesh, False, truth.light, "")
    search = ShapeJudging(shape=FAST.shape, search="vertical", views=2, size=32)
    scores = judge(truth.mesh, open_truth, true_turn(truth, search), search).scores
    assert not [name for name in scores if "volume" in name]
    assert scores["turned_chamfer_mean"] < 0.03


def test_work_that_fails_is_measured_too():
    with pytest.raises(ValueError, match="no"), measured(torch.device("cpu")) as cost:
        torch.zeros(30_000_000).add_(1)
        raise ValueError("no")
    assert cost.seconds > 0 and cost.gigabytes > 0.12


# The baselines


@pytest.mark.parametrize(
    ("w", "h", "azimuth", "elevation"), [(0.3, 0.5, 0, 25), (0.5, 0.2, 40, 10), (0.4, 0.4, 200, 60)]
)
def test_the_ellipsoid_of_a_rendered_ellipsoid_is_nearly_exact(w, h, azimuth, elevation):
    truth, camera = spheroid(w, h), camera_at(azimuth, elevation, 128)
    found = fitted_ellipsoid(torch.from_numpy(draw_picture(truth, camera)), camera)
    low, high = found.vertices.min(0), found.vertices.max(0)
    np.testing.assert_allclose((high - low) / 2, (w, w, h), atol=0.02)
    np.testing.assert_allclose((high + low) / 2, 0, atol=0.02)
    assert compare_shapes(found, truth, settings=FAST.shape).scores["volume_iou"] > 0.93
    assert is_watertight(found)


def test_the_hull_of_one_picture_fills_its_outline_and_is_as_deep_as_that_is_long():
    truth, camera = spheroid(0.2, 0.5, at=(0, 0.1, 0)), camera_at(0.0, 0.0, 128)
    picture = torch.from_numpy(draw_picture(truth, camera))
    found = extruded_outline(picture, camera)
    again = torch.from_numpy(draw_picture(found, camera))
    assert float(outline_overlap(again[None, 3:], picture[None, 3:])) > 0.95
    assert is_watertight(found)
    low, high = found.vertices.min(0), found.vertices.max(0)
    assert high[0] == pytest.approx(0.5, abs=0.04) and low[0] == pytest.approx(-0.5, abs=0.04)
    assert compare_shapes(found, truth, settings=FAST.shape).scores["volume_iou"] < 0.6


def test_baselines_have_the_colours_of_the_picture():
    truth, camera = spheroid(0.35, 0.5), camera_at()
    picture = torch.from_numpy(draw_picture(truth, camera))
    again = torch.from_numpy(draw_picture(fitted_ellipsoid(picture, camera), camera))
    inside = (picture[3] > 0.99) & (again[3] > 0.99)
    assert float((again[:3] - picture[:3])[:, inside].abs().mean()) < 0.02
    beside = coloured_by(spheroid(0.01, 0.01, at=(0, 0.8, 0)), picture, camera)
    mean = (picture[:3] * picture[3]).flatten(1).sum(1) / picture[3].sum()
    np.testing.assert_allclose(beside.vertex_colours, mean.expand(len(beside.vertices), 3), atol=1e-5)


def test_a_picture_without_an_object_has_no_solid():
    for solid in (extruded_outline, fitted_ellipsoid):
        with pytest.raises(PictureError, match="no object is left"):
            solid(torch.zeros(4, 32, 32), camera_at(size=32))


def test_a_mesh_made_of_true_views_beats_the_baselines():
    parts = [trimesh.creation.box((0.9, 0.25, 0.2)).apply_translation((0, 0, -0.3))]
    parts.append(trimesh.creation.box((0.25, 0.25, 0.6)).apply_translation((0.3, 0, 0.1)))
    shape = concatenate([Mesh(np.asarray(p.vertices, np.float32), np.asarray(p.faces, np.int64)) for p in parts])
    shape = shape.replace(vertex_colours=np.full((len(shape.vertices), 3), (0.8, 0.3, 0.1), np.float32)).unit_cube()
    truth = TrueShape([shape], shape, True, view_of(Source("thing"), RENDER)[1], "")
    azimuth = torch.tensor([30.0 * k for k in range(10)] + [0.0, 120.0, 240.0])
    elevation = torch.tensor([15.0] * 10 + [50.0] * 3)
    camera = Camera.from_orbit(OrbitPose.from_degrees(azimuth, elevation, 1.85), hw=(64, 64))
    renderer = EmbreeRenderer([shape])
    views = torch.stack([renderer.render(camera[k], truth.light) for k in range(len(azimuth))])
    quick = ReconstructionSettings(
        hull=HullSettings(cells=40), fit=FitSettings(grids=(24, 40), steps=(30, 30), rays=1024), faces=3000, texture=0
    )
    meshes = [from_views(views, camera, quick).mesh]
    meshes += [solid(views[0], camera[0]) for solid in (extruded_outline, fitted_ellipsoid)]
    turn = true_turn(truth, FAST)
    own, *others = (judge(mesh, truth, turn, FAST).scores for mesh in meshes)
    for other in others:
        assert own["chamfer_mean"] < other["chamfer_mean"]
        for name in ("volume_iou", "f_score@0.05", "turntable_iou", "turntable_psnr"):
            assert own[name] > other[name], name


def test_views_agree_along_the_mesh_they_show_and_less_where_they_are_in_each_others_places():
    mesh, poses = spheroid(0.35, 0.3), turntable(8, 0.3)
    camera = Camera.from_orbit(poses, hw=(48, 48))
    drawn = torch.stack([torch.from_numpy(draw_picture(mesh, camera[k])) for k in range(8)])
    views = composite(drawn, torch.ones(3))
    right = agreement_of(Made(mesh, 0.0, views, poses))["views_psnr"]
    assert right > 35
    assert agreement_of(Made(mesh, 0.0, views.roll(2, 0), poses))["views_psnr"] == pytest.approx(right, abs=3)
    assert agreement_of(Made(mesh, 0.0, views[[1, 0, 2, 4, 3, 5, 7, 6]], poses))["views_psnr"] < right - 10
    assert agreement_of(Made(mesh, 0.0)) == {}

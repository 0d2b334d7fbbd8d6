"""The software rasteriser and the projection of colours against closed forms."""

import numpy as np
import pytest
import torch
import trimesh

from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.meshes.mesh import Mesh
from zero123.meshes.raster import draw_picture, rasterise
from zero123.meshes.texture import project_colours, visible_vertices


def ball(radius=0.4, colour=(0.5, 0.5, 0.5)):
    solid = trimesh.creation.icosphere(4, radius)
    colours = np.tile(np.float32(colour), (len(solid.vertices), 1))
    return Mesh(np.asarray(solid.vertices, np.float32), np.asarray(solid.faces, np.int64), colours)


def front(size=64):
    return Camera.from_orbit(OrbitPose.from_degrees(0.0, 0.0, 1.85), hw=(size, size))


def test_depth_and_silhouette_of_a_ball_are_exact():
    camera = front()
    seen = rasterise(ball(), camera)
    origins, directions = (t.double().numpy() for t in camera.rays())
    along = -(origins * directions).sum(-1)
    miss = np.linalg.norm(origins + along[:, None] * directions, axis=-1)
    inside = (miss < 0.4).reshape(64, 64)
    sure = np.abs(miss - 0.4).reshape(64, 64) > 0.005
    assert ((seen.face >= 0) == inside)[sure].all()
    forward = camera.world_from_camera[:3, 2].double().numpy()
    depth = ((along - np.sqrt(np.maximum(0.16 - miss**2, 0))) * (directions @ forward)).reshape(64, 64)
    core = (miss < 0.35).reshape(64, 64)
    assert np.abs(seen.depth - depth)[core].max() < 0.005


def test_barycentrics_rebuild_the_point_that_the_pixel_sees():
    camera, mesh = front(), ball()
    seen = rasterise(mesh, camera)
    hit = seen.face >= 0
    points = (mesh.vertices[mesh.faces[seen.face[hit]]] * seen.barycentric[hit][..., None]).sum(axis=1)
    pixels, depth = camera.project(torch.from_numpy(points).float())
    np.testing.assert_allclose(pixels, camera.pixel_centres().numpy()[hit], atol=1e-3)
    np.testing.assert_allclose(depth, seen.depth[hit], atol=1e-5)


def test_the_nearer_face_wins_whatever_the_order():
    near = np.array([[0.3, -1, -1], [0.3, 1, -1], [0.3, 0, 1]], np.float32)
    vertices = np.concatenate((near, near - np.float32((0.6, 0, 0))))
    for faces in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        seen = rasterise(Mesh(vertices, np.array(faces)), front())
        assert faces[seen.face[32, 32]] == [0, 1, 2]


def test_a_picture_has_the_mesh_colours_and_soft_edges():
    picture = draw_picture(ball(colour=(0.9, 0.2, 0.4)), front(), samples=3)
    assert picture.shape == (4, 64, 64)
    np.testing.assert_allclose(picture[:3, 32, 32], (0.9, 0.2, 0.4), atol=1e-5)
    assert picture[3, 0, 0] == 0
    assert ((picture[3] > 0.1) & (picture[3] < 0.9)).any()


def test_only_vertices_that_face_the_camera_unhidden_are_visible():
    mesh = ball()
    cosine = visible_vertices(mesh, front())
    towards = np.array((1.85, 0, 0)) - mesh.vertices
    expected = (mesh.vertices / 0.4 * towards / np.linalg.norm(towards, axis=1, keepdims=True)).sum(1)
    assert (cosine[expected < -0.05] == 0).all()
    np.testing.assert_allclose(cosine[expected > 0.3], expected[expected > 0.3], atol=0.02)


def test_the_pictures_colours_reach_the_front_and_spare_the_back():
    picture = torch.zeros(4, 64, 64)
    picture[0] = 1
    picture[3] = torch.from_numpy(draw_picture(ball(), front())[3])
    painted = project_colours(ball(), picture, front()).vertex_colours
    x = ball().vertices[:, 0]
    np.testing.assert_allclose(painted[x > 0.37], np.tile((1, 0, 0), ((x > 0.37).sum(), 1)), atol=1e-3)
    np.testing.assert_allclose(painted[x < 0.08], 0.5, atol=1e-6)


def test_a_picture_of_another_size_or_a_colourless_mesh_is_refused():
    with pytest.raises(ValueError, match="picture must be"):
        project_colours(ball(), torch.zeros(3, 64, 64), front())
    with pytest.raises(ValueError, match="vertex_colours"):
        project_colours(ball().replace(vertex_colours=None), torch.zeros(4, 64, 64), front())

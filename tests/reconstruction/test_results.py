"""What is handed on of a reconstruction: pictures as they were on white, in place, and depth and normals of a ball."""

import json

import exact_scene
import numpy as np
import torch
import trimesh

from zero123.fields.voxels import VoxelField
from zero123.images import io
from zero123.images.alpha import composite
from zero123.meshes.mesh import Mesh
from zero123.meshes.raster import draw_depth_and_normals
from zero123.reconstruction.from_views import Reconstruction
from zero123.reconstruction.hull import Hull
from zero123.reconstruction.results import export_dataset, write_depth_and_normals

RADIUS = 0.4


def ball():
    solid = trimesh.creation.icosphere(4, RADIUS)
    return Mesh(np.asarray(solid.vertices, np.float32), np.asarray(solid.faces, np.int64))


def found(views, height, photo, shifts=None):
    box = torch.full((3,), 0.5)
    hull = Hull(torch.zeros(2, 2, 2), -box, box, torch.zeros(views, 2) if shifts is None else shifts, torch.ones(views))
    return Reconstruction(VoxelField((2, 2, 2)), ball(), hull, torch.ones(views), photo[None], height)


def test_the_views_are_on_white_what_they_were(tmp_path):
    camera = exact_scene.ring(4, 32)
    pictures = exact_scene.picture(camera)
    white = exact_scene.on_white(pictures)
    export_dataset(tmp_path, found(8, 32, pictures[0]), white, camera)
    frames = json.loads((tmp_path / "transforms.json").read_text())["frames"]
    assert len(frames) == 8
    for view, frame in enumerate(frames):
        back = composite(io.load(tmp_path / frame["file_path"])[None], torch.ones(3))[0]
        assert (back - white[view]).abs().max() < (0.01 if view else 0.05)


def test_a_displaced_view_is_put_in_place(tmp_path):
    camera = exact_scene.ring(4, 32)
    pictures = exact_scene.picture(camera)
    moved = pictures.clone()
    moved[2] = pictures[2].roll((2, -4), (1, 2))  # two pixels down, four to the left
    shifts = torch.zeros(8, 2)
    shifts[2] = torch.tensor((-2.0, 1.0))  # as measured in views of half the height
    export_dataset(tmp_path, found(8, 16, pictures[0], shifts), exact_scene.on_white(moved), camera)
    back = composite(io.load(tmp_path / "images" / "002.png")[None], torch.ones(3))[0]
    assert (back - exact_scene.on_white(pictures)[2]).abs().max() < 0.01


def test_depth_and_normals_of_a_ball_are_the_closed_form(tmp_path):
    write_depth_and_normals(tmp_path, ball(), count=2, size=65, elevation=0.0)
    depth = np.load(tmp_path / "001-depth.npy")
    assert abs(depth[32, 32] - (1.85 - RADIUS)) < 1e-3
    assert depth[0, 0] == 0
    normals = io.load(tmp_path / "000-normals.png")
    np.testing.assert_allclose(normals[:, 32, 32], (0.5, 0.5, 1, 1), atol=0.02)  # towards the camera
    right, upper = normals[:, 32, 42], normals[:, 22, 32]
    assert right[0] > 0.7
    assert abs(right[1] - 0.5) < 0.02
    assert upper[1] > 0.7
    assert io.load(tmp_path / "001-depth.png")[0, 32, 32] > 0.9


def test_normals_are_in_the_cameras_axes():
    camera = exact_scene.ring(4, 33)[1]
    _, normals = draw_depth_and_normals(ball(), camera)
    np.testing.assert_allclose(normals[:, 16, 16], (0, 0, -1), atol=0.02)

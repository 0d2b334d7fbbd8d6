"""A scene as other programs read it: tests rebuild cameras from the files by those programs' own conventions."""

import json

import numpy as np
import pytest
import torch
import trimesh

from zero123.data.formats.nerf import NerfScenes
from zero123.data.formats.scene import write_scene
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.images import io
from zero123.meshes.mesh import Mesh
from zero123.meshes.raster import draw_picture

HW = (48, 64)


@pytest.fixture(scope="module")
def block():
    """No symmetry; colours say the place."""
    solid = trimesh.creation.box((0.5, 0.3, 0.7)).subdivide().subdivide()
    vertices = np.asarray(solid.vertices, np.float32) + np.float32((0.05, 0.1, -0.03))
    return Mesh(vertices, np.asarray(solid.faces, np.int64), np.clip(0.5 + vertices, 0, 1))


@pytest.fixture(scope="module")
def camera():
    poses = OrbitPose.from_degrees(
        torch.tensor([0.0, 70.0, 200.0, 310.0]),
        torch.tensor([0.0, 30.0, -40.0, 88.0]),
        torch.tensor([1.6, 1.9, 2, 1.7]),
    )
    return Camera.from_orbit(poses, hw=HW)


@pytest.fixture(scope="module")
def images(block, camera):
    return torch.stack([torch.from_numpy(draw_picture(block, camera[k])) for k in range(4)])


@pytest.fixture(scope="module")
def scene(block, camera, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    write_scene(folder, images, camera, block, count=400)
    return folder


def rows(path):
    return [line.split() for line in path.read_text().splitlines()]


def rotation_of(w, x, y, z):
    """Hamilton's quaternion to a matrix, written out as COLMAP's documentation has it."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_colmaps_cameras_see_every_point_where_the_model_says(scene, camera):
    ((_, model, width, height, *lens),) = rows(scene / "sparse" / "0" / "cameras.txt")
    assert (model, int(height), int(width)) == ("PINHOLE", *HW)
    fx, fy, cx, cy = map(float, lens)
    points = {int(r[0]): np.array(r[1:4], float) for r in rows(scene / "sparse" / "0" / "points3D.txt")}
    lines = rows(scene / "sparse" / "0" / "images.txt")
    assert len(lines) == 8
    for view, (head, spots) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        rotation, translation = rotation_of(*map(float, head[1:5])), np.array(head[5:8], float)
        np.testing.assert_allclose(-rotation.T @ translation, camera.position[view], atol=1e-5)
        assert (scene / "images" / head[9]).is_file()
        measured = np.array(spots, float).reshape(-1, 3)
        assert len(measured) > 30
        seen = np.array([points[int(p)] for p in measured[:, 2]]) @ rotation.T + translation
        assert (seen[:, 2] > 0).all()
        where = seen[:, :2] / seen[:, 2:] * (fx, fy) + (cx, cy)
        np.testing.assert_allclose(where, measured[:, :2], atol=2e-3)


def test_tracks_and_observations_name_each_other(scene):
    spots = [np.array(r, float).reshape(-1, 3)[:, 2] for r in rows(scene / "sparse" / "0" / "images.txt")[1::2]]
    total = 0
    for row in rows(scene / "sparse" / "0" / "points3D.txt"):
        track = np.array(row[8:], int).reshape(-1, 2)
        assert len(track)
        assert all(spots[image - 1][number] == int(row[0]) for image, number in track)
        total += len(track)
    assert total == sum(map(len, spots))


def test_points_are_coloured_as_the_pictures_are_where_they_are_seen(scene, images):
    colour = {int(r[0]): np.array(r[4:7], float) / 255 for r in rows(scene / "sparse" / "0" / "points3D.txt")}
    for view, spots in enumerate(rows(scene / "sparse" / "0" / "images.txt")[1::2]):
        for x, y, point in np.array(spots, float).reshape(-1, 3):
            pixel = images[view, :, int(y), int(x)].numpy()
            assert pixel[3] < 1 or np.abs(pixel[:3] - colour[int(point)]).max() < 0.12  # slanted pixels span much


def test_nerfstudios_cameras_look_along_minus_z_with_y_up(scene, camera, block):
    said = json.loads((scene / "transforms.json").read_text())
    assert (said["h"], said["w"], said["cx"], said["cy"]) == (*HW, HW[1] / 2, HW[0] / 2)
    assert np.tan(said["camera_angle_x"] / 2) * said["fl_x"] == pytest.approx(HW[1] / 2)
    assert np.tan(said["camera_angle_y"] / 2) * said["fl_y"] == pytest.approx(HW[0] / 2)
    for view, frame in enumerate(said["frames"]):
        world_from_camera = np.array(frame["transform_matrix"])
        local = np.c_[block.vertices, np.ones(len(block.vertices))] @ np.linalg.inv(world_from_camera).T
        where = np.stack(
            (
                said["cx"] + said["fl_x"] * local[:, 0] / -local[:, 2],
                said["cy"] - said["fl_y"] * local[:, 1] / -local[:, 2],
            ),
            axis=-1,
        )
        expected, _ = camera[view].project(torch.from_numpy(block.vertices))
        np.testing.assert_allclose(where, expected, atol=1e-3)
        assert io.load(scene / frame["file_path"]).shape == (4, *HW)


def test_the_points_of_nerfstudios_scene_lie_on_the_surface(scene, block):
    cloud = trimesh.load(scene / json.loads((scene / "transforms.json").read_text())["ply_file_path"])
    low, high = block.vertices.min(0), block.vertices.max(0)
    to_a_side = np.minimum(np.abs(cloud.vertices - low), np.abs(cloud.vertices - high)).min(axis=1)
    assert len(cloud.vertices) > 200
    assert to_a_side.max() < 1e-5
    assert np.abs(cloud.colors[:, :3] / 255 - (0.5 + cloud.vertices)).max() < 0.01


def test_pictures_come_back_and_are_white_where_transparent(scene, images):
    for view, image in enumerate(images):
        back = io.load(scene / "images" / f"{view:03d}.png")
        assert torch.allclose(back[3], image[3], atol=0.6 / 255)
        assert torch.allclose(back[:3] * back[3:], image[:3] * image[3:], atol=1.2 / 255)


def test_our_own_reader_of_nerf_scenes_reads_it_back(scene, camera, images):
    (found,) = NerfScenes.found(scene)
    views = NerfScenes(scene, [found]).load(0)
    torch.testing.assert_close(views.camera.world_from_camera, camera.world_from_camera, atol=1e-5, rtol=0)
    assert views.camera.field_of_view == pytest.approx(camera.field_of_view)
    assert len(images) == 4


def test_pictures_that_are_not_the_cameras_are_refused(block, camera, images, tmp_path):
    with pytest.raises(ValueError, match="images must be"):
        write_scene(tmp_path / "a", images[:, :3], camera, block)
    with pytest.raises(ValueError, match="images must be"):
        write_scene(tmp_path / "a", images[:3], camera, block)
    assert not (tmp_path / "a").exists()

"""Cameras of other programs: values worked out by hand, each program's own projection, and round trips."""

import json
import math
import os
import subprocess

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from zero123.geometry.camera import Camera
from zero123.geometry.conventions import (
    BLENDER_IMPORT_FROM_WORLD,
    GLTF_FROM_WORLD,
    Blender,
    Colmap,
    Nerfstudio,
    OpenCV,
    OpenGL,
    PyTorch3D,
    with_world,
)
from zero123.geometry.orbit import OrbitPose
from zero123.meshes.export import gltf_axes

KINDS = [OpenCV, Colmap, Nerfstudio, Blender, OpenGL, PyTorch3D]
POINT = torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64)


def front(hw=(100, 200)):
    """At (2, 0, 0), looking along -x with +y to its right; 90 degrees wide, so that its focal length is W / 2."""
    pose = OrbitPose(*torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64))
    return Camera.from_orbit(pose, math.pi / 2, hw)


def same(tensor, rows):
    np.testing.assert_allclose(np.asarray(tensor), rows, atol=1e-12)


# By hand: POINT is 1 in front of that camera, 0.5 to its right and 0.25 above its axis.


def test_opencv_by_hand():
    cv = OpenCV.of(front())
    same(cv.K, [[100, 0, 99.5], [0, 100, 49.5], [0, 0, 1]])
    same(cv.R, [[0, 1, 0], [0, 0, -1], [-1, 0, 0]])
    same(cv.t, [0, 0, 2])
    same(cv.R @ POINT + cv.t, [0.5, -0.25, 1])


def test_colmap_by_hand():
    form = Colmap.of(front())
    same(form.qvec, [0.5, 0.5, 0.5, -0.5])
    same(form.tvec, [0, 0, 2])
    assert (form.model, form.width, form.height) == ("PINHOLE", 200, 100)
    assert form.params == pytest.approx((100, 100, 100, 50))


def test_nerfstudio_by_hand():
    form = Nerfstudio.of(front())
    same(form.camera_to_worlds, [[0, 0, 1, 2], [1, 0, 0, 0], [0, 1, 0, 0]])
    assert (form.fx, form.fy, form.cx, form.cy) == pytest.approx((100, 100, 100, 50))


def test_blender_by_hand():
    form = Blender.of(front())
    same(form.matrix_world, [[0, 0, 1, 2], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert (form.lens, form.sensor_width) == pytest.approx((16, 32))
    assert form.resolution == (200, 100)
    assert Blender.of(Camera(torch.eye(4))).lens == pytest.approx(35)


def test_opengl_by_hand():
    form = OpenGL.of(front(), near=1.0, far=3.0)
    same(form.view, [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, -2], [0, 0, 0, 1]])
    same(form.projection, [[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, -2, -3], [0, 0, -1, 0]])
    clip = form.projection @ form.view @ torch.cat((POINT, torch.ones(1)))
    same(clip / clip[3], [0.5, 0.5, -1, 1])  # as near as `near`


def test_pytorch3d_by_hand():
    form = PyTorch3D.of(front())
    same(form.R, [[0, 0, -1], [-1, 0, 0], [0, 1, 0]])
    same(form.T, [0, 0, 2])
    same(POINT @ form.R + form.T, [-0.5, 0.25, 1])
    assert form.focal_ndc == pytest.approx(2)


def test_worlds_by_hand():
    """What is at (1, 2, 3) here is at (2, 3, 1) in a GLB, and Blender's import (X, -Z, Y) puts it at (2, -1, 3)."""
    point = torch.tensor([1.0, 2, 3, 1], dtype=torch.float64)
    same(GLTF_FROM_WORLD @ point, [2, 3, 1, 1])
    same(BLENDER_IMPORT_FROM_WORLD @ point, [2, -1, 3, 1])
    same(gltf_axes(point[None, :3].numpy())[0], [2, 3, 1])


# Each program's own formula, in plain numpy, from its documentation.


def pixels_opencv(form, points):
    turn, _ = cv2.Rodrigues(form.R.numpy())
    found, _ = cv2.projectPoints(points, turn, form.t.numpy(), form.K.numpy(), None)
    return found[:, 0] + 0.5  # its pixel centres are at integers, ours at +0.5


def pixels_colmap(form, points):
    w, x, y, z = form.qvec.tolist()
    rotation = np.array(  # COLMAP's QuaternionToRotationMatrix
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    seen = points @ rotation.T + form.tvec.numpy()
    fx, fy, cx, cy = form.params
    return seen[:, :2] / seen[:, 2:] * (fx, fy) + (cx, cy)


def pixels_nerfstudio(form, points):
    matrix = form.camera_to_worlds.numpy()
    seen = (points - matrix[:, 3]) @ matrix[:, :3]
    return seen[:, :2] / -seen[:, 2:] * (form.fx, -form.fy) + (form.cx, form.cy)


def pixels_blender(form, points):
    """As `bpy_extras.object_utils.world_to_camera_view`: 0 to 1 over the frame, from the lower left."""
    seen = np.concatenate((points, np.ones((len(points), 1))), axis=1) @ np.linalg.inv(form.matrix_world.numpy()).T
    width, height = form.resolution
    half = form.sensor_width / 2 / form.lens * np.array((1, height / width))
    across = 0.5 + seen[:, :2] / -seen[:, 2:3] / (2 * half)
    return np.stack((across[:, 0] * width, (1 - across[:, 1]) * height), axis=1)


def pixels_opengl(form, points):
    clip = np.concatenate((points, np.ones((len(points), 1))), axis=1) @ (form.projection @ form.view).numpy().T
    device = clip[:, :2] / clip[:, 3:]
    height, width = form.hw
    return np.stack(((device[:, 0] + 1) * width / 2, (1 - device[:, 1]) * height / 2), axis=1)


def pixels_pytorch3d(form, points):
    """Through NDC, whose x points left, y up, and whose shorter side reaches from -1 to 1."""
    seen = points @ form.R.numpy() + form.T.numpy()
    device = form.focal_ndc * seen[:, :2] / seen[:, 2:]
    height, width = form.image_size
    return np.array((width, height)) / 2 - device * min(height, width) / 2


def random_cameras(seed, shape, dtype=torch.float64, hw=(90, 160), lens=0.9):
    rotation = Rotation.random(math.prod(shape), random_state=seed).as_matrix().reshape(*shape, 3, 3)
    matrix = np.zeros((*shape, 4, 4))
    matrix[..., :3, :3], matrix[..., 3, 3] = rotation, 1
    matrix[..., :3, 3] = np.random.default_rng(seed).normal(size=(*shape, 3))
    return Camera(torch.from_numpy(matrix).to(dtype), lens, hw)


def points_before(camera, count=20, seed=0):
    """Points that the camera sees, (count, 3)."""
    origin, direction = camera.rays()
    chosen = np.random.default_rng(seed).integers(0, len(origin), count)
    return (origin + 2 * direction)[chosen].numpy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hw", [(90, 160), (160, 90)])
def test_each_programs_own_projection_sees_what_ours_sees(kind, hw):
    project = globals()[f"pixels_{kind.__name__.lower()}"]
    for seed in range(5):
        camera = random_cameras(seed, (1,), hw=hw)[0]
        points = points_before(camera)
        ours = camera.project(torch.from_numpy(points))[0]
        np.testing.assert_allclose(project(kind.of(camera), points), ours.numpy(), atol=1e-7)


@given(
    seed=st.integers(0, 2**31),
    shape=st.sampled_from([(1,), (4,), (3, 2)]),
    lens=st.floats(0.05, 2.9),
    hw=st.tuples(st.integers(16, 2000), st.integers(16, 2000)),
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=120, deadline=None)
def test_there_and_back_is_the_same_camera(seed, shape, lens, hw, kind, dtype):
    camera = random_cameras(seed, shape, dtype, hw, lens)
    again = kind.of(camera).camera()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-9
    assert again.world_from_camera.dtype == dtype
    torch.testing.assert_close(again.world_from_camera, camera.world_from_camera, atol=tolerance, rtol=0)
    assert again.hw == hw
    assert again.field_of_view == pytest.approx(lens, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_camera_stays_one(kind):
    assert kind.of(front()).camera().world_from_camera.shape == (4, 4)


def test_transforms_json_comes_back_through_text():
    camera = random_cameras(3, (4,))
    content = Nerfstudio.of(camera).transforms([f"{k}.png" for k in range(4)])
    again = Nerfstudio.from_transforms(json.loads(json.dumps(content))).camera()
    torch.testing.assert_close(again.world_from_camera, camera.world_from_camera)
    assert again.field_of_view == pytest.approx(content["camera_angle_x"])


def test_pictures_look_the_same_in_a_turned_world():
    camera = random_cameras(1, (1,))[0]
    points = points_before(camera)
    ours = camera.project(torch.from_numpy(points))[0]
    for world in (GLTF_FROM_WORLD, BLENDER_IMPORT_FROM_WORLD):
        moved = torch.from_numpy(points) @ world[:3, :3].T
        torch.testing.assert_close(with_world(camera, world).project(moved)[0], ours)


def test_a_quaternion_and_its_negative_are_the_same_camera():
    form = Colmap.of(random_cameras(5, (6,)))
    assert (form.qvec[:, 0] >= 0).all()
    other = Colmap(-form.qvec, form.tvec, form.params, form.width, form.height)
    torch.testing.assert_close(other.camera().world_from_camera, form.camera().world_from_camera)


def test_blenders_auto_takes_the_longer_side():
    upright = Blender(torch.eye(4), 35.0, 32.0, (90, 160), "AUTO").camera()
    assert upright.focal == pytest.approx(160 * 35 / 32)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (lambda: OpenCV(torch.diag(torch.tensor([9.0, 8, 1])), torch.eye(3), torch.zeros(3), (8, 8)), "square"),
        (lambda: OpenCV(torch.tensor([[9.0, 1, 3.5], [0, 9, 3.5], [0, 0, 1]]), torch.eye(3), torch.zeros(3), (8, 8)),
         "skew"),
        (lambda: OpenCV(torch.tensor([[9.0, 0, 4], [0, 9, 4], [0, 0, 1]]), torch.eye(3), torch.zeros(3), (8, 8)),
         r"\(W - 1\) / 2"),
        (lambda: Colmap(torch.eye(4)[0], torch.zeros(3), (9.0, 4, 4, 0.1), 8, 8, "SIMPLE_RADIAL"), "undistorter"),
        (lambda: Colmap(torch.eye(4)[0], torch.zeros(3), (9.0, 4, 3), 8, 8, "SIMPLE_PINHOLE"), "middle"),
        (lambda: Nerfstudio(torch.eye(4)[:3], 9.0, 9.0, 4.0, 5.0, 8, 8), "middle"),
        (lambda: Nerfstudio.from_transforms({"k1": 0.1}), "k1"),
        (lambda: Nerfstudio.from_transforms({"frames": []}), "fl_x"),
        (lambda: Blender(torch.eye(4), 35.0, 32.0, (8, 8), "VERTICAL"), "sensor_fit"),
        (lambda: OpenGL(torch.eye(4), torch.eye(4), (8, 8)), "perspective"),
        (lambda: PyTorch3D(torch.eye(3), torch.zeros(3), 9.0, (0.0, 0.0), (8, 8)), "middle"),
        (lambda: OpenGL.of(front(), 2.0, 1.0), "near"),
    ],
)  # fmt: skip
def test_lenses_that_are_none_of_ours_are_refused(form, said):
    with pytest.raises(ValueError, match=said):
        form().camera()


def test_pycolmap_agrees():
    pycolmap = pytest.importorskip("pycolmap")
    camera = random_cameras(7, (1,))[0]
    form, points = Colmap.of(camera), points_before(camera)
    lens = pycolmap.Camera(model=form.model, width=form.width, height=form.height, params=form.params)
    w, x, y, z = form.qvec.tolist()
    seen = pycolmap.Rigid3d(pycolmap.Rotation3d(np.array([x, y, z, w])), form.tvec.numpy()) * points
    ours = camera.project(torch.from_numpy(points))[0].numpy()
    np.testing.assert_allclose(np.stack([lens.img_from_cam(one) for one in seen]), ours, atol=1e-6)


IN_BLENDER = """
import json, sys
import bpy, mathutils
from bpy_extras.object_utils import world_to_camera_view
job = json.load(sys.stdin)
scene = bpy.context.scene
scene.render.resolution_x, scene.render.resolution_y = job["resolution"]
lens = bpy.data.cameras.new("c")
lens.lens, lens.sensor_width, lens.sensor_fit = job["lens"], job["sensor_width"], job["sensor_fit"]
camera = bpy.data.objects.new("c", lens)
scene.collection.objects.link(camera)
camera.matrix_world = mathutils.Matrix(job["matrix_world"])
bpy.context.view_layer.update()
found = [tuple(world_to_camera_view(scene, camera, mathutils.Vector(p))) for p in job["points"]]
print("FOUND " + json.dumps(found))
"""


@pytest.mark.skipif(not os.environ.get("ZERO123_BLENDER"), reason="set ZERO123_BLENDER to a Python that has bpy")
@pytest.mark.parametrize("hw", [(90, 160), (160, 90)])
def test_blender_itself_agrees(hw):
    camera = random_cameras(11, (1,), hw=hw)[0]
    form, points = Blender.of(camera), points_before(camera)
    job = {**vars(form), "matrix_world": form.matrix_world.tolist(), "points": points.tolist()}
    told = subprocess.run(
        [os.environ["ZERO123_BLENDER"], "-c", IN_BLENDER], input=json.dumps(job), capture_output=True, text=True
    )
    lines = [line for line in told.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, told.stderr
    found = np.array(json.loads(lines[0].removeprefix("FOUND ")))
    pixels = np.stack((found[:, 0] * hw[1], (1 - found[:, 1]) * hw[0]), axis=1)
    np.testing.assert_allclose(pixels, camera.project(torch.from_numpy(points))[0].numpy(), atol=0.01)

"""Programs nobody here wrote judge the files: Khronos' validator, Blender, COLMAP's own reader."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import trimesh

from zero123.data.formats.scene import write_scene
from zero123.data.render.cycles import CyclesRenderer
from zero123.data.render.light import Light
from zero123.data.render.settings import CyclesSettings, Machine
from zero123.data.render.source import Source
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.meshes.bake import bake
from zero123.meshes.export import export_mesh
from zero123.meshes.mesh import Mesh, linear_to_srgb, srgb_to_linear
from zero123.meshes.raster import draw_picture

VALIDATE = (
    "const v = require('gltf-validator'), fs = require('fs');"
    "v.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1]))).then(r => console.log(JSON.stringify(r.issues)))"
)
MODULES = os.environ.get("ZERO123_NODE_MODULES", "")
with_validator = pytest.mark.skipif(
    shutil.which("node") is None or not os.path.isdir(os.path.join(MODULES, "gltf-validator")),
    reason="no glTF validator: npm install gltf-validator, and set ZERO123_NODE_MODULES to its node_modules",
)
there = bool(os.environ.get("ZERO123_BLENDER")) or importlib.util.find_spec("bpy") is not None
with_blender = pytest.mark.skipif(not there, reason="no Blender: set ZERO123_BLENDER to a Python that has bpy")
SKY = Light(sky=1.0, key=0.0, fill=0.0)


@pytest.fixture(scope="module")
def jug():
    """No symmetry; closed; a texture with a colour for each place and a sharp band."""
    solid = trimesh.creation.icosphere(4, 0.3)
    vertices = np.asarray(solid.vertices, np.float32)
    vertices[:, 0] += 0.15 * np.maximum(vertices[:, 0], 0) * (vertices[:, 2] > 0) + 0.3 * vertices[:, 2] ** 2
    vertices[:, 1] *= 1.3

    def paint(points, normals):
        band = np.abs(points[:, 2:] - 0.1) < 0.04
        return np.where(band, (0.85, 0.15, 0.1), np.clip(0.5 + 0.8 * points, 0.1, 0.9)).astype(np.float32)

    return bake(Mesh(vertices, np.asarray(solid.faces, np.int64)), 512, paint)


@with_validator
@pytest.mark.parametrize("kind", ["textured", "vertex colours", "plain", "open"])
def test_khronos_validator_finds_nothing_to_say(jug, tmp_path, kind):
    mesh = {
        "textured": jug,
        "vertex colours": jug.replace(texture=None, uv=None),
        "plain": jug.replace(texture=None, uv=None, vertex_colours=None, normals=None),
        "open": jug.replace(faces=jug.faces[:-40]),
    }[kind]
    path = export_mesh(mesh, tmp_path / "jug.glb")
    run = subprocess.run(
        ["node", "-e", VALIDATE, str(path)],
        env={**os.environ, "NODE_PATH": MODULES},
        capture_output=True,
        text=True,
        timeout=60,
    )
    issues = json.loads(run.stdout)
    assert [issues[f"num{name}"] for name in ("Errors", "Warnings", "Infos", "Hints")] == [0, 0, 0, 0], issues


@with_blender
def test_blender_shows_the_textured_glb_as_we_draw_it(jug, tmp_path):
    """Blender lights it from everywhere with white; what differs from our unlit picture is its shading, a factor."""
    path = export_mesh(jug, tmp_path / "jug.glb")
    poses = OrbitPose.from_degrees(torch.tensor([0.0, 100.0, 230.0]), torch.tensor([15.0, 40.0, -10.0]), 1.85)
    camera = Camera.from_orbit(poses, hw=(96, 96))
    renderer = CyclesRenderer(CyclesSettings(samples=16), Machine())
    try:
        theirs = renderer.render(Source("jug", path=path), camera, SKY).numpy()
    finally:
        renderer.close()
    centred = jug.unit_cube()  # as renders have objects
    ours = np.stack([draw_picture(centred, camera[k]) for k in range(3)])
    a, b = theirs[:, 3] > 0.5, ours[:, 3] > 0.5
    assert ((a & b).sum((1, 2)) / (a | b).sum((1, 2))).min() > 0.98
    for view in range(3):
        mine, other = (srgb_to_linear(x[view, :3][:, a[view] & b[view]]) for x in (ours, theirs))
        factor = (other * mine).sum() / (mine * mine).sum()
        difference = linear_to_srgb(mine * factor) - linear_to_srgb(other)
        assert np.sqrt((difference**2).mean()) < 0.06


@pytest.mark.skipif(importlib.util.find_spec("pycolmap") is None, reason="no pycolmap: pip install pycolmap")
def test_colmap_reads_the_model_and_projects_as_we_do(jug, tmp_path):
    camera = Camera.from_orbit(OrbitPose.from_degrees(torch.tensor([0.0, 120.0]), 20.0, 1.85), hw=(48, 64))
    images = torch.stack([torch.from_numpy(draw_picture(jug, camera[k])) for k in range(2)])
    write_scene(tmp_path, images, camera, jug, count=100)
    check = (
        "import pycolmap, sys, numpy as np\n"
        "model = pycolmap.Reconstruction(sys.argv[1])\n"
        "print(max(np.linalg.norm(image.project_point(model.points3D[p.point3D_id].xyz) - p.xy)\n"
        "          for image in model.images.values() for p in image.points2D))"
    )
    folder = str(tmp_path / "sparse" / "0")
    run = subprocess.run([sys.executable, "-c", check, folder], capture_output=True, text=True, timeout=60)
    assert float(run.stdout) < 2e-3, run.stderr

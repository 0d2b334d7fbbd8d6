"""Blender's renders beside embree's: the same places, the same colours, from every kind of file."""

import ast
import importlib.util
import os
import signal
import sys

import numpy as np
import pytest
import torch
import trimesh

from zero123.data.render.batch import CyclesSettings, Machine, Source
from zero123.data.render.cycles import _SCRIPT, BlenderError, CyclesRenderer, find_blender
from zero123.data.render.light import AreaLight, Light
from zero123.data.render.renderer import Embree
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.meshes.export import export_mesh
from zero123.meshes.load import MeshError
from zero123.meshes.mesh import Mesh

there = bool(os.environ.get("ZERO123_BLENDER")) or importlib.util.find_spec("bpy") is not None
with_blender = pytest.mark.skipif(not there, reason="no Blender: set ZERO123_BLENDER to a Python that has bpy")
FAST = CyclesSettings(samples=16)
MATT = Light(sky=0.8, key=0.4, fill=0.1)


@pytest.fixture(scope="module")
def blender():
    renderer = CyclesRenderer(FAST, Machine())
    yield renderer
    renderer.close()


@pytest.fixture(scope="module")
def jug():
    """No symmetry at all, so that a turn or a mirror shows; one colour towards each side."""
    body = trimesh.creation.icosphere(4, 0.3)
    handle = trimesh.creation.box((0.5, 0.12, 0.12)).apply_translation((0.45, 0, 0.1))
    spout = trimesh.creation.cylinder(0.08, 0.5).apply_translation((0.1, 0.25, 0.2))
    shape = trimesh.util.concatenate([body, handle, spout])
    vertices = np.asarray(shape.vertices, np.float32)
    colours = np.clip(0.5 + 0.8 * vertices, 0.15, 0.9).astype(np.float32)
    return Mesh(vertices, np.asarray(shape.faces, np.int64), vertex_colours=colours)


def _iou(one, other):
    a, b = one[:, 3] > 0.5, other[:, 3] > 0.5
    return ((a & b).sum((1, 2)) / (a | b).sum((1, 2))).min()


@with_blender
@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply", ".stl"])
def test_silhouettes_and_colours_are_those_of_embree_for_every_kind_of_file(tmp_path, jug, blender, suffix):
    source = Source("jug", export_mesh(jug, tmp_path / f"jug{suffix}"))
    camera = Camera.from_orbit(OrbitPose.from_degrees([20.0, 140.0, 260.0], [10.0, 35.0, -20.0], 1.8), hw=(192, 192))
    fast, slow = Embree().render(source, camera, MATT), blender.render(source, camera, MATT)
    assert _iou(fast, slow) > 0.97
    both = ((fast[:, 3] == 1) & (slow[:, 3] == 1))[:, None].expand(-1, 3, -1, -1)
    difference = (fast[:, :3] - slow[:, :3])[both]
    # embree casts no shadows and bounces no light between surfaces
    assert float(difference.abs().mean()) < 0.06 and abs(float(difference.mean())) < 0.05
    if suffix != ".stl":
        a, b = fast[:, :3][both], slow[:, :3][both]
        assert float(torch.corrcoef(torch.stack((a, b)))[0, 1]) > 0.95


@with_blender
@pytest.mark.slow
def test_procedural_objects_wide_pictures_and_other_lenses_agree_too(blender):
    camera = Camera.from_orbit(OrbitPose.from_degrees([30.0], [25.0], 2.2), 0.6, hw=(96, 160))
    source = Source("p", None, 7)
    fast, slow = Embree().render(source, camera, MATT), blender.render(source, camera, MATT)
    assert slow.shape == (1, 4, 96, 160) and _iou(fast, slow) > 0.97


@with_blender
@pytest.mark.slow
def test_a_white_plate_under_even_light_is_as_white_as_the_light_says(tmp_path, blender):
    plate = trimesh.creation.box((0.05, 1, 1))
    pale = np.full((8, 3), 0.8, np.float32)
    mesh = Mesh(np.asarray(plate.vertices, np.float32), np.asarray(plate.faces), vertex_colours=pale)
    source = Source("plate", export_mesh(mesh, tmp_path / "plate.glb"))
    camera = Camera.from_orbit(OrbitPose.from_degrees([0.0], [0.0], 2.0), hw=(64, 64))
    for light in (Light(sky=0.8, key=0, fill=0), Light(sky=0.1, key_direction=(1.0, 0.0, 0.0), key=0.6, fill=0)):
        fast, slow = (r.render(source, camera, light)[0, :3, 32, 32] for r in (Embree(), blender))
        torch.testing.assert_close(slow, fast, atol=0.04, rtol=0)


@with_blender
@pytest.mark.slow
def test_the_originals_light_neither_blinds_nor_leaves_dark(tmp_path, jug, blender):
    source = Source("jug", export_mesh(jug, tmp_path / "jug.glb"))
    camera = Camera.from_orbit(OrbitPose.from_degrees([0.0, 120.0], [30.0, 30.0], 1.8), hw=(96, 96))
    views = blender.render(source, camera, AreaLight.random(np.random.default_rng(1)))
    for view in views:
        level = float(view[:3, view[3] == 1].mean())
        assert 0.15 < level < 0.85


@with_blender
@pytest.mark.slow
def test_a_bad_file_is_told_and_the_next_is_rendered_by_the_same_blender(tmp_path, jug, blender):
    bad = tmp_path / "bad.glb"
    bad.write_text("no mesh")
    camera = Camera.from_orbit(OrbitPose.from_degrees([0.0], [0.0], 2.0), hw=(32, 32))
    with pytest.raises(MeshError, match=r"Error: \S"):
        blender.render(Source("bad", bad), camera, MATT)
    process = blender._process
    good = Source("jug", export_mesh(jug, tmp_path / "jug.glb"))
    assert float(blender.render(good, camera, MATT)[0, 3].max()) == 1
    assert blender._process is process and process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(BlenderError, match="ended with code -9"):
        blender.render(good, camera, MATT)
    assert float(blender.render(good, camera, MATT)[0, 3].max()) == 1


def test_no_blender_says_how_to_install_one(monkeypatch):
    monkeypatch.delenv("ZERO123_BLENDER", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'bpy==4.5.\*' 'numpy<2'; then --blender"):
        find_blender()
    with pytest.raises(ImportError, match="no such program: nowhere"):
        find_blender("nowhere")


def test_a_python_without_bpy_is_told_with_its_own_last_words():
    renderer = CyclesRenderer(FAST, Machine(sys.executable))
    if importlib.util.find_spec("bpy") is not None:
        pytest.skip("this Python has bpy")
    with pytest.raises(ImportError, match=r"does not run Blender: .*No module named 'bpy'"):
        renderer.describe()


def test_a_blender_is_told_from_a_python_by_its_name(tmp_path):
    program = tmp_path / "blender"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    command = find_blender(str(program))
    assert command[1:3] == ["--background", "--factory-startup"] and command[-1] == "--"
    assert find_blender(sys.executable)[1] == "-I"


def test_the_script_needs_nothing_of_ours():
    """It parses on Blender's own Python, and imports only Blender, numpy and the standard library."""
    tree = ast.parse(_SCRIPT.read_text(encoding="utf-8"))
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert {n.split(".")[0] for n in names} - sys.stdlib_module_names == {"bpy", "mathutils", "numpy"}

"""Blender's renders beside embree's: the same places, the same colours, from every kind of file."""

import ast
import importlib.util
import json
import os
import shlex
import signal
import struct
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from zero123.data.render.batch import CyclesSettings, Machine, Source
from zero123.data.render.cycles import _SCRIPT, BlenderError, CyclesRenderer, find_blender
from zero123.data.render.light import AreaLight, Light
from zero123.data.render.renderer import Embree
from zero123.data.view_set import ViewSet
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.jobs import Halt
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
def test_the_originals_lamp_is_a_hundred_units_wide_and_the_bulb_gives_most_of_the_light(tmp_path, blender):
    """Its square of side S leaves P / S^2 on what lies flat below it, the bulb P / 4 pi d^2, each over pi."""
    plate = trimesh.creation.box((1, 1, 0.02))
    shape = Mesh(np.asarray(plate.vertices, np.float32), np.asarray(plate.faces), np.full((8, 3), 0.906, np.float32))
    source = Source("plate", export_mesh(shape, tmp_path / "plate.glb"))  # 0.906 is 0.8 of the light
    camera = Camera.from_orbit(OrbitPose.from_degrees([0.0], [89.0], 2.0), hw=(32, 32))
    place, around = AreaLight().bulb_position, 0.8 * 0.0509
    distance = float(np.linalg.norm(place))
    lamp = 0.8 / np.pi * 10_000 / 100**2
    bulb = 0.8 / np.pi * 1000 / (4 * np.pi * distance**2) * place[2] / distance
    for light, expected in (
        (AreaLight(energy=10_000.0, bulb=0.0), lamp),
        (AreaLight(energy=0.0), bulb),
    ):
        level = blender.render(source, camera, light)[0, :3, 16, 16].mean()
        linear = float(((level + 0.055) / 1.055) ** 2.4)
        assert linear == pytest.approx(expected + around, rel=0.06)


FBX = """
import bpy, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[-2])
bpy.ops.export_scene.fbx(filepath=sys.argv[-1], path_mode="RELATIVE")
"""


def _fbx(glb):
    """The same object as FBX, written by Blender beside the GLB."""
    command = [find_blender()[0], "-I", "-c", FBX, str(glb), str(glb.with_suffix(".fbx"))]
    subprocess.run(command, check=True, capture_output=True)
    return glb.with_suffix(".fbx")


@pytest.fixture
def executable(tmp_path):
    """A `blender` that takes its command line and talks before our script does, as the real one."""
    program = tmp_path / "blender-4.5" / "blender"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\necho 'Blender 4.5.0 (hash 000000000000)'\n"
        '[ "$1 $2 $3 $4" = "--background --factory-startup --python-exit-code 1" ] || exit 3\n'
        f'script=$6; shift 7; exec {shlex.quote(find_blender()[0])} -I "$script" -- "$@"\n'
    )
    program.chmod(0o755)
    return program


@with_blender
@pytest.mark.slow
def test_an_fbx_is_rendered_by_the_command_line_with_a_blender_as_its_glb_is(tmp_path, jug, executable):
    from typer.testing import CliRunner

    from zero123.cli.data import app

    glb = export_mesh(jug, tmp_path / "jug.glb")
    fbx = _fbx(glb)
    cameras = [{"azimuth_deg": a, "elevation_deg": 20, "radius": 1.8} for a in (20, 140, 260)]
    (tmp_path / "cameras.json").write_text(json.dumps(cameras))
    command = ["render", str(fbx), "-o", str(tmp_path / "out"), "--camera-list", str(tmp_path / "cameras.json")]
    command += ["--sampler", "list", "--size", "128", "--renderer", "blender", "--blender", str(executable)]
    run = CliRunner().invoke(app, [*command, "--cycles-samples", "16", "--processes", "1"])
    assert run.exit_code == 0, run.output
    views = ViewSet.load(tmp_path / "out" / "jug")
    fast = Embree().render(Source("jug", glb), views.camera, MATT)
    assert _iou(fast, views.images) > 0.97
    both = ((fast[:, 3] == 1) & (views.images[:, 3] == 1))[:, None].expand(-1, 3, -1, -1)
    pair = torch.stack((fast[:, :3][both], views.images[:, :3][both]))
    assert float(torch.corrcoef(pair)[0, 1]) > 0.8  # under another light


OBJ_TO_FBX = FBX.replace("import_scene.gltf(filepath=sys.argv[-2])", "wm.obj_import(filepath=sys.argv[-2])")


@with_blender
@pytest.mark.slow
def test_textures_that_an_fbx_has_lost_are_named_or_shown_grey_never_pink(tmp_path, blender):
    Image.new("RGB", (8, 8), (200, 30, 30)).save(tmp_path / "red.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 1 1 1\nmap_Kd red.png\n")
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\nv -1 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl m\nf 1/1 2/2 3/3\n"
    )
    path = tmp_path / "a.fbx"
    command = [find_blender()[0], "-I", "-c", OBJ_TO_FBX, str(tmp_path / "a.obj"), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    camera = Camera.from_orbit(OrbitPose.from_degrees([0.0], [0.0], 2.0), hw=(32, 32))
    source, easy = Source("a", path), CyclesRenderer(FAST, Machine(), need_textures=False)

    def middle(renderer):
        view = renderer.render(source, camera, MATT)[0]
        return view[:3, view[3] == 1].mean(1)

    red = middle(blender)
    assert red[0] > 2 * red[1]
    (tmp_path / "red.png").write_bytes(b"no picture")
    with pytest.raises(MeshError, match=r"a\.fbx: its texture red\.png is damaged"):
        middle(blender)
    (tmp_path / "red.png").unlink()
    with pytest.raises(MeshError, match=r"a\.fbx: its texture red\.png is missing; put it there"):
        middle(blender)
    grey = middle(easy)
    easy.close()
    assert float(grey.max() - grey.min()) < 0.05 < float(grey.min())


@with_blender
@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply", ".stl"])
@pytest.mark.parametrize("scale", [1e9, 1e-7])
def test_absurd_scales_look_as_any_other(tmp_path, blender, suffix, scale):
    camera = Camera.from_orbit(OrbitPose.from_degrees([30.0], [20.0], 2.0), hw=(48, 48))
    views = []
    for name, factor in (("plain", 1.0), ("scaled", scale)):
        path = tmp_path / f"{name}{suffix}"
        trimesh.creation.box((1, 2, 3)).apply_scale(factor).export(path, **({"digits": 12} if suffix == ".obj" else {}))
        views.append(blender.render(Source(name, path), camera, MATT))
    assert _iou(*views) > 0.97
    both = ((views[0][:, 3] == 1) & (views[1][:, 3] == 1))[:, None].expand(-1, 3, -1, -1)
    assert float((views[0][:, :3] - views[1][:, :3])[both].abs().mean()) < 0.03


@with_blender
@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply", ".stl"])
def test_points_that_are_no_numbers_are_refused_not_mended(tmp_path, blender, suffix):
    box = trimesh.creation.box()
    box.vertices[2] = np.nan
    box.export(tmp_path / f"nan{suffix}")
    camera = Camera.from_orbit(OrbitPose.from_degrees([30.0], [20.0], 2.0), hw=(32, 32))
    with pytest.raises(MeshError, match=r"nan\.\w+: .*(not finite numbers|contained NaN)"):
        blender.render(Source("nan", tmp_path / f"nan{suffix}"), camera, MATT)


def test_a_full_folder_for_temporary_files_ends_the_run_and_says_which(tmp_path, monkeypatch):
    """Blender cannot write its pictures, and says so of every object."""
    program = tmp_path / "blender"
    program.write_text(
        "#!/bin/sh\n"
        """echo '{"ok": true, "version": "4.5.0"}'; read job; echo '{"ok": false, "reason": "cannot write"}'\n"""
    )
    program.chmod(0o755)
    trimesh.creation.box().export(tmp_path / "box.glb")
    camera = Camera.from_orbit(OrbitPose.from_degrees([0.0], [0.0], 2.0), hw=(32, 32))
    renderer, source = CyclesRenderer(FAST, Machine(str(program))), Source("box", tmp_path / "box.glb")
    with pytest.raises(MeshError, match=r"box\.glb: not readable by Blender \(cannot write\)"):
        renderer.render(source, camera, MATT)
    renderer.close()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(Halt, match="is full; make room, or set TMPDIR to another folder"):
        renderer.render(source, camera, MATT)
    renderer.close()


@with_blender
@pytest.mark.slow
def test_a_bad_file_is_told_and_the_next_is_rendered_by_the_same_blender(tmp_path, jug, blender):
    bad = tmp_path / "bad.glb"
    bad.write_bytes(struct.pack("<4sIII4s", b"glTF", 2, 24, 4, b"JSON") + b"{{{{")
    camera = Camera.from_orbit(OrbitPose.from_degrees([0.0], [0.0], 2.0), hw=(32, 32))
    with pytest.raises(MeshError, match=r"bad\.glb: not readable by Blender \(Bad glTF: \S"):
        blender.render(Source("bad", bad), camera, MATT)
    process = blender._process
    good = Source("jug", export_mesh(jug, tmp_path / "jug.glb"))
    assert float(blender.render(good, camera, MATT)[0, 3].max()) == 1
    assert blender._process is process and process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(BlenderError, match="ended with code -9"):
        blender.render(good, camera, MATT)
    assert float(blender.render(good, camera, MATT)[0, 3].max()) == 1


@with_blender
@pytest.mark.slow
@pytest.mark.parametrize("device", ["cuda", "optix"])
def test_a_blender_without_such_a_device_says_so(device, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    renderer = CyclesRenderer(FAST, Machine(device=device))
    with pytest.raises(ImportError, match=rf"(sees|computes with) no {device} device.*; use --device cpu"):
        renderer.describe()
    renderer.close()


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


def test_a_blender_is_told_from_a_python_by_its_name_or_by_what_it_says(tmp_path):
    program = tmp_path / "blender"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    command = find_blender(str(program))
    assert command[1:3] == ["--background", "--factory-startup"] and command[-1] == "--"
    assert find_blender(sys.executable)[1] == "-I"
    other = tmp_path / "b3d"
    other.write_text("#!/bin/sh\necho Blender 4.2.1 LTS\n")
    other.chmod(0o755)
    assert find_blender(str(other))[1] == "--background"
    other.write_text("#!/bin/sh\necho Python 3.11.7\n")
    assert find_blender(str(other))[1] == "-I"


def test_what_blender_says_before_it_answers_is_passed_over_and_silence_is_told(tmp_path):
    program = tmp_path / "blender"
    program.write_text("#!/bin/sh\necho Blender 4.2.1 LTS\necho '{}'\necho 'no CPU' >&2\nexit 7\n")
    program.chmod(0o755)
    with pytest.raises(ImportError, match="does not run Blender: Blender ended with code 7: no CPU"):
        CyclesRenderer(FAST, Machine(str(program))).describe()


def test_the_script_needs_nothing_of_ours():
    """It parses on Blender's own Python, and imports only Blender, numpy and the standard library."""
    tree = ast.parse(_SCRIPT.read_text(encoding="utf-8"))
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert {n.split(".")[0] for n in names} - sys.stdlib_module_names == {"bpy", "mathutils", "numpy"}

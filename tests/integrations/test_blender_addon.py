"""The Blender add-on in a real Blender without windows: the mesh is in the scene, and every mishap is told."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from zero123.images import io
from zero123.meshes.export import export_mesh
from zero123.meshes.mesh import Mesh

ROOT = Path(__file__).parents[2]
ADDON = ROOT / "integrations" / "blender" / "zero123_addon.py"
BLENDER = os.environ.get("ZERO123_BLENDER")
with_blender = pytest.mark.skipif(not BLENDER, reason="set ZERO123_BLENDER to a Python that has bpy")

STAND_IN = """
import json, shutil, sys, time
picture, out = sys.argv[2], sys.argv[sys.argv.index("-o") + 1]
print(json.dumps(sys.argv), file=open(sys.argv[0] + ".asked", "w"))
for done in range(1, 4):
    step = {"stage": "drawing", "number": 1, "stages": 2, "done": done, "total": 3}
    print(json.dumps(step), file=sys.stderr, flush=True)
if "slow" in picture:
    time.sleep(120)
if "bad" in picture:
    print("a warning\\nerror: bad.png is damaged", file=sys.stderr)
    sys.exit(2)
if "nothing" not in picture:
    shutil.copy(sys.argv[0] + ".glb", out)
"""

START = """
import json, sys, time
from types import SimpleNamespace
import bpy
job = json.load(sys.stdin)
bpy.ops.preferences.addon_install(filepath=job["addon"])
bpy.ops.preferences.addon_enable(module="zero123_addon")
bpy.context.preferences.addons["zero123_addon"].preferences.command = job["command"]
import zero123_addon as addon
scene = bpy.context.scene
settings = scene.zero123
settings.picture = job["picture"]
before = {one.name for one in bpy.data.objects}
found = {}
def made():
    try:
        return sorted(bpy.ops.zero123.reconstruct())
    except RuntimeError as error:
        return str(error)
"""

END = """
found["new"] = sorted(one.name for one in bpy.data.objects if one.name not in before)
found["run"] = addon.Zero123Reconstruct.run is not None
print("FOUND " + json.dumps(found))
"""


@pytest.fixture
def blender(tmp_path):
    """Runs lines in Blender, with the add-on and a program in zero123's place; what they found."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    box = trimesh.creation.box((0.4, 0.6, 0.8))
    uv = np.random.default_rng(0).random((len(box.vertices), 2)).astype(np.float32)
    texture = np.zeros((8, 8, 3), np.float32)
    texture[..., 0] = 0.8
    mesh = Mesh(np.asarray(box.vertices, np.float32), np.asarray(box.faces, np.int64), uv=uv, texture=texture)
    export_mesh(mesh, tmp_path / "mesh.glb").rename(tmp_path / "stand_in.py.glb")

    def run(picture, lines, command=None):
        if picture:
            io.save(tmp_path / picture, torch.rand(3, 20, 20))
        job = {
            "addon": str(ADDON),
            "command": command or f'"{sys.executable}" "{tmp_path / "stand_in.py"}"',
            "picture": str(tmp_path / picture) if picture else "",
        }
        own = {"BLENDER_USER_RESOURCES": str(tmp_path / "blender"), "TMPDIR": str(tmp_path / "scratch")}
        (tmp_path / "scratch").mkdir()
        told = subprocess.run(
            [BLENDER, "-c", START + lines + END],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            env={**os.environ, **own},
            timeout=100,
        )
        answer = [line for line in told.stdout.splitlines() if line.startswith("FOUND ")]
        assert answer, told.stdout + told.stderr
        assert not list((tmp_path / "scratch").glob("zero123-*"))
        return json.loads(answer[0].removeprefix("FOUND "))

    return run


@with_blender
def test_a_picture_becomes_a_textured_mesh_at_the_cursor(blender, tmp_path):
    found = blender(
        "jug.png",
        """
scene.cursor.location = (1, 2, 3)
settings.faces, settings.elevation_known, settings.elevation, settings.more = 800, True, 15, "--seed 3"
found["ended"] = made()
one = bpy.context.active_object
found["selected"] = [o.name for o in bpy.context.selected_objects]
found["faces"], found["place"] = len(one.data.polygons), list(one.matrix_world.translation)
found["size"] = list(one.dimensions)
images = [n.image for m in one.data.materials for n in m.node_tree.nodes if n.type == "TEX_IMAGE"]
found["images"] = [[i.size[0], bool(i.packed_file), list(i.pixels[:3])] for i in images]
found["uv"] = len(one.data.uv_layers)
""",
    )
    assert found["ended"] == ["FINISHED"] and found["new"] == found["selected"] == ["jug"] and not found["run"]
    assert found["faces"] == 12 and found["place"] == pytest.approx([1, 2, 3])
    assert found["size"] == pytest.approx([0.6, 0.4, 0.8], abs=1e-4)  # front, our +x, is Blender's -y
    ((side, is_packed, first),) = found["images"]
    assert side == 8 and is_packed and found["uv"] == 1 and first == pytest.approx([0.8, 0, 0], abs=0.01)
    asked = json.loads((tmp_path / "stand_in.py.asked").read_text())
    assert asked[1:3] == ["reconstruct", str(tmp_path / "jug.png")]
    assert asked[5:] == [
        "--model",
        "mini",
        "--faces",
        "800",
        "--background",
        "auto",
        "--elevation-deg",
        "15",
        "--seed",
        "3",
    ]


@with_blender
@pytest.mark.parametrize(
    ("picture", "command", "said"),
    [
        ("bad.png", None, "bad.png is damaged"),
        ("nothing.png", None, "ended with code 0 and no mesh"),
        (None, None, "no such picture: (none chosen)"),
        ("jug.png", "no-such-zero123", "no such program: 'no-such-zero123'"),
        ("jug.png", '"unclosed', "cannot be read"),
    ],
)
def test_a_mishap_is_told_in_one_line_and_leaves_the_scene_as_it_was(blender, picture, command, said):
    found = blender(picture, 'found["ended"] = made()\n', command)
    assert said in found["ended"] and "Traceback" not in found["ended"]
    assert len(found["ended"].strip().splitlines()) == 1
    assert found["new"] == [] and not found["run"]


@with_blender
def test_the_window_follows_the_run_and_cancel_ends_it(blender):
    """There are no windows here: the operator's own functions are called as Blender's window would."""
    found = blender(
        "slow.png",
        """
shown = []
manager = SimpleNamespace(progress_update=shown.append, progress_end=lambda: None, event_timer_remove=lambda t: None)
context = SimpleNamespace(scene=scene, window_manager=manager, screen=SimpleNamespace(areas=[]))
def operator():
    addon.Zero123Reconstruct.run = run = addon.Run(job["command"], job["picture"], settings.options())
    self = SimpleNamespace(run=run, timer=None, report=lambda kind, text: shown.append(text))
    self.leave = lambda context: addon.Zero123Reconstruct.leave(self, context)
    return self, run
timer, escape = SimpleNamespace(type="TIMER"), SimpleNamespace(type="ESC")
self, run = operator()
while run.share < 0.5:
    time.sleep(0.02)
found["timer"] = sorted(addon.Zero123Reconstruct.modal(self, context, timer))
found["stage"], found["share"] = settings.stage, settings.share
found["escape"] = sorted(addon.Zero123Reconstruct.modal(self, context, escape))
found["gone"] = run._process.poll() is not None
self, run = operator()
found["may"] = bpy.ops.zero123.cancel.poll(), bpy.ops.zero123.reconstruct.poll()
found["button"] = sorted(bpy.ops.zero123.cancel())
self.run = addon.Zero123Reconstruct.run
found["after"] = sorted(addon.Zero123Reconstruct.modal(self, context, timer))
found["both gone"] = run._process.poll() is not None
self, run = operator()
bpy.ops.preferences.addon_disable(module="zero123_addon")
found["off"] = run._process.poll() is not None
found["shown"] = shown
""",
    )
    assert found["timer"] == ["PASS_THROUGH"] and found["escape"] == ["CANCELLED"] and found["gone"]
    assert found["stage"] == "drawing" and found["share"] == pytest.approx(0.5)
    assert found["may"] == [True, False] and found["button"] == ["FINISHED"]
    assert found["after"] == ["CANCELLED"] and found["both gone"] and found["off"]
    assert found["shown"][0] == pytest.approx(50) and found["shown"].count("zero123: cancelled") == 2
    assert found["new"] == [] and not found["run"]


def test_the_add_on_needs_nothing_but_blender():
    tree = ast.parse(ADDON.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= {"bpy"} | sys.stdlib_module_names


def test_the_progress_it_reads_is_the_progress_the_command_line_tells(monkeypatch, capsys):
    from zero123.cli.console import bar

    monkeypatch.setenv("ZERO123_PROGRESS", "json")
    with bar("drawing", "fitting") as update:
        update.named("views", 1, 4)
        update.named("fit", 2, 8)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        {"stage": "drawing", "number": 1, "stages": 2, "done": 1, "total": 4},
        {"stage": "fitting", "number": 2, "stages": 2, "done": 2, "total": 8},
    ]

"""Bad input costs itself only: told in one line, listed, and nothing half done is ever seen under its final name."""

import json
import multiprocessing
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from PIL import Image
from typer.testing import CliRunner

from small_views import filled
from zero123.cli import console
from zero123.cli import data as cli_data
from zero123.data.formats.detect import open_source
from zero123.data.render.batch import CameraSettings, RenderSettings, Source, render_all, render_object
from zero123.data.shards.writer import ShardSettings, shard_views
from zero123.data.view_set import ViewSet, ViewSetError
from zero123.jobs import Workers
from zero123.meshes.load import MeshError, load

SMALL = RenderSettings(CameraSettings(views=2), size=24, samples=1)
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"


def _box(path, scale=1.0, away=0.0, vertex=None):
    box = trimesh.creation.box((1, 2, 3)).apply_scale(scale).apply_translation((away, 0, 0))
    if vertex is not None:
        box.vertices[2] = vertex
    box.export(path)


def _textured(path, uv=0.5):
    box = trimesh.creation.box()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    look = trimesh.visual.material.PBRMaterial(baseColorTexture=picture)
    places = np.full((len(box.vertices), 2), 0.5)
    places[3] = uv
    box.visual = trimesh.visual.TextureVisuals(uv=places, material=look)
    box.export(path)


def _edit(path, change):
    """Change the JSON and the bytes behind it of a GLB."""
    whole = path.read_bytes()
    length = struct.unpack_from("<I", whole, 12)[0]
    content, rest = json.loads(whole[20 : 20 + length]), bytearray(whole[20 + length :])
    change(content, rest)
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON")
    path.write_bytes(head + text + rest)


def _far_picture(content, rest):
    content["images"] = [{"uri": "gone%20away.png"}]


def _bad_picture(start):
    def change(content, rest):
        view = content["bufferViews"][content["images"][0]["bufferView"]]
        first = 8 + view.get("byteOffset", 0)
        rest[first + start : first + view["byteLength"]] = bytes(view["byteLength"] - start)

    return change


def _nan_place(content, rest):
    content["nodes"][-1]["matrix"] = [float("nan")] + [0] * 14 + [1]


def _edited(change):
    def make(path):
        _textured(path)
        _edit(path, change)

    return make


def _cut(make, share=0.5):
    def cut(path):
        make(path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return cut


def _text(text):
    return lambda path: path.write_text(text)


BAD = {
    "nofaces.obj": (_text(TRIANGLE), "holds no triangles"),
    "points.ply": (lambda p: trimesh.PointCloud(np.eye(3)).export(p), "holds no triangles"),
    "empty.glb": (_text(""), "is empty, 0 bytes"),
    "letter.glb": (_text("Dear friend"), "not a readable mesh (it is no GLB)"),
    "letter.gltf": (_text("Dear friend"), "not a readable mesh (its JSON is damaged"),
    "half.glb": (_cut(_box), "cut short, it has"),
    "half.stl": (_cut(_box), "cut short, it has"),
    "half.ply": (_cut(_box), "not a readable mesh"),
    "index.obj": (_text(TRIANGLE + "f 1 2 9\n"), "not a readable mesh"),
    "nan.glb": (lambda p: _box(p, vertex=np.nan), "holds points that are not finite numbers"),
    "nan.ply": (lambda p: _box(p, vertex=np.nan), "holds points that are not finite numbers"),
    "nan.stl": (lambda p: _box(p, vertex=np.nan), "holds points that are not finite numbers"),
    "nan.obj": (_text("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"), "holds points that are not finite numbers"),
    "nanplace.glb": (_edited(_nan_place), "holds points that are not finite numbers"),
    "nanuv.glb": (lambda p: _textured(p, np.nan), "holds texture coordinates that are not finite numbers"),
    "beyond.obj": (_text("v 0 0 0\nv 1e40 0 0\nv 0 1e40 0\nf 1 2 3\n"), "its longest side is inf"),
    "point.obj": (_text("v 1 1 1\n" * 3 + "f 1 2 3\n"), "its longest side is 0; there is nothing to see"),
    "off.glb": (lambda p: _box(p, away=1e6), "times its size away from the origin"),
    "off.obj": (lambda p: _box(p, away=1e6), "times its size away from the origin"),
    "elsewhere.glb": (_edited(_far_picture), "its texture gone away.png is missing; put it there"),
    "picture.glb": (_edited(_bad_picture(0)), "its texture number 0 is damaged, huge, or of a kind that is not read"),
    "halfpicture.glb": (_edited(_bad_picture(300)), "its texture is damaged"),
    "thing.fbx": (_text("Kaydara FBX Binary"), "FBX is read by Blender only; render it with --renderer blender"),
}
"""Name, how to make it, and what is said of it."""


@pytest.fixture(scope="module")
def meshes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("meshes")
    for name, (make, _) in BAD.items():
        make(folder / name)
    for name, scale in (("huge", 1e9), ("tiny", 1e-9)):
        for suffix in (".glb", ".ply", ".stl"):
            _box(folder / f"{name}{suffix}", scale)
    return folder


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_a_mesh_is_told_in_one_line_that_names_it(meshes, name):
    with pytest.raises(MeshError) as caught:
        render_object(Source("a", meshes / name), SMALL)
    line = str(caught.value)
    assert line.startswith(f"{meshes / name}: {BAD[name][1]}".removesuffix("times its size away from the origin"))
    assert BAD[name][1] in line and "\n" not in line


@pytest.mark.parametrize("name", ["huge", "tiny"])
@pytest.mark.parametrize("suffix", [".glb", ".ply", ".stl"])
def test_a_mesh_a_billion_times_too_large_or_small_is_rendered_as_any_other(meshes, tmp_path, name, suffix):
    _box(tmp_path / f"plain{suffix}")
    files = (tmp_path / f"plain{suffix}", meshes / f"{name}{suffix}")
    plain, scaled = (render_object(Source("a", file), SMALL).images for file in files)
    assert float((plain - scaled).abs().mean()) < 0.01


def test_a_flattened_part_and_normals_that_are_no_numbers_are_drawn_with_normals_of_our_own(tmp_path):
    def flat(content, rest):
        content["nodes"][-1]["matrix"] = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]

    _textured(tmp_path / "flat.glb")
    _edit(tmp_path / "flat.glb", flat)
    (part,) = load(tmp_path / "flat.glb")
    assert np.ptp(part.vertices[:, 0]) == 0 and np.isfinite(part.vertices).all()
    picture = render_object(Source("a", tmp_path / "flat.glb"), SMALL).images
    assert bool(picture.isfinite().all()) and float(picture[:, 3].max()) == 1


def _run(*arguments):
    return CliRunner().invoke(cli_data.app, [str(a) for a in arguments])


def _seen(folder):
    """What a person sees in a folder: whole view sets."""
    found = sorted(p for p in folder.iterdir() if p.is_dir())
    for path in found:
        assert not path.name.startswith(".") and (path / "manifest.json").is_file()
        assert len(ViewSet.load(path)) == len(json.loads((path / "manifest.json").read_text())["views"])
    return [path.name for path in found]


def test_the_command_line_renders_the_good_lists_the_bad_and_says_how_many(meshes, tmp_path):
    out = tmp_path / "out"
    run = _run("render", meshes, "-o", out, "--views", 1, "--size", 16, "--processes", 1)
    assert run.exit_code == 0, run.output
    good = ["huge-glb", "huge-ply", "huge-stl", "tiny-glb", "tiny-ply", "tiny-stl"]
    assert _seen(out) == good and f"6 objects in {out}, {len(BAD)} failed" in run.output
    assert run.output.count("failed: ") == 20 and f"... and {len(BAD) - 20} more failed" in run.output
    listed = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert len(listed) == len(BAD) and all(entry["attempts"] == 1 for entry in listed)
    again = _run("render", meshes, "-o", out, "--views", 1, "--size", 16, "--processes", 1)
    assert again.exit_code == 0 and "6 of 29 objects are there already" in again.output
    assert "failed in an earlier run; --retry-failed tries again" in again.output


def test_where_nothing_can_be_rendered_the_exit_code_tells(meshes, tmp_path):
    run = _run("render", meshes / "thing.fbx", "-o", tmp_path / "out", "--processes", 1)
    assert str(run.exception) == "nothing could be rendered; see the lines above"
    assert "FBX is read by Blender only" in run.output and _seen(tmp_path / "out") == []


@pytest.fixture
def shards(tmp_path):
    shard_views(open_source(filled(tmp_path / "views", 6, 3)), tmp_path / "shards", ShardSettings(objects=2))
    return tmp_path / "shards"


def _cut_short(path):
    path.write_bytes(path.read_bytes()[:700])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[100:300] = bytes(200)  # in the header of the first file
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [_cut_short, _flip, os.unlink])
def test_a_corrupt_shard_is_told_once_and_the_others_are_read(shards, tmp_path, spoil):
    spoil(shards / "shard-000001.tar")
    run = _run("check", shards)
    assert run.exit_code == 2 and run.output.count("shard-000001.tar") <= 2 and "shard: 1" in run.output
    source, whole = open_source(shards), ("object00", "object01", "object04", "object05")
    for index, name in enumerate(source.names):
        if name in whole:
            assert len(source.load(index)) == 3
    with pytest.raises(ViewSetError, match=r"object02|shard-000001") as caught:
        source.load(2)
    assert "\n" not in str(caught.value)
    run = _run("unshard", shards, "-o", tmp_path / "back")
    assert "objects are broken, more than" in str(run.exception) and "object02" in str(run.exception)
    run = _run("unshard", shards, "-o", tmp_path / "back", "--max-broken", 0.5)
    assert run.exit_code == 0 and "objects skipped: object02" in run.output
    assert {p.name for p in (tmp_path / "back").iterdir()} >= set(whole)
    assert not (tmp_path / "back" / "object02").exists()


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda f: (f / "001.png").unlink(), "missing"),
        (lambda f: (f / "001.npy").unlink(), "missing"),
        (lambda f: np.save(f / "001.npy", np.full((3, 4), np.nan)), "camera"),
        (shutil.rmtree, "missing"),
    ],
)
def test_a_missing_view_or_a_camera_that_is_no_number_is_named_and_the_rest_is_shown(tmp_path, spoil, kind):
    views = filled(tmp_path / "views", 4, 3)
    (views / "valid_paths.json").write_text(json.dumps([f"object{k:02d}" for k in range(4)]))
    spoil(views / "object02")
    run = _run("check", views)
    assert run.exit_code == 2 and f"{kind}: " in run.output and "  object02" in run.output
    run = _run("preview", views, "-o", tmp_path / "sheet.png", "--size", 16, "--objects", 4, "--views", 3)
    assert run.exit_code == 0 and (tmp_path / "sheet.png").is_file()
    assert kind == "missing" or "1 of 4 objects skipped: object02" in run.output


def test_a_camera_of_a_nerf_scene_that_is_no_number_is_named(tmp_path):
    frame = {"file_path": "a", "transform_matrix": np.full((4, 4), np.nan).tolist()}
    content = {"camera_angle_x": 0.7, "frames": [frame]}
    (tmp_path / "transforms_train.json").write_text(json.dumps(content))
    with pytest.raises(ViewSetError, match=r"transforms_train\.json: transform_matrix of frame 0 is not finite"):
        open_source(tmp_path).load(0)


PROCEDURAL = ("procedural", "--views", 2, "--size", 16)


def _start(*arguments):
    command = [sys.executable, "-m", "zero123", "data", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_a_second_run_into_a_folder_is_refused_and_a_killed_first_one_goes_on(tmp_path):
    out = tmp_path / "out"
    first = _start(*PROCEDURAL, "-o", out, "--count", 400, "--processes", 2)
    for _ in range(1200):
        if out.is_dir() and any(p.is_dir() and not p.name.startswith(".") for p in out.iterdir()):
            break
        time.sleep(0.05)
    second = _run(*PROCEDURAL, "-o", out, "--count", 4, "--processes", 1)
    assert "another run writes into this folder; wait for it, or choose another" in str(second.exception)
    assert first.poll() is None
    first.kill()
    first.communicate()
    time.sleep(1)  # its workers notice
    visible = [p for p in out.iterdir() if p.is_dir() and not p.name.startswith(".")]
    assert 1 <= len(visible) < 400 and all((p / "manifest.json").is_file() for p in visible)
    again = _run(*PROCEDURAL, "-o", out, "--count", len(visible) + 3, "--processes", 2)
    assert again.exit_code == 0 and "0 failed" in again.output and len(_seen(out)) >= len(visible) + 3


@pytest.mark.slow
def test_a_worker_killed_from_outside_loses_nothing(tmp_path):
    sources = [Source(f"p{seed}", None, seed) for seed in range(8)]
    results = render_all(sources, tmp_path, SMALL, Workers(2))
    done = [next(results)]
    victim = multiprocessing.active_children()[0].pid
    os.kill(victim, signal.SIGKILL)
    done += results
    assert {source.name: error for source, error in done} == {source.name: None for source in sources}
    assert _seen(tmp_path) == [source.name for source in sources] and not (tmp_path / "failures.jsonl").exists()


FULL = """
mount -t tmpfs -o size=300k tmpfs "$1" || exit 77
"$2" -m zero123 data procedural -o "$1/views" --count 12 --views 4 --size 128 --processes 2 > "$3/said" 2>&1
echo $? > "$3/code"
cp -r "$1/views" "$3/"
"""


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_run_with_one_line_and_whole_folders(tmp_path):
    """A real file system of 300 kB, seen by this run alone."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here, with which a small file system is made")
    (tmp_path / "small").mkdir()
    (tmp_path / "kept").mkdir()
    command = ["unshare", "-rm", "sh", "-c", FULL, "sh", tmp_path / "small", sys.executable, tmp_path / "kept"]
    ran = subprocess.run([str(part) for part in command], capture_output=True, check=False)
    if not (tmp_path / "kept" / "code").is_file():
        pytest.skip(f"no small file system can be made here: {ran.stderr.decode().strip()}")
    said = (tmp_path / "kept" / "said").read_text().splitlines()
    assert (tmp_path / "kept" / "code").read_text().strip() == "2" and len(said) == 1
    assert said[0].endswith("No space left on device; what is done is kept, the same command goes on")
    assert 1 <= len(_seen(tmp_path / "kept" / "views")) < 12


def test_the_time_left_counts_only_what_takes_time(monkeypatch, capsys):
    clock = iter([0.0, *[1.0] * 50, *range(120, 10_000, 120)])
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    ended = console.follow(((None, index >= 50) for index in range(60)), 100, "objects")
    assert (ended.made, ended.there, ended.failed) == (10, 50, 0)
    assert capsys.readouterr().out.splitlines()[0] == "51 of 100 objects, 0 failed, 98 minutes left"

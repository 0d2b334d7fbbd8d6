"""The linter finds every planted fault, says nothing of sound data, and its exit code tells."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from small_views import SIZE, filled, view_set
from zero123 import cli
from zero123.data import check as check_module
from zero123.data.check import CheckSettings, check
from zero123.data.formats.detect import open_source
from zero123.data.preview import PreviewSettings, preview
from zero123.data.shards.writer import ShardSettings, shard_views
from zero123.data.view_set import ViewSet, ViewSetError
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.geometry.paths import random_views
from zero123.images import io
from zero123.jobs import Outcome
from zero123.meshes.load import load
from zero123.meshes.mesh import Mesh, unit_cube
from zero123.meshes.raster import draw_picture


def framed(seed, views=4):
    """Noise with a transparent border."""
    whole = view_set(seed, views)
    images = whole.images.clone()
    images[:, 3] = 0
    images[:, 3, 4:12, 4:12] = 1
    return ViewSet(images, whole.camera)


@pytest.fixture
def sound(tmp_path):
    for index in range(4):
        framed(index).save(tmp_path / "views" / f"object{index}")
    return tmp_path / "views"


def kinds(report):
    return {(finding.where, finding.kind) for finding in report.findings}


def test_sound_data_is_found_sound_in_folders_and_shards(sound, tmp_path):
    report = check(open_source(sound))
    assert report.findings == [] and (report.objects, report.views) == (4, 16) and report.notes == []
    shard_views(open_source(sound), tmp_path / "shards", ShardSettings(objects=2))
    assert check(open_source(tmp_path / "shards"), CheckSettings(processes=2)).findings == []


def _image(path, change):
    levels = np.array(Image.open(path))
    change(levels)
    Image.fromarray(levels).save(path)


def _clear(levels):
    levels[..., 3] = 0


def _widen(levels):
    levels[2:14, :9, 3] = 255


FAULTS = {
    "camera gone": (lambda f: (f / "002.npy").unlink(), {("object1/002.png", "missing")}),
    "picture gone": (lambda f: (f / "001.png").unlink(), {("object1/001.png", "missing"), ("object1", "missing")}),
    "last picture gone": (
        lambda f: (f / "003.png").unlink(),
        {("object1/003.npy", "missing"), ("object1", "missing")},
    ),
    "cut short": (
        lambda f: (f / "001.png").write_bytes((f / "001.png").read_bytes()[:90]),
        {("object1/001.png", "damaged")},
    ),
    "empty": (lambda f: _image(f / "003.png", _clear), {("object1/003.png", "empty")}),
    "clipped": (lambda f: _image(f / "000.png", _widen), {("object1/000.png", "clipped")}),
    "nan": (lambda f: np.save(f / "000.npy", np.full((3, 4), np.nan)), {("object1/000.png", "camera")}),
    "mirrored camera": (
        lambda f: np.save(f / "000.npy", np.diag([1, 1, -1]) @ np.load(f / "000.npy")),
        {("object1/000.png", "camera")},
    ),
    "camera in millimetres": (
        lambda f: np.save(f / "000.npy", np.load(f / "000.npy") * ([1] * 3 + [1000])),
        {("object1/000.png", "camera")},
    ),
    "same view": (lambda f: shutil.copy(f / "000.png", f / "002.png"), {("object1/002.png", "duplicate")}),
    "other size": (
        lambda f: Image.open(f / "002.png").resize((24, 24)).save(f / "002.png"),
        {("object1/002.png", "size")},
    ),
    "nothing there": (lambda f: [p.unlink() for p in f.iterdir()], {("object1", "missing")}),
    "not the picture of its manifest": (
        lambda f: (f / "manifest.json").write_text(
            '{"views": [{"file": "001.png", "sha256": "0", "lens": {"field_of_view_deg": 50}}]}'
        ),
        {("object1/001.png", "damaged")},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_and_named_and_nothing_else(sound, fault):
    spoil, expected = FAULTS[fault]
    spoil(sound / "object1")
    assert kinds(check(open_source(sound))) == expected


def test_an_object_that_is_there_twice_is_found(sound):
    shutil.copytree(sound / "object2", sound / "object9")
    (finding,) = check(open_source(sound)).findings
    assert (finding.where, finding.kind, finding.what) == ("object9", "duplicate", "the same pictures as object2")


def test_a_mesh_that_was_rendered_twice_under_two_names_is_found(sound):
    """Its cameras and light follow the name, so that no two pictures are the same."""
    said = {"object0": {"sha256": "ab"}, "object1": {"procedural": 1}, "object2": {"sha256": "ab"}}
    for name, source in {**said, "object3": {"procedural": 2}}.items():
        views = [{"file": "000.png", "lens": {"field_of_view_deg": 49.1}}]
        (sound / name / "manifest.json").write_text(json.dumps({"source": source, "views": views}))
    (finding,) = check(open_source(sound)).findings
    expected = ("object2", "duplicate", "rendered from the same object as object0")
    assert (finding.where, finding.kind, finding.what) == expected


def test_a_damaged_shard_is_found_by_its_hash(sound, tmp_path):
    shard_views(open_source(sound), tmp_path / "shards", ShardSettings(objects=2))
    path = tmp_path / "shards" / "shard-000001.tar"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # behind all objects
    path.write_bytes(data)
    assert kinds(check(open_source(tmp_path / "shards"))) == {("shard-000001.tar", "shard")}


def test_an_object_that_no_process_survives_is_a_finding_and_the_others_are_looked_at(sound, monkeypatch):
    def run(task, items, workers):
        for index in reversed(items):
            dead = "the worker died (killed by SIGSEGV), 3 times" if index == 2 else None
            yield Outcome(index, None if dead else task(index), dead, 1)

    (sound / "object0" / "001.npy").unlink()
    monkeypatch.setattr(check_module.jobs, "run", run)
    report = check(open_source(sound), CheckSettings(processes=2))
    assert [(f.where, f.kind) for f in report.findings] == [("object0/001.png", "missing"), ("object2", "damaged")]
    assert report.findings[1].what == "could not be looked at: the worker died (killed by SIGSEGV), 3 times"
    assert (report.objects, report.views) == (4, 12)


def test_opaque_pictures_are_noted_not_blamed(tmp_path):
    filled(tmp_path, 1, 2)
    for index in range(2):
        Image.fromarray(np.random.default_rng(index).integers(0, 255, (SIZE, SIZE, 3), np.uint8)).save(
            tmp_path / "object00" / f"{index:03d}.png"
        )
    report = check(open_source(tmp_path))
    assert report.findings == [] and "1 objects without transparency, such as object00" in report.notes[0]


@pytest.fixture(scope="module")
def lamp(tmp_path_factory):
    """A mesh that looks different from every side, and its views drawn by the rasteriser."""
    folder = tmp_path_factory.mktemp("lamp")
    parts = [trimesh.creation.box((0.8, 0.2, 0.2)), trimesh.creation.icosphere(radius=0.25)]
    parts[1].apply_translation((0.3, 0.4, 0.2))
    (folder / "meshes").mkdir()
    trimesh.util.concatenate(parts).export(folder / "meshes" / "lamp.glb")
    return folder


def drawn(lamp, frame="zero123"):
    meshes = unit_cube(load(lamp / "meshes" / "lamp.glb"))
    if frame == "blender":  # front to -y
        meshes = [Mesh(m.vertices[:, [1, 0, 2]] * np.float32([1, -1, 1]), m.faces) for m in meshes]
    camera = Camera.from_orbit(random_views(4, torch.Generator().manual_seed(1)), hw=(64, 64))
    images = [torch.from_numpy(draw_picture(meshes[0], camera[view])) for view in range(4)]
    return ViewSet(torch.stack(images), camera)


def test_views_of_the_mesh_agree_with_it_and_those_of_another_camera_do_not(lamp, tmp_path):
    views = drawn(lamp)
    views.save(tmp_path / "views" / "lamp")
    settings = CheckSettings(meshes=lamp / "meshes")
    assert check(open_source(tmp_path / "views"), settings).findings == []
    pose = views.camera.orbit()
    wrong = Camera.from_orbit(OrbitPose(pose.azimuth[:1] + 0.6, pose.elevation[:1], pose.radius[:1]), hw=(64, 64))
    np.save(tmp_path / "views" / "lamp" / "000.npy", wrong.to_blender_rt()[0].numpy())
    report = check(open_source(tmp_path / "views"), settings)
    assert kinds(report) == {("lamp/000.png", "silhouette")} and "turned" not in report.findings[0].what


def test_renders_in_blenders_frame_fit_when_told_and_the_turn_is_named_when_not(lamp, tmp_path):
    drawn(lamp, "blender").save(tmp_path / "views" / "lamp")
    source = open_source(tmp_path / "views")
    assert check(source, CheckSettings(meshes=lamp / "meshes", frame="blender")).findings == []
    report = check(source, CheckSettings(meshes=lamp / "meshes"))
    assert report.findings and all("turned by 270 degrees" in f.what for f in report.findings)


def test_a_mesh_that_cannot_be_read_is_a_finding_and_a_missing_one_a_note(lamp, sound, tmp_path):
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "object1.glb").write_text("no mesh")
    report = check(open_source(sound), CheckSettings(meshes=tmp_path / "meshes"))
    assert kinds(report) == {("object1", "mesh")} and "3 objects have no mesh" in report.notes[0]
    with pytest.raises(ValueError, match="holds no meshes"):
        check(open_source(sound), CheckSettings(meshes=sound))


def test_a_preview_shows_objects_spread_over_the_source_and_passes_over_broken_ones(tmp_path):
    filled(tmp_path, 6, 4)
    (tmp_path / "object02" / "000.npy").unlink()
    sheet, broken = preview(open_source(tmp_path), PreviewSettings(objects=3, views=2, size=SIZE))
    cell = SIZE + 8
    assert sheet.shape == (3, 3 * (cell + 12), 2 * cell) and list(broken.reasons) == ["object02"]
    for row, (name, views) in enumerate((("object00", (0, 2)), ("object03", (0, 2)), ("object04", (0, 2)))):
        images = open_source(tmp_path / name).load(0, views).views().images
        white = images[:, :3] * images[:, 3:] + 1 - images[:, 3:]
        for column in range(2):
            shown = sheet[:, row * (cell + 12) + 4 :, column * cell + 4 :][:, :SIZE, :SIZE]
            torch.testing.assert_close(shown, white[column], atol=1e-6, rtol=0)
    shutil.rmtree(tmp_path / "object00")
    with pytest.raises(ViewSetError, match="nothing to show"):
        preview(_all_broken(tmp_path))


def _all_broken(folder):
    for path in folder.glob("*/*.npy"):
        path.unlink()
    return open_source(folder)


@pytest.fixture
def zero123(monkeypatch, capsys):
    def run(*arguments):
        capsys.readouterr()
        monkeypatch.delenv("ZERO123_DEBUG", raising=False)
        monkeypatch.setattr(sys, "argv", ["zero123", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        written = capsys.readouterr()
        return stop.value.code, written.out, written.err

    return run


def test_the_command_line_checks_and_its_exit_code_tells(zero123, sound, tmp_path):
    code, out, _ = zero123("check", sound)
    assert code == 0 and "4 objects, 16 views, 0 faults" in out
    (sound / "object1" / "002.npy").unlink()
    code, out, _ = zero123("check", sound, "--report", tmp_path / "report.json")
    assert code == 2 and "missing: 1" in out and "object1/002.png: object1/002.npy: missing" in out
    (finding,) = json.loads((tmp_path / "report.json").read_text())["findings"]
    assert finding["where"] == "object1/002.png"
    code, _, err = zero123("check", tmp_path / "nothing")
    assert code == 2 and err.count("\n") == 1 and "no such folder of views" in err


def test_the_command_line_shards_unshards_and_previews(zero123, sound, tmp_path):
    code, out, _ = zero123("shard", sound, "-o", tmp_path / "shards", "--objects", 3)
    assert code == 0 and "4 objects in 2 shards" in out
    code, out, _ = zero123("unshard", tmp_path / "shards", "-o", tmp_path / "back")
    assert code == 0 and "4 objects in" in out
    assert (tmp_path / "back" / "object3" / "003.png").read_bytes() == (sound / "object3" / "003.png").read_bytes()
    code, out, _ = zero123("preview", tmp_path / "shards", "-o", tmp_path / "sheet.png", "--objects", 2, "--size", 16)
    assert code == 0 and io.load(tmp_path / "sheet.png").shape[0] == 3
    (tmp_path / "shards" / "index.json").unlink()
    assert zero123("shard", tmp_path / "shards", "--index")[0] == 0
    assert len(open_source(tmp_path / "shards").names) == 4
    (sound / "object1" / "002.npy").unlink()
    code, _, err = zero123("shard", sound, "-o", tmp_path / "other")
    assert code == 2 and "1 of 4 objects are broken" in err and "object1" in err and err.count("\n") == 1
    code, out, _ = zero123("shard", sound, "-o", tmp_path / "other", "--max-broken", 0.5)
    assert code == 0 and "1 of 4 objects skipped: object1" in out


def test_a_preview_is_as_wide_as_the_most_views_and_labels_where_each_was_taken_from(tmp_path):
    filled(tmp_path, 1, 2)
    view_set(1, 4).save(tmp_path / "object01")
    sheet, _ = preview(open_source(tmp_path), PreviewSettings(objects=9, views=9, size=SIZE))
    assert sheet.shape == (3, 2 * (SIZE + 20), 4 * (SIZE + 8))
    assert bool((sheet[:, : SIZE + 20, 2 * (SIZE + 8) :] == 1).all())

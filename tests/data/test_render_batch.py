"""Rendering many objects: the same settings give the same views; what fails is told and leaves nothing."""

import dataclasses
import errno
import hashlib
import json
import math
import os
import signal
import sys
import time
from functools import partial

import numpy as np
import pytest
import torch
import trimesh
from filelock import FileLock
from typer.testing import CliRunner

from zero123 import jobs
from zero123.cli import data as cli_data
from zero123.data.render import batch
from zero123.data.render.batch import CameraSettings, Machine, RenderSettings, Source, render_all, render_object
from zero123.data.view_set import ViewSet
from zero123.jobs import Halt, Workers

SMALL = RenderSettings(CameraSettings(views=2), size=24, samples=1)


@pytest.fixture
def box(tmp_path):
    path = tmp_path / "meshes" / "box.glb"
    path.parent.mkdir()
    trimesh.creation.box((0.1, 0.2, 0.4)).export(path)
    return path


@pytest.fixture
def in_process(monkeypatch):
    """Jobs without processes, so that a test can reach into them."""

    def run(task, items, workers=None, cluster=None):
        for item in items:
            try:
                yield jobs.Outcome(item, task(item), None, 1)
            except Halt:
                raise
            except Exception as error:  # noqa: BLE001
                yield jobs.Outcome(item, None, str(error), 1)

    monkeypatch.setattr(batch.jobs, "run", run)
    batch._renderer.cache_clear()


def test_the_same_source_and_seed_give_the_same_views(box):
    first, second = (render_object(Source("a", box), SMALL) for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.camera.world_from_camera, second.camera.world_from_camera)
    other = render_object(Source("b", box), SMALL)
    assert not torch.equal(first.camera.world_from_camera, other.camera.world_from_camera)


def test_cameras_stay_in_the_settings_ranges(box):
    pose = render_object(Source("a", box), RenderSettings(CameraSettings(views=30), size=8, samples=1)).camera.orbit()
    assert math.radians(-17.01) < float(pose.elevation.min()) and float(pose.elevation.max()) < math.radians(72.01)
    assert float(pose.radius.min()) > 1.499 and float(pose.radius.max()) < 2.201


def test_stretched_objects_are_boxes_of_other_proportions_and_fill_the_unit_cube(box):
    settings = RenderSettings(CameraSettings(views=1), size=24, samples=1, stretch=2.0)
    (plain,) = Source("a", box).parts()
    sides = [np.ptp(plain.vertices, axis=0)]
    for name in ("a", "b"):
        source = batch.deformed(Source(name, box), settings)
        assert source == batch.deformed(Source(name, box), settings)
        assert all(0.5 <= factor <= 2 for factor in source.deformation.stretch) and not source.deformation.swell
        (part,) = source.parts()
        side = sides[0] * source.deformation.stretch
        np.testing.assert_allclose(np.ptp(part.vertices, axis=0), side / side.max(), atol=1e-5)
        sides.append(side / side.max())
    assert np.abs(sides[1] - sides[2]).max() > 0.05
    assert batch.deformed(Source("a", box), SMALL) == Source("a", box)


def test_deformed_views_say_so_and_have_the_cameras_and_the_light_of_plain_ones(box, tmp_path):
    settings = dataclasses.replace(SMALL, stretch=2.0, swell=1.5)
    for folder, how in (("plain", SMALL), ("deformed", settings)):
        assert [error for _, error in render_all([Source("a", box)], tmp_path / folder, how)] == [None]
    plain, other = (json.loads((tmp_path / f / "a" / "manifest.json").read_text()) for f in ("plain", "deformed"))
    drawn = batch.deformed(Source("a", box), settings).deformation
    assert plain["deformation"] is None
    assert other["deformation"] == json.loads(json.dumps(dataclasses.asdict(drawn))) and len(drawn.swell) == 3
    for view, same in zip(other["views"], plain["views"], strict=True):
        assert (view["world_from_camera"], view["light"]) == (same["world_from_camera"], same["light"])
        assert view["sha256"] != same["sha256"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"stretch": 0.5}, "stretch must be 1 to 4, got 0.5"),
        ({"stretch": 1.5, "renderer": "blender"}, "stretch is for the embree renderer"),
        ({"swell": 4.5}, "swell must be 1 to 4, got 4.5"),
        ({"swell": 1.5, "renderer": "blender"}, "swell is for the embree renderer: --renderer embree, or --swell 1"),
    ],
)
def test_deformations_that_cannot_be_are_refused(more, message):
    with pytest.raises(ValueError, match=message):
        RenderSettings(**more)


def test_objects_fill_the_unit_cube(box):
    (part,) = Source("a", box).parts()
    assert np.ptp(part.vertices, axis=0).max() == pytest.approx(1)
    (part,) = Source("p", seed=3).parts()
    assert np.ptp(part.vertices, axis=0).max() == pytest.approx(1, abs=1e-3)


def test_processes_write_whole_folders_skip_what_is_there_and_report_failures(tmp_path, box):
    bad = tmp_path / "bad.glb"
    bad.write_text("no\nmesh")
    out = tmp_path / "out"
    render_object(Source("done", box), SMALL).save(out / "done")
    before = (out / "done" / "000.png").stat().st_mtime_ns
    sources = [Source("done", box), Source("new", box), Source("bad", bad)]
    results = {source.name: error for source, error in render_all(sources, out, SMALL, Workers(2))}
    assert results["done"] is None and results["new"] is None
    assert "not a readable mesh" in results["bad"] and "\n" not in results["bad"]
    assert (out / "done" / "000.png").stat().st_mtime_ns == before
    assert sorted(p.name for p in out.iterdir() if p.name != ".render.lock") == [
        "done",
        "failures.jsonl",
        "new",
        "render.json",
    ]
    assert len(ViewSet.load(out / "new")) == 2


@pytest.mark.slow
def test_cameras_and_pictures_do_not_depend_on_the_number_of_processes(tmp_path):
    sources = [Source(f"p{seed}", None, seed) for seed in range(4)]
    for count in (1, 2):
        assert all(error is None for _, error in render_all(sources, tmp_path / str(count), SMALL, Workers(count)))
    for source in sources:
        one, two = (ViewSet.load(tmp_path / str(count) / source.name) for count in (1, 2))
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.camera.world_from_camera, two.camera.world_from_camera)


def test_nothing_to_do_starts_no_process(tmp_path, box, monkeypatch):
    render_object(Source("done", box), SMALL).save(tmp_path / "done")
    monkeypatch.setattr("multiprocessing.get_context", lambda _: pytest.fail("started processes"))
    assert list(render_all([Source("done", box)], tmp_path, SMALL)) == [(Source("done", box), None)]


def test_the_manifest_says_what_the_views_are_of(tmp_path, box, in_process):
    assert list(render_all([Source("a", box)], tmp_path / "out", SMALL)) == [(Source("a", box), None)]
    written = json.loads((tmp_path / "out" / "a" / "manifest.json").read_text())
    assert written["source"]["sha256"] == hashlib.sha256(box.read_bytes()).hexdigest()
    assert written["renderer"]["name"] == "embree" and written["renderer"]["version"][0].isdigit()
    views = ViewSet.load(tmp_path / "out" / "a")
    for index, view in enumerate(written["views"]):
        picture = tmp_path / "out" / "a" / view["file"]
        assert view["sha256"] == hashlib.sha256(picture.read_bytes()).hexdigest()
        np.testing.assert_allclose(view["world_from_camera"], views.camera.world_from_camera[index], atol=1e-5)
        assert view["lens"]["focal_mm"] == pytest.approx(35) and view["lens"]["field_of_view_deg"] == pytest.approx(
            49.13, abs=0.01
        )
        assert view["light"]["kind"] == "studio" and view["light"]["sky"] > 0
        assert view["source"] == written["source"]
        assert view["coverage"] == pytest.approx(float(views.images[index, 3].mean()), abs=1e-4)


def test_failures_are_reported_skipped_and_tried_again_on_request(tmp_path, box, in_process):
    late = tmp_path / "late.glb"
    report = tmp_path / "out" / "failures.jsonl"
    run = partial(render_all, [Source("late", late)], tmp_path / "out", SMALL)
    ((_, told),) = run()
    assert "no such file" in told
    entry = json.loads(report.read_text())
    assert entry["object"] == "late" and "no such file" in entry["reason"] and entry["attempts"] == 1
    late.write_bytes(box.read_bytes())
    ((_, told),) = run()
    assert "--retry-failed" in told and not (tmp_path / "out" / "late").exists()
    late.rename(tmp_path / "away.glb")
    list(run(retry_failed=True))
    assert json.loads(report.read_text())["attempts"] == 2
    (tmp_path / "away.glb").rename(late)
    assert list(run(retry_failed=True)) == [(Source("late", late), None)]
    assert not report.exists()


class Deadly(Source):
    """An object that kills or hangs whoever opens it."""

    def parts(self):
        if self.name == "hang":
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_killed_or_hung_loses_only_its_object(tmp_path):
    sources = [Deadly("hang"), Deadly("kill"), *(Source(f"p{seed}", None, seed) for seed in range(3))]
    results = {s.name: e for s, e in render_all(sources, tmp_path, SMALL, Workers(2, time_limit=6, attempts=2))}
    assert results.pop("hang") == "hang: took longer than the limit of 6 seconds"
    assert results.pop("kill").startswith("kill: the worker died (killed by SIGKILL")
    assert results == {"p0": None, "p1": None, "p2": None}
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["p0", "p1", "p2"]
    lines = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()]
    assert {line["object"]: line["attempts"] for line in lines} == {"hang": 1, "kill": 2}


def test_other_settings_are_refused_and_named(tmp_path, box, in_process):
    list(render_all([Source("a", box)], tmp_path / "out", SMALL))
    other = RenderSettings(CameraSettings(views=3), size=24, samples=1)
    with pytest.raises(ValueError, match=r"begun with other settings \(cameras.views: 2, now 3\)"):
        list(render_all([Source("b", box)], tmp_path / "out", other))


def test_two_runs_in_one_folder_are_refused(tmp_path, box):
    with FileLock(tmp_path / ".render.lock"), pytest.raises(OSError, match="another run writes into this folder"):
        list(render_all([Source("a", box)], tmp_path, SMALL))


def test_views_of_another_object_of_the_same_name_are_not_taken_for_done(tmp_path, box, in_process):
    other = tmp_path / "other" / "box.glb"
    other.parent.mkdir()
    trimesh.creation.icosphere().export(other)
    list(render_all([Source("box", box)], tmp_path / "out", SMALL))
    ((_, told),) = render_all([Source("box", other)], tmp_path / "out", SMALL)
    assert "holds views of another object" in told


def test_what_killed_workers_left_is_swept_and_other_folders_are_not(tmp_path, box, in_process):
    out = tmp_path / "out"
    for name in (".rendering-ab-x", "..rendering-ab-x.tmp", "x.rendering-y"):
        (out / name).mkdir(parents=True)
    list(render_all([Source("a", box)], out, SMALL))
    assert sorted(p.name for p in out.iterdir() if p.is_dir()) == ["a", "x.rendering-y"]


def test_a_full_disk_ends_the_run_and_leaves_nothing_half(tmp_path, box, in_process, monkeypatch):
    def full(views, folder):
        folder.mkdir()
        (folder / "000.png").touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ViewSet, "save", full)
    with pytest.raises(OSError, match="No space left on device; what is done is kept"):
        list(render_all([Source("a", box), Source("b", box)], tmp_path / "out", SMALL))
    assert not [p for p in (tmp_path / "out").iterdir() if p.is_dir()]


def test_a_view_that_shows_nothing_is_a_failure():
    nothing = ViewSet(torch.zeros(2, 4, 16, 16), None)
    with pytest.raises(ValueError, match=r"a view shows nothing \(the first: 000\)"):
        batch._check(nothing)


def test_a_missing_renderer_is_told_before_anything_starts(tmp_path, box, monkeypatch):
    monkeypatch.delenv("ZERO123_BLENDER", raising=False)
    settings = RenderSettings(size=24, renderer="blender")
    with pytest.raises(ImportError, match="no such program: nowhere/python"):
        list(render_all([Source("a", box)], tmp_path / "out", settings, machine=Machine("nowhere/python")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("device", ["cuda", "optix"])
def test_a_gpu_that_is_not_there_is_told_in_one_line_and_nothing_is_begun(tmp_path, device, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    command = ["procedural", "-o", str(tmp_path / "out"), "--count", "1"]
    command += ["--device", device, "--blender", sys.executable]
    for renderer, says in (
        ("embree", f"--device {device} is for --renderer blender; embree computes on the processor"),
        ("blender", "one worker per GPU was asked for, but no CUDA device is seen here; use the CPU"),
    ):
        run = CliRunner().invoke(cli_data.app, [*command, "--renderer", renderer])
        assert str(run.exception) == says
    run = CliRunner().invoke(cli_data.app, [*command[:-3], "metal"])
    assert str(run.exception) == "device must be one of cpu, cuda, optix, got 'metal'"
    assert not [path for path in tmp_path.glob("out/*") if path.is_dir()]


@pytest.mark.slow
def test_a_run_stopped_and_begun_again_ends_as_one_never_stopped(tmp_path):
    sources = [Source(f"p{seed}", None, seed) for seed in range(6)]
    stopped = render_all(sources, tmp_path / "out", SMALL, Workers(2))
    next(stopped)
    stopped.close()
    time.sleep(0.1)
    whole = [p for p in (tmp_path / "out").iterdir() if p.is_dir()]
    assert 1 <= len(whole) < 6 and all((p / "manifest.json").is_file() for p in whole)
    assert {s.name: e for s, e in render_all(sources, tmp_path / "out", SMALL, Workers(2))} == {
        s.name: None for s in sources
    }

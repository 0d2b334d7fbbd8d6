"""Rendering many objects: the same settings give the same views; what fails is told and leaves nothing."""

import math

import numpy as np
import pytest
import torch
import trimesh

from zero123.data.render import batch
from zero123.data.render.batch import RenderSettings, Source, render_all, render_object
from zero123.data.view_set import ViewSet

SMALL = RenderSettings(views=2, size=24, samples=1)


@pytest.fixture
def box(tmp_path):
    path = tmp_path / "box.glb"
    trimesh.creation.box((0.1, 0.2, 0.4)).export(path)
    return path


def test_the_same_source_and_seed_give_the_same_views(box):
    first, second = (render_object(Source("a", box), SMALL) for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.camera.world_from_camera, second.camera.world_from_camera)
    other = render_object(Source("b", box), SMALL)
    assert not torch.equal(first.camera.world_from_camera, other.camera.world_from_camera)


def test_cameras_stay_in_the_settings_ranges(box):
    pose = render_object(Source("a", box), RenderSettings(views=30, size=8, samples=1)).camera.orbit()
    assert math.radians(-17.01) < float(pose.elevation.min()) and float(pose.elevation.max()) < math.radians(72.01)
    assert float(pose.radius.min()) > 1.499 and float(pose.radius.max()) < 2.201


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
    results = {source.name: error for source, error in render_all(sources, out, SMALL, processes=2)}
    assert results["done"] is None and results["new"] is None
    assert "not a readable mesh" in results["bad"] and "\n" not in results["bad"]
    assert (out / "done" / "000.png").stat().st_mtime_ns == before
    assert sorted(p.name for p in out.iterdir()) == ["done", "new"]
    assert len(ViewSet.load(out / "new")) == 2


def test_nothing_to_do_starts_no_process(tmp_path, box, monkeypatch):
    render_object(Source("done", box), SMALL).save(tmp_path / "done")
    monkeypatch.setattr("multiprocessing.get_context", lambda _: pytest.fail("started processes"))
    assert list(render_all([Source("done", box)], tmp_path, SMALL)) == [(Source("done", box), None)]


def test_an_unforeseen_failure_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(Source, "parts", lambda self: {}["no\nsuch part"])
    source, error = batch._render_one(Source("a"), tmp_path, SMALL)
    assert source.name == "a" and error.startswith("a: ") and "\n" not in error and list(tmp_path.iterdir()) == []


def test_a_view_that_shows_nothing_is_a_failure(tmp_path, box, monkeypatch):
    monkeypatch.setattr(batch, "render_object", lambda *_: ViewSet(torch.zeros(1, 4, 16, 16), None))
    assert batch._render_one(Source("a", box), tmp_path, SMALL)[1] == "a: a view shows nothing"

"""Jobs over HTTP: their life, their end, and what is left of them when the service or its disk fails."""

import errno
import json
import time
from dataclasses import replace
from itertools import pairwise

import pytest

pytest.importorskip("fastapi")

from PIL import Image
from served import posted, served, told, until

from zero123.meshes.load import load
from zero123.reconstruction import from_photo
from zero123.reconstruction.fit import FitSettings
from zero123.reconstruction.from_views import ReconstructionSettings
from zero123.reconstruction.hull import HullSettings
from zero123.service import job_runner, job_store, tasks
from zero123.service.worker import WorkerDied


@pytest.fixture
def service(monkeypatch, tiny, tmp_path):
    with served(monkeypatch, tiny, tmp_path, jobs=2, grace_s=0.3) as service:
        yield service


def begin(service, way="/v1/orbit", **form):
    form = {"frames": 3, "steps": 1} if way == "/v1/orbit" and not form else form
    answer = service.ask("POST", way, **posted(**form))
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


def state(service, way):
    return service.ask("GET", way).json()["state"]


def ended(service, way):
    until(lambda: state(service, way) in job_store.ENDED)
    return service.ask("GET", way).json()


def test_an_orbit_from_its_post_to_its_expiry(service):
    service.job_worker.gate.clear()
    way = begin(service)
    first = until(lambda: (job := service.ask("GET", way).json())["state"] == "running" and job)
    assert first["files"] == {}
    assert service.ask("GET", f"{way}/files/orbit.mp4").status_code == 404
    service.job_worker.gate.set()
    stream = service.ask("GET", f"{way}/events")
    assert stream.headers["content-type"].startswith("text/event-stream")
    names, values = zip(*told(stream.text), strict=True)
    assert names[-1] == "done"
    assert all(a["fraction"] <= b["fraction"] for a, b in pairwise(values))
    files = values[-1]["files"]
    assert {"orbit.mp4", "views/000.png", "views/002.png", "manifest.json"} <= files.keys()
    assert b"ftyp" in service.ask("GET", files["orbit.mp4"]).content[:16]
    manifest = service.ask("GET", files["manifest.json"])
    assert str(service.settings.folder) not in manifest.text
    assert values[-1]["expires"] == pytest.approx(time.time() + 3600, abs=30)
    service.jobs.update(way.rsplit("/", 1)[1], ended=time.time() - 3601)
    service.jobs.expire()
    gone = service.ask("GET", way)
    assert gone.status_code == 404
    assert "expired" in gone.json()["error"]
    assert not list(service.settings.folder.glob("*/results"))


def test_a_mesh_in_the_formats_that_are_asked_for(service, monkeypatch):
    quick(monkeypatch)
    way = begin(service, "/v1/reconstruct", steps=1, faces=500, format=["glb", "ply"], photo_elevation_deg=20)
    job = ended(service, way)
    assert job["state"] == "done", job
    folder = service.settings.folder / job["id"] / "results"
    for name in ("model.glb", "model.ply"):
        assert service.ask("GET", job["files"][name]).content == (folder / name).read_bytes()
    assert len(load(folder / "model.glb")[0].faces) <= 600


def quick(monkeypatch):
    """Meshes of views that agree, since what the smallest model draws is no object, by a short fit."""
    small = ReconstructionSettings(
        hull=HullSettings(cells=24), fit=FitSettings(grids=(16,), steps=(6,), rays=512), picture_size=32
    )
    original = from_photo.from_views

    def from_views(images, camera, settings, *others):
        same = images[:1].expand_as(images)
        return original(same, camera, replace(small, faces=settings.faces), *others)

    monkeypatch.setattr(from_photo, "from_views", from_views)


def test_views_can_be_a_job_too(service):
    answer = service.ask("POST", "/v1/views", **posted(answer="job", steps=1, azimuth_deg=[10, 20]))
    assert answer.status_code == 202
    assert {"views/000.png", "views/001.png"} <= ended(service, answer.headers["location"])["files"].keys()


def test_a_job_is_cancelled_while_it_waits_and_while_it_runs(service):
    service.job_worker.gate.clear()
    running, waiting = begin(service), begin(service)
    until(lambda: state(service, running) == "running")
    assert service.ask("DELETE", waiting).json()["state"] == "cancelled"
    service.ask("DELETE", running)
    assert ended(service, running)["state"] == "cancelled"
    assert not list(service.settings.folder.glob("*/results"))
    assert not list(service.settings.folder.glob(".serving-*"))
    assert service.ask("DELETE", running).status_code == 200  # a second time it is forgotten
    assert service.ask("GET", running).status_code == 404
    assert service.ask("GET", f"{running}/events").status_code == 404


def test_too_many_jobs_are_told_to_come_back(service):
    service.job_worker.gate.clear()
    begin(service)
    until(lambda: service.jobs.count("running"))
    begin(service), begin(service)
    refused = service.ask("POST", "/v1/orbit", **posted(frames=3))
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    service.job_worker.gate.set()


@pytest.mark.parametrize("name", ["../job.json", "..%2fjob.json", "%2e%2e/job.json", "/etc/passwd", "views", "nothing"])
def test_only_files_of_the_results_are_given(service, name):
    way = begin(service)
    assert ended(service, way)["state"] == "done"
    assert service.ask("GET", f"{way}/files/{name}").status_code == 404


def test_a_job_that_fails_says_why_in_one_line(service, monkeypatch):
    def broken(*_):
        raise ValueError("the outlines of the views\nshare no volume")

    monkeypatch.setattr(tasks.one, "draw", broken)
    job = ended(service, begin(service))
    assert (job["state"], job["files"]) == ("failed", {})
    assert job["error"] == "the outlines of the views share no volume"


def test_a_full_disk_fails_the_job_and_not_the_service(service, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere")

    with monkeypatch.context() as patch:
        patch.setattr(tasks.one, "draw", full)
        assert ended(service, begin(service))["error"] == "the service's disk is full"
    assert ended(service, begin(service))["state"] == "done"
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        refused = service.ask("POST", "/v1/orbit", **posted(frames=3))
    assert refused.status_code == 507
    assert "disk is full" in refused.json()["error"]
    assert not list(service.settings.folder.glob(".serving-*"))


def test_a_worker_that_dies_is_given_the_job_again_but_not_for_ever(service):
    def dies(task, args):
        raise WorkerDied("the worker died (killed by SIGKILL, out of memory?); try again, a fresh one starts")

    service.job_worker.before = dies
    job = ended(service, begin(service))
    assert job["state"] == "failed"
    assert f"died under it {job_runner._ATTEMPTS} times" in job["error"]
    assert len(service.job_worker.calls) == job_runner._ATTEMPTS


def test_a_stopped_service_puts_its_job_back_and_the_next_one_does_it(monkeypatch, tiny, tmp_path):
    with served(monkeypatch, tiny, tmp_path, grace_s=0.2) as service:
        service.job_worker.gate.clear()
        running, waiting = begin(service), begin(service)
        until(lambda: state(service, running) == "running")
        service.stop()
        assert told(service.ask("GET", f"{waiting}/events").text)[-1][0] == "stopping"
        assert service.ask("POST", "/v1/orbit", **posted(frames=3)).status_code == 503
    kept = [json.loads(path.read_text()) for path in (tmp_path / "jobs").glob("*/job.json")]
    assert [(job["state"], job["attempts"]) for job in kept] == [("queued", 0)] * 2
    with served(monkeypatch, tiny, tmp_path) as again:
        assert [ended(again, way)["state"] for way in (running, waiting)] == ["done", "done"]


def test_a_job_that_stops_within_its_grace_is_finished(monkeypatch, tiny, tmp_path):
    with served(monkeypatch, tiny, tmp_path, grace_s=20) as service:
        service.job_worker.before = lambda task, args: time.sleep(0.5)
        way = begin(service)
        until(lambda: state(service, way) == "running")
    assert json.loads(next((tmp_path / "jobs").glob("*/job.json")).read_text())["state"] == "done"


def test_a_killed_service_leaves_jobs_that_the_next_one_takes_up(monkeypatch, tiny, tmp_path):
    with served(monkeypatch, tiny, tmp_path) as service:
        service.job_worker.gate.clear()
        way = begin(service)
        until(lambda: state(service, way) == "running")
        file = tmp_path / "jobs" / way.rsplit("/", 1)[1] / "job.json"
        killed = file.read_text()
        assert json.loads(killed)["state"] == "running"
        service.job_worker.gate.set()
        ended(service, way)
    file.write_text(killed)  # as it would lie there after kill -9; the results, half put, are there too
    (tmp_path / "jobs" / "damaged").mkdir()
    (tmp_path / "jobs" / "damaged" / "job.json").write_text("{")
    with served(monkeypatch, tiny, tmp_path) as again:
        job = ended(again, way)
        assert job["state"] == "done", job
    assert json.loads(file.read_text())["attempts"] == 2


def test_two_services_do_not_share_a_folder(service, monkeypatch, tiny, tmp_path):
    with pytest.raises(OSError, match="another run writes into this folder"), served(monkeypatch, tiny, tmp_path):
        pytest.fail("both run")


def test_the_document_names_every_way_and_the_metrics_count_them(service):
    ways = service.ask("GET", "/openapi.json").json()["paths"]
    assert {"/v1/views", "/v1/orbit", "/v1/reconstruct", "/v1/jobs/{id}", "/v1/jobs/{id}/events"} <= ways.keys()
    assert service.ask("GET", "/docs").status_code == 404  # it would fetch scripts from elsewhere
    service.ask("POST", "/v1/views", **posted(steps=1, azimuth_deg=[1, 2]))
    text = service.ask("GET", "/metrics").text
    assert 'zero123_requests_total{method="POST",route="/v1/views",status="200"} 1.0' in text
    assert "zero123_pictures_total 2.0" in text
    assert "zero123_ready 1.0" in text

"""Views over HTTP: the pictures the library draws, many requests in one call, and what is said when it is too much."""

import base64
import hashlib
import io
import time
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("fastapi")

from served import Client, InProcess, held_back, png, posted, served, until

from tiny_model import SIZE
from zero123 import NovelViews
from zero123.batch.settings import BatchSettings, ModelChoice
from zero123.diffusion.sampling import SamplingSettings
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import RelativePose
from zero123.images.io import loads
from zero123.reconstruction.from_photo import source_at
from zero123.service import running
from zero123.service.app import create_app
from zero123.service.settings import ServiceSettings
from zero123.service.tasks import ViewsWanted
from zero123.service.uploads import read_upload
from zero123.service.worker import WorkerDied


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def pictures(answer):
    assert answer.status_code == 200, answer.text
    return [pixels(base64.b64decode(view["png"])) for view in answer.json()["views"]]


def request(seed, picture=None, **form):
    return "POST", "/v1/views", posted(picture, seed=seed, steps=2, **form)


@pytest.fixture
def service(monkeypatch, tiny, tmp_path):
    with served(monkeypatch, tiny, tmp_path, batch=8, linger_s=0.0) as service:
        yield service


def test_the_pictures_are_those_that_the_library_draws(service):
    form = {"azimuth_deg": [30, -60], "elevation_deg": 10, "seed": 5, "steps": 2, "samples": 2}
    answer = service.ask("POST", "/v1/views", **posted(**form, photo_elevation_deg=20))
    views = NovelViews.from_pretrained(service.settings.model.name, "cpu", torch.float32)
    moves, source = RelativePose.from_degrees([30.0, -60.0], [10.0, 10.0]), source_at(20)
    settings = SamplingSettings(steps=2, seed=5, samples=2)
    expected = views(views.prepare(loads(png(), "ball")), moves, settings, source)
    for got, view in zip(pictures(answer), expected, strict=True):
        assert np.abs(got - np.asarray(view.permute(1, 2, 0) * 255)).max() <= 1.01
    told = answer.json()
    assert [view["seed"] for view in told["views"]] == [5, 6, 5, 6]
    assert told["photo"] == {"elevation_deg": 20.0, "elevation_is": "given"}
    camera = Camera.from_orbit(source.moved(moves), hw=(SIZE, SIZE))
    assert told["camera"]["focal"] == pytest.approx(camera.focal)
    np.testing.assert_allclose(told["views"][2]["world_from_camera"], camera[1].world_from_camera, atol=1e-5)


def test_a_zip_holds_the_same_pictures(service):
    answer = service.ask(*request(3)[:2], **posted(seed=3, steps=2, answer="zip"))
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == ["000.png", "manifest.json"]
        got = pixels(archive.read("000.png"))
    assert np.array_equal(got, pictures(service.ask(*request(3)[:2], **request(3)[2]))[0])


def test_simultaneous_requests_share_a_call_and_none_sees_the_others(service):
    asked = [request(seed, png(seed / 8), azimuth_deg=40 * seed) for seed in range(5)]
    alone = [pictures(service.ask(*one[:2], **one[2]))[0] for one in asked]
    with held_back(service, 6):
        *together, apart = service.ask.all(*asked, ("POST", "/v1/views", posted(seed=9, steps=3)))
    assert apart.status_code == 200
    assert sorted(len(args[1]) for _, args in service.view_worker.calls) == [1, 5]
    for one, got in zip(alone, map(pictures, together), strict=True):
        assert np.abs(one - got[0]).max() <= 1


def test_a_full_queue_says_when_to_come_back(monkeypatch, tiny, tmp_path):
    with served(monkeypatch, tiny, tmp_path, queue=2, batch=1, linger_s=0.0) as service:
        with held_back(service, 2):
            answers = service.ask.all(*[request(seed) for seed in range(5)])
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [200, 200, 429, 429, 429]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert "2 pictures are waiting" in refused.json()["error"]
        assert service.ask(*request(1)[:2], **request(1)[2]).status_code == 200


def test_one_picture_without_an_object_costs_the_others_nothing(service):
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(file, "PNG")
    with held_back(service, 3):
        good, bad, also = service.ask.all(request(0), request(0, file.getvalue()), request(1))
    assert (good.status_code, bad.status_code, also.status_code) == (200, 422, 200)
    assert "no object" in bad.json()["error"]


def test_a_picture_that_kills_the_worker_takes_no_other_request_with_it(service):
    deadly = png(0.9)

    def before(task, args):
        if any(one.upload.digest == hashlib.sha256(deadly).hexdigest() for one in args[1]):
            raise WorkerDied("the worker died (killed by SIGSEGV); try again, a fresh one starts")

    service.view_worker.before = before
    with held_back(service, 3):
        good, bad, also = service.ask.all(request(0), request(0, deadly), request(1))
    assert (good.status_code, bad.status_code, also.status_code) == (200, 503, 200)
    assert "died" in bad.json()["error"]


def test_who_leaves_before_it_begins_is_not_drawn_for(service):
    wanted = ViewsWanted(read_upload(png(), 10**6), BatchSettings((0.0,)))
    service.view_worker.calls.clear()
    service.view_worker.gate.clear()
    first = service.views.submit(wanted)
    until(lambda: service.view_worker.calls)
    left, stays = service.views.submit(wanted), service.views.submit(wanted)
    assert left.cancel()
    service.view_worker.gate.set()
    assert first.result(10).pictures
    assert stays.result(10).pictures
    assert [len(args[1]) for _, args in service.view_worker.calls] == [1, 1]


def test_what_waited_too_long_is_told_so(monkeypatch, tiny, tmp_path):
    with served(monkeypatch, tiny, tmp_path, request_limit_s=0.3, batch=1, linger_s=0.0) as service:
        service.view_worker.before = lambda task, args: time.sleep(0.5)
        codes = [answer.status_code for answer in service.ask.all(request(0), request(1))]
        assert sorted(codes) == [200, 504]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"azimuth_deg": "nan"}, "azimuth_deg"),
        ({"azimuth_deg": 1000}, "azimuth_deg must be a number from -360"),
        ({"azimuth_deg": "east"}, "azimuth_deg.0"),
        ({"azimuth_deg": [1, 2, 3], "elevation_deg": [1, 2]}, "one value for all views or one for each"),
        ({"steps": 0}, "steps"),
        ({"steps": 201}, "steps must be at most 200 here"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"scale": 101}, "scale"),
        ({"solver": "magic"}, "solver"),
        ({"samples": 65}, "samples"),
        ({"azimuth_deg": [1, 2], "samples": 33}, "at most 64 pictures"),
        ({"background": "beach"}, "background"),
        ({"photo_elevation_deg": 91}, "photo_elevation_deg"),
        ({"answer": "telegram"}, "answer"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_every_field_out_of_range_is_told_in_one_line(service, form, words):
    answer = service.ask("POST", "/v1/views", **posted(**form))
    assert answer.status_code == 422
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_before_the_model_is_loaded_nobody_is_kept_waiting(monkeypatch, tiny, tmp_path):
    held = InProcess.__init__

    def closed(self, *, threads=None):
        held(self)
        self.gate.clear()

    monkeypatch.setattr(InProcess, "__init__", closed)
    monkeypatch.setattr(running, "Worker", InProcess)
    choice = ModelChoice(str(tiny), device="cpu", dtype="float32")
    with running.Service(ServiceSettings(tmp_path / "jobs", choice)) as service:
        ask = Client(create_app(service))
        assert ask("GET", "/health/live").status_code == 200
        for answer in (ask("GET", "/health/ready"), ask(*request(0)[:2], **request(0)[2])):
            assert answer.status_code == 503
            assert "still being loaded" in answer.json()["error"]
            assert answer.headers["retry-after"] == "2"
        for worker in service._workers:
            worker.gate.set()
        until(lambda: ask("GET", "/health/ready").status_code == 200)
        service.stop()
        assert ask("GET", "/health/ready").status_code == 503

"""A service without processes and ports: tasks run in this process, and requests reach the application directly."""

import asyncio
import functools
import io
import json
import threading
import time
from contextlib import contextmanager

import httpx
import torch

from zero123.batch.settings import BatchSettings, ModelChoice
from zero123.images.io import to_pillow
from zero123.service import running
from zero123.service.app import create_app
from zero123.service.loaded import LoadedModels
from zero123.service.running import Service
from zero123.service.settings import ServiceSettings
from zero123.service.tasks import ViewsWanted
from zero123.service.uploads import read_upload
from zero123.service.worker import Cancelled, Event

MODELS = LoadedModels()


class InProcess:
    """What `Worker` is to its callers. `gate` holds calls back while it is closed; `before` sees each first."""

    def __init__(self, *, threads=None):
        self.gate = threading.Event()
        self.gate.set()
        self.calls = []
        self.before = lambda task, args: None

    def call(self, task, /, *args, on_event=None, cancelled=None, time_limit_s=None):
        def report(fraction, message, picture=None):
            if on_event is not None:
                on_event(Event(fraction, message, picture))
            if cancelled is not None and cancelled.is_set():
                raise Cancelled("cancelled")

        self.calls.append((task.__name__, args))
        while not self.gate.wait(0.01):
            report(0.0, "held back")
        self.before(task, args)
        return task(MODELS, report, *args)

    def close(self):
        self.gate.set()


@functools.cache
def png(hue=0.5, size=48):
    """A PNG file of a ball, transparent around it."""
    place = (torch.arange(size) + 0.5) / size * 2 - 1
    alpha = ((0.7 - torch.hypot(place[:, None], place[None])) * size / 2).clamp(0, 1)
    flat = torch.full((size, size), 0.2)
    file = io.BytesIO()
    ball = torch.stack((0.5 + 0.4 * place[:, None].expand(size, size), flat, flat + 0.6 * hue, alpha))
    to_pillow(ball).save(file, format="PNG")
    return file.getvalue()


@contextmanager
def served(monkeypatch, model, folder, **settings):
    """A service around the model in `model`, ready; with `ask`, see below."""
    monkeypatch.setattr(running, "Worker", InProcess)
    choice = ModelChoice(str(model), device="cpu", dtype="float32")
    with Service(ServiceSettings(folder / "jobs", choice, **settings)) as service:
        until(lambda: service.model or service.fault)
        service.ask = Client(create_app(service))
        service.view_worker, service.job_worker = service._workers
        yield service


@contextmanager
def held_back(service, waiting):
    """Behind one request that is being drawn others pile up; drawing goes on when so many wait."""
    worker = service.view_worker
    worker.calls.clear()
    worker.gate.clear()
    service.views.submit(ViewsWanted(read_upload(png(), 10**6), BatchSettings((0.0,))))
    until(lambda: worker.calls)
    worker.calls.clear()

    def opens():
        try:
            until(lambda: len(service.views._waiting) == waiting)
        finally:
            worker.gate.set()

    opened = threading.Thread(target=opens)
    opened.start()
    yield
    opened.join()


class Client:
    """Requests to an application, one or several at a time."""

    def __init__(self, app):
        self._app = app

    def __call__(self, method, path, **request):
        return self.all((method, path, request))[0]

    def all(self, *requests):
        async def everything():
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=30) as client:
                return await asyncio.gather(*(client.request(m, p, **r) for m, p, r in requests))

        return asyncio.run(everything())


def posted(picture=None, **form):
    """The body of a post with a picture."""
    return {"files": {"picture": ("ball.png", png() if picture is None else picture)}, "data": form}


def until(happened, seconds=20.0):
    """Wait for something; what it was."""
    end = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
    return found


def told(text):
    """Events of a stream: (name, JSON)."""
    blocks = [block.split("\n") for block in text.strip().split("\n\n") if not block.startswith(":")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]

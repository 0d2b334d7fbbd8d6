"""The HTTP surface: views at once, orbits and meshes as jobs, how it goes, and whether the service is well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from zero123 import __version__
from zero123.service.answers import as_job, as_json, as_zip
from zero123.service.forms import Asked, MeshForm, OrbitForm, ViewsForm
from zero123.service.job_store import ENDED, Job
from zero123.service.running import Service
from zero123.service.settings import Refused
from zero123.service.tasks import ViewsDrawn, ViewsWanted
from zero123.service.uploads import Upload, read_upload

_TICK = 0.2
"""Seconds between looks at a job, or at whether the person is still there."""

_HEARTBEAT = 15.0
"""Seconds of silence after which proxies might close an event stream."""

api = APIRouter(prefix="/v1", tags=["zero123"])
health = APIRouter(tags=["health"])

_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"description": text, "content": {"application/json": {"example": {"error": "one line that says why"}}}}
    for code, text in (
        (413, "Too many bytes"),
        (415, "Not a PNG, JPEG or WebP file"),
        (422, "A picture or a number that cannot be used"),
        (429, "Too much waits already; Retry-After says when to come back"),
        (503, "Loading, stopping, or the worker died; Retry-After says when to come back"),
    )
}


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


@api.get("/model", summary="The model that is served")
async def model(request: Request) -> dict[str, Any]:
    """Name, licence, picture size, steps and scale that suit it, device and number format."""
    service = _service(request)
    service.refuse_unless_ready()
    return service.model or {}


@api.post("/views", summary="Views from other sides", responses=_ERRORS)
async def views(request: Request, form: Annotated[ViewsForm, Form(media_type="multipart/form-data")]) -> Response:
    """Pictures as base64 in JSON, as PNG files in a ZIP, or, with `answer=job`, a job to come back for."""
    service = _service(request)
    if form.answer == "job":
        return await _begun(service, "views", form)
    service.refuse_unless_ready()
    wanted = ViewsWanted(await _checked(service, form), form.made())
    drawn = await _unless_gone(request, service, service.views.submit(wanted))
    known = service.model or {}
    if form.answer == "zip":
        packed = await run_in_threadpool(as_zip, wanted, drawn, known)
        return Response(packed, media_type="application/zip")
    return JSONResponse(await run_in_threadpool(as_json, wanted, drawn, known))


@api.post("/orbit", status_code=202, summary="A video of a camera that goes once around", responses=_ERRORS)
async def orbit(request: Request, form: Annotated[OrbitForm, Form(media_type="multipart/form-data")]) -> Response:
    """A job, whose files are `orbit.mp4` and its pictures."""
    return await _begun(_service(request), "orbit", form)


@api.post("/reconstruct", status_code=202, summary="A textured 3D mesh", responses=_ERRORS)
async def reconstruct(request: Request, form: Annotated[MeshForm, Form(media_type="multipart/form-data")]) -> Response:
    """A job, whose files are `model.glb`, or the formats asked for, and the views behind it."""
    return await _begun(_service(request), "reconstruct", form)


@api.get("/jobs/{id}", summary="How a job is")
async def job(request: Request, id: str) -> dict[str, Any]:
    """Its state, how far it is, and where its files are."""
    service = _service(request)
    return as_job(service.jobs.get(id), service.settings.keep_s)


@api.get("/jobs/{id}/events", summary="How a job goes, as it goes")
async def events(request: Request, id: str) -> Response:
    """Server-sent events: the job, whenever it has changed, until it has ended or the service stops."""
    service = _service(request)
    service.jobs.get(id)
    return StreamingResponse(_told(service, id), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@api.delete("/jobs/{id}", summary="Cancel a job, or forget one that has ended")
async def delete(request: Request, id: str) -> dict[str, Any]:
    """A job that has not ended is cancelled; one that has is deleted with its files."""
    service = _service(request)
    found = service.jobs.get(id)
    if found.state in ENDED:
        await run_in_threadpool(service.jobs.delete, id)
    else:
        found = service.runner.cancel(id)
    return as_job(found, service.settings.keep_s)


@api.get("/jobs/{id}/files/{name:path}", summary="A file of a job's results")
async def file(request: Request, id: str, name: str) -> FileResponse:
    """The file, until the job expires."""
    path = _service(request).jobs.result(id, name)
    return FileResponse(path, filename=path.name, headers={"X-Content-Type-Options": "nosniff"})


@health.get("/", include_in_schema=False)
async def start(request: Request) -> dict[str, str]:
    """Where to go on."""
    return {"name": "zero123", "version": __version__, "openapi": "/openapi.json", "health": "/health"}


@health.get("/health", summary="Ready or not", responses={503: {"description": "Loading or stopping"}})
@health.get("/health/ready", summary="Whether views can be asked for", responses={503: {"description": "Not yet"}})
async def ready(request: Request) -> dict[str, str]:
    """200 once the model is loaded and has drawn; 503 before, and as soon as the service is told to stop."""
    _service(request).refuse_unless_ready()
    return {"status": "ready"}


@health.get("/health/live", summary="Whether the process answers")
async def live() -> dict[str, str]:
    """200 as long as it does."""
    return {"status": "live"}


@health.get("/metrics", summary="For Prometheus", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Counters and gauges in Prometheus' text format."""
    text = await run_in_threadpool(_service(request).metrics.text)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def _checked(service: Service, form: ViewsForm | OrbitForm | MeshForm) -> Upload:
    form.check(service.settings)
    return await run_in_threadpool(read_upload, await form.picture.read(), service.settings.max_pixels)


async def _begun(service: Service, kind: str, form: ViewsForm | OrbitForm | MeshForm) -> Response:
    if service.stopping.is_set():
        service.refuse_unless_ready()
    upload = await _checked(service, form)
    asked = form.model_dump(mode="json", include=set(Asked.model_fields) | _own(form))
    added: Job = await run_in_threadpool(service.jobs.add, kind, asked, upload.image)
    service.runner.wake()
    way = f"/v1/jobs/{added.id}"
    return JSONResponse(as_job(added, service.settings.keep_s), 202, {"Location": way})


def _own(form: ViewsForm | OrbitForm | MeshForm) -> set[str]:
    return set(type(form).model_fields) - {"picture", "answer"}


async def _unless_gone(request: Request, service: Service, future: Future[ViewsDrawn]) -> ViewsDrawn:
    """What is drawn; if the person leaves before it is begun, it never is."""
    waiting = asyncio.wrap_future(future)
    while not (await asyncio.wait({waiting}, timeout=_TICK))[0]:
        if await request.is_disconnected():
            future.cancel()
            raise Refused(499, "nobody waits for the answer")
    return waiting.result()


async def _told(service: Service, id: str) -> AsyncIterator[str]:
    before, quiet = "", 0.0
    while True:
        try:
            found = service.jobs.get(id)
        except Refused as gone:
            yield f"event: gone\ndata: {json.dumps({'error': gone.reason})}\n\n"
            return
        now = json.dumps(as_job(found, service.settings.keep_s))
        if now != before:
            yield f"event: {found.state}\ndata: {now}\n\n"
            before, quiet = now, 0.0
        if found.state in ENDED:
            return
        if service.stopping.is_set():
            yield "event: stopping\ndata: {}\n\n"
            return
        await asyncio.sleep(_TICK)
        quiet += _TICK
        if quiet >= _HEARTBEAT:
            yield ": still here\n\n"
            quiet = 0.0

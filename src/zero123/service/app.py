"""The application: routes, the guard around them, and one line for every mistake."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.middleware.cors import CORSMiddleware

from zero123 import __version__
from zero123.service.guard import Guard
from zero123.service.routes import api, health
from zero123.service.running import Service
from zero123.service.settings import Refused

log = logging.getLogger(__name__)

_ABOUT = """From one picture of an object to its other views, and to a coloured 3D mesh.

Every error is `{"error": "one line that says what was wrong and what to do"}`."""


def create_app(service: Service) -> FastAPI:
    """The application around a service.

    The pages that draw the API's document are left out: they would fetch scripts from elsewhere. `/openapi.json` is
    there for every tool that reads it.
    """
    # Uploads are small, by `max_bytes`, and stay in memory: no temporary folder is needed that could be full.
    MultiPartParser.spool_max_size = max(MultiPartParser.spool_max_size, service.settings.max_bytes)
    app = FastAPI(title="zero123", version=__version__, description=_ABOUT, docs_url=None, redoc_url=None)
    app.state.service = service
    app.include_router(api)
    app.include_router(health)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)
    if service.settings.origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(service.settings.origins), allow_methods=["*"])
    app.add_middleware(Guard, settings=service.settings, metrics=service.metrics)
    return app


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    later = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return JSONResponse({"error": _line(error.reason)}, error.status, later)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": _line(str(error.detail))}, error.status_code, error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Of all that is wrong with a form, in one line."""
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(str(part) for part in e['loc'][1:]) or 'form'}: {e['msg']}" for e in error.errors()[:4]]
    return JSONResponse({"error": _line("; ".join(faults))}, 422)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected %s: %s", type(error).__name__, _line(str(error)))
    return JSONResponse({"error": "the service made a mistake, which it has noted in its log"}, 500)


def _line(text: str) -> str:
    return " ".join(text.split())[:500]

"""The gate of the service: sizes, slow senders, foreign web pages; and the counting of what passed."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zero123.service.metrics import Metrics
from zero123.service.settings import ServiceSettings

_PATIENCE = 30.0
"""Seconds between two pieces of a request's body."""

_LOCAL = ("127.0.0.1", "localhost", "::1")


class Guard:
    """Around an application.

    A web page elsewhere could make its visitor's browser ask a service that listens on that visitor's machine: so
    requests from other origins are refused unless they are allowed, and a service that listens on the machine itself
    answers to that machine's names only.

    Args:
        app: what is guarded.
        settings: limits, host and origins.
        metrics: told of every answer.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.monotonic(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            refused = self._refused(Headers(scope=scope))
            if refused is not None:
                await refused(scope, receive, noted)
            else:
                await self._app(scope, self._measured(receive), noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(scope["method"], route, str(status)).inc()
            if not route.endswith("/events"):  # those last as long as their job
                self._metrics.seconds.labels(route).observe(time.monotonic() - start)

    def _refused(self, headers: Headers) -> JSONResponse | None:
        """The answer to a request that need not be read to be refused."""
        limit, length = self._settings.max_bytes, headers.get("content-length", "0")
        if length.isdigit() and int(length) > limit:
            return JSONResponse({"error": _too_large(limit)}, 413, {"connection": "close"})
        host = headers.get("host", "")
        if self._settings.host in _LOCAL and urlsplit(f"//{host}").hostname not in (*_LOCAL, None):
            return JSONResponse({"error": "this service answers to names of its own machine only"}, 421)
        origin = headers.get("origin")
        if origin is not None and origin not in self._settings.origins and urlsplit(origin).netloc != host:
            return JSONResponse({"error": "web pages from elsewhere may not use this service"}, 403)
        return None

    def _measured(self, receive: Receive) -> Receive:
        """What is received, up to the limit, and as long as it keeps coming."""
        taken, ended = 0, False

        async def measured() -> Message:
            nonlocal taken, ended
            try:
                message = await (receive() if ended else asyncio.wait_for(receive(), _PATIENCE))
            except asyncio.TimeoutError as error:
                raise HTTPException(408, f"nothing came for {_PATIENCE:g} s") from error
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                ended = not message.get("more_body", False)
                if taken > self._settings.max_bytes:
                    raise HTTPException(413, _too_large(self._settings.max_bytes))
            return message

        return measured


def _too_large(limit: int) -> str:
    return f"the request is over {limit / 1e6:g} MB: send a smaller picture"

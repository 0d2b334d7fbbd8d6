"""The server around the application: its port, its signals, its end."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

import uvicorn

from zero123.service.app import create_app
from zero123.service.running import Service
from zero123.service.settings import ServiceSettings

_CONNECTIONS = 256
"""At a time; more are refused at once with 503."""


def serve(settings: ServiceSettings, told: Callable[[str], None]) -> None:
    """Serve until a signal says stop; then take nothing new, finish what is under way, and put jobs back in the queue.

    Args:
        settings: of the service.
        told: told in one line where it listens.

    Raises:
        WeightsError, ValueError: the model is not here, or cannot be loaded on this machine.
        OSError: the port is in use, or the folder cannot be written or is another service's.
    """
    settings = replace(settings, model=settings.model.settled(None))
    listening = _bound(settings)
    server: _Server | None = None

    def broken() -> None:
        if server is not None:
            server.should_exit = True

    try:
        with Service(settings, broken) as service:
            server = _Server(service)
            told(_where(settings, listening))
            server.should_exit = service.fault is not None
            server.run(sockets=[listening])
            service.stop()
    finally:
        listening.close()
    if service.fault is not None:
        raise ValueError(f"the model {settings.model.name} cannot be loaded: {service.fault}")


class _Server(uvicorn.Server):
    """uvicorn, whose service hears of a signal at once: it stops being ready and ends its event streams."""

    def __init__(self, service: Service) -> None:
        config = uvicorn.Config(
            create_app(service),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=max(1, round(service.settings.grace_s)),
        )
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; SIGTERM is an order that is carried out, so the process then ends as one that has succeeded."""
        self._service.stop()
        self._service.runner.refuse_more()
        if sig == signal.SIGTERM:
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)


def _bound(settings: ServiceSettings) -> socket.socket:
    """A socket at the address that is asked for."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise OSError(f"no such address on this machine: {settings.host}") from error
    found = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # a port whose last server has just ended can be had at once
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        where = f"port {settings.port} of {settings.host}"
        if error.errno == errno.EADDRINUSE:
            raise OSError(f"{where} is in use: choose another with --port") from error
        raise OSError(f"cannot listen at {where}: {error.strerror}") from error
    return found


def _where(settings: ServiceSettings, listening: socket.socket) -> str:
    port = listening.getsockname()[1]
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"serving {settings.model.name} at http://{shown}:{port} (jobs in {settings.folder}); Ctrl-C stops"

"""The page on the network: what must be in place before it starts, and what no answer of it may do."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zero123.files import writable_folder
from zero123.ui.desk import Desk, Limits
from zero123.ui.layout import static, theme
from zero123.ui.model_list import known_models
from zero123.ui.page import build_page

_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'"
)
"""Browsers then ask no other server for anything, whatever a part of the page would like."""


class OnlyFromHere:
    """Middleware: every answer carries `_POLICY`."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self.app(scope, receive, guarded if scope["type"] == "http" else send)


def free_port(host: str, port: int) -> int:
    """The port, proven free.

    Raises:
        OSError: it is in use, or no port of this machine; in one line.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OSError(f"{host}:{port} cannot be used ({error.strerror}); give another with --port") from error
        return int(probe.getsockname()[1])


@contextmanager
def work_folder(parent: Path | None = None) -> Iterator[Path]:
    """A folder for all files of the page, gone when the page is; under `parent`, it is the only one that is needed.

    Raises:
        OSError: none can be written; in one line.
    """
    where = writable_folder(parent or _system_folder())
    folder = Path(tempfile.mkdtemp(prefix="zero123-page-", dir=where))
    own = {"GRADIO_TEMP_DIR": str(folder / "served"), **({"TMPDIR": str(folder)} if parent else {})}
    before = {name: os.environ.get(name) for name in own}
    system = tempfile.tempdir
    os.environ.update(own)
    if parent:
        tempfile.tempdir = str(folder)  # large uploads are parsed in the temporary folder
    try:
        yield folder
    finally:
        tempfile.tempdir = system
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)


def _system_folder() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:
        raise OSError("no temporary folder of this machine can be written; give one with --folder") from error


@dataclass(frozen=True)
class Served:
    """A page that is up.

    Attributes:
        address: where.
        desk: what it works with.
    """

    address: str
    desk: Desk


@contextmanager
def serve(
    host: str = "127.0.0.1",
    port: int = 7860,
    *,
    models: Sequence[Path] = (),
    limits: Limits | None = None,
    folder: Path | None = None,
) -> Iterator[Served]:
    """The page, up while the block runs.

    Args:
        host: address to listen on; "0.0.0.0" for all of this machine.
        port: 0 for any that is free.
        models: folders or files of this machine that visitors may choose besides the known ones.
        limits: see there.
        folder: where its files may lie; None for the system's temporary folder.

    Raises:
        OSError: the port is in use, or the folder cannot be written.
        ValueError: no such model.
    """
    from starlette.middleware import Middleware

    port, limits = free_port(host, port), limits or Limits()
    known = known_models(models)
    with work_folder(folder) as place:
        desk = Desk(place, known, limits)
        page = build_page(desk)
        page.queue(max_size=limits.waiting, default_concurrency_limit=4)
        threading.Thread(target=_warmed, args=(desk,), daemon=True).start()
        try:
            page.launch(
                server_name=host, server_port=port, quiet=True, prevent_thread_lock=True, share=False, ssr_mode=False,
                show_error=True, max_file_size=limits.upload, theme=theme(), css=static("page.css"),
                head=f"<script>{static('page.js')}</script>", footer_links=["api"], inbrowser=False, pwa=False,
                run_history=False, enable_monitoring=False, app_kwargs={"middleware": [Middleware(OnlyFromHere)]},
            )  # fmt: skip
            yield Served(f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}", desk)
        finally:
            page.close(verbose=False)
            desk.close()


def _warmed(desk: Desk) -> None:
    """Load the first model; if that fails, the visitor's own request says why."""
    import gradio as gr

    from zero123.service.worker import WorkerDied

    try:
        desk.warm()
    except (gr.Error, ValueError, OSError, RuntimeError, WorkerDied):
        return

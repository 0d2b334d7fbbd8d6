"""A process of this machine at the other end of a pipe, which can be ended and asked what it died of."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any

from zero123.jobs.workers import keep_to, thread_environment

_CONTEXT = multiprocessing.get_context("spawn")


class Child:
    """A new process that runs `serve(pipe, *args)`.

    Args:
        serve: importable function; the process ends with it.
        args: of `serve`, after its end of the pipe.
        threads: cores that are the process's; None leaves that to the libraries.
        environment: variables that are in place there before the first library is loaded.
    """

    def __init__(
        self,
        serve: Callable[..., None],
        *args: Any,
        threads: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_begin, args=(serve, theirs, threads, *args), daemon=True)
        own = thread_environment(threads) if threads is not None else {}
        with _environment({**own, **(environment or {})}):
            self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def kill(self) -> None:
        """End the process and what it started; whoever reads its pipe finds the end of it."""
        try:
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        except (ProcessLookupError, PermissionError, AttributeError):  # not yet a group of its own, or no groups here
            self.process.kill()

    def end(self) -> None:
        """`kill`, and give the pipe back."""
        self.kill()
        self.process.join()
        self.pipe.close()

    def post_mortem(self) -> str:
        """What the process died of, once its pipe has ended."""
        self.process.join(5)
        code = self.process.exitcode
        self.end()
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}" + (", out of memory?" if -code == signal.SIGKILL else "")
        return f"exit code {code}"


def _begin(serve: Callable[..., None], pipe: connection.Connection, threads: int | None, *args: Any) -> None:
    """What runs in the process, until the other end of the pipe is closed."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C is for the parent, who ends this process with all it started
    if threads is not None:
        keep_to(threads)
    try:
        serve(pipe, *args)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """The environment with `values` in it, for a process that is started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

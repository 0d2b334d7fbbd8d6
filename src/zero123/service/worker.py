"""A process of its own that holds loaded models and does one task at a time; if it dies, its callers live on."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, TypeVar

from zero123.images.io import PictureError
from zero123.jobs.child import Child
from zero123.jobs.workers import Done, Ready, one_line
from zero123.service.loaded import LoadedModels

T = TypeVar("T")

_TICK = 0.1
"""Seconds between looks at the clock and at whether a call is still wanted."""

_GRACE = 5.0
"""Seconds a task has to end when it is asked to, before its process is killed."""


@dataclass(frozen=True)
class Event:
    """How far a task is.

    Attributes:
        fraction: of the work that is done, in [0, 1].
        message: what is being done, for the person.
        picture: file of a preview, or None.
    """

    fraction: float
    message: str
    picture: Path | None = None


class WorkerDied(RuntimeError):
    """The process is no more, and what it was doing is lost."""


class Cancelled(Exception):
    """The task was not wanted any more."""


class TimeLimit(Exception):
    """The task took longer than it may."""


class Worker:
    """A process that holds loaded models and does one task at a time.

    It is started by the first call, and again by the next call after it has died. Threads may share a worker: their
    calls wait for each other.

    >>> def turned(models, report, picture, degrees):  # at the top of a module that the process can import
    ...     views = models("mini")
    ...     report(0.5, "model loaded")
    ...     return views(views.prepare(picture), RelativePose.from_degrees([degrees], [0])).numpy()
    >>> Worker().call(turned, "chair.png", 30, on_event=lambda event: ...)

    Args:
        threads: cores the process uses; None leaves that to the libraries.
    """

    def __init__(self, *, threads: int | None = None) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._number = 0
        self._closed = False

    def call(
        self,
        task: Callable[..., T],
        /,
        *args: Any,
        on_event: Callable[[Event], None] | None = None,
        cancelled: threading.Event | None = None,
        time_limit_s: float | None = None,
    ) -> T:
        """What `task(models, report, *args)` returns there.

        Args:
            task: importable function. `models(name, device=None, dtype=None)` gives it a loaded `NovelViews`, see
                `LoadedModels`; it calls `report(fraction, message, picture=None)` as it goes, which is also where it
                ends when it is not wanted any more.
            args: anything that pickles, as must what it returns: numbers, arrays and paths rather than tensors.
            on_event: told each report, in the caller's thread.
            cancelled: when set, the task is asked to end and, if it does not within seconds, its process is killed.
            time_limit_s: seconds the task may take, waiting for its turn not counted; None for no limit.

        Raises:
            ValueError, OSError, ImportError, MemoryError: as the task raised them, in one line.
            RuntimeError: the task raised something else, in one line.
            Cancelled, TimeLimit: see `cancelled` and `time_limit_s`.
            WorkerDied: the process died meanwhile, or the worker is closed; the next call starts a fresh one.
        """
        with self._turn(cancelled):
            child = self._ready(cancelled)
            try:
                answer = self._done(child, task, args, on_event, cancelled, time_limit_s)
            except (EOFError, BrokenPipeError, ConnectionResetError) as error:
                self._child = None
                raise self._obituary(child) from error
            except BaseException:  # whatever it was, the process may still be at work on what nobody waits for
                self._drop()
                raise
            if isinstance(answer, _Fault) and answer.last:
                self._drop()
        if isinstance(answer, _Fault):
            raise answer.error()
        result: T = answer.result
        return result

    def close(self) -> None:
        """End the process; a call that is under way hears of it."""
        self._closed = True
        child = self._child
        if child is not None:
            child.kill()
        with self._lock:
            self._drop()

    @contextmanager
    def _turn(self, cancelled: threading.Event | None) -> Iterator[None]:
        while not self._lock.acquire(timeout=-1 if cancelled is None else _TICK):
            if cancelled is not None and cancelled.is_set():
                raise Cancelled("cancelled before it began")
        try:
            yield
        finally:
            self._lock.release()

    def _ready(self, cancelled: threading.Event | None) -> Child:
        """The process, started if it is not there, once it takes tasks."""
        if self._closed:
            raise WorkerDied("the worker is closed")
        if self._child is not None:
            if self._child.process.is_alive():
                return self._child
            self._drop()  # it died idle, which nobody needs to hear
        child = self._child = Child(_serve, threads=self._threads)
        try:
            while not child.pipe.poll(_TICK):
                if cancelled is not None and cancelled.is_set():
                    raise Cancelled("cancelled before it began")
            child.pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            self._child = None
            raise self._obituary(child) from error
        except BaseException:
            self._drop()
            raise
        return child

    def _done(
        self,
        child: Child,
        task: Callable[..., Any],
        args: tuple[Any, ...],
        on_event: Callable[[Event], None] | None,
        cancelled: threading.Event | None,
        time_limit_s: float | None,
    ) -> Done | _Fault:
        """The task's answer, or the end of waiting for it."""
        self._number += 1
        child.pipe.send((self._number, task, args))
        end = None if time_limit_s is None else time.monotonic() + time_limit_s
        asked: Exception | None = None
        while True:
            if child.pipe.poll(None if cancelled is None and end is None else _TICK):
                message = child.pipe.recv()
                if not isinstance(message, Event):
                    return _Fault.of(asked) if asked is not None else message
                if on_event is not None and asked is None:
                    on_event(message)
            if asked is not None:
                if end is not None and time.monotonic() > end:
                    raise asked
                continue
            if cancelled is not None and cancelled.is_set():
                asked = Cancelled("cancelled")
            elif end is not None and time.monotonic() > end:
                asked = TimeLimit(f"took longer than the limit of {time_limit_s:g} seconds")
            if asked is not None:
                end = time.monotonic() + _GRACE
                child.pipe.send(_Stop(self._number))

    def _obituary(self, child: Child) -> WorkerDied:
        if self._closed:
            child.end()
            return WorkerDied("the worker was closed meanwhile")
        return WorkerDied(f"the worker died ({child.post_mortem()}); try again, a fresh one starts")

    def _drop(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None


@dataclass(frozen=True)
class _Stop:
    """To the process: the task of that number is not wanted any more."""

    number: int


@dataclass(frozen=True)
class _Fault:
    """From the process: what the task raised; with `last` the process takes no more tasks."""

    kind: type[Exception]
    reason: str
    errno: int | None = None
    last: bool = False

    @classmethod
    def of(cls, error: Exception) -> _Fault:
        for kind in (PictureError, ValueError, OSError, ImportError, MemoryError, Cancelled, TimeLimit):
            if isinstance(error, kind):
                return cls(kind, _said(error), getattr(error, "errno", None))
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(error, torch.OutOfMemoryError):
            return cls(MemoryError, f"the device has too little memory for this: {one_line(error)}")
        used = torch is not None and torch.cuda.is_initialized()  # may not answer any more after an error
        return cls(RuntimeError, f"unexpected {type(error).__name__}: {one_line(error)}", last=used)

    def error(self) -> Exception:
        """The same to be raised here."""
        error = self.kind(self.reason)
        if isinstance(error, OSError):
            error.errno = self.errno
        return error


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return one_line(error)


def _serve(pipe: connection.Connection) -> None:
    """What runs in the process: tasks in, reports and answers out."""
    models = LoadedModels()
    pipe.send(Ready(str(os.getpid())))
    while True:
        try:
            message = pipe.recv()
        except (AttributeError, ImportError) as error:  # a task that this process cannot import
            pipe.send(_Fault(RuntimeError, f"the worker cannot find the task: {one_line(error)}"))
            continue
        if isinstance(message, _Stop):
            continue  # it came after the answer
        answer = _attempt(pipe, models, *message)
        try:
            pipe.send(answer)
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # noqa: BLE001  picklers raise what they like
            pipe.send(_Fault(RuntimeError, f"the task's result cannot be handed over: {one_line(error)}"))


def _attempt(
    pipe: connection.Connection, models: LoadedModels, number: int, task: Callable[..., Any], args: tuple[Any, ...]
) -> Done | _Fault:
    """Do one task; an error becomes an answer."""

    def report(fraction: float, message: str, picture: Path | None = None) -> None:
        pipe.send(Event(fraction, message, picture))
        while pipe.poll():
            if pipe.recv() == _Stop(number):
                raise Cancelled("cancelled")

    try:
        return Done(task(models, report, *args))
    except Exception as error:  # noqa: BLE001  one bad task must not end the process; its reason is told
        return _Fault.of(error)

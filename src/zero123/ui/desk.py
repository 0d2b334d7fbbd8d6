"""Between the page and its worker processes: who does what, for how long, for whom; and what a visitor has."""

from __future__ import annotations

import queue
import shutil
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import gradio as gr

from zero123.ui import tasks
from zero123.ui.drawings import Drawings
from zero123.ui.model_list import KnownModel
from zero123.ui.settings import RANGES, Range, ViewSettings, number

if TYPE_CHECKING:
    from zero123.service.worker import Event, Worker

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask of the machine.

    Attributes:
        view_s, orbit_s, mesh_s: seconds each may take once it has begun.
        upload: largest picture, bytes.
        waiting: jobs that may wait; more are refused.
        frames: of an orbit.
    """

    view_s: float = 600
    orbit_s: float = 1800
    mesh_s: float = 3600
    upload: int = 25_000_000
    waiting: int = 40
    frames: int = 120


@dataclass(frozen=True)
class Session:
    """What one tab has: its picture, and the object cut out of it."""

    picture: Path | None = None
    cut: tasks.CutOut | None = None


class Desk:
    """The page's two workers: one draws views with the first model at once, the other does all that takes long.

    Args:
        folder: for all files, one folder a visitor; must be writable.
        models: that may be chosen, by name; see `known_models`.
        limits: see there.
    """

    def __init__(self, folder: Path, models: dict[str, KnownModel], limits: Limits | None = None) -> None:
        self.folder = folder
        self.models = models
        self.limits = limits or Limits()
        self.drawings = Drawings()
        self._lock = threading.Lock()
        self._workers: dict[str, Worker] = {}
        self._running: dict[str, set[threading.Event]] = defaultdict(set)
        self._drawn: OrderedDict[tasks.Request, tasks.Drawn] = OrderedDict()

    @property
    def first(self) -> KnownModel:
        """The model that is kept ready."""
        return next(iter(self.models.values()))

    @property
    def choices(self) -> list[str]:
        """Names of the models on this machine."""
        return [model.name for model in self.models.values() if model.here]

    @property
    def busy(self) -> bool:
        """Whether anything runs for anybody."""
        with self._lock:
            return bool(self._running)

    def room(self, session: str | None) -> Path:
        """The folder of a visitor, made if missing. Session names come from outside and are never used as paths."""
        path = self.folder / sha256((session or "none").encode()).hexdigest()[:20]
        path.mkdir(parents=True, exist_ok=True)
        return path

    def warm(self) -> None:
        """Load the first model in its worker; the page is up meanwhile."""
        self._worker("quick").call(tasks.load, self.first.source)

    def request(
        self, cut: tasks.CutOut | None, settings: ViewSettings, photo_elevation: str | float | None = None
    ) -> tasks.Request:
        """What to ask a worker for.

        Raises:
            gr.Error: no picture yet, the model is not here, or an elevation out of range.
        """
        if cut is None:
            raise gr.Error("Give a picture first: drop one on the left, or take an example.", print_exception=False)
        model = self.models.get(settings.model)
        if model is None or not model.here:
            name = settings.model[:40]
            raise gr.Error(
                f"{name} is not on this machine; whoever runs this page can fetch it: zero123 weights get {name}",
                print_exception=False,
            )
        return tasks.Request(cut.file, model.source, settings, picture_height(photo_elevation), cut.front)

    def draw(self, session: str | None, request: tasks.Request) -> tasks.Drawn:
        """A view; one that was drawn before is there at once."""
        with self._lock:
            known = self._drawn.get(request)
        if known is not None and all(file.is_file() for file in known.pictures):
            return known
        drawn = self.call(session, tasks.draw, request, self.room(session), seconds=self.limits.view_s)
        with self._lock:
            self._drawn[request] = drawn
            while len(self._drawn) > _REMEMBERED:
                self._drawn.popitem(last=False)
        return drawn

    def call(self, session: str | None, task: Callable[..., T], *args: Any, seconds: float) -> T:
        """What a short task returns.

        Raises:
            gr.Error: whatever went wrong, in one line.
        """
        sources = {self.first.source} | {getattr(arg, "source", None) for arg in args} - {None}
        worker = self._worker("quick" if sources == {self.first.source} else "long")
        with self._stoppable(session) as stop, _told(args):
            return worker.call(task, *args, cancelled=stop, time_limit_s=seconds)

    def follow(self, session: str | None, task: Callable[..., T], *args: Any, seconds: float) -> Job[T]:
        """A long task, begun; see `Job`."""
        return Job(self, session, task, args, seconds)

    def stop(self, session: str | None) -> None:
        """Stop everything that runs for a visitor."""
        with self._lock:
            for stop in self._running.get(session or "none", ()):
                stop.set()

    def leave(self, session: str | None) -> None:
        """A tab was closed: its work is stopped and its files go."""
        self.stop(session)
        self.drawings.forget(session)
        shutil.rmtree(self.room(session), ignore_errors=True)

    def close(self) -> None:
        """End the workers."""
        with self._lock:
            workers, self._workers = list(self._workers.values()), {}
        for worker in workers:
            worker.close()

    def _worker(self, name: str) -> Worker:
        from zero123.service.worker import Worker  # it takes seconds to import, which the page need not wait for

        with self._lock:
            if name not in self._workers:
                self._workers[name] = Worker()
            return self._workers[name]

    @contextmanager
    def _stoppable(self, session: str | None) -> Iterator[threading.Event]:
        stop, key = threading.Event(), session or "none"
        with self._lock:
            self._running[key].add(stop)
        try:
            yield stop
        finally:
            with self._lock:
                self._running[key].discard(stop)
                if not self._running[key]:
                    del self._running[key]


class Job(Generic[T]):
    """A long task: iterate it for its events; then `result` is there.

    Whoever stops iterating stops the task.
    """

    result: T

    def __init__(
        self, desk: Desk, session: str | None, task: Callable[..., T], args: tuple[Any, ...], seconds: float
    ) -> None:
        self._desk, self._session, self._task, self._args, self._seconds = desk, session, task, args, seconds

    def __iter__(self) -> Iterator[Event]:
        """Events of the task as they come.

        Raises:
            gr.Error: whatever went wrong, in one line.
        """
        told: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
        worker = self._desk._worker("long")
        with self._desk._stoppable(self._session) as stop, _told(self._args):

            def work() -> None:
                try:
                    self.result = worker.call(
                        self._task, *self._args, on_event=told.put, cancelled=stop, time_limit_s=self._seconds
                    )
                    told.put(None)
                except BaseException as error:  # noqa: BLE001  raised again where it is awaited
                    told.put(error)

            threading.Thread(target=work, daemon=True).start()
            try:
                while (said := told.get()) is not None:
                    if isinstance(said, BaseException):
                        raise said
                    yield said
            finally:
                stop.set()


def picture_height(value: str | float | None) -> float | None:
    """Height a picture was taken from, degrees, as a visitor gave it; None where nothing was given.

    Raises:
        gr.Error: no number, or out of range; in one line.
    """
    return _given("the picture's height", value, RANGES["elevation"])


def object_front(value: str | None) -> float | None:
    """Where an object's front is, degrees to the right of the camera, as `picture_height`."""
    return _given("the object's front", value, RANGES["azimuth"])


def _given(name: str, value: str | float | None, limits: Range) -> float | None:
    if value is None or not str(value).strip():
        return None
    try:
        found: float = number(name, value, limits)
    except ValueError as error:
        raise gr.Error(f"{error}.".capitalize(), print_exception=False) from error
    return found


_REMEMBERED = 2000
"""Views that are not drawn again while their files are there."""


@contextmanager
def _told(args: tuple[Any, ...]) -> Iterator[None]:
    """Errors of a worker as the visitor shall read them: one line, without folders of this machine."""
    from zero123.service.worker import Cancelled, TimeLimit

    try:
        yield
    except (Cancelled, TimeLimit, ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
        words = "stopped" if isinstance(error, Cancelled) else str(error)
        for path in (arg for arg in args if isinstance(arg, Path)):
            words = words.replace(str(path), path.name)
        if "." not in words.partition(" ")[0]:  # a file keeps its name
            words = words[:1].upper() + words[1:]
        raise gr.Error(words, print_exception=False) from error

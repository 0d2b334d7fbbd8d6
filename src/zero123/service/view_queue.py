"""Requests for views that wait, and are drawn together: as many as are there, in one network call."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

from zero123.service.metrics import Metrics
from zero123.service.settings import Refused, ServiceSettings
from zero123.service.tasks import ViewsDrawn, ViewsWanted, draw_views, shared
from zero123.service.worker import TimeLimit, Worker


@dataclass(eq=False)
class _Waiting:
    wanted: ViewsWanted
    since: float = field(default_factory=time.monotonic)
    future: Future[ViewsDrawn] = field(default_factory=Future)


class ViewQueue:
    """A queue of requests, and the thread that empties it into a worker.

    Those that ask for the same sampling are drawn in the same call, up to `settings.batch` pictures; noise is drawn by
    each request's own seed, so nobody sees who else was there. Where a call fails that several shared, each is
    tried alone, so that one bad request costs the others nothing but time.

    Args:
        worker: that draws; `draw_views` is called in it.
        settings: limits.
        metrics: told how it goes.
    """

    def __init__(self, worker: Worker, settings: ServiceSettings, metrics: Metrics) -> None:
        self._worker, self._settings, self._metrics = worker, settings, metrics
        self._waiting: deque[_Waiting] = deque()
        self._change = threading.Condition()
        self._seconds_each = 0.5
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="views", daemon=True)
        self._thread.start()

    def submit(self, wanted: ViewsWanted) -> Future[ViewsDrawn]:
        """Queue a request; cancelling its future takes it out again, if it has not begun.

        Raises:
            Refused: 429, the queue is full; 503, the service is stopping.
        """
        with self._change:
            if self._closed:
                raise Refused(503, "the service is stopping", 5)
            pictures = self._pictures()
            if pictures and pictures + wanted.pictures > self._settings.queue:
                wait = max(1, math.ceil(pictures * self._seconds_each))
                raise Refused(429, f"{pictures} pictures are waiting already: try again in {wait} s", wait)
            waiting = _Waiting(wanted)
            self._waiting.append(waiting)
            self._metrics.waiting.set(self._pictures())
            self._change.notify_all()
        return waiting.future

    def close(self, until: float) -> None:
        """Take no more; draw all that wait, and refuse what is not begun at that time, as `time.monotonic` has it."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join(max(0.0, until - time.monotonic()))
        with self._change:
            for waiting in self._waiting:
                _answer(waiting, Refused(503, "the service is stopping", 5))
            self._waiting.clear()

    def _pictures(self) -> int:
        return sum(waiting.wanted.pictures for waiting in self._waiting if not waiting.future.cancelled())

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            if batch:
                self._draw(batch)

    def _next(self) -> list[_Waiting] | None:
        """The requests of the next call; None when there will be no more."""
        with self._change:
            while not self._waiting:
                if self._closed:
                    return None
                self._change.wait()
                if self._waiting and self._settings.batch > 1:
                    self._change.wait_for(self._full, self._settings.linger_s)  # others may be on their way
            batch: list[_Waiting] = []
            pictures = 0
            for waiting in list(self._waiting):
                if waiting.future.cancelled() or self._late(waiting):
                    self._waiting.remove(waiting)
                    continue
                alike = not batch or _key(waiting) == _key(batch[0])
                fits = not batch or pictures + waiting.wanted.pictures <= self._settings.batch
                if alike and fits:
                    self._waiting.remove(waiting)
                    if waiting.future.set_running_or_notify_cancel():
                        batch.append(waiting)
                        pictures += waiting.wanted.pictures
            self._metrics.waiting.set(self._pictures())
            return batch

    def _late(self, waiting: _Waiting) -> bool:
        limit = self._settings.request_limit_s
        if time.monotonic() - waiting.since <= limit:
            return False
        _answer(waiting, Refused(504, f"waited longer than {limit:g} s", 5))
        return True

    def _full(self) -> bool:
        return self._closed or self._pictures() >= self._settings.batch

    def _draw(self, batch: list[_Waiting]) -> None:
        """Draw requests together and answer them; each alone where that fails."""
        pictures = sum(waiting.wanted.pictures for waiting in batch)
        start, limit = time.monotonic(), self._settings.request_limit_s
        try:
            wanted = [waiting.wanted for waiting in batch]
            drawn = self._worker.call(draw_views, self._settings.model, wanted, time_limit_s=limit)
        except (RuntimeError, MemoryError) as error:  # the worker died, say
            self._metrics.failed_calls.inc()
            if len(batch) > 1:
                for waiting in batch:
                    self._draw([waiting])
                return
            _answer(batch[0], Refused(503, str(error), 1))
        except TimeLimit:
            for waiting in batch:
                _answer(waiting, Refused(504, f"took longer than {limit:g} s: ask for fewer views or steps"))
        except Exception as error:  # noqa: BLE001  the thread must outlive whatever it was; those who wait are told
            for waiting in batch:
                _answer(waiting, Refused(500, f"the model cannot draw this: {error}"))
        else:
            seconds = time.monotonic() - start
            self._seconds_each += 0.2 * (seconds / pictures - self._seconds_each)
            self._metrics.drawn(pictures, len(batch), seconds)
            for waiting, views in zip(batch, drawn, strict=True):
                _answer(waiting, Refused(422, f"the picture: {views}") if isinstance(views, str) else views)


def _key(waiting: _Waiting) -> object:
    return shared(waiting.wanted.made.sampling)


def _answer(waiting: _Waiting, answer: ViewsDrawn | Refused) -> None:
    try:
        if isinstance(answer, Refused):
            waiting.future.set_exception(answer)
        else:
            waiting.future.set_result(answer)
    except InvalidStateError:  # nobody waits for it any more
        return

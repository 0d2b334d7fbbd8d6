"""The thread that does jobs one after the other, and lets go of them when the service is told to stop."""

from __future__ import annotations

import errno
import logging
import shutil
import threading
import time

from pydantic import ValidationError

from zero123.jobs.workers import one_line
from zero123.service.forms import KINDS
from zero123.service.job_store import ENDED, Job, JobStore
from zero123.service.metrics import Metrics
from zero123.service.settings import Refused, ServiceSettings
from zero123.service.tasks import make_job
from zero123.service.worker import Cancelled, Event, TimeLimit, Worker, WorkerDied

log = logging.getLogger(__name__)

_ATTEMPTS = 3
"""How often a job is begun whose worker, or service, dies under it."""

_TICK = 5.0
"""Seconds between looks for results that have expired."""


class JobRunner:
    """Does the jobs of a store, oldest first.

    Args:
        store: where they are.
        worker: that does them.
        settings: limits.
        metrics: told how many there are.
    """

    def __init__(self, store: JobStore, worker: Worker, settings: ServiceSettings, metrics: Metrics) -> None:
        self._store, self._worker, self._settings, self._metrics = store, worker, settings, metrics
        self._change = threading.Condition()
        self._stopping = False
        self._running: tuple[str, threading.Event] | None = None
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin with what waits."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once whether there is something to do."""
        with self._change:
            self._change.notify_all()

    def cancel(self, id: str) -> Job:
        """End a job that has not ended; what it has made is dropped.

        Raises:
            Refused: 404, there is no such job.
        """
        with self._change:
            job = self._store.get(id)
            if self._running is not None and self._running[0] == id:
                self._running[1].set()
            elif job.state not in ENDED:
                self._store.update(id, state="cancelled", ended=time.time(), message="cancelled")
        return self._store.get(id)

    def refuse_more(self) -> None:
        """Begin no other job."""
        with self._change:
            self._stopping = True
            self._change.notify_all()

    def close(self, until: float) -> None:
        """Begin no other job, and put back in the queue what is not done at that time, as `time.monotonic` has it."""
        self.refuse_more()
        if not self._thread.ident:
            return
        self._thread.join(max(0.0, until - time.monotonic()))
        with self._change:
            if self._running is not None:
                self._running[1].set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._change:
                if self._stopping:
                    return
                job = self._store.next()
                if job is None:
                    self._change.wait(_TICK)
                else:
                    self._running = job.id, threading.Event()
            self._store.expire()
            if job is not None and self._running is not None:
                self._do(job, self._running[1])
                self._running = None
            self._count()

    def _do(self, job: Job, cancelled: threading.Event) -> None:
        """One job to its end, whatever that is."""
        if job.attempts >= _ATTEMPTS:
            self._end(job, "failed", error=f"the service or its worker died under it {job.attempts} times")
            return
        self._store.update(job.id, state="running", attempts=job.attempts + 1, message="beginning")
        self._count()
        try:
            self._make(job, cancelled)
        except Cancelled:
            if self._stopping:
                self._store.update(job.id, state="queued", attempts=job.attempts, fraction=0.0, message="waiting")
            else:
                self._end(job, "cancelled")
        except WorkerDied as error:
            log.warning("job %s: %s", job.id, error)
            self._store.update(job.id, state="queued", fraction=0.0, message="waiting, the worker died")
        except TimeLimit as error:
            self._end(job, "failed", error=f"{error}; ask for less")
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            self._end(job, "failed", error="the service's disk is full" if full else one_line(error))
        except Exception as error:  # noqa: BLE001  the thread must outlive whatever it was; the person is told
            self._end(job, "failed", error=one_line(error))

    def _make(self, job: Job, cancelled: threading.Event) -> None:
        try:
            asked = KINDS[job.kind].model_validate(job.asked)
            asked.check(self._settings)
        except (KeyError, ValidationError, Refused) as error:  # noted by another version, or with other limits
            raise ValueError(f"cannot be done by this service: {error}") from error
        folder = self._store.unfinished(job.id)
        try:
            files = self._worker.call(
                make_job,
                self._settings.model,
                self._store.picture(job.id),
                asked.made(),
                asked.formats(),
                folder,
                on_event=lambda event: self._tell(job.id, event),
                cancelled=cancelled,
                time_limit_s=self._settings.job_limit_s,
            )
            self._store.put(job.id, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._end(job, "done", fraction=1.0, files=tuple(files))

    def _tell(self, id: str, event: Event) -> None:
        self._store.update(id, fraction=event.fraction, message=event.message)

    def _end(self, job: Job, state: str, **more: object) -> None:
        self._store.update(job.id, **{"state": state, "ended": time.time(), "message": state, **more})

    def _count(self) -> None:
        for state in ("queued", "running", *ENDED):
            self._metrics.jobs.labels(state).set(self._store.count(state))

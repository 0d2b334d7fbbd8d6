"""A service while it runs: its queue, its jobs, and the two processes that compute."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from zero123.service.job_runner import JobRunner
from zero123.service.job_store import JobStore
from zero123.service.metrics import Metrics
from zero123.service.settings import Refused, ServiceSettings
from zero123.service.tasks import warm
from zero123.service.view_queue import ViewQueue
from zero123.service.worker import Worker, WorkerDied

log = logging.getLogger(__name__)


class Service:
    """Everything behind the HTTP surface; a context manager.

    Views are drawn in one process and jobs done in another, so that a mesh of a minute holds up no view of a tenth of a
    second; the second is started by the first job. Either may die without the service.

    Attributes:
        settings: as given, the model settled.
        metrics: of this service.
        jobs: the store.
        views: the queue.
        runner: of the jobs.
        model: what is served, once it is loaded; else None.
        fault: why it cannot be loaded, or None.
        stopping: set when the service has been told to stop.

    Args:
        settings: of the service.
        on_fault: called when the model cannot be loaded, in another thread.

    Raises:
        WeightsError: there is no such model.
        OSError: the folder cannot be written, or another service uses it.
    """

    def __init__(self, settings: ServiceSettings, on_fault: Callable[[], None] | None = None) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.model: dict[str, Any] | None = None
        self.fault: str | None = None
        self.stopping = threading.Event()
        self._on_fault = on_fault
        self._workers = [Worker(threads=settings.threads) for _ in range(2)]
        self.jobs = JobStore(settings.folder, settings.jobs, settings.keep_s)
        self.views = ViewQueue(self._workers[0], settings, self.metrics)
        self.runner = JobRunner(self.jobs, self._workers[1], settings, self.metrics)
        self._end = 0.0

    def __enter__(self) -> Service:
        self.jobs.__enter__()
        threading.Thread(target=self._load, name="loading", daemon=True).start()
        self.runner.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        try:
            self.views.close(self._end)
            self.runner.close(self._end)
        finally:
            for worker in self._workers:
                worker.close()
            self.jobs.__exit__(*error)

    def stop(self) -> None:
        """Begin nothing new; what is under way has `settings.grace_s` from the first call on."""
        if not self.stopping.is_set():
            self._end = time.monotonic() + self.settings.grace_s
            self.stopping.set()
            self.metrics.ready.set(0)

    def refuse_unless_ready(self) -> None:
        """Let only those pass whose work can begin.

        Raises:
            Refused: 503, the model is still being loaded, cannot be loaded, or the service is stopping.
        """
        if self.stopping.is_set():
            raise Refused(503, "the service is stopping", 5)
        if self.fault is not None:
            raise Refused(503, f"the model cannot be loaded: {self.fault}")
        if self.model is None:
            raise Refused(503, "the model is still being loaded", 2)

    def _load(self) -> None:
        try:
            self.model = self._workers[0].call(warm, self.settings.model)
            self.metrics.ready.set(1)
        except (ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
            if isinstance(error, WorkerDied) and self.stopping.is_set():
                return
            self.fault = str(error)
            log.error("the model cannot be loaded: %s", error)
            if self._on_fault is not None:
                self._on_fault()

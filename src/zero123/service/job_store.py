"""Jobs as they lie on disk: a folder each, so that a service that is started again goes on where it was stopped."""

from __future__ import annotations

import errno
import json
import logging
import secrets
import shutil
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from zero123.files import atomic_path, replace_folder
from zero123.jobs import JobFolder, staging
from zero123.service.settings import Refused

log = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")

_KIND = "serv"
"""Of the folder: half-written things in it are called `.serving-...`, as `JobFolder` has it."""


@dataclass(frozen=True)
class Job:
    """What is known of a job.

    Attributes:
        id: cannot be guessed; who knows it may see and end the job.
        kind: "views", "orbit" or "reconstruct".
        asked: the form, as JSON values.
        state: of its life.
        created: seconds since 1970.
        ended: the same, or None.
        attempts: how often it was begun and not finished.
        fraction: done so far, in [0, 1].
        message: what is being done.
        error: why it failed, in one line.
        files: names of the results.
    """

    id: str
    kind: str
    asked: dict[str, Any]
    state: State = "queued"
    created: float = 0.0
    ended: float | None = None
    attempts: int = 0
    fraction: float = 0.0
    message: str = "waiting"
    error: str | None = None
    files: tuple[str, ...] = ()


class JobStore:
    """The jobs of a folder; a context manager that keeps other services out. Threads may share it.

    Args:
        folder: made if it is not there.
        most: jobs that may wait.
        keep_s: seconds after their end that results are kept.

    Raises:
        OSError: the folder cannot be written, or another service uses it.
    """

    def __init__(self, folder: Path, most: int, keep_s: float) -> None:
        self._folder = JobFolder(folder, {"format": "zero123 service 1"}, _KIND, "job")
        self._root, self._most, self._keep_s = folder, most, keep_s
        self._jobs: dict[str, Job] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> JobStore:
        self._folder.__enter__()
        found = [_read(path) for path in self._root.glob("*/job.json")]
        for job in sorted((job for job in found if job is not None), key=lambda job: job.created):
            if job.state == "running":  # the service was stopped meanwhile, not by its own will
                job = replace(job, state="queued", fraction=0.0, message="waiting")
            self._jobs[job.id] = job
        return self

    def __exit__(self, *error: object) -> None:
        self._folder.__exit__(*error)

    def add(self, kind: str, asked: dict[str, Any], image: Image.Image) -> Job:
        """A new job, on disk before it is promised.

        Raises:
            Refused: 429, too many wait; 507, the disk is full.
        """
        with self._lock:
            waiting = self.count("queued")
        if waiting >= self._most:
            raise Refused(429, f"{waiting} jobs are waiting already: try again later", 30)
        job = Job(secrets.token_urlsafe(16).replace("-", "x").replace("_", "y"), kind, asked, created=time.time())
        unfinished = staging(self._root, _KIND, job.id)
        try:
            unfinished.mkdir()
            image.save(unfinished / "picture.png", compress_level=1)
            (unfinished / "job.json").write_text(json.dumps(asdict(job)), encoding="utf-8")
            unfinished.rename(self._root / job.id)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise Refused(507, f"the service cannot keep the job: {_disk(error)}", 60) from error
        with self._lock:
            self._jobs[job.id] = job
        return job

    def get(self, id: str) -> Job:
        """The job of that name.

        Raises:
            Refused: 404, there is none, or its results have expired.
        """
        with self._lock:
            if id not in self._jobs:
                raise Refused(404, "no such job: its results may have expired")
            return self._jobs[id]

    def update(self, id: str, **changes: Any) -> Job | None:
        """The job with changes; those of its state are also on disk. None where it has been deleted."""
        with self._lock:
            if id not in self._jobs:
                return None
            job = self._jobs[id] = replace(self._jobs[id], **changes)
            if "state" in changes:
                try:
                    with atomic_path(self._root / id / "job.json") as temporary:
                        temporary.write_text(json.dumps(asdict(job)), encoding="utf-8")
                except OSError as error:  # the job goes on; only a restart would not know how far it was
                    log.warning("job %s cannot be noted: %s", id, _disk(error))
            return job

    def delete(self, id: str) -> None:
        """Forget an ended job and its results."""
        with self._lock:
            self._jobs.pop(id, None)
        shutil.rmtree(self._root / id, ignore_errors=True)

    def next(self) -> Job | None:
        """The job that has waited longest."""
        with self._lock:
            return next((job for job in self._jobs.values() if job.state == "queued"), None)

    def expire(self) -> None:
        """Forget what ended too long ago."""
        now = time.time()
        with self._lock:
            old = [j.id for j in self._jobs.values() if j.ended is not None and now - j.ended > self._keep_s]
        for id in old:
            self.delete(id)

    def count(self, state: str) -> int:
        """Jobs in that state."""
        with self._lock:
            return sum(job.state == state for job in self._jobs.values())

    def picture(self, id: str) -> Path:
        """The job's picture."""
        return self._root / id / "picture.png"

    def unfinished(self, id: str) -> Path:
        """A new folder for results that are being made; swept away if they are not `put`."""
        folder = staging(self._root, _KIND, id)
        folder.mkdir()
        return folder

    def put(self, id: str, unfinished: Path) -> None:
        """Put finished results in their place."""
        replace_folder(unfinished, self._root / id / "results")  # some may be there, if the service died just then

    def result(self, id: str, name: str) -> Path:
        """A file of the results, which are looked up by name and never by path.

        Raises:
            Refused: 404, there is none.
        """
        job = self.get(id)
        if job.state != "done" or name not in job.files:
            raise Refused(404, f"no such file: the job is {job.state} and has {len(job.files)} files")
        return self._root / id / "results" / name


def _read(path: Path) -> Job | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Job(**{**values, "files": tuple(values["files"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s is damaged and left alone: %s", path, error)
        return None


def _disk(error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "its disk is full" if full else str(error.strerror or error)

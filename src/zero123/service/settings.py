"""What a service is, how much it takes on, and what it says when that is too much."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from zero123.batch.settings import ModelChoice


@dataclass(frozen=True)
class ServiceSettings:
    """How a service runs, and its limits.

    Attributes:
        folder: where jobs and their results lie; another service may not use it at the same time.
        model: the one model it serves.
        host: address to listen at; the default is reached from this machine only.
        port: 0 for one that is free.
        threads: cores of each of the two processes that compute; None leaves that to the libraries.
        batch: pictures of one network call, at most; 1 draws one request after the other.
        linger_s: seconds an idle service waits for further requests to draw with the first.
        queue: pictures that may wait; a request beyond is told to come back later.
        jobs: jobs that may wait.
        max_bytes: of a request.
        max_pixels: of an uploaded picture.
        max_pictures: of one request or job.
        max_steps: sampling steps one may ask for.
        request_limit_s: seconds a request for views may take, its time in the queue included.
        job_limit_s: seconds a job may take once it has begun.
        keep_s: seconds the results of a job are kept after its end.
        grace_s: seconds that work under way has to end when the service is told to stop.
        origins: web pages, by their origin, whose scripts may use the service; none by default.
    """

    folder: Path
    model: ModelChoice = field(default_factory=ModelChoice)
    host: str = "127.0.0.1"
    port: int = 8123
    threads: int | None = None
    batch: int = 8
    linger_s: float = 0.005
    queue: int = 64
    jobs: int = 32
    max_bytes: int = 20_000_000
    max_pixels: int = 40_000_000
    max_pictures: int = 64
    max_steps: int = 200
    request_limit_s: float = 120.0
    job_limit_s: float = 1800.0
    keep_s: float = 3600.0
    grace_s: float = 30.0
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be in 0 to 65535, got {self.port}")
        for name in ("batch", "queue", "jobs", "max_bytes", "max_pixels", "max_pictures", "max_steps", "threads"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in ("linger_s", "request_limit_s", "job_limit_s", "keep_s", "grace_s"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be 0 seconds or more, got {value}")


class Refused(Exception):
    """A request that is not done; the HTTP status, one line for the person, and when it may be asked again.

    Attributes:
        status: 4xx for what the person can mend, 5xx for what the service could not do.
        reason: one line.
        retry_after_s: seconds after which another try may succeed; None where it would not.
    """

    def __init__(self, status: int, reason: str, retry_after_s: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after_s = status, reason, retry_after_s

"""What the service tells of itself, for Prometheus to read."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counters of one service.

    Attributes:
        requests: answered, by method, route and status.
        seconds: of requests, by route.
        waiting: pictures in the queue.
        failed_calls: network calls that failed, each of which may be tried again.
        jobs: by state.
        ready: 1 when the model is loaded and the service is not stopping.
    """

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        self.requests = Counter("zero123_requests", "Requests answered", ["method", "route", "status"], registry=own)
        self.seconds = Histogram(
            "zero123_request_seconds", "Seconds to an answer", ["route"], buckets=_SECONDS, registry=own
        )
        self.waiting = Gauge("zero123_waiting_pictures", "Pictures that wait to be drawn", registry=own)
        self.failed_calls = Counter("zero123_failed_calls", "Calls of the network that failed", registry=own)
        self.jobs = Gauge("zero123_jobs", "Jobs known, by state", ["state"], registry=own)
        self.ready = Gauge("zero123_ready", "1 when views can be asked for", registry=own)
        self._pictures = Counter("zero123_pictures", "Pictures drawn", registry=own)
        self._call_pictures = Histogram(
            "zero123_call_pictures", "Pictures in a call", buckets=(1, 2, 4, 8, 16, 32, 64), registry=own
        )
        self._call_requests = Histogram(
            "zero123_call_requests", "Requests in a call", buckets=(1, 2, 4, 8, 16, 32, 64), registry=own
        )
        self._call_seconds = Histogram("zero123_call_seconds", "Seconds of a call", buckets=_SECONDS, registry=own)

    def drawn(self, pictures: int, requests: int, seconds: float) -> None:
        """Count a call of the network."""
        self._pictures.inc(pictures)
        self._call_pictures.observe(pictures)
        self._call_requests.observe(requests)
        self._call_seconds.observe(seconds)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)

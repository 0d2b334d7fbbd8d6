"""Batches made in another thread while the device computes."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from zero123.data.pairs import PairBatch, Pairs


class Ahead:
    """A sampler whose next batches are begun before they are asked for; the batches are the same.

    Args:
        sampler: makes the batches; it is called from one other thread.
        stride: what the index grows by from batch to batch.
        depth: batches begun ahead, each of which takes memory; 0 makes every batch when it is asked for.
    """

    def __init__(self, sampler: Pairs, stride: int, depth: int) -> None:
        self._sampler = sampler
        self._stride = stride
        self._depth = depth
        self._begun: dict[tuple[int, int], Future[PairBatch]] = {}
        self._thread = ThreadPoolExecutor(1, "batches")

    def batch(self, index: int, size: int) -> PairBatch:
        """The sampler's batch; what went wrong while it was made is raised here."""
        if not self._depth:
            return self._sampler.batch(index, size)
        for ahead in range(self._depth + 1):
            key = (index + ahead * self._stride, size)
            if key not in self._begun:
                self._begun[key] = self._thread.submit(self._sampler.batch, *key)
        return self._begun.pop((index, size)).result()

    @property
    def skipped(self) -> int:
        """Objects that the sampler has met and left out as broken."""
        return len(getattr(self._sampler, "broken", ()))

    def close(self) -> None:
        """Forget what was begun."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._begun.clear()

"""Many independent items over many workers: a free worker takes the next, the dead are replaced, nothing is lost."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from zero123.jobs.cluster import RayPool
from zero123.jobs.local import LocalPool
from zero123.jobs.workers import Done, Failed, Halt, Lost, Pool, Ready, Workers

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

_TICK = 1.0
"""Seconds between looks at the clock."""

_PATIENCE = 600.0
"""Seconds without any worker, busy or ready, after which a run ends."""


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of an item.

    Attributes:
        item: as it was given.
        result: what the task returned; None where it failed.
        error: one line that says why it failed, or None.
        attempts: how often it was begun.
        where: the machine that did it.
    """

    item: Item
    result: Result | None
    error: str | None
    attempts: int
    where: str = ""


def run(
    task: Callable[[Item], Result],
    items: Sequence[Item],
    workers: Workers | int | None = None,
    cluster: str | None = None,
) -> Generator[Outcome[Item, Result], None, None]:
    """Do all items; results come as they are done, in any order.

    A worker that dies (crash, memory, its machine) costs nothing but time: its item is begun again elsewhere. So a task
    must leave nothing half done: write to a temporary name, then rename.

    Args:
        task: a function at the top of a module, or a partial of one; runs in the workers.
        items: what it is called with, one at a time; anything that pickles.
        workers: how many and how; a number is short for `Workers(count)`.
        cluster: address of a Ray cluster; None for processes of this machine.

    Yields:
        One outcome per item.

    Raises:
        Halt: a task raised it, workers do not start, or no worker is left.
        ImportError: a cluster is given and Ray is not installed.
    """
    workers = Workers(workers) if isinstance(workers, int) else workers or Workers()
    if not items:
        return
    pool: Pool = LocalPool(task, workers) if cluster is None else RayPool(task, cluster, workers)
    try:
        count = workers.count or pool.slots()
        yield from _Shift(pool, items, workers, min(count, len(items))).outcomes()
    finally:
        pool.close()


class _Shift:
    """One run's state: what waits, who does what since when, who is idle."""

    def __init__(self, pool: Pool, items: Sequence[Any], workers: Workers, count: int) -> None:
        self._pool, self._workers, self._count = pool, workers, count
        self._waiting: deque[tuple[Any, int]] = deque((item, 0) for item in items)
        self._busy: dict[int, tuple[Any, int, float]] = {}
        self._idle: dict[int, None] = {}
        self._where: dict[int, str] = {}
        self._false_starts = 0
        self._alone_since = time.monotonic()

    def outcomes(self) -> Iterator[Outcome[Any, Any]]:
        for slot in range(self._count):
            self._pool.hire(slot)
        while self._waiting or self._busy:
            for slot, event in self._pool.events(_TICK):
                yield from self._on(slot, event)
            yield from self._late()
            self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self._idle:
            slot = next(iter(self._idle))
            del self._idle[slot]
            item, attempts = self._waiting.popleft()
            self._busy[slot] = item, attempts + 1, time.monotonic()
            self._pool.give(slot, item)
        if self._busy or self._idle:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > _PATIENCE:
            raise Halt(
                f"no worker became ready in {_PATIENCE:.0f} seconds; has the cluster a core, memory or GPU to spare?"
            )

    def _on(self, slot: int, event: Ready | Done | Failed | Lost) -> Iterator[Outcome[Any, Any]]:
        if isinstance(event, Lost):
            yield from self._lost(slot, event.reason)
            return
        self._idle[slot] = None
        if isinstance(event, Ready):
            self._where[slot] = event.where
            self._false_starts = 0
            return
        item, attempts, _ = self._busy.pop(slot)
        where = self._where.get(slot, "")
        if isinstance(event, Done):
            yield Outcome(item, event.result, None, attempts, where)
        elif event.halt:
            raise Halt(event.reason)
        else:
            yield Outcome(item, None, event.reason, attempts, where)

    def _lost(self, slot: int, reason: str) -> Iterator[Outcome[Any, Any]]:
        self._idle.pop(slot, None)
        if slot in self._busy:
            item, attempts, _ = self._busy.pop(slot)
            if attempts >= self._workers.attempts:
                text = f"the worker died ({reason})" + (f", {attempts} times" if attempts > 1 else "")
                yield Outcome(item, None, text, attempts, self._where.get(slot, ""))
            else:
                log.warning("a worker died (%s); its item is begun again", reason)
                self._waiting.append((item, attempts))  # at the end: if it is the item's fault, the others come first
        elif slot not in self._where:
            self._false_starts += 1
            if self._false_starts >= 3 * self._count:
                raise Halt(f"workers die before they take an item ({reason})")
        self._rehire(slot)

    def _late(self) -> Iterator[Outcome[Any, Any]]:
        limit = self._workers.time_limit
        for slot, (item, attempts, since) in list(self._busy.items()) if limit else ():
            if time.monotonic() - since > limit:  # type: ignore[operator]
                del self._busy[slot]
                where = self._where.get(slot, "")
                self._pool.dismiss(slot)
                self._rehire(slot)
                yield Outcome(item, None, f"took longer than the limit of {limit:g} seconds", attempts, where)

    def _rehire(self, slot: int) -> None:
        self._where.pop(slot, None)
        if self._waiting:
            self._pool.hire(slot)

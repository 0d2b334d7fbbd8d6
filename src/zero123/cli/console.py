"""What the command line shows: lines and progress bars, on standard error so that results can be piped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def say(line: str) -> None:
    """One line for the person."""
    typer.echo(line)


class Bars:
    """Progress bars with the time left; call with (done, total) for the first, or by name for one of several."""

    def __init__(self, progress: Progress, tasks: list[TaskID]) -> None:
        self._progress = progress
        self._tasks = tasks
        self._names: dict[str, TaskID] = {}

    def __call__(self, done: int, total: int) -> None:
        """Progress of the first stage."""
        self._progress.update(self._tasks[0], completed=done, total=total)

    def named(self, name: str, done: int, total: int) -> None:
        """Progress of the stage `name`; stages take the bars in the order in which they first report."""
        if name not in self._names:
            self._names[name] = self._tasks[min(len(self._names), len(self._tasks) - 1)]
        self._progress.update(self._names[name], completed=done, total=total)


@contextmanager
def bar(*descriptions: str, shown: bool = True) -> Iterator[Bars]:
    """Show a bar per stage while the block runs, if it is `shown` and standard error is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:26}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True))
    tasks = [progress.add_task(text, total=None) for text in descriptions]
    if not shown or not progress.console.is_terminal:  # a log is no place for bars
        yield Bars(progress, tasks)
        return
    with progress:
        try:
            yield Bars(progress, tasks)
        except BaseException:
            progress.live.transient = True  # the error shall stand alone
            raise
        for task in progress.tasks:
            progress.update(task.id, total=task.total or 1, completed=task.total or 1)


@dataclass(frozen=True)
class Ended:
    """How a long job ended: items that were made, were there before, and failed."""

    made: int
    there: int
    failed: int


_SHOWN = 20
"""Failures that are told on the screen; a report holds them all."""

_MINUTE = 60.0


def follow(items: Iterator[tuple[str | None, bool]], total: int, what: str) -> Ended:
    """Show how a long job goes, with the time left: a bar on a terminal, a line a minute anywhere.

    Args:
        items: for each item when it is done, why it failed or None, and whether it took any work.
        total: items.
        what: to call them.
    """
    done = tried = there = failed = 0
    start = told = time.monotonic()
    with bar(f"{total} {what}") as update:
        for done, (fault, worked) in enumerate(items, start=1):
            tried, there, failed = tried + worked, there + (not worked and not fault), failed + bool(fault)
            if fault and failed <= _SHOWN:
                say(f"failed: {fault}")
            update(done, total)
            now = time.monotonic()
            if worked and now - told > _MINUTE:
                told, left = now, (total - done) * (now - start) / tried / _MINUTE
                say(f"{done} of {total} {what}, {failed} failed, {left:.0f} minutes left")
    if failed > _SHOWN:
        say(f"... and {failed - _SHOWN} more failed")
    return Ended(done - there - failed, there, failed)

"""What the command line shows: lines and progress bars, on standard error so that results can be piped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import typer


def say(line: str) -> None:
    """One line for the person."""
    typer.echo(line)


class Bars:
    """How far each stage is; call with (done, total) for the first, or by name for one of several.

    Args:
        show: told a stage's number, steps done, and steps in all.
        stages: how many there are.
    """

    def __init__(self, show: Callable[[int, int, int], None], stages: int) -> None:
        self._show = show
        self._stages = stages
        self._names: dict[str, int] = {}

    def __call__(self, done: int, total: int) -> None:
        """Progress of the first stage."""
        self._show(0, done, total)

    def named(self, name: str, done: int, total: int) -> None:
        """Progress of the stage `name`; stages take the bars in the order in which they first report."""
        number = self._names.setdefault(name, min(len(self._names), self._stages - 1))
        self._show(number, done, total)


PROGRESS = "ZERO123_PROGRESS"
"""Set to "json", every step is told as a line of JSON on standard error, for programs that show it themselves."""


def _json_line(stages: tuple[str, ...], number: int, done: int, total: int) -> None:
    step = {"stage": stages[number], "number": number + 1, "stages": len(stages), "done": done, "total": total}
    typer.echo(json.dumps(step), err=True)


@contextmanager
def bar(*descriptions: str, shown: bool = True) -> Iterator[Bars]:
    """Show a bar per stage while the block runs, if it is `shown` and standard error is a terminal; see `PROGRESS`."""
    if os.environ.get(PROGRESS) == "json":
        yield Bars(partial(_json_line, descriptions), len(descriptions))
        return
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
    bars = Bars(lambda number, done, total: progress.update(tasks[number], completed=done, total=total), len(tasks))
    if not shown or not progress.console.is_terminal:  # a log is no place for bars
        yield bars
        return
    with progress:
        try:
            yield bars
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

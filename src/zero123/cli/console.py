"""What the command line shows: lines and progress bars, on standard error so that results can be piped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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

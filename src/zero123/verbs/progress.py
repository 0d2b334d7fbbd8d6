"""How far a verb has come, shown where somebody looks: in a notebook, on a terminal, or to a function of theirs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

Told = Callable[[str, int, int], None]
"""Called with what is being done, steps done, and steps in all."""


@contextmanager
def progress_shown(progress: bool | Told) -> Iterator[Told]:
    """What a verb tells while the block runs.

    Args:
        progress: True for a bar in a notebook or on a terminal, and nothing in a log; False for nothing; or who is
            told instead.
    """
    if callable(progress):
        yield progress
    elif progress and _in_notebook():
        with _notebook_bar() as told:
            yield told
    elif progress and sys.stderr.isatty():
        with _terminal_bar() as told:
            yield told
    else:
        yield lambda stage, done, total: None


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell: Any = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


@contextmanager
def _notebook_bar() -> Iterator[Told]:
    """A bar of plain HTML, which needs no extension and is gone at the end."""
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)

    def told(stage: str, done: int, total: int) -> None:
        bar = f'<progress value="{done}" max="{total}" style="width:20em"></progress>'
        handle.update(HTML(f"{bar} {escape(stage)}, {done} of {total}"))

    try:
        yield told
    finally:
        handle.update(HTML(""))


@contextmanager
def _terminal_bar() -> Iterator[Told]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as shown:
        stages: dict[str, Any] = {}

        def told(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = shown.add_task(stage, total=total)
            shown.update(stages[stage], completed=done, total=total)

        yield told

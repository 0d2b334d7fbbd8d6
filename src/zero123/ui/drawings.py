"""What each tab has drawn, and which of its wishes is the newest.

Draws of one tab overlap: a preview waits for a worker while a view drawn before is there at once. What they bring is
kept here and not in the tab's own state, which each of them would write back as it was when it began.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from zero123.ui.settings import ViewSettings

_KEPT = 48


@dataclass(frozen=True)
class Entry:
    """A view of a tab's history; `turn` is the number of its draw."""

    turn: int
    file: Path
    settings: ViewSettings


@dataclass
class _Tab:
    turn: int = 0
    wish: ViewSettings | None = None
    history: tuple[Entry, ...] = ()


class Drawings:
    """By session; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tabs: dict[str | None, _Tab] = {}

    def begin(self, session: str | None, wish: ViewSettings | None) -> int:
        """A number for a draw of that view which begins; None where the stage becomes empty."""
        with self._lock:
            tab = self._tabs.setdefault(session, _Tab())
            tab.turn, tab.wish = tab.turn + 1, wish
            return tab.turn

    def wish(self, session: str | None) -> ViewSettings | None:
        """The view whose draw began last."""
        with self._lock:
            tab = self._tabs.get(session)
            return tab.wish if tab is not None else None

    def newest(self, session: str | None, turn: int) -> bool:
        """Whether no draw of this tab began after that one, so that its view is still the one wanted."""
        with self._lock:
            tab = self._tabs.get(session)
            return tab is not None and tab.turn == turn

    def keep(self, session: str | None, entry: Entry) -> None:
        """Put a view into the tab's history, once and in the order of wishes, if the tab is still open."""
        with self._lock:
            if (tab := self._tabs.get(session)) is not None:
                views = sorted((*tab.history, entry), key=attrgetter("turn"))
                once = {view.file: view for view in views}.values()
                tab.history = tuple(sorted(once, key=attrgetter("turn"), reverse=True)[:_KEPT])

    def past(self, session: str | None) -> tuple[Entry, ...]:
        """The tab's views, newest first."""
        with self._lock:
            tab = self._tabs.get(session)
            return tab.history if tab is not None else ()

    def forget(self, session: str | None) -> None:
        """The tab was closed."""
        with self._lock:
            self._tabs.pop(session, None)

"""When a stage of a fit ends: after its steps, when its seconds are over, or once the error no longer falls."""

from __future__ import annotations

import time

_FALL = 0.02
"""Share by which the error must fall from one window to the next for a stage to go on as planned."""
_LAST = 0.2
"""Share of its steps that a settled stage still gets, on which its learning rate falls to the end."""


class Timetable:
    """How far a stage has come; its learning rate follows that, so that a short stage ends as calmly as a long one.

    Args:
        steps: of the stage, at most.
        seconds: it may take; None for as long as the steps need.
        window: steps over which errors are averaged; two in a row that hardly differ end the stage. 0 never ends it.
    """

    def __init__(self, steps: int, seconds: float | None, window: int) -> None:
        self.steps, self._all, self._seconds, self._window = steps, steps, seconds, window
        self._start, self._errors = time.monotonic(), list[float]()

    @property
    def done(self) -> int:
        """Steps done."""
        return len(self._errors)

    @property
    def share(self) -> float:
        """How far the stage has come, 0 to 1 and over."""
        spent = 0.0 if self._seconds is None else (time.monotonic() - self._start) / max(self._seconds, 1e-9)
        return max(self.done / self.steps if self.steps else 1.0, spent)

    def told(self, error: float) -> None:
        """Another step is done, with this error."""
        self._errors.append(error)
        window = self._window
        if not window or self.steps < self._all or self.done < 2 * window or self.done % window:
            return
        before, now = sum(self._errors[-2 * window : -window]), sum(self._errors[-window:])
        if now > (1 - _FALL) * before:
            self.steps = min(self.steps, self.done + round(_LAST * self._all))

"""Broken items of training data: each is named and counted once; too many of them stop the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from zero123.data.view_set import ViewSetError

log = logging.getLogger(__name__)

SHARE = 0.01
"""Broken objects over all objects, above which a run stops unless it is told otherwise."""

_NAMED = 10  # in one line; the log holds them all


class TooManyBroken(ViewSetError):
    """More items are broken than a run accepts; the line names them."""


class BrokenItems:
    """Objects that could not be used, with the reason of each.

    Args:
        total: objects there are in all.
        share: the run stops when more than this share of them is broken, 0 to 1.

    Raises:
        ValueError: `share` is not in 0 to 1.
    """

    def __init__(self, total: int, share: float = SHARE) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share of broken objects must be in 0 to 1, got {share}")
        self.total = total
        self.share = share
        self._reasons: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._reasons)

    def __contains__(self, name: str) -> bool:
        return name in self._reasons

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why each broken object could not be used, by its name."""
        return self._reasons

    def add(self, name: str, reason: str) -> None:
        """Count an object, once however often it is met.

        Raises:
            TooManyBroken: it was one too many.
        """
        if name in self._reasons:
            return
        self._reasons[name] = " ".join(reason.split())
        log.warning("skipped %s: %s", name, self._reasons[name])
        if len(self) > self.share * self.total:
            raise TooManyBroken(
                f"{len(self)} of {self.total} objects are broken, more than the {self.share:.3%} that may be: "
                f"{self._listed(reasons=True)}; see `zero123 data check`"
            )

    def line(self) -> str:
        """How many were skipped, and their names, in one line."""
        return f"{len(self)} of {self.total} objects skipped" + (f": {self._listed()}" if self._reasons else "")

    def _listed(self, reasons: bool = False) -> str:
        shown = [f"{name} ({why})" if reasons else name for name, why in list(self._reasons.items())[:_NAMED]]
        more = len(self) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")

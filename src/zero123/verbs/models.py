"""The model a verb runs: loaded once, however often it is asked for."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from zero123.pipeline import NovelViews


def ready(model: str | Path | NovelViews) -> NovelViews:
    """The model of that name, or in that folder or file; one that is loaded already is taken as it is.

    The last one asked for by name is kept. What lies in a file or folder of yours is read anew each time, since it may
    have changed.

    Raises:
        WeightsError: no such model, or something in it is missing, damaged or does not fit.
    """
    if not isinstance(model, str | Path):
        return model
    return NovelViews.from_pretrained(model) if Path(model).exists() else _kept(str(model))


@lru_cache(maxsize=1)
def _kept(name: str) -> NovelViews:
    return NovelViews.from_pretrained(name)

"""How long a reconstruction may take, and what is then left for its fit."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from zero123.reconstruction.fit import FitSettings
from zero123.reconstruction.from_views import ReconstructionSettings

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_LEAST, _AMPLE = 10.0, 90.0
"""Seconds below which nothing comes of it, and from which on a finer field is worth its time."""
_FINISHING = 0.35
"""Share of what is left after the views that surface and texture need, seconds at most as follows."""
_FINISHING_SECONDS = 15.0


def seconds_in(text: str) -> float:
    """Seconds of a time as people write it: "45", "30s", "2m", "1.5h".

    Raises:
        ValueError: no such time, or less than ten seconds.
    """
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    seconds = float(parts[1]) * _UNITS[parts[2]] if parts else math.nan
    if not _LEAST <= seconds <= 1e6:
        raise ValueError(f"time must be at least {_LEAST:g}s, as 30s, 2m or 1h, got {text!r}")
    return seconds


def within(settings: ReconstructionSettings, seconds: float) -> ReconstructionSettings:
    """The settings of a reconstruction that takes about so many seconds from its views on.

    With little time the fit ends early; with much it gets a finer field and more steps, and still ends when its error
    no longer falls.
    """
    fit = settings.fit
    if seconds >= _AMPLE:
        fit = replace(fit, grids=(*fit.grids, 128), steps=(*(2 * n for n in fit.steps), 400), window=fit.window or 40)
    rest = seconds - min(_FINISHING * seconds, _FINISHING_SECONDS)
    return replace(settings, fit=replace(fit, seconds=max(rest, 1.0)))


def coarser(settings: ReconstructionSettings) -> ReconstructionSettings | None:
    """Settings that need about a third of the memory; None where less makes no object."""
    fit = settings.fit
    if max(fit.grids) < 48:
        return None
    return replace(
        settings,
        hull=replace(settings.hull, cells=max(settings.hull.cells * 2 // 3, 32)),
        fit=_smaller(fit),
        faces=min(settings.faces, 20_000),
        texture=min(settings.texture or 512, 512) if settings.texture != 0 else 0,
    )


def _smaller(fit: FitSettings) -> FitSettings:
    grids = tuple(max(grid * 2 // 3, 24) for grid in fit.grids)
    return replace(fit, grids=grids, rays=fit.rays // 2)

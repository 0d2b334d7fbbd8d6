"""A run's curves as one picture, drawn from its metrics without any plotting package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zero123.files import atomic_path

Point = tuple[float, float]

PANELS: tuple[tuple[str, tuple[str, ...], bool], ...] = (
    ("loss", ("diffusion", "validation"), True),
    ("gradient norm", ("gradient",), True),
    ("learning rate", ("lr",), False),
    ("pairs per second", ("pairs_per_second",), False),
    ("share of peak", ("share_of_peak",), False),
    ("memory, GB", ("memory_gb",), False),
)
"""Title, metrics, and whether the axis is logarithmic; what a run did not measure is left out."""

NOISY = ("diffusion", "gradient", "pairs_per_second", "share_of_peak")
"""Metrics whose running mean is drawn over them."""

_CELL, _MARGIN = (620, 340), (78, 40, 24, 40)  # pixels: width and height; left, top, right, bottom
_INK, _GRID = (60, 60, 60), (225, 225, 225)
_COLOURS = ((31, 100, 180), (205, 90, 20), (40, 140, 70))


def draw_curves(lines: Sequence[dict[str, Any]], path: Path, columns: int = 2) -> None:
    """Write a PNG of metrics over steps; of those that are noisy the values faint and their running mean strong.

    Args:
        lines: of metrics, each with "step" and numbers by name.
        path: to write; nothing is written if there are fewer than two lines.
        columns: panels in a row.
    """
    if len(lines) < 2:
        return
    panels = []
    for title, names, logarithmic in PANELS:
        curves = {name: _points(lines, name) for name in names}
        curves = {name: points for name, points in curves.items() if len(points) > 1}
        if curves:
            panels.append((title, curves, logarithmic and all(y > 0 for c in curves.values() for _, y in c)))
    if not panels:
        return
    rows = -(-len(panels) // columns)
    canvas = Image.new("RGB", (_CELL[0] * columns, _CELL[1] * rows), "white")
    for index, panel in enumerate(panels):
        corner = (index % columns * _CELL[0], index // columns * _CELL[1])
        _panel(ImageDraw.Draw(canvas), corner, *panel)
    with atomic_path(path) as temporary:
        canvas.save(temporary, "PNG")


def running_mean(points: Sequence[Point], share: float = 0.03) -> list[Point]:
    """Each point's mean with those around it, weights falling linearly to nothing over `share` of all points."""
    if not points:
        return []
    x, y = np.asarray(points, np.float64).T
    reach = max(1, round(share * len(y)))
    weights = np.bartlett(2 * reach + 1)
    known = np.convolve(np.ones_like(y), weights)[reach : reach + len(y)]
    return list(zip(x, np.convolve(y, weights)[reach : reach + len(y)] / known, strict=True))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about `count`: multiples of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.7)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _points(lines: Sequence[dict[str, Any]], name: str) -> list[Point]:
    return [(float(line["step"]), float(line[name])) for line in lines if name in line and math.isfinite(line[name])]


def _panel(draw: ImageDraw.ImageDraw, corner: Point, title: str, curves: dict[str, list[Point]], log: bool) -> None:
    """One pair of axes with its curves; `corner` is the panel's upper left, in pixels."""
    font = ImageFont.load_default(size=13)
    xs, ys = zip(*(point for points in curves.values() for point in points), strict=True)
    scale = math.log10 if log else float
    (left, right), (low, high) = _span([*xs]), _span([scale(y) for y in ys], 0.05)
    x0, y0 = corner[0] + _MARGIN[0], corner[1] + _MARGIN[1]
    x1, y1 = corner[0] + _CELL[0] - _MARGIN[2], corner[1] + _CELL[1] - _MARGIN[3]

    def place(point: Point) -> Point:
        x, y = (point[0] - left) / (right - left), (scale(point[1]) - low) / (high - low)
        return x0 + x * (x1 - x0), y1 - y * (y1 - y0)

    for value in ticks(left, right):
        x = place((value, ys[0]))[0]
        draw.line([(x, y0), (x, y1)], fill=_GRID)
        draw.text((x, y1 + 6), f"{value:,.0f}", fill=_INK, font=font, anchor="ma")
    for value in _log_ticks(low, high) if log else ticks(low, high):
        y = place((left, value))[1]
        draw.line([(x0, y), (x1, y)], fill=_GRID)
        draw.text((x0 - 6, y), f"{value:.3g}", fill=_INK, font=font, anchor="rm")
    draw.rectangle([x0, y0, x1, y1], outline=_INK)
    draw.text((x0, corner[1] + 14), title, fill=_INK, font=ImageFont.load_default(size=16))
    legend = float(x1)
    for (name, points), colour in reversed(list(zip(curves.items(), _COLOURS, strict=False))):
        if name in NOISY:
            draw.line([place(p) for p in points], fill=tuple(round(255 - (255 - c) * 0.35) for c in colour))
        shown = running_mean(points) if name in NOISY else points
        draw.line([place(p) for p in shown], fill=colour, width=2)
        if len(curves) > 1:
            draw.text((legend, corner[1] + 16), name, fill=colour, font=font, anchor="ra")
            legend -= draw.textlength(name, font=font) + 14


def _span(values: Sequence[float], margin: float = 0.0) -> tuple[float, float]:
    """Smallest and largest value with a margin; never of no width."""
    low, high = min(values), max(values)
    width = high - low or abs(high) * 0.1 or 1.0
    if high == low:
        low, high = low - width / 2, high + width / 2
    return low - margin * width, high + margin * width


def _log_ticks(low: float, high: float) -> list[float]:
    """Ticks of an axis whose ends are powers of ten with these exponents."""
    marks = [m * 10.0**k for k in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    inside = [mark for mark in marks if low <= math.log10(mark) <= high]
    return inside if len(inside) > 1 else ticks(10**low, 10**high)

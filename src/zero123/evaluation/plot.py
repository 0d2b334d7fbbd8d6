"""Scores over the angle between input and target, as a small SVG drawing in the colours of the page."""

from __future__ import annotations

import html

from zero123.evaluation.baselines import BASELINES
from zero123.evaluation.summary import MODEL, Group

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _FOOT = 560, 240, 44, 210, 14, 34
_COLOURS = ("#2f7de1", "#e08a1e", "#8a63c9", "#3d9a50", "#888", "#c4437a")
_METRIC = "psnr_foreground"


def angle_plot(group: Group) -> str:
    """Foreground PSNR of the model and of the baselines but white, a line each, at the middles of the ranges."""
    bins = [b for b in group.bins if b.views]
    methods = [m for m in bins[0].means if m != BASELINES[-1]]
    values = [b.means[m][_METRIC] for b in bins for m in methods]
    room = 0.08 * max(max(values) - min(values), 1.0)
    low, high = min(values) - room, max(values) + room

    def height(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _FOOT) * (high - value) / (high - low)

    parts = [_text(_across(angle), height(low) + 16, f"{angle}°", "middle") for angle in (0, 30, 60, 90, 180)]
    for value in (low + (high - low) * k / 4 for k in range(5)):
        y = f"{height(value):.1f}"
        parts.append(f'<path d="M{_across(0)} {y}H{_across(180)}" stroke="currentColor" opacity=".2"/>')
        parts.append(_text(_across(0) - 6, height(value) + 4, f"{value:.1f}", "end"))
    for index, method in enumerate(methods):
        points = [(_across((b.low + b.high) / 2), height(b.means[method][_METRIC])) for b in bins]
        parts.append(_line(points, _COLOURS[index % len(_COLOURS)], 2.5 if method == MODEL else 1.5))
        name = method.replace("input's mean colour", "mean colour")
        parts.append(_text(_across(180) + 10, _TOP + 14 + 18 * index, name, "start", _COLOURS[index % len(_COLOURS)]))
    title = "Foreground PSNR (dB) by the angle between input and target"
    head = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>'
    return head + "".join(parts) + "</svg>"


def _across(angle: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * angle / 180


def _line(points: list[tuple[float, float]], colour: str, width: float) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width}"/>{dots}'


def _text(x: float, y: float, text: str, anchor: str, colour: str = "currentColor") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="11" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{html.escape(text)}</text>"

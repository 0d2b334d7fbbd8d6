"""The drawings of the page of equations, from the functions themselves: `python docs/figures/curves.py [FOLDER]`."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from zero123.diffusion.schedule import NoiseSchedule
from zero123.training.averages import exponent

PICTURES = Path(__file__).parents[1] / "pictures"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 640, 260, 52, 130, 16, 44
COLOURS = ("#2f7de1", "#e08a1e", "#3d9a50", "#c4437a")
INK = "#8a8f98"  # reads on white and on black

Line = Sequence[tuple[float, float]]


def drawing(lines: dict[str, Line], across: Sequence[float], up: dict[float, str], title: str, below: str) -> str:
    """An SVG of named lines; `across` are marks of the first axis, `up` marks of the second with their texts."""
    low_x, high_x, low_y, high_y = across[0], across[-1], min(up), max(up)

    def at(x: float, y: float) -> tuple[float, float]:
        right = LEFT + (WIDTH - LEFT - RIGHT) * (x - low_x) / (high_x - low_x)
        return right, TOP + (HEIGHT - TOP - FOOT) * (high_y - y) / (high_y - low_y)

    end = at(high_x, low_y)[0]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="{INK}"><title>{title}</title>'
    ]
    for y, text in up.items():
        height = at(low_x, y)[1]
        parts.append(f'<path d="M{LEFT} {height:.1f}H{end:.1f}" stroke="{INK}" opacity=".3"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{text}</text>')
    for x in across:
        parts.append(f'<text x="{at(x, low_y)[0]:.1f}" y="{HEIGHT - 26}" text-anchor="middle">{x:g}</text>')
    parts.append(f'<text x="{(LEFT + end) / 2:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{below}</text>')
    for index, (name, line) in enumerate(lines.items()):
        colour, points = COLOURS[index], [at(x, y) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(line) < 30:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(f'<text x="{end + 12:.1f}" y="{TOP + 20 + 20 * index}" fill="{colour}">{name}</text>')
    return "".join([*parts, "</svg>\n"])


def spacings() -> str:
    """Noise levels of ten steps by each of the four spacings."""
    schedule, lines = NoiseSchedule.stable_diffusion(), {}
    for name in ("trailing", "leading", "karras", "original"):
        levels = [float(level) for level in schedule.sampling_sigmas(10, name)]
        lines[name] = [(i, math.log10(level)) for i, level in enumerate(levels) if level > 0]
    marks = {math.log10(v): f"{v:g}" for v in (0.02, 0.1, 0.5, 2, 15)}
    return drawing(
        lines, [0, 2, 4, 6, 8, 10], marks, "Noise levels of ten steps", "evaluation (the last level, 0, is left out)"
    )


def averages() -> str:
    """Profiles (gamma + 1) t^gamma of averages of three widths."""
    lines = {}
    for length in (0.05, 0.10, 0.20):
        gamma = exponent(length)
        times = [k / 100 for k in range(101)]
        lines[f"width {length:.0%}"] = [(t, (gamma + 1) * t**gamma) for t in times]
    top = math.ceil(max(y for line in lines.values() for _, y in line) / 5) * 5
    marks = {float(y): f"{y}" for y in range(0, top + 1, 5)}
    return drawing(
        lines, [0, 0.2, 0.4, 0.6, 0.8, 1], marks, "Weight of each moment", "time trained, as a share of the whole"
    )


def main(folder: str | Path = PICTURES) -> None:
    """Write both drawings to `folder`."""
    for name, made in (("spacings", spacings()), ("averages", averages())):
        (Path(folder) / f"{name}.svg").write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:2])

"""From the numbers of objects to those of a table, and what a run leaves behind: `shapes.json` and `shapes.md`."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from zero123 import __version__
from zero123.evaluation import bootstrap
from zero123.evaluation.anchors import OTHER, anchors
from zero123.evaluation.protocols import Protocol
from zero123.evaluation.shapes.benchmark import Job, ObjectOutcomes, Outcome
from zero123.evaluation.shapes.judging import TURNED
from zero123.evaluation.summary import ALL, Mean
from zero123.evaluation.tables import Table
from zero123.files import atomic_path

RESULTS, TABLE = "shapes.json", "shapes.md"


class LineSummary(NamedTuple):
    """A line over the objects of a kind.

    Attributes:
        name: of the line.
        made, failed: objects with and without a mesh.
        scores: mean over the objects that have the score, with its interval.
        seconds, gigabytes: medians; None where nothing was measured.
        elevation_error_deg: median of the absolute error of the elevation the method believed; None without meshes.
    """

    name: str
    made: int
    failed: int
    scores: dict[str, Mean]
    seconds: float | None
    gigabytes: float | None
    elevation_error_deg: float | None


class ShapeGroup(NamedTuple):
    """The objects of one kind.

    Attributes:
        kind: its name, or `ALL` where the protocol knows no kinds.
        objects: how many.
        closed: how many of the true meshes enclose a volume; volumes are compared on these alone.
        least: mean Chamfer distance of the true meshes against themselves; None where none could be used.
        lines: in the order in which they were asked.
    """

    kind: str
    objects: int
    closed: int
    least: float | None
    lines: list[LineSummary]


def summarise(found: Sequence[ObjectOutcomes], protocol: Protocol) -> list[ShapeGroup]:
    """Means over the objects of each kind, kinds in the order in which they appear.

    Raises:
        ValueError: no objects.
    """
    if not found:
        raise ValueError("there are no objects to summarise")
    groups = []
    for kind in dict.fromkeys(one.kind for one in found):
        own = [one for one in found if one.kind == kind]
        least = [one.least for one in own if one.least is not None]
        lines = [_line(name, own, protocol) for name in own[0].lines]
        mean = sum(least) / len(least) if least else None
        groups.append(ShapeGroup(kind or ALL, len(own), sum(one.closed for one in own), mean, lines))
    return groups


def _line(name: str, objects: Sequence[ObjectOutcomes], protocol: Protocol) -> LineSummary:
    made = [(one, one.lines[name]) for one in objects if one.lines[name].fault is None]
    names = dict.fromkeys(score for _, outcome in made for score in outcome.scores)
    scores = {score: _mean([o.scores[score] for _, o in made if score in o.scores], protocol) for score in names}
    errors = [abs(o.elevation_deg - one.elevation_deg) for one, o in made if o.elevation_deg is not None]
    seconds, gigabytes = ([v for _, o in made if (v := getattr(o, n)) is not None] for n in ("seconds", "gigabytes"))
    return LineSummary(
        name,
        len(made),
        len(objects) - len(made),
        scores,
        *(median(values) if values else None for values in (seconds, gigabytes, errors)),
    )


def _mean(values: Sequence[float], protocol: Protocol) -> Mean:
    settings, each = protocol.bootstrap, torch.tensor(values, dtype=torch.float64)
    return Mean(float(each.mean()), *bootstrap.interval(each, settings.level, settings.draws, settings.seed))


def write(found: Sequence[ObjectOutcomes], job: Job, departures: Sequence[str]) -> list[ShapeGroup]:
    """Write `shapes.json`, every number with its settings, and `shapes.md`, the tables; and give the summary."""
    groups = summarise(found, job.protocol)
    numbers = json.dumps(_numbers(found, groups, job, departures), indent=1, ensure_ascii=False, allow_nan=False)
    for name, text in ((RESULTS, numbers + "\n"), (TABLE, markdown(found, groups, job, departures))):
        with atomic_path(Path(job.out) / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return groups


def _numbers(
    found: Sequence[ObjectOutcomes], groups: Sequence[ShapeGroup], job: Job, departures: Sequence[str]
) -> dict[str, Any]:
    protocol = job.protocol
    return {
        "format": "zero123 shapes 1",
        "protocol": {"name": protocol.name, "version": protocol.version, "sha256": protocol.sha256},
        "departures": list(departures),
        "bootstrap": asdict(protocol.bootstrap),
        "judging": asdict(job.judging),
        "methods": {line.maker.name: line.maker.describe() for line in job.lines},
        "versions": {
            "zero123": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{name: version(name) for name in ("numpy", "scipy", "scikit-image")},
        },
        "summary": {
            group.kind: {
                **group._asdict(),
                "lines": {
                    line.name: {**line._asdict(), "scores": {m: v._asdict() for m, v in line.scores.items()}}
                    for line in group.lines
                },
            }
            for group in groups
        },
        "failures": [f"{name}, {line}: {fault}" for name, line, fault in failures(found)],
        "objects": {one.name: asdict(one) for one in found},
    }


def failures(found: Sequence[ObjectOutcomes]) -> list[tuple[str, str, str]]:
    """Object, line and reason of every mesh that is not there."""
    every: list[tuple[str, str, Outcome]] = [(one.name, n, line) for one in found for n, line in one.lines.items()]
    return [(name, line, outcome.fault) for name, line, outcome in every if outcome.fault is not None]


_COLUMNS = {
    "chamfer_mean": ("Chamfer ↓", 4),
    "volume_iou": ("volume IoU", 3),
    "f_score@": ("F @ {}", 3),
    "normal_consistency": ("normals ↑", 3),
    "turntable_iou": ("turn: IoU", 3),
    "turntable_psnr": ("turn: PSNR", 2),
    "turntable_psnr_foreground": ("turn: PSNR foreground", 2),
    "views_psnr": ("views agree, dB", 2),
}


def main_table(group: ShapeGroup) -> Table:
    """The meshes as they face: shape, turn, what they cost."""
    scores = [s for s in _scores(group) if not s.startswith(TURNED) and _heading(s)]
    titles = ["method", "meshes", *(_heading(s)[0] for s in scores), "elevation off by", "seconds", "GB"]
    rows = []
    for line in group.lines:
        cost = [_plain(line.elevation_error_deg, 1, "°"), _plain(line.seconds, 1), _plain(line.gigabytes, 2)]
        cells = [_cell(line.scores.get(s), _heading(s)[1]) for s in scores]
        rows.append([line.name, f"{line.made} of {line.made + line.failed}", *cells, *cost])
    return Table(titles, rows)


def turned_table(group: ShapeGroup) -> Table | None:
    """The same shapes after the rotation that fits best; None where none was searched."""
    scores = [s for s in _scores(group) if s.startswith(TURNED) and _heading(s.removeprefix(TURNED))]
    if not scores:
        return None
    heads = {s: _heading(s.removeprefix(TURNED)) for s in scores}
    rows = [[line.name, *(_cell(line.scores.get(s), heads[s][1]) for s in scores)] for line in group.lines]
    return Table(["turned for the best fit", *(heads[s][0] for s in scores)], rows)


def printed_table() -> Table:
    """Printed numbers of others; none was measured on these objects or normalised and counted the same way."""
    rows = []
    for one in anchors():
        if "volume_iou" in one.metrics:
            note = f"; {one.note}" if one.note else ""
            values = [f"{one.metrics['chamfer']:.4f}", f"{one.metrics['volume_iou']:.4f}"]
            rows.append([one.method, *values, one.data, OTHER + note, one.paper])
    return Table(["printed by others", "Chamfer ↓", "volume IoU", "data", "compares as", "source"], rows)


def markdown(found: Sequence[ObjectOutcomes], groups: Sequence[ShapeGroup], job: Job, departures: Sequence[str]) -> str:
    """All tables as one Markdown page."""
    judging, protocol = job.judging, job.protocol
    intro = [f"Meshes of one picture each, by the inputs of protocol {protocol.name}, version {protocol.version}."]
    if job.frame == "rendered":
        intro.append("Inputs as rendered: the object's middle and size in the picture are those of all its views.")
    else:
        intro.append("Inputs framed anew, as photos: size and middle of what is hidden are not known.")
    if departures:
        intro.append(f"NOT the protocol as it is: {'; '.join(departures)}.")
    intro.append(
        f"Each mesh and its true one are moved and scaled to the unit cube; {judging.shape.points} points on each; "
        f"volumes in {judging.shape.resolution}³ cells. The turn: {judging.views} views at {judging.elevation_deg:g}°, "
        f"{judging.size} pixels, on white, the true mesh under the light of its views. Means over objects; in brackets "
        f"their {protocol.bootstrap.level:.0%} confidence interval, by bootstrap over objects. Seconds and memory are "
        "medians."
    )
    parts = [f"# Meshes: {protocol.name}", "\n".join(intro)]
    for group in groups:
        parts.append(f"## {group.kind}: {group.objects} objects")
        parts += [table.markdown() for table in (main_table(group), turned_table(group)) if table is not None]
        least = "unknown" if group.least is None else f"{group.least:.4f}"
        parts.append(
            f"Volume IoU is over the {group.closed} objects whose true mesh is closed. A true mesh against itself: "
            f"Chamfer {least}."
        )
    lost = failures(found)
    parts.append(f"## Failures: {len(lost)}")
    parts += ["\n".join(f"- {name}, {line}: {fault}" for name, line, fault in lost)] if lost else []
    return "\n\n".join([*parts, "## Printed by others", printed_table().markdown()]) + "\n"


def _scores(group: ShapeGroup) -> list[str]:
    return list(dict.fromkeys(score for line in group.lines for score in line.scores))


def _heading(score: str) -> tuple[str, int]:
    """Title and decimals of a score's column; falsy for one that has none."""
    name, at, threshold = score.partition("@")
    title, decimals = _COLUMNS.get(name + at, ("", 0))
    return (title.format(threshold), decimals) if title else ()  # type: ignore[return-value]


def _cell(value: Mean | None, decimals: int) -> str:
    if value is None:
        return "—"
    return f"{value.mean:.{decimals}f} [{value.low:.{decimals}f}, {value.high:.{decimals}f}]"


def _plain(value: float | None, decimals: int, unit: str = "") -> str:
    return "—" if value is None else f"{value:.{decimals}f}{unit}"

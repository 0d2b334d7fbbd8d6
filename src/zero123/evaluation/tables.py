"""The tables of a run in Markdown: scores beside baselines and printed numbers, and scores by angle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from zero123.evaluation.anchors import beside
from zero123.evaluation.baselines import ORACLE
from zero123.evaluation.summary import COPY, MODEL, Group, Mean, lower_is_better


class Heading(NamedTuple):
    """How a metric is printed: its column's title and the number of decimals."""

    title: str
    decimals: int


_KNOWN = {
    "psnr": Heading("PSNR", 2),
    "psnr_foreground": Heading("PSNR foreground", 2),
    "ssim": Heading("SSIM", 3),
    "ssim_gaussian": Heading("SSIM Gaussian", 3),
    "iou": Heading("silhouette IoU", 3),
}


class Table(NamedTuple):
    """Titles of the columns, and the rows; every cell is text."""

    titles: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """As Markdown."""
        lines = ["| " + " | ".join(self.titles) + " |", "|" + "---|" * len(self.titles)]
        return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in self.rows])


def heading(metric: str) -> Heading:
    """How a metric is printed; arrows say which way is better where that is down."""
    known = _KNOWN.get(metric, Heading(metric.replace("_", " ").replace("lpips", "LPIPS").replace("fid", "FID"), 3))
    return Heading(known.title + (" ↓" if lower_is_better(metric) else ""), known.decimals)


def title_of(method: str, samples: int) -> str:
    """What a line is called."""
    if method == MODEL:
        return "**model**" + (f", mean of {samples}" if samples > 1 else "")
    return f"*{method}*" if method == ORACLE else method


def score_table(group: Group) -> Table:
    """Means over objects, their intervals in brackets; last, what the model gains over copying the input."""
    metrics = list(group.gain)
    titles = ["method"] + [heading(m).title for m in metrics]
    rows = [[title_of(r.method, group.samples)] + [_cell(m, r.metrics[m]) for m in metrics] for r in group.rows]
    rows.append([f"model minus {COPY}"] + [_cell(m, group.gain[m], "+") for m in metrics])
    return Table(titles, rows)


def angle_table(group: Group) -> Table:
    """The model and the baselines, range by range; two numbers a cell: foreground PSNR and silhouette IoU."""
    bins = [b for b in group.bins if b.views]
    titles = ["foreground PSNR / IoU"] + [f"{b.low:g}–{b.high:g}° ({b.views} views)" for b in bins]
    rows = []
    for method in bins[0].means:
        pairs = [(b.means[method]["psnr_foreground"], b.means[method]["iou"]) for b in bins]
        rows.append([title_of(method, group.samples)] + [f"{psnr:.2f} / {iou:.3f}" for psnr, iou in pairs])
    return Table(titles, rows)


def anchor_table(protocol: str, departures: Sequence[str]) -> Table:
    """Printed numbers, each with how it compares and where it was read."""
    rows = []
    for one in beside(protocol):
        values = [f"{one.metrics[m]:g}" if m in one.metrics else "" for m in ("psnr", "ssim", "lpips")]
        note = f"; {one.note}" if one.note else ""
        rows.append([one.method, *values, one.data, one.standing(protocol, departures) + note, one.paper])
    return Table(["printed by others", "PSNR", "SSIM", "LPIPS", "data", "compares as", "source"], rows)


def _cell(metric: str, value: Mean, sign: str = "") -> str:
    decimals = heading(metric).decimals
    ends = f"{value.low:{sign}.{decimals}f}, {value.high:{sign}.{decimals}f}"
    return f"{value.mean:{sign}.{decimals}f} [{ends}]"

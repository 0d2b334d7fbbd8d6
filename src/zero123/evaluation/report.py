"""The report of a run as one HTML file that needs nothing from outside, and its sheets as pictures beside it."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from zero123.evaluation.cases import Case, Cases
from zero123.evaluation.examples import ERROR_FULL, RANKED_BY, SPREAD_FULL, Example, all_examples, choose, tiles
from zero123.evaluation.methods import Answer
from zero123.evaluation.plot import angle_plot
from zero123.evaluation.results import Results, group_notes, group_tables, intro
from zero123.evaluation.summary import ALL, Group
from zero123.evaluation.tables import Table, anchor_table, heading
from zero123.files import atomic_path
from zero123.images.io import save, to_pillow
from zero123.images.sheets import contact_sheet

REPORT, SHEETS = "report.html", "sheets"

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --paper: #fff; --faint: #6b6b70; --line: #d8d8dc; --tint: #f4f4f6; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ea; --paper: #161618; --faint: #a0a0a6; --line: #3a3a3e; --tint: #212124; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1180px; padding: 24px; }
h1 { font-size: 26px; } h2 { margin-top: 40px; border-top: 1px solid var(--line); padding-top: 20px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; margin: 12px 0; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { font-weight: 600; } tr:hover td { background: var(--tint); } td.long { white-space: normal; min-width: 16em; }
.note, figcaption { color: var(--faint); } .warning { font-weight: 600; }
.cases { display: grid; grid-template-columns: repeat(auto-fill, minmax(520px, 1fr)); gap: 12px 24px; }
figure { margin: 0; } figcaption { font-size: 13px; } .tiles { display: flex; gap: 4px; }
.tiles div { flex: 1 1 0; min-width: 0; } .tiles span { font-size: 11px; color: var(--faint); }
.tiles img { width: 100%; display: block; border-radius: 3px; } svg { max-width: 560px; width: 100%; height: auto; }
@media (max-width: 600px) { .cases { grid-template-columns: 1fr; } }
"""


def write_report(results: Results, cases: Cases, answer: Callable[[Case], Answer], out: Path, shown: int = 12) -> None:
    """Write `report.html` and `sheets/*.png`.

    Args:
        results: of the run.
        cases: its objects.
        answer: the method's, of an object.
        out: folder.
        shown: views in each sheet.
    """
    parts = [f"<h1>{_text(results.protocol.name)}</h1>", *map(_paragraph, intro(results))]
    for group in results.groups:
        parts.append(f"<h2>{_text(group.kind)}: {group.objects} objects, {group.views} views</h2>")
        parts += [_table(table) for table in group_tables(group)]
        parts += [angle_plot(group), *map(_paragraph, group_notes(results, group))]
        parts += _sheets(results, group, cases, answer, out / SHEETS, shown)
    parts += ["<h2>Printed by others</h2>", _table(anchor_table(results.protocol.name, results.departures))]
    parts += [_paragraph(line) for line in _small_print(results)]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(results.protocol.name)}</title><style>{_STYLE}</style></head>\n<body>\n"
    )
    with atomic_path(out / REPORT) as temporary:
        temporary.write_text(page + "\n".join(parts) + "\n</body></html>\n", encoding="utf-8")


def _sheets(
    results: Results, group: Group, cases: Cases, answer: Callable[[Case], Answer], folder: Path, shown: int
) -> list[str]:
    """The sheets of a kind, each also written as a picture."""
    scores = [one for one in results.scores if (one.kind or ALL) == group.kind]
    listed = {one.name: one for one in cases.objects}
    parts = []
    for title, chosen in choose(all_examples(scores), shown, results.protocol.seed).items():
        rows = []
        for example in chosen:
            case = cases.load(listed[example.name])
            rows.append(tiles(case, answer(case), example.index))
        ranked = "" if title == "random" else f", by {heading(RANKED_BY).title}"
        parts.append(f"<h3>{_text(title.capitalize())}{ranked}</h3>\n<div class='cases'>")
        parts += [_figure(example, row) for example, row in zip(chosen, rows, strict=True)]
        parts.append("</div>")
        labels = [label for row in rows for label in row]
        pictures = torch.stack([picture for row in rows for picture in row.values()])
        file = re.sub(r"[^a-z0-9]+", "-", f"{group.kind} {title}".lower()).strip("-")
        save(folder / f"{file}.png", contact_sheet(pictures, len(rows[0]), labels))
    return parts


def _figure(example: Example, row: dict[str, Tensor]) -> str:
    cells = "".join(
        f'<div><span>{label}</span><img alt="{label}" src="{_embedded(picture)}"></div>'
        for label, picture in row.items()
    )
    return f'<figure><div class="tiles">{cells}</div><figcaption>{_text(example.caption)}</figcaption></figure>'


def _embedded(picture: Tensor) -> str:
    """A picture inside the page: WebP, at a quality at which no difference is seen."""
    stored = io.BytesIO()
    to_pillow(picture).save(stored, format="WEBP", quality=90, method=4)
    return "data:image/webp;base64," + base64.b64encode(stored.getvalue()).decode()


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(title)}</th>" for title in table.titles)
    rows = ["<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in table.rows]
    return f"<div class='scroll'><table><tr>{head}</tr>\n" + "\n".join(rows) + "</table></div>"


_LONG = 40


def _cell(cell: str) -> str:
    return f"<td{' class=long' if len(cell) > _LONG else ''}>{_marked(_text(cell))}</td>"


def _marked(text: str) -> str:
    """Markdown's bold and italic of the tables as HTML."""
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
    return re.sub(r"\*(.+?)\*", r"<i>\1</i>", text)


def _paragraph(line: str) -> str:
    kind = "warning" if line.startswith("NOT") else "note"
    return f'<p class="{kind}">{_text(line)}</p>'


def _small_print(results: Results) -> Sequence[str]:
    protocol = results.protocol
    lines = [f"From: {protocol.paper}"] if protocol.paper else []
    lines += [*protocol.facts, *(f"Otherwise than there: {line}" for line in protocol.differs)]
    lines += [f"{heading(metric).title}: {meaning}." for metric, meaning in protocol.metrics.items()]
    lines.append(
        f"“Ours” is the first sample. Error: mean over channels, brightest at {ERROR_FULL:g}. Uncertainty: spread "
        f"of samples and what the model doubts, brightest at {SPREAD_FULL:g}. Random "
        "views are drawn by the protocol's seed."
    )
    return lines


def _text(text: str) -> str:
    return html.escape(text, quote=True)

"""What a run leaves behind: `results.json` with every number and setting, and `table.md`."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zero123 import __version__
from zero123.evaluation.agreement import Agreement
from zero123.evaluation.protocols import Protocol
from zero123.evaluation.scoring import ObjectScores
from zero123.evaluation.summary import ALL, Group, as_json, or_null
from zero123.evaluation.tables import Table, anchor_table, angle_table, heading, score_table
from zero123.files import atomic_path

RESULTS, TABLE = "results.json", "table.md"


@dataclass(frozen=True)
class Results:
    """A finished run.

    Attributes:
        protocol: what was asked.
        departures: what was done otherwise than the protocol says; none where its name may stand beside the numbers.
        method: who answered, see `Method.describe`.
        scores: of every object.
        groups: their summary.
        sets: distances between the sets of all pictures and all truths, by kind, method and name of the distance.
        agreements: whether the views of each object agree, by its name; empty where that was not asked.
    """

    protocol: Protocol
    departures: tuple[str, ...]
    method: dict[str, Any]
    scores: Sequence[ObjectScores]
    groups: Sequence[Group]
    sets: dict[str, dict[str, dict[str, float]]]
    agreements: dict[str, Agreement] = field(default_factory=dict)

    def _repr_markdown_(self) -> str:
        return markdown(self)


def write_results(results: Results, out: Path) -> None:
    """Write `results.json` and `table.md`; the same run writes the same bytes."""
    _write(out / RESULTS, json.dumps(all_numbers(results), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    _write(out / TABLE, markdown(results))


def all_numbers(results: Results) -> dict[str, Any]:
    """Every number of a run as JSON values; nothing in it depends on the clock."""
    protocol = results.protocol
    return {
        "format": "zero123 evaluation 1",
        "protocol": {
            "name": protocol.name,
            "version": protocol.version,
            "sha256": protocol.sha256,
            "size": protocol.size,
            "edges": protocol.edges,
            "camera_rule": protocol.camera_rule,
            "input": protocol.input,
            "targets": list(protocol.targets),
            "bootstrap": vars(protocol.bootstrap),
            "metrics": dict(protocol.metrics),
        },
        "departures": list(results.departures),
        "method": results.method,
        "versions": {
            "zero123": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{name: version(name) for name in ("numpy", "scikit-image", "pillow", "diffusers")},
        },
        "summary": {group.kind: as_json(group) for group in results.groups},
        "picture_sets": results.sets,
        "objects": {one.name: _object(one, results.agreements.get(one.name)) for one in results.scores},
    }


def _object(one: ObjectScores, agreed: Agreement | None) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "views_sha256": one.views_sha256,
        "pictures_sha256": one.pictures_sha256,
        "elevation_rad": None if one.elevation is None else dict(zip(("true", "believed"), one.elevation, strict=True)),
        "targets": list(one.numbers),
        "angle_deg": _rounded(one.angles),
        "spread": None if one.spread is None else {name: _rounded(v) for name, v in vars(one.spread).items()},
        "agreement": None if agreed is None else {name: or_null(value) for name, value in vars(agreed).items()},
        "samples_by_target": {metric: _rounded(values) for metric, values in one.model.items()},
        "baselines": {b: {m: _rounded(v) for m, v in metrics.items()} for b, metrics in one.baselines.items()},
    }


def _rounded(values: Tensor) -> Any:
    """Nested lists with six decimals; what is not a number is null, as JSON knows none."""
    if values.ndim > 1:
        return [_rounded(row) for row in values]
    return [None if math.isnan(v) else round(v, 6) for v in values.tolist()]


def intro(results: Results) -> list[str]:
    """What was asked and who answered, a sentence a line."""
    protocol, method = results.protocol, results.method
    named = f"{protocol.name}, version {protocol.version}" if protocol.sha256 else protocol.name
    lines = [f"Protocol {named}" + (f" ({protocol.title})" if protocol.title else "") + "."]
    if protocol.sha256:
        lines.append(f"Its file: SHA-256 {protocol.sha256}.")
    if results.departures:
        lines.append(f"NOT the protocol as it is: {'; '.join(results.departures)}.")
    if "sampling" in method:
        sampling = method["sampling"]
        lines.append(
            f"Model {method['model']}, {method['parameters'] / 1e6:.1f} million parameters, weights "
            f"{method['weights_sha256'][:16]}, {method['dtype']}; {sampling['steps']} steps, guidance "
            f"{sampling['scale']:g}, {sampling['solver']}, seed {sampling['seed']}, input's place "
            f"{'told' if method['known_source'] else 'not told'}."
        )
    else:
        lines.append(f"Pictures in {method.get('pictures', 'a folder')}.")
    percent = f"{protocol.bootstrap.level:.0%}"
    lines.append(
        f"Pictures of {protocol.size} pixels on white. Means over objects; in brackets their {percent} confidence "
        f"interval, by bootstrap over objects. The oracle knows the true silhouettes, which no method does."
    )
    return lines


def group_notes(results: Results, group: Group) -> list[str]:
    """What is said below the tables of a kind."""
    lines = []
    if group.samples > 1:
        lines.append(f"Best of {group.samples} picks the sample by each metric itself, with the truth in hand.")
    if group.elevation is not None:
        mean, median = (group.elevation[key] for key in ("mean_absolute_deg", "median_deg"))
        lines.append(f"Elevation of the input, estimated: off by {mean:.1f}° in the mean, {median:.1f}° in the median.")
    if (spread := group.spread) is not None:
        lines.append(
            "Spread (of samples, and what the model doubts) against error, Spearman's rank correlation: "
            f"{spread['pixels']:.2f} over the pixels of an object's silhouettes (mean over views), "
            f"{spread['views']:.2f} over views."
        )
    if results.agreements:
        lines.append(_agreement_note(results, group))
    for method, distances in results.sets.get(group.kind, {}).items():
        values = ", ".join(f"{heading(name).title} {value:.2f}" for name, value in distances.items())
        lines.append(f"Set of all pictures, {method}: {values} (compare only with equal numbers of pictures).")
    return lines


def _agreement_note(results: Results, group: Group) -> str:
    """Means over the objects whose views share a solid."""
    kind = "" if group.kind == ALL else group.kind
    each = [results.agreements[one.name] for one in results.scores if one.kind == kind]
    whole = [one for one in each if not math.isnan(one.psnr) and not math.isnan(one.truth)]
    if not whole:
        return "Agreement of the views with each other: no object's views share a solid."
    own, covered, true = (sum(getattr(one, n) for one in whole) / len(whole) for n in ("psnr", "coverage", "truth"))
    return (
        f"Agreement of the views with each other, along the visual hull they make: {own:.2f} dB over {covered:.0%} of "
        f"the pixels; of the true views {true:.2f} dB. {len(whole)} of {len(each)} objects; no quality by "
        "itself, since blurred views agree."
    )


def group_tables(group: Group) -> list[Table]:
    """The tables of a kind."""
    return [score_table(group), angle_table(group)]


def markdown(results: Results) -> str:
    """All tables as one Markdown page."""
    parts = [f"# {results.protocol.name}", "\n".join(intro(results))]
    for group in results.groups:
        parts.append(f"## {group.kind}: {group.objects} objects, {group.views} views")
        parts += [table.markdown() for table in group_tables(group)]
        parts += group_notes(results, group)
    anchors = anchor_table(results.protocol.name, results.departures)
    return "\n\n".join([*parts, "## Printed by others", anchors.markdown()]) + "\n"


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")

"""Printed numbers of other methods, with their sources, and which of them may stand beside a run of a protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

OTHER = "other protocol"


@dataclass(frozen=True)
class Anchor:
    """A row of somebody's table.

    Attributes:
        method: whose numbers.
        data: what they were measured on.
        metrics: by name; "lpips" and "fid" are of the networks that `variants` names.
        variants: how a metric was computed there, where that is known.
        paper: where the numbers were printed.
        read_in: where they were read.
        same_views: the protocol of ours with the same objects, inputs and targets, or None.
        note: what else must be known of them.
    """

    method: str
    data: str
    metrics: Mapping[str, float]
    variants: Mapping[str, str]
    paper: str
    read_in: str
    same_views: str | None
    note: str = ""

    def standing(self, protocol: str, departures: Sequence[str]) -> str:
        """How its numbers compare with a run: same views but another metric code, or `OTHER`.

        Args:
            protocol: name of the run's.
            departures: what the run did otherwise than the protocol says.
        """
        if self.same_views != protocol:
            return OTHER
        if departures:
            return f"{OTHER} (this run: {'; '.join(departures)})"
        own = "; ".join(f"{metric} {how}" for metric, how in self.variants.items())
        return "same objects and views" + (f" ({own})" if own else "")


def anchors() -> list[Anchor]:
    """All of them, as they are in `anchors.json`."""
    content = json.loads(resources.files("zero123.evaluation").joinpath("anchors.json").read_text(encoding="utf-8"))
    found = []
    for row in content["rows"]:
        source = content["sources"][row["source"]]
        found.append(
            Anchor(
                row["method"],
                row["data"],
                row["metrics"],
                row["variants"],
                source["paper"],
                source["read_in"],
                row["same_views"],
                row.get("note", ""),
            )
        )
    return found


def beside(protocol: str) -> list[Anchor]:
    """The anchors of novel views to print beside a run: those of the same views, then all other runs of Zero-1-to-3."""
    views = [one for one in anchors() if one.metrics.keys() & {"psnr", "ssim", "lpips"}]
    same = [one for one in views if one.same_views == protocol]
    return same + [one for one in views if one.same_views != protocol and one.method.startswith("Zero-1-to-3")]

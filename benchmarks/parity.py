"""The parity table: how far our numbers are from the original's, golden by golden, as Markdown.

    python benchmarks/parity.py [--fast] [FILE]

Runs the tests that compare with goldens (`tests/golden`) and tells what they measured; `--fast` leaves the 860M model
out. Quantities of one kind, such as the blocks of the UNet, share a row, which shows the one nearest to its gate.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1] / "tests"
HEAD = "| golden | quantity | compared | largest error | gate |\n|---|---|---:|---:|---:|\n"


def main() -> int:
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    files = [word for word in sys.argv[1:] if word not in options]
    if set(options) - {"--fast"} or len(files) > 1:
        raise SystemExit(f"usage: {Path(sys.argv[0]).name} [--fast] [FILE]")
    sys.path.insert(0, str(TESTS))
    tests = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if "agree(" in path.read_text(encoding="utf-8")]
    status = pytest.main([*tests, *(["-m", "not slow"] if options else [])])
    from deterministic import AGREEMENTS

    text = HEAD + "".join(f"| {' | '.join(row)} |\n" for row in table(AGREEMENTS))
    if files:
        Path(files[0]).write_text(text, encoding="utf-8")
    else:
        print(text)
    return int(status)


def table(agreements: list[Any]) -> list[tuple[str, ...]]:
    """A row for each kind: a quantity's name up to its comma."""
    rows = []
    kinds = sorted(agreements, key=_kind)
    for (golden, kind), group in groupby(kinds, _kind):
        members = list(group)
        worst = max(members, key=lambda a: a.error / a.gate if a.gate else a.error)
        unit = " relative" if worst.relative else ""
        error = f"{worst.error:.2g}"
        rows.append((f"`{golden}`", kind, str(len(members)), error + unit, f"{worst.gate:.1g}{unit}"))
    return rows


def _kind(agreement: Any) -> tuple[str, str]:
    return agreement.golden, agreement.quantity.partition(", ")[0]


if __name__ == "__main__":
    sys.exit(main())

"""Sort a corpus into the folders that `runs/mini_cpu.sh` renders: textured/, flat/, validation/ and test/.

    python runs/corpus_folders.py CORPUS work/corpus

CORPUS holds index.csv (columns id, file, split, kind, stem and pack; an object a line) and the mesh files it names.
Nothing is copied: the folders hold links. Validation is cut from the training split by whole families (objects of like
name), by a hash of the family's name, so that it is the same on every machine and needs no list.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
from pathlib import Path

KEPT_BACK = 32
"""One family in so many is kept for validation."""


def folder_of(row: dict[str, str]) -> str:
    """Where an object belongs."""
    if row["split"] == "test":
        return "test"
    family = f"{row['pack']}/{row['stem']}"
    if int(hashlib.sha256(family.encode()).hexdigest(), 16) % KEPT_BACK == 0:
        return "validation"
    return "flat" if row["kind"].startswith("flat") else "textured"


def main() -> None:
    """Link every mesh file into its folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    counts: dict[str, int] = {}
    with (given.corpus / "index.csv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            folder = given.out / folder_of(row)
            folder.mkdir(parents=True, exist_ok=True)
            link = folder / Path(row["file"]).name
            if not link.is_symlink():
                os.symlink((given.corpus / row["file"]).resolve(), link)
            counts[folder.name] = counts.get(folder.name, 0) + 1
    print(", ".join(f"{name}: {count}" for name, count in sorted(counts.items())))


if __name__ == "__main__":
    main()

"""A picture's results as they lie on disk: whole with a manifest, of which the batch's manifest is the collection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zero123.batch.pictures import Picture
from zero123.batch.settings import digest
from zero123.files import atomic_path
from zero123.jobs import differences

NAME = "manifest.json"
"""In the folder of each picture's results, and written last."""

ALL = "manifest.jsonl"
"""Beside those folders: every picture's manifest, a line each."""

FORMAT = "zero123 batch 1"


def picture_json(picture: Picture) -> dict[str, Any]:
    """What is noted of a picture file."""
    found = picture.path.stat()
    return {
        "file": str(picture.path),
        "bytes": found.st_size,
        "modified_ns": found.st_mtime_ns,
        "sha256": digest(picture.path),
    }


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder of results; None where it has none that can be read."""
    try:
        values = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and values.get("format") == FORMAT else None


def is_done(out: Path, picture: Picture, settings: dict[str, Any]) -> bool:
    """Whether a picture's results are there, all of them, of the picture as it is now.

    Raises:
        ValueError: a folder of that name holds something else that must not be replaced; in one line.
    """
    folder = out / picture.name
    if not folder.exists():
        return False
    values = read(folder)
    if values is None:
        raise ValueError(f"{folder} is in the way and is no result of a batch; rename it or the picture")
    changed = differences(values.get("settings"), json.loads(json.dumps(settings, default=str)))
    if changed:
        raise ValueError(f"{folder} was made with other settings ({changed[0]}); delete it, or choose another folder")
    if not all((folder / name).is_file() for name in values["outputs"]):
        return False
    return _is_of(values["picture"], picture, folder)


def _is_of(noted: dict[str, Any], picture: Picture, folder: Path) -> bool:
    """Whether the noted picture is this one; false where the file has changed since."""
    if not picture.path.is_file():
        return True  # the results are there; nothing says that they are of another
    found = picture.path.stat()
    same_file = noted["file"] == str(picture.path)
    if same_file and (noted["bytes"], noted["modified_ns"]) == (found.st_size, found.st_mtime_ns):
        return True
    if noted["bytes"] == found.st_size and noted["sha256"] == digest(picture.path):
        return True
    if not same_file:
        raise ValueError(f"{folder} holds the results of another picture, {noted['file']}; rename one of them")
    return False


def note(out: Path, values: dict[str, Any]) -> None:
    """Add a line to the batch's manifest while it runs."""
    with (out / ALL).open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def collect(out: Path) -> None:
    """Write the batch's manifest anew from the results that are there, in the order of their names."""
    found = [read(folder) for folder in sorted(out.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    with atomic_path(out / ALL) as temporary:
        temporary.write_text("".join(json.dumps(values) + "\n" for values in found if values), encoding="utf-8")

"""The pictures of a batch: files and folders to a list in which each has a name of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Kinds of files that are taken from folders; a file that is named may be of any kind that can be read."""

_RESERVED = frozenset({"batch.json", "failures.jsonl", "manifest.jsonl"})
"""Files beside the results."""


@dataclass(frozen=True)
class Picture:
    """A picture file, and the name of the folder that its results get."""

    name: str
    path: Path


def pictures_of(given: Sequence[Path], out: Path) -> list[Picture]:
    """Picture files and those in folders, at any depth; hidden ones and the results in `out` are left out.

    A picture is named by its way from the given folder, without ending, joined by dashes. Where two are alike, in small
    letters, those keep their ending and, if need be, get the given folder's name and a mark of their way.

    Raises:
        ValueError: there are none, one that is given is not there, or two cannot be told apart by name.
    """
    ways: dict[Path, tuple[Path, Path]] = {}
    for place in given:
        for file in _files(place, out.resolve()):
            way = file.relative_to(place) if file != place else Path(file.name)
            ways.setdefault(file.absolute(), (way, place.resolve()))
    if not ways:
        raise ValueError(f"no pictures found; give files, or folders with {', '.join(SUFFIXES)}")
    names = dict.fromkeys(ways, "")
    left = list(ways)
    for level in range(4):
        for file in left:
            names[file] = _name(*ways[file], level)
        used = Counter(name.casefold() for name in names.values())
        left = [file for file in left if used[names[file].casefold()] > 1 or names[file].casefold() in _RESERVED]
    if left:
        alike = [str(file) for file in left if names[file].casefold() == names[left[0]].casefold()]
        raise ValueError(f"two results would be named {names[left[0]]}: {', '.join(alike[:2])}; give a folder of both")
    return [Picture(name, file) for file, name in names.items()]


def _files(place: Path, out: Path) -> Iterator[Path]:
    if not place.is_dir():
        if not place.exists():
            raise ValueError(f"no such picture or folder: {place}")
        yield place
        return
    if place.resolve() == out or out in place.resolve().parents:
        raise ValueError(f"{place} is where the results go; give the folder of the pictures, or another -o")
    for file in sorted(place.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(place).parts)
        if file.suffix.lower() in SUFFIXES and not hidden and file.is_file() and out not in file.resolve().parents:
            yield file


def _name(way: Path, place: Path, level: int) -> str:
    """A picture's name, longer with each level, until it is its own."""
    if level == 0:
        return "-".join(way.with_suffix("").parts).lstrip(".")
    name = "-".join((*way.with_suffix("").parts, way.suffix.removeprefix("."))).strip("-.")
    if level > 1 and place.is_dir():
        name = f"{place.name}-{name}"
    return name if level < 3 else f"{name}-{sha256(way.as_posix().encode()).hexdigest()[:8]}"

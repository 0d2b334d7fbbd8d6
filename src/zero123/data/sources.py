"""Where objects and their views come from, behind one small interface: `ObjectSource`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from zero123.data.view_files import ViewLevels
from zero123.data.view_set import ViewSetError

ABOUT = "about.json"
"""Beside what was made of a source: what decides what it holds."""

Part = Literal["all", "training", "validation"]
"""Which objects of a source: the original trained on the first 99 % of its list and validated on the rest."""


class Objects(Protocol):
    """Objects in a fixed order, each with views.

    Attributes:
        root: where they are.
        names: of the objects; no two are alike.
        training: how many of them, from the first, are for training; the rest is for validation.
    """

    root: Path
    names: Sequence[str]
    training: int

    def views(self, index: int) -> int:
        """How many views an object has.

        Raises:
            ViewSetError: there is nothing readable.
        """
        ...


class ObjectSource(Objects, Protocol):
    """Objects whose pictures and cameras can be read at any time, in any order, in any process."""

    def load(self, index: int, chosen: Sequence[int] | None = None) -> ViewLevels:
        """Views of an object, all of them or the chosen ones in their order; only those are read.

        Raises:
            ViewSetError: they are broken.
        """
        ...

    def files(self, index: int) -> dict[str, bytes]:
        """What a folder of this object's views holds, by file name.

        Raises:
            ViewSetError: they cannot be read.
        """
        ...


class PartOfSource:
    """Some objects of a source, in its order.

    Args:
        source: all of them.
        chosen: indices into it.
    """

    def __init__(self, source: ObjectSource, chosen: Sequence[int]) -> None:
        self.source = source
        self.root = source.root
        self.chosen = chosen
        self.names: Sequence[str] = [source.names[index] for index in chosen]
        self.training = sum(index < source.training for index in chosen)

    def views(self, index: int) -> int:
        """As the source."""
        return self.source.views(self.chosen[index])

    def load(self, index: int, chosen: Sequence[int] | None = None) -> ViewLevels:
        """As the source."""
        return self.source.load(self.chosen[index], chosen)

    def files(self, index: int) -> dict[str, bytes]:
        """As the source."""
        return self.source.files(self.chosen[index])


def identity(source: ObjectSource) -> dict[str, Any]:
    """By what two sources are told apart without reading all of them.

    How many objects, and a hash of their names, of how many views each has, and of all files of the first, the middle
    and the last object. What is changed elsewhere under the same names stays unnoticed.
    """
    digest, count = hashlib.sha256(), len(source.names)
    for index, name in enumerate(source.names):
        try:
            views = str(source.views(index))
        except ViewSetError:
            views = "broken"
        digest.update(f"{name}\n{views}\n".encode())
    for index in sorted({0, count // 2, count - 1}):
        try:
            for file, data in sorted(source.files(index).items()):
                digest.update(f"{file}\n".encode() + hashlib.sha256(data).digest())
        except ViewSetError:
            digest.update(b"broken")
    return {"objects": count, "views": digest.hexdigest()[:16]}


def check_made_of(folder: Path, now: Mapping[str, Any]) -> None:
    """Compare `about.json` of a folder of things made of a source with what would be written now.

    Raises:
        ViewSetError: they differ, or it cannot be read; in one line that says in what.
    """
    try:
        before = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        changed = [f"{name}: {before[name]} -> {value}" for name, value in now.items() if before[name] != value]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ViewSetError(f"{folder / ABOUT}: cannot be read ({error}); remove {folder} to make it again") from error
    if changed:
        raise ViewSetError(
            f"{folder}: holds other views, or views cached otherwise ({'; '.join(changed)}); remove it to make it "
            "anew, or name another folder for the cache"
        )


def split_at(count: int) -> int:
    """How many of `count` objects the original trained on: the first 99 %, rounded down (its `ObjaverseData`)."""
    return math.floor(count / 100.0 * 99.0)

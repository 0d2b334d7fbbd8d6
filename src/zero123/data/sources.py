"""Where objects and their views come from, behind one small interface: `ObjectSource`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from zero123.data.view_files import ViewLevels

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


def split_at(count: int) -> int:
    """How many of `count` objects the original trained on: the first 99 %, rounded down (its `ObjaverseData`)."""
    return math.floor(count / 100.0 * 99.0)

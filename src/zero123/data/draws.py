"""Which object every training pair is of: each once an epoch, or by weights; decided by seed and number alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from zero123.data.broken import SHARE, BrokenItems
from zero123.data.sources import Objects
from zero123.data.view_set import ViewSetError

_Row = TypeVar("_Row")
_Source = TypeVar("_Source", bound=Objects)


class ObjectDraws(Generic[_Source]):
    """Objects of several sources in an order that has no state.

    The pairs of a run are numbered from 0. Processes that take different numbers share no pair; without weights, the
    first N numbers are all N objects, the next N are again, in another order.

    A broken object is skipped and counted; another one, drawn with the number of the pair, takes its place.

    Args:
        sources: where objects are.
        weights: how often a source is drawn, one per source; an object of a source is as likely as any other. None
            takes every object of all of them once an epoch.
        seed: decides the order.
        share: of broken objects, above which the run stops.

    Raises:
        ValueError: the weights make no sense, or there are no objects.
    """

    def __init__(
        self,
        sources: Sequence[_Source],
        weights: Sequence[float] | None = None,
        seed: int = 0,
        share: float = SHARE,
    ) -> None:
        self.sources = list(sources)
        self._counts = [len(source.names) for source in self.sources]
        self._total = sum(self._counts)
        if not self._total:
            raise ValueError("sources must hold objects, got none")
        if weights is not None and (
            len(weights) != len(self.sources)
            or not (np.isfinite(weights).all() and min(weights) >= 0 and sum(weights) > 0)
        ):
            raise ValueError(f"weights must be one per source, numbers from 0 up, not all 0, got {list(weights)}")
        self._share = None if weights is None else np.asarray(weights, np.float64) / np.sum(weights)
        self._seed = seed
        self._order: tuple[int, NDArray[np.int64]] | None = None
        self.broken = BrokenItems(self._total, share)

    def take(self, number: int, read: Callable[[_Source, int, np.random.Generator], _Row]) -> _Row:
        """What `read` makes of the object of pair `number`, or of one in its place.

        Args:
            number: of the pair in the run.
            read: takes the source, the object's index in it and the pair's own random numbers.

        Raises:
            TooManyBroken: more than the share of all objects is broken.
        """
        attempt = 0
        while True:
            numbers = np.random.default_rng([self._seed, number, attempt])
            source, index = self._object(number, numbers) if attempt == 0 else self._any(numbers)
            name = f"{self.sources[source].root}/{self.sources[source].names[index]}"
            if name not in self.broken:
                try:
                    return read(self.sources[source], index, numbers)
                except ViewSetError as error:
                    self.broken.add(name, str(error))
            if len(self.broken) == self._total:
                raise ViewSetError(f"no object is left to train on: {self.broken.line()}")
            attempt += 1

    def _object(self, number: int, numbers: np.random.Generator) -> tuple[int, int]:
        if self._share is not None:
            return self._any(numbers)
        epoch, place = divmod(number, self._total)
        order = self._order  # read once: threads share it
        if order is None or order[0] != epoch:
            order = (epoch, np.random.default_rng([self._seed, epoch]).permutation(self._total))
            self._order = order
        return self._located(int(order[1][place]))

    def _any(self, numbers: np.random.Generator) -> tuple[int, int]:
        if self._share is None:
            return self._located(int(numbers.integers(self._total)))
        source = int(numbers.choice(len(self.sources), p=self._share))
        return source, int(numbers.integers(self._counts[source]))

    def _located(self, place: int) -> tuple[int, int]:
        source = 0
        while place >= self._counts[source]:
            place -= self._counts[source]
            source += 1
        return source, place

"""One reader's way through shards: index and seed decide its order, and it reads its shards from front to end."""

from __future__ import annotations

import io
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from zero123.data.shards.index import Shard, ShardIndex
from zero123.data.shards.tar import read_object
from zero123.data.view_set import ViewSetError

_Kept = TypeVar("_Kept")


@dataclass(frozen=True)
class TrainingShard:
    """One tar of which at least one object is for training.

    Attributes:
        root: its folder.
        shard: what the index says of it.
        first: number of its first object among those for training of all folders.
        count: how many of its objects, from the first, are for training.
    """

    root: Path
    shard: Shard
    first: int
    count: int

    def name(self, place: int) -> str:
        """An object's name, with the folder's."""
        return f"{self.root}/{self.shard.objects[place]}"


def training_shards(folders: Sequence[Path]) -> list[TrainingShard]:
    """The shards of pictures in several folders, without those that only hold objects for validation.

    Raises:
        ViewSetError: an index is missing or damaged, is of encoded shards, or nothing is for training.
    """
    found: list[TrainingShard] = []
    first = 0
    for folder in folders:
        index = ShardIndex.load(folder)
        if index.kind != "views":
            raise ViewSetError(f"{folder}: holds encoded views; they are read at random: reading=random")
        left = index.training
        for shard in index.shards:
            count = min(len(shard.objects), left)
            left -= count
            if count:
                found.append(TrainingShard(folder, shard, first, count))
            first += count
    if not found:
        raise ViewSetError(f"{folders[0]}: none of its objects is for training")
    return found


class OpenShard:
    """A shard that is being read; objects in the order they lie in it cost no seeking.

    Args:
        shard: which.
    """

    def __init__(self, shard: TrainingShard) -> None:
        self.shard = shard
        self._file: BinaryIO | None = None

    def files(self, place: int) -> dict[str, bytes]:
        """All files of an object.

        Raises:
            ViewSetError: the shard is missing, has another length, or is damaged here; the line names it.
        """
        own = self.shard.shard
        start, end = own.starts[place : place + 2]
        try:
            if self._file is None:
                path = self.shard.root / own.name
                if (size := path.stat().st_size) != own.bytes:
                    raise ViewSetError(f"has {size} bytes, must have {own.bytes}: cut short or not the index's")
                self._file = path.open("rb", buffering=1 << 20)
                weakref.finalize(self, self._file.close)  # streams have no end at which somebody would close it
            self._file.seek(start)
            span = io.BytesIO(self._file.read(end - start))
            return read_object(span, 0, end - start, own.objects[place])
        except OSError as error:
            raise ViewSetError(f"{own.name}: cannot be read ({error.strerror or error})") from error
        except ViewSetError as error:
            raise ViewSetError(f"{own.name}: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(frozen=True)
class _Epoch:
    """What a lane gives in one pass over the data.

    Attributes:
        shards, places: of each object in the order they are read, (N,).
        order: when what is given k-th is read, (N,).
        given: its inverse, (N,).
    """

    shards: NDArray[np.int64]
    places: NDArray[np.int64]
    order: NDArray[np.int64]
    given: NDArray[np.int64]


class Lane(Generic[_Kept]):
    """Objects for one reader, numbered without end: every epoch deals all shards anew, each to one lane.

    What is the n-th is decided by the index, the seed and the number of lanes alone, so a lane can begin anywhere
    without reading what came before; asked for rising numbers it reads every shard once, front to end. It holds at most
    `buffer` objects that were read but not given yet.

    Args:
        shards: all there are.
        which: number of this lane, and how many there are.
        seed: of the order.
        buffer: objects held back, from which the next is drawn.
        keep: makes of an open shard, a place in it and the epoch what is held of the object; a ViewSetError it raises
            is held too.
    """

    def __init__(
        self,
        shards: Sequence[TrainingShard],
        which: tuple[int, int],
        seed: int,
        buffer: int,
        keep: Callable[[OpenShard, int, int], _Kept],
    ) -> None:
        self._shards, self._which, self._seed, self._buffer, self._keep = shards, which, seed, buffer, keep
        self._ends: list[int] = []  # where epochs end, in numbers of this lane
        self._epoch: tuple[int, _Epoch] | None = None
        self._next = (0, 0)  # epoch and place in it of what follows what was given last
        self._read = 0  # how many of the epoch's objects have been read or passed over
        self._held: dict[int, _Kept | ViewSetError] = {}
        self._open: OpenShard | None = None

    @property
    def held(self) -> int:
        """How many objects were read and not given yet."""
        return len(self._held)

    def get(self, number: int) -> _Kept | ViewSetError:
        """What `keep` made of the object of that number, or why it made nothing."""
        epoch, place = self._located(number)
        if self._epoch is None or self._epoch[0] != epoch or (epoch, place) < self._next:
            self._epoch = (epoch, self._dealt(epoch))
            self._held, self._read = {}, 0
        plan = self._epoch[1]
        if (epoch, place) != self._next:  # what is passed over is not needed again
            self._held = {at: held for at, held in self._held.items() if plan.given[at] >= place}
        wanted = int(plan.order[place])
        while self._read <= wanted:
            if plan.given[self._read] >= place:
                self._held[self._read] = self._fetched(plan, self._read, epoch)
            self._read += 1
        self._next = (epoch, place + 1)
        return self._held.pop(wanted)

    def close(self) -> None:
        """Let go of files and of what is held."""
        if self._open is not None:
            self._open.close()
        self._open, self._epoch, self._held, self._next = None, None, {}, (0, 0)

    def _fetched(self, plan: _Epoch, at: int, epoch: int) -> _Kept | ViewSetError:
        shard = self._shards[plan.shards[at]]
        if self._open is None or self._open.shard is not shard:
            if self._open is not None:
                self._open.close()
            self._open = OpenShard(shard)
        try:
            return self._keep(self._open, int(plan.places[at]), epoch)
        except ViewSetError as error:
            return error.with_traceback(None)

    def _located(self, number: int) -> tuple[int, int]:
        """Epoch and place in it."""
        while not self._ends or self._ends[-1] <= number:
            last = self._ends[-1] if self._ends else 0
            self._ends.append(last + sum(self._shards[k].count for k in self._own(len(self._ends))))
        epoch = int(np.searchsorted(self._ends, number, side="right"))
        return epoch, number - (self._ends[epoch - 1] if epoch else 0)

    def _own(self, epoch: int) -> Iterator[int]:
        """The shards this lane reads in an epoch, in order."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._shards))
        return map(int, order[self._which[0] :: self._which[1]])

    def _dealt(self, epoch: int) -> _Epoch:
        own = list(self._own(epoch))
        counts = [self._shards[k].count for k in own]
        order = buffered(sum(counts), self._buffer, np.random.default_rng([self._seed, epoch, self._which[0]]))
        places = np.concatenate([np.arange(count) for count in counts])
        return _Epoch(np.repeat(own, counts), places, order, np.argsort(order))


def buffered(count: int, size: int, numbers: np.random.Generator) -> NDArray[np.int64]:
    """A shuffled order of `count` things, (count,), of which the k-th is among the first `size + k`."""
    held = list(range(min(size, count)))
    order = []
    for item, place in zip(range(size, count), numbers.integers(size, size=max(count - size, 0)).tolist(), strict=True):
        order.append(held[place])
        held[place] = item
    numbers.shuffle(held)
    return np.asarray(order + held, np.int64)

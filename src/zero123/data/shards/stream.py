"""Pairs from shards that are read from front to end, as slow disks and object stores like it: dealt among readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from zero123.data.broken import BrokenItems
from zero123.data.pairs import PairBatch
from zero123.data.pictures import OpaqueNotice
from zero123.data.shards.lane import Lane, OpenShard, TrainingShard, training_shards
from zero123.data.source_pairs import PairSettings, PictureRows, choose_views, collate, picture_rows
from zero123.data.view_files import LENS_FILES, read_views, view_names
from zero123.data.view_set import ViewSetError

Encode = Callable[[Tensor, torch.Generator], Tensor]

BUFFER = 256
"""Pairs a reader holds back, undecoded, from which the next is drawn; about 0.3 MB each at 512 pixels."""


@dataclass(frozen=True)
class _Pair:
    """The files of one input and its targets, not decoded yet; numbers are those that chose the views."""

    name: str
    shard: TrainingShard
    files: dict[str, bytes]
    chosen: list[int]
    numbers: np.random.Generator


class StreamedPairs:
    """Draws pairs from shards of pictures, every object once an epoch, reading each shard from front to end.

    The batches of a run are dealt to lanes in turn, every epoch all shards anew. What a batch holds is decided by its
    index, its size, the seed and the number of lanes, not by what was read before: a run goes on exactly without
    reading over what it has seen, also with another number of processes, if the number of lanes stays. Batches that
    are asked for in rising order cost no seeking; where a process takes every batch of a lane, it alone reads the
    lane's shards.

    A broken pair is skipped and counted; another one, drawn for its place, is read in its stead.

    Args:
        folders: shards with their index, local or mounted; only objects for training are taken.
        encode: as for `SourcePairs`.
        settings: how pairs are drawn.
        buffer: pairs a lane holds back.
        threads: that decode the pictures of a batch side by side; 0 for none but the caller's.

    Raises:
        ViewSetError: an index is missing, or of encoded shards.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        encode: Encode,
        settings: PairSettings | None = None,
        buffer: int = BUFFER,
        threads: int = 0,
    ) -> None:
        if buffer < 1:
            raise ValueError(f"buffer must be over 0, got {buffer}")
        self.settings = settings or PairSettings()
        self.shards = training_shards(folders)
        self._encode = encode
        self._buffer = buffer
        self._total = sum(shard.count for shard in self.shards)
        self._ends = np.cumsum([shard.count for shard in self.shards])
        self._lanes: list[Lane[_Pair] | None] = [None]
        self._notice = OpaqueNotice()
        self._pool = ThreadPoolExecutor(threads) if threads else None
        self.broken = BrokenItems(self._total, self.settings.share)

    def deal(self, lanes: int) -> None:
        """Deal shards to so many lanes from now on, or to one for each shard where there are fewer."""
        for lane in self._lanes:
            if lane is not None:
                lane.close()
        self._lanes = [None] * min(lanes, len(self.shards))

    def batch(self, step: int, size: int) -> PairBatch:
        """The pairs of a step, `size` of them."""
        if size % self.settings.targets:
            raise ValueError(f"size must be a multiple of targets, got {size} and {self.settings.targets}")
        groups = size // self.settings.targets
        turn, which = divmod(step, len(self._lanes))
        lane = self._lane(which)
        numbers = range(turn * groups, (turn + 1) * groups)
        # reading is one after another, decoding side by side
        pairs = [(lane.get(number), (which, number)) for number in numbers]
        rows = map(self._row, pairs) if self._pool is None else self._pool.map(self._row, pairs)
        return collate(list(rows), self._encode, torch.Generator().manual_seed(self.settings.seed * 1_000_003 + step))

    def _lane(self, which: int) -> Lane[_Pair]:
        lane = self._lanes[which]
        if lane is None:
            order = (which, len(self._lanes))
            lane = self._lanes[which] = Lane(self.shards, order, self.settings.seed, self._buffer, self._chosen)
        return lane

    def _chosen(self, opened: OpenShard, place: int, turn: int, attempt: int = 0) -> _Pair:
        """Only the files of the views that are wanted, so that the buffer stays small."""
        name = opened.shard.name(place)
        try:
            files = opened.files(place)
            pictures = view_names(files)
            numbers = np.random.default_rng([self.settings.seed, turn, opened.shard.first + place, attempt])
            chosen = choose_views(len(pictures), numbers, self.settings)
        except ViewSetError as error:
            raise _Broken(name, str(error)) from None
        wanted = {*LENS_FILES, *(f"{pictures[view][:-4]}{ending}" for view in chosen for ending in (".png", ".npy"))}
        kept = {**dict.fromkeys(pictures, b""), **{file: files[file] for file in wanted & files.keys()}}
        return _Pair(name, opened.shard, kept, chosen, numbers)

    def _row(self, given: tuple[_Pair | ViewSetError, tuple[int, int]]) -> PictureRows:
        """A pair decoded, or another one in its place."""
        pair, place = given
        attempt = 0
        while True:
            try:
                if isinstance(pair, ViewSetError):
                    raise pair
                return self._decoded(pair)
            except _Broken as error:
                self.broken.add(error.name, error.reason)
            if len(self.broken) == self._total:
                raise ViewSetError(f"no object is left to train on: {self.broken.line()}")
            attempt += 1
            pair = self._other(place, attempt)

    def _decoded(self, pair: _Pair) -> PictureRows:
        try:
            views = read_views(pair.files, pair.name, pair.chosen)
            self._notice.look(views, str(pair.shard.root))
            return picture_rows(views, pair.numbers, self.settings)
        except ViewSetError as error:
            raise _Broken(pair.name, f"{pair.shard.shard.name}: {error}") from None

    def _other(self, place: tuple[int, int], attempt: int) -> _Pair | ViewSetError:
        """The pair that takes the place of a broken one: any object, found by seeking."""
        number = int(np.random.default_rng([self.settings.seed, *place, attempt]).integers(self._total))
        shard = self.shards[int(np.searchsorted(self._ends, number, side="right"))]
        opened = OpenShard(shard)
        try:
            return self._chosen(opened, number - shard.first, place[1], attempt)
        except ViewSetError as error:
            return error
        finally:
            opened.close()


class _Broken(ViewSetError):
    """An object that could not be used, with its name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name
        self.reason = reason


@dataclass(frozen=True)
class StreamSettings:
    """Who reads what, in which order.

    Attributes:
        rank: of this process.
        ranks: processes that train together.
        buffer: pairs held back, undecoded, from which the next is drawn.
        skip: batches that this reader has given already, of a run that goes on.
    """

    rank: int = 0
    ranks: int = 1
    buffer: int = BUFFER
    skip: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.ranks:
            raise ValueError(f"rank must be in 0 to {self.ranks - 1}, got {self.rank}")
        if self.buffer < 1 or self.skip < 0:
            raise ValueError(f"buffer must be over 0 and skip not negative, got {self.buffer} and {self.skip}")


class PairStream(IterableDataset[PairBatch]):
    """`StreamedPairs` for a `DataLoader`, to which it is given with `batch_size=None`: batches without end.

    The readers are the processes times the workers of their `DataLoader`; each reads one lane.

    Args:
        folder: shards with their index.
        size: pairs of a batch.
        settings: how pairs are drawn.
        stream: who reads what.
        encode: as for `SourcePairs`; None puts the target pictures in `latent`, to be encoded on the other side of a
            `DataLoader`.

    Raises:
        ViewSetError: the index is missing, or of encoded shards.
    """

    def __init__(
        self,
        folder: str | Path,
        size: int,
        settings: PairSettings | None = None,
        stream: StreamSettings | None = None,
        encode: Encode | None = None,
    ) -> None:
        self._folder, self._size, self._stream = folder, size, stream or StreamSettings()
        self._pairs = StreamedPairs([Path(folder)], encode or _as_they_are, settings, self._stream.buffer)

    @property
    def broken(self) -> BrokenItems:
        """Objects skipped so far by this process."""
        return self._pairs.broken

    def __iter__(self) -> Iterator[PairBatch]:
        worker = get_worker_info()
        within, of = (0, 1) if worker is None else (worker.id, worker.num_workers)
        reader, readers = self._stream.rank * of + within, self._stream.ranks * of
        if readers > len(self._pairs.shards):
            raise ViewSetError(
                f"{self._folder}: {len(self._pairs.shards)} shards cannot be dealt to {readers} readers; "
                "make smaller shards, or use fewer workers"
            )
        self._pairs.deal(readers)
        for number in count(self._stream.skip):
            yield self._pairs.batch(number * readers + reader, self._size)


def _as_they_are(targets: Tensor, _: torch.Generator) -> Tensor:
    return targets

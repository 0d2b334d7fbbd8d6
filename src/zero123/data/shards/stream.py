"""Shards read from front to end, as slow disks and object stores like it: shuffled, and dealt among readers."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from zero123.data.broken import BrokenItems
from zero123.data.pairs import PairBatch
from zero123.data.shards.index import Shard, ShardIndex
from zero123.data.shards.tar import walk
from zero123.data.source_pairs import PairSettings, PictureRows, choose_views, collate, picture_rows
from zero123.data.view_files import LENS_FILES, read_views, view_names
from zero123.data.view_set import ViewSetError

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class StreamSettings:
    """Who reads what, in which order.

    Attributes:
        rank: of this process.
        ranks: processes that train together.
        buffer: pairs held back, undecoded, from which the next is drawn; about 0.3 MB each at 512 pixels.
        skip: batches that this reader has given already, of a run that goes on; they are read over, not decoded, so
            that the stream goes on exactly where nothing is broken, and shifted by the broken pairs otherwise.
    """

    rank: int = 0
    ranks: int = 1
    buffer: int = 256
    skip: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.ranks:
            raise ValueError(f"rank must be in 0 to {self.ranks - 1}, got {self.rank}")
        if self.buffer < 1 or self.skip < 0:
            raise ValueError(f"buffer must be over 0 and skip not negative, got {self.buffer} and {self.skip}")


@dataclass(frozen=True)
class _Pair:
    """The files of one input and its targets, not decoded yet."""

    name: str
    files: dict[str, bytes]
    chosen: list[int]
    numbers: np.random.Generator


class PairStream(IterableDataset[PairBatch]):
    """Batches of pairs from shards of views, without end: epoch after epoch, every object once in each.

    Every epoch deals the shards anew to the readers, which are the processes times the workers of their
    `DataLoader` (to which it is given with `batch_size=None`); a shard has one reader. Give it as `folder` a local one,
    or one that is mounted.

    Args:
        folder: shards with their index; only objects for training are taken.
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
        encode: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    ) -> None:
        self._folder = Path(folder)
        self._index = ShardIndex.load(self._folder)
        if self._index.kind != "views":
            raise ViewSetError(f"{folder}: holds encoded views; they are read at random, by `EncodedPairs`")
        self._size = size
        self._settings = settings or PairSettings()
        self._stream = stream or StreamSettings()
        self._encode = encode or (lambda targets, _: targets)
        names = [name for shard in self._index.shards for name in shard.objects]
        self._validation = frozenset(names[self._index.training :])
        self.broken = BrokenItems(len(names), self._settings.share)

    def __iter__(self) -> Iterator[PairBatch]:
        worker = get_worker_info()
        within, of = (0, 1) if worker is None else (worker.id, worker.num_workers)
        reader, readers = self._stream.rank * of + within, self._stream.ranks * of
        if readers > len(self._index.shards):
            raise ViewSetError(
                f"{self._folder}: {len(self._index.shards)} shards cannot be dealt to {readers} readers; "
                "make smaller shards, or use fewer workers"
            )
        groups = self._size // self._settings.targets
        pairs = self._endless(reader, readers)
        skipped = self._stream.skip
        rows = self._decoded(pairs, skipped * groups)
        for number in count(skipped):
            generator = torch.Generator().manual_seed((self._settings.seed * 7919 + number) * readers + reader)
            yield collate(list(islice(rows, groups)), self._encode, generator)

    def _endless(self, reader: int, readers: int) -> Iterator[_Pair]:
        for epoch in count():
            met = False
            for pair in self._epoch(epoch, reader, readers):
                met = True
                yield pair
            if not met:
                raise ViewSetError(f"{self._folder}: reader {reader} has no object left: {self.broken.line()}")

    def _epoch(self, epoch: int, reader: int, readers: int) -> Iterator[_Pair]:
        """One reader's pairs of an epoch, shuffled."""
        order = np.random.default_rng([self._settings.seed, epoch]).permutation(len(self._index.shards))
        own = [self._index.shards[number] for number in order[reader::readers]]
        numbers = np.random.default_rng([self._settings.seed, epoch, reader])
        read = (pair for shard in own for pair in self._shard(shard, epoch))
        return shuffled(read, self._stream.buffer, numbers)

    def _shard(self, shard: Shard, epoch: int) -> Iterator[_Pair]:
        """Pairs of the objects of a shard; from where it is damaged on, its objects are counted as broken."""
        path, met = self._folder / shard.name, set()
        try:
            size = path.stat().st_size if path.is_file() else None
            if size != shard.bytes:
                raise ViewSetError(f"{shard.name}: has {size or 0} bytes, must have {shard.bytes}")
            for name, _, files in walk(path):
                met.add(name)
                if name in self._validation or name in self.broken:
                    continue
                numbers = np.random.default_rng([self._settings.seed, epoch, zlib.crc32(name.encode())])
                try:
                    yield self._chosen(name, files, numbers)
                except ViewSetError as error:
                    self.broken.add(name, f"{shard.name}: {error}")
        except ViewSetError as error:
            for name in shard.objects:
                if name not in met and name not in self._validation:
                    self.broken.add(name, str(error))

    def _chosen(self, name: str, files: dict[str, bytes], numbers: np.random.Generator) -> _Pair:
        """Only the files of the views that are wanted, so that the buffer stays small."""
        pictures = view_names(files)
        chosen = choose_views(len(pictures), numbers, self._settings)
        wanted = {*LENS_FILES, *(f"{pictures[view][:-4]}{ending}" for view in chosen for ending in (".png", ".npy"))}
        kept = {**dict.fromkeys(pictures, b""), **{file: files[file] for file in wanted & files.keys()}}
        return _Pair(name, kept, chosen, numbers)

    def _decoded(self, pairs: Iterator[_Pair], skip: int) -> Iterator[PictureRows]:
        for number, pair in enumerate(pairs):
            if number < skip:
                continue
            try:
                views = read_views(pair.files, pair.name, pair.chosen)
                yield picture_rows(views, pair.numbers, self._settings)
            except ViewSetError as error:
                self.broken.add(pair.name, str(error))


def shuffled(items: Iterator[_Item], size: int, numbers: np.random.Generator) -> Iterator[_Item]:
    """The items in an order drawn from a buffer of `size`; the same numbers give the same order."""
    buffer = list(islice(items, size))
    for item in items:
        place = int(numbers.integers(len(buffer)))
        yield buffer[place]
        buffer[place] = item
    numbers.shuffle(buffer)
    yield from buffer

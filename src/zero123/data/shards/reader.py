"""Objects of shards at random, by the index: an object's headers are found at once, only wanted views are read."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from zero123.data.shards.index import INDEX, Kind, Shard, ShardIndex, sha256_of
from zero123.data.shards.tar import read_object, walk
from zero123.data.view_files import LENS_FILES, ViewLevels, read_views, view_names
from zero123.data.view_set import ViewSetError


class ShardedObjects:
    """The files of the objects of a folder of shards; a shard that is not as long as its index says is broken.

    Args:
        root: the folder.
        kind: of shards it must be.

    Raises:
        ViewSetError: the index is missing, damaged, names an object twice, or is of the other kind.
    """

    def __init__(self, root: Path, kind: Kind) -> None:
        self.root = root
        self.index = ShardIndex.load(root)
        if self.index.kind != kind:
            raise ViewSetError(f"{root}: holds shards of kind {self.index.kind!r}, {kind!r} is needed here")
        self.names: Sequence[str] = [name for shard in self.index.shards for name in shard.objects]
        if len(set(self.names)) < len(self.names):
            raise ViewSetError(f"{root / INDEX}: names an object twice")
        self.training = self.index.training
        self._ends = list(accumulate(len(shard.objects) for shard in self.index.shards))
        self._whole: set[str] = set()

    def views(self, index: int) -> int:
        """How many views an object has, by the index."""
        shard, place = self._place(index)
        return shard.views[place]

    def read(self, index: int, wanted: frozenset[str] | None = None) -> dict[str, bytes]:
        """The files of an object; those not `wanted` come as empty bytes.

        Raises:
            ViewSetError: the shard is missing, has another length, or is damaged here; the line names it.
        """
        shard, place = self._place(index)
        start, end = shard.starts[place : place + 2]
        try:
            self._check_length(shard)
            with (self.root / shard.name).open("rb") as file:
                return read_object(file, start, end, shard.objects[place], wanted)
        except OSError as error:
            raise ViewSetError(f"{shard.name}: cannot be read ({error.strerror or error})") from error
        except ViewSetError as error:
            raise ViewSetError(f"{shard.name}: {error}") from error

    def shard_of(self, index: int) -> str:
        """The name of the shard an object is in."""
        return self._place(index)[0].name

    def _place(self, index: int) -> tuple[Shard, int]:
        number = bisect.bisect_right(self._ends, index)
        first = self._ends[number - 1] if number else 0
        return self.index.shards[number], index - first

    def _check_length(self, shard: Shard) -> None:
        if shard.name in self._whole:
            return
        size = (self.root / shard.name).stat().st_size
        if size != shard.bytes:
            raise ViewSetError(f"has {size} bytes, must have {shard.bytes}: cut short or not the one of the index")
        self._whole.add(shard.name)


class ShardedViews(ShardedObjects):
    """Pictures and cameras in shards, as an `ObjectSource`.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, "views")

    def load(self, index: int, chosen: Sequence[int] | None = None) -> ViewLevels:
        """Views of an object; only the chosen ones are read."""
        if chosen is None:
            return read_views(self.read(index), self.names[index])
        # The names of the views are those of the headers, so headers are walked once and contents read as wanted.
        pictures = view_names(self.read(index, frozenset()))
        wanted = [pictures[view] for view in chosen]
        cameras = [picture.removesuffix(".png") + ".npy" for picture in wanted]
        return read_views(self.read(index, frozenset((*wanted, *cameras, *LENS_FILES))), self.names[index], chosen)

    def files(self, index: int) -> dict[str, bytes]:
        """Every file of the object."""
        return self.read(index)


ALTERED = "its sha256 is not that of the index: damaged"
"""What `faults` says of a shard that is whole and not what was written."""


def faults(root: Path) -> dict[str, str]:
    """Shards that are missing or are not, by length and hash, what the index says, with the reason."""
    found = {}
    for shard in ShardIndex.load(root).shards:
        path = root / shard.name
        if not path.is_file():
            found[shard.name] = "missing"
        elif (size := path.stat().st_size) != shard.bytes:
            found[shard.name] = f"has {size} bytes, must have {shard.bytes}: cut short or another file"
        elif sha256_of(path) != shard.sha256:
            found[shard.name] = ALTERED
    return found


def index_tars(root: Path) -> ShardIndex:
    """Write the index of tars made elsewhere, whose members are `OBJECT.NNN.png` and `OBJECT.NNN.npy`.

    Raises:
        ViewSetError: there are none, one is damaged, or an object has no views.
    """
    shards = []
    for path in sorted(root.glob("*.tar")):
        names, views, starts = [], [], [0]
        for name, end, files in walk(path):
            if not view_names(files):
                raise ViewSetError(f"{path}: {name} has no views (expected {name}.000.png with {name}.000.npy)")
            names.append(name)
            views.append(len(view_names(files)))
            starts.append(end)
        shards.append(Shard(path.name, path.stat().st_size, sha256_of(path), names, views, starts))
    if not shards:
        raise ViewSetError(f"{root}: holds no tars")
    index = ShardIndex("views", sum(len(shard.objects) for shard in shards), shards)
    index.save(root)
    return index

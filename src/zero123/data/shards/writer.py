"""Objects into shards: each whole or not at all; an interrupted run goes on; the same input gives the same bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from zero123 import jobs
from zero123.data.broken import SHARE, BrokenItems
from zero123.data.shards.index import INDEX, Kind, Shard, ShardIndex, digest_of, sha256_of
from zero123.data.shards.tar import write_tar
from zero123.data.sources import ObjectSource
from zero123.data.view_files import view_names
from zero123.data.view_set import ViewSetError
from zero123.files import atomic_path, writable_folder

_PARTS = ".parts"  # records of finished shards, until the index holds them all

Produce = Callable[[ObjectSource, int], dict[str, bytes]]
"""The files of an object of a source; raises ViewSetError where it is broken."""


@dataclass(frozen=True)
class ShardSettings:
    """How objects are laid into shards.

    Attributes:
        objects: per shard; the last one holds the rest. 256 objects of 12 views at 512 pixels are about 0.4 GB.
        share: of broken objects, above which the run stops.
        verify: every picture and camera is decoded before it is written; without, only missing files are noticed.
        processes: shards written at a time.
    """

    objects: int = 256
    share: float = SHARE
    verify: bool = True
    processes: int = 1

    def __post_init__(self) -> None:
        for name in ("objects", "processes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class ShardWork:
    """What a folder of shards is made of.

    Attributes:
        source: the objects.
        produce: their files.
        kind: of the shards.
        about: kept in the index; shards of other ones are not taken over.
    """

    source: ObjectSource
    produce: Produce
    kind: Kind = "views"
    about: dict[str, Any] = field(default_factory=dict)


def write_shards(
    work: ShardWork,
    out: Path,
    settings: ShardSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ShardIndex, BrokenItems]:
    """Write all objects of a source to `out/shard-NNNNNN.tar` and `out/index.json`.

    Shards that an earlier run finished are kept when they were to hold the same objects and have their length; those
    that had to leave objects out are written again. Whether files have changed since is not looked at: after a change
    begin in a new folder.

    Args:
        work: which objects, and what becomes of them.
        out: folder for the shards.
        settings: how.
        progress: told objects done and objects in all.

    Returns:
        The index, and what was broken.

    Raises:
        TooManyBroken: more than the share; finished shards stay.
        ValueError: `out` is the folder of the views.
        OSError: the folder cannot be written, another run writes into it, or a shard cost three processes their life;
            finished shards stay.
    """
    settings = settings or ShardSettings()
    source, count = work.source, len(work.source.names)
    if out.resolve() == source.root.resolve():  # whose views would then be read from the shards, not from here
        raise ValueError(f"shards of {source.root} go into a folder of their own, not into it")
    broken = BrokenItems(count, settings.share)
    with _alone_in(out):
        plan = [range(first, min(first + settings.objects, count)) for first in range(0, count, settings.objects)]
        kept = _finished(out, work)
        written: dict[int, Shard] = {}
        for number, shard in _written(work, out, settings, plan, kept):
            for name, reason in shard.skipped.items():
                broken.add(name, reason)
            written[number] = shard
            if progress is not None:
                progress(sum(len(plan[place]) for place in written), count)
        shards = [written[number] for number in range(len(plan))]
        training = set(source.names[: source.training])
        kept_for_training = sum(name in training for shard in shards for name in shard.objects)
        index = ShardIndex(work.kind, kept_for_training, shards, work.about)
        index.save(out)
        shutil.rmtree(out / _PARTS, ignore_errors=True)
        _sweep(out)
        for stray in set(out.glob("shard-*.tar")) - {out / shard.name for shard in shards}:
            stray.unlink()  # of an earlier run with more shards
    return index, broken


def raw_files(source: ObjectSource, index: int, verify: bool = True) -> dict[str, bytes]:
    """An object's files as they are, so that `unshard` gives them back to the bit."""
    if verify:
        source.load(index)
    files = source.files(index)
    for view in view_names(files):
        if view.removesuffix(".png") + ".npy" not in files:
            raise ViewSetError(f"{source.names[index]}/{view}: has no camera")
    if not view_names(files):
        raise ViewSetError(f"{source.names[index]}: holds no views")
    return files


def shard_views(
    source: ObjectSource,
    out: Path,
    settings: ShardSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ShardIndex, BrokenItems]:
    """`write_shards` of pictures and cameras, file by file as they are."""
    settings = settings or ShardSettings()
    return write_shards(ShardWork(source, partial(raw_files, verify=settings.verify)), out, settings, progress)


def _written(
    work: ShardWork, out: Path, settings: ShardSettings, plan: list[range], kept: dict[str, Shard]
) -> Iterator[tuple[int, Shard]]:
    """The shards of the plan with their numbers, taken over or written now, as they are done."""
    one = partial(_shard, work, out, kept, plan)
    if settings.processes == 1:
        yield from ((number, one(number)) for number in range(len(plan)))
        return
    with closing(jobs.run(one, range(len(plan)), settings.processes)) as outcomes:
        for outcome in outcomes:
            if outcome.result is None:
                name = _name(outcome.item)
                raise OSError(f"cannot write {out / name}: {outcome.error}; finished shards stay")
            yield outcome.item, outcome.result


def _name(number: int) -> str:
    return f"shard-{number:06d}.tar"


def _shard(work: ShardWork, out: Path, kept: dict[str, Shard], plan: list[range], number: int) -> Shard:
    indices = plan[number]
    name, planned = _name(number), digest_of([work.source.names[index] for index in indices])
    old, path = kept.get(name), out / name
    whole = old is not None and not old.skipped and old.planned == planned
    if old is not None and whole and path.is_file() and path.stat().st_size == old.bytes:
        return old
    names: list[str] = []
    views: list[int] = []
    skipped: dict[str, str] = {}

    def objects() -> Iterator[tuple[str, dict[str, bytes]]]:
        for index in indices:
            try:
                files = work.produce(work.source, index)
            except ViewSetError as error:
                skipped[work.source.names[index]] = str(error)
                continue
            names.append(work.source.names[index])
            views.append(len(view_names(files)) if work.kind == "views" else work.source.views(index))
            yield names[-1], files

    with atomic_path(path) as temporary:
        starts = write_tar(temporary, objects())
        size, digest = temporary.stat().st_size, sha256_of(temporary)
    shard = Shard(name, size, digest, names, views, starts, planned, skipped)
    with atomic_path(out / _PARTS / f"{name}.json") as temporary:
        temporary.write_text(json.dumps({"kind": work.kind, "about": work.about, **asdict(shard)}), encoding="utf-8")
    return shard


def _finished(out: Path, work: ShardWork) -> dict[str, Shard]:
    """Shards of earlier runs of the same work, by name: of a finished one from its index, of others from records."""
    found: dict[str, Shard] = {}
    if (out / INDEX).is_file():
        index = ShardIndex.load(out)
        if (index.kind, index.about) == (work.kind, work.about):
            found |= {shard.name: shard for shard in index.shards}
    for path in sorted((out / _PARTS).glob("[!.]*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if (content.pop("kind"), content.pop("about")) == (work.kind, work.about):
            shard = Shard.from_json(content)
            found[shard.name] = shard
    return found


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Nobody else writes shards into the folder while the block runs."""
    from filelock import FileLock, Timeout

    writable_folder(out)
    lock = FileLock(out / ".shards.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OSError(f"another run writes shards into {out}; wait for it or choose another folder") from None
    try:
        _sweep(out)
        yield
    finally:
        lock.release()


def _sweep(out: Path) -> None:
    """Remove what processes that were killed left half written."""
    for half in out.glob(".shard-*.tar"):
        half.unlink()

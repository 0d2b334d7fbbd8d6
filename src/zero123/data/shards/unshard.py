"""Shards back into folders, file by file as they were."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from zero123.data.broken import SHARE, BrokenItems
from zero123.data.shards.index import ShardIndex
from zero123.data.shards.reader import ALTERED, ShardedViews, faults
from zero123.data.view_set import ViewSetError
from zero123.files import atomic_path, named_when_full, writable_folder


def unshard(
    folder: Path, out: Path, share: float = SHARE, progress: Callable[[int, int], None] | None = None
) -> BrokenItems:
    """Write every object to `out/NAME/`, whole or not at all; those that are there already are kept.

    Several runs may unpack into one folder. Where the shards are split into training and validation, `valid_paths.json`
    with the order of the objects is written too; it then is the original's split if the share of validation is. A shard
    of the right length that is not what was written, by its hash, gives nothing: which of its objects are meant cannot
    be told.

    Raises:
        TooManyBroken: more than `share` of the objects cannot be read.
        OSError: `out` cannot be written, or is full.
    """
    source = ShardedViews(folder)
    writable_folder(out)
    broken = BrokenItems(len(source.names), share)
    altered = {shard for shard, fault in faults(folder).items() if fault == ALTERED}
    lost = {name: s.name for s in ShardIndex.load(folder).shards if s.name in altered for name in s.objects}
    for index, name in enumerate(source.names):
        if name in lost and not (out / name).is_dir():
            broken.add(name, f"lies in {lost[name]}: {ALTERED}")
        elif not (out / name).is_dir():
            try:
                _write(source.files(index), out / name)
            except ViewSetError as error:
                broken.add(name, str(error))
        if progress is not None:
            progress(index + 1, len(source.names))
    if source.training < len(source.names):
        with atomic_path(out / "valid_paths.json") as temporary:
            whole = [name for name in source.names if name not in broken]
            temporary.write_text(json.dumps(whole), encoding="utf-8")
    return broken


def _write(files: dict[str, bytes], folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with named_when_full(folder):
            for name, content in files.items():
                (temporary / name).write_bytes(content)
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run was faster, whose files are kept
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

"""Which format a folder of views has, found out by what it holds."""

from __future__ import annotations

from pathlib import Path

from zero123.data.formats.nerf import NerfScenes
from zero123.data.formats.view_folders import ViewFolders
from zero123.data.shards.index import INDEX
from zero123.data.shards.reader import ShardedViews
from zero123.data.sources import ObjectSource, Part, PartOfSource
from zero123.data.view_set import ViewSetError


def open_source(folder: str | Path, part: Part = "all") -> ObjectSource:
    """The objects in a folder, by what it holds.

    - tar shards: `index.json` beside `*.tar`, as `zero123 data shard` writes them;
    - the original's `views_release`: `valid_paths.json` beside the folders it lists, split 99 to 1 by order;
    - NeRF-synthetic: `transforms*.json`, in the folder (one scene) or in the folders below;
    - folders of `NNN.png` with `NNN.npy`, or one such folder.

    Args:
        folder: what to read.
        part: all objects, or one side of the split; a source that has no split is for training altogether.

    Raises:
        ViewSetError: nothing of the kind is there, or the part is empty.
    """
    source = _open(Path(folder))
    if part == "all":
        return source
    count = len(source.names)
    chosen = range(source.training) if part == "training" else range(source.training, count)
    if not chosen:
        raise ViewSetError(f"{folder}: none of its {count} objects is for {part}")
    return source if len(chosen) == count else PartOfSource(source, chosen)


def _open(folder: Path) -> ObjectSource:
    if (folder / INDEX).is_file():
        return ShardedViews(folder)
    if (folder / "valid_paths.json").is_file():
        return ViewFolders.release(folder)
    if not folder.is_dir():
        raise ViewSetError(f"{folder}: no such folder of views")
    if scenes := NerfScenes.found(folder):
        return NerfScenes(folder, scenes)
    if any(folder.glob("*.tar")):
        raise ViewSetError(f"{folder}: tars without {INDEX}; `zero123 data shard --index {folder}` makes it from them")
    return ViewFolders.found(folder)

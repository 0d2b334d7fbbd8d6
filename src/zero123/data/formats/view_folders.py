"""Folders of `NNN.png` with `NNN.npy`: our view sets, and the original's `views_release` with its list."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from zero123.data.sources import split_at
from zero123.data.view_files import LENS_FILES, ViewLevels, read_views, view_names
from zero123.data.view_set import ViewSetError


class ViewFolders:
    """One folder per object.

    Args:
        root: the folder above them.
        names: of the objects' folders, relative to `root`.
        training: how many of them, from the first, are for training; None for all.
    """

    def __init__(self, root: Path, names: Sequence[str], training: int | None = None) -> None:
        self.root = root
        self.names = names
        self.training = len(names) if training is None else training

    @classmethod
    def release(cls, root: Path) -> ViewFolders:
        """The folders that `valid_paths.json` lists, in its order; the first 99 % are for training.

        Raises:
            ViewSetError: the list is damaged, empty, repeats a name or leads out of the folder.
        """
        path = root / "valid_paths.json"
        try:
            names = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ViewSetError(f"{path}: not a readable JSON list of folders ({error})") from error
        if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
            raise ViewSetError(f"{path}: expected a JSON list of names of folders")
        if len(set(names)) < len(names):
            raise ViewSetError(f"{path}: names {len(names) - len(set(names))} folders more than once")
        outside = [n for n in names if Path(n).is_absolute() or ".." in Path(n).parts]
        if outside:
            raise ViewSetError(f"{path}: {outside[0]} lies outside {root}")
        return cls(root, names, split_at(len(names)))

    @classmethod
    def found(cls, root: Path) -> ViewFolders:
        """The folders below `root` in order of their names, or `root` itself where it holds views.

        Raises:
            ViewSetError: there are none.
        """
        if view_names(p.name for p in root.glob("*.png")):
            return cls(root.parent, [root.name])
        names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        if not names:
            raise ViewSetError(f"{root}: holds no view sets")
        return cls(root, names)

    def views(self, index: int) -> int:
        """How many pictures the object's folder holds."""
        return len(view_names(self._listed(index)))

    def load(self, index: int, chosen: Sequence[int] | None = None) -> ViewLevels:
        """Views of an object; only the files of the chosen ones are read."""
        listed, name = self._listed(index), self.names[index]
        pictures = view_names(listed)
        files: dict[str, bytes] = dict.fromkeys(pictures, b"")
        wanted = pictures if chosen is None else [pictures[view] for view in chosen]
        cameras = [picture.removesuffix(".png") + ".npy" for picture in wanted]
        for file in (*wanted, *cameras, *LENS_FILES):
            if file in listed:
                files[file] = self._read(index, file)
        return read_views(files, name, chosen)

    def files(self, index: int) -> dict[str, bytes]:
        """Every plain file in the object's folder; hidden ones are left out."""
        return {name: self._read(index, name) for name in sorted(self._listed(index))}

    def _listed(self, index: int) -> set[str]:
        folder = self.root / self.names[index]
        try:
            with os.scandir(folder) as entries:
                return {entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file()}
        except OSError as error:
            raise ViewSetError(f"{folder}: cannot be read ({error.strerror or error})") from error

    def _read(self, index: int, name: str) -> bytes:
        path = self.root / self.names[index] / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise ViewSetError(f"{path}: cannot be read ({error.strerror or error})") from error

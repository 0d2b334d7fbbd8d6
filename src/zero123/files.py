"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def named_when_full(path: str | os.PathLike[str]) -> Iterator[None]:
    """A disk that is full while the block runs is told with the name `path`, not with a temporary one or none at all.

    Raises:
        OSError: as the block raised it, but for the name.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside `path`, same ending, that becomes `path` on success and vanishes on failure.

    Raises:
        OSError: the folder cannot be made or written, or the disk is full, with its name.
    """
    path = Path(path)
    writable_folder(path.parent)
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        with named_when_full(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(tensors: Mapping[str, Tensor], path: Path, texts: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, with the access rights of any other new file.

    Args:
        tensors: by name, dense, each alone in its storage.
        path: to write.
        texts: kept beside them.

    Raises:
        OSError: it cannot be written; with its name.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.touch()
    rights = path.stat().st_mode & 0o777  # the library's own files are for their owner alone
    try:
        save_file(dict(tensors), path, None if texts is None else dict(texts))
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # the library's errors are not the system's
        if number is None:
            raise OSError(f"cannot write {path}: {error}") from error
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    path.chmod(rights)


def writable_folder(folder: str | os.PathLike[str]) -> Path:
    """`folder`, made if missing and proven writable, so that a long job can refuse before it starts.

    Raises:
        OSError: it cannot be made or written, in one line naming it.
    """
    folder = Path(folder)
    probe = folder / f".{secrets.token_hex(4)}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise type(error)(f"cannot write into the folder {folder}: {error.strerror or error}") from error
    return folder


def replace_folder(new: Path, folder: Path) -> None:
    """Put the folder `new` where `folder` is or shall be; one that was there stays until the other is in its place."""
    old = folder.with_name(f".{folder.name}-old-{secrets.token_hex(4)}")
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)

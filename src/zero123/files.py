"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


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

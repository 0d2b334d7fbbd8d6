"""A file that is still coming in: its bytes so far, which version of it they are of, and one writer at a time."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zero123.models.weights.errors import WeightsError
from zero123.models.weights.registry import readable_size

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes that are here and those of the whole file, or None where nobody knows."""


class PartialFile:
    """NAME.part beside the name it shall get, and a note about it in NAME.part.json.

    Args:
        target: the name for the whole file.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self._note = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def version(self) -> str | None:
        """What the server calls the version of the file; None if there is nothing to go on from."""
        version = self._noted("version") if self.size else None
        return version if isinstance(version, str) and version.isprintable() else None

    @property
    def is_whole(self) -> bool:
        """All the bytes of a known version are here; only the last check is missing."""
        return self.version is not None and self._noted("size") == self.size

    def _noted(self, key: str) -> object:
        try:
            return json.loads(self._note.read_text(encoding="utf-8"))[key]
        except (OSError, ValueError, KeyError, TypeError):  # a damaged note is as good as none
            return None

    def begin(self, version: str | None, size: int | None) -> None:
        """Forget what is here and start a file of this version and size."""
        self.discard()
        self._note.write_text(json.dumps({"version": version, "size": size}), encoding="utf-8")

    def discard(self) -> None:
        """Keep nothing."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def make_sure_it_fits(self, total: int | None) -> None:
        """Refuse before the first byte where the disk has no room for the last.

        Raises:
            WeightsError: too little space is free.
        """
        missing = (total or 0) - self.size
        free = shutil.disk_usage(self.target.parent).free
        if missing > free:
            raise self._no_room(f"{readable_size(missing)} more are needed, {readable_size(free)} are free")

    def append(self, blocks: Iterable[bytes], total: int | None, progress: Progress | None) -> None:
        """Write what comes behind what is here; it is on the disk when this returns or raises.

        Raises:
            WeightsError: the disk is full.
        """
        done = self.size
        try:
            with self.path.open("ab") as file:
                for block in blocks:
                    file.write(block)
                    done += len(block)
                    if progress is not None:
                        progress(done, total)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._no_room("the disk is full; what has come is kept") from error
            raise

    def finish(self, sha256: str | None, sender: str) -> None:
        """Give the file its name, if it is the right one; else nothing of it stays.

        Raises:
            WeightsError: the hash is another.
        """
        if sha256 is not None and (found := _sha256(self.path)) != sha256:
            self.discard()
            raise WeightsError(
                f"what {sender} sent is not {self.target.name}: its sha256 is {found}, must be {sha256}; "
                "nothing was kept, try again later"
            )
        os.replace(self.path, self.target)
        self._note.unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While the block runs no other process writes this file; one that died holds nothing.

        Raises:
            WeightsError: another process is at it.
        """
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.target.with_name(f".{self.target.name}.lock"), timeout=0):
                yield
        except Timeout:
            raise WeightsError(f"another process is fetching {self.target}; wait for it") from None

    def _no_room(self, why: str) -> WeightsError:
        return WeightsError(
            f"no room in {self.target.parent}: {why}; free some, or choose a folder with --out or ZERO123_WEIGHTS"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()

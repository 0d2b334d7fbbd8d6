"""One tar of objects, written to the same bytes every time; its members are `OBJECT.FILE`, webdataset's samples."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from zero123.data.view_set import ViewSetError

_ESCAPES = (("%", "%25"), (".", "%2E"), ("/", "%2F"), ("\\", "%5C"))
"""webdataset ends a sample's key at the first dot."""


def key_of(name: str) -> str:
    """The name of an object as the beginning of its members' names."""
    for character, escape in _ESCAPES:
        name = name.replace(character, escape)
    return name


def name_of(key: str) -> str:
    """The inverse of `key_of`."""
    for character, escape in reversed(_ESCAPES):
        key = key.replace(escape, character)
    return key


def write_tar(path: Path, objects: Iterable[tuple[str, dict[str, bytes]]]) -> list[int]:
    """Write objects with their files; the same objects give the same bytes, whenever and by whomever written.

    Args:
        path: file to write.
        objects: names and files by name; files are written in order of their names.

    Returns:
        Where each object's first header is, and where the last object ends, bytes.
    """
    starts = []
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, files in objects:
            starts.append(tar.offset)
            for file in sorted(files):
                member = tarfile.TarInfo(f"{key_of(name)}.{file}")  # TarInfo's own defaults: time 0, mode 644, owner 0
                member.size = len(files[file])
                tar.addfile(member, io.BytesIO(files[file]))
        starts.append(tar.offset)
    return starts


def read_object(
    file: BinaryIO, start: int, end: int, name: str, wanted: frozenset[str] | None = None
) -> dict[str, bytes]:
    """The files of one object.

    Args:
        file: the open tar.
        start: where the object's first header is, bytes.
        end: where the object ends.
        name: of the object.
        wanted: files to read; the others come as empty bytes. None for all.

    Raises:
        ViewSetError: what is there is not this object, or is damaged or cut short.
    """
    file.seek(start)
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            member = tar.next()
            while member is not None:
                key, ending = split(member.name)
                if key != name:
                    raise ViewSetError(f"{name}: the shard holds {key} in its place; index and shard do not fit")
                files[ending] = b"" if wanted is not None and ending not in wanted else _content(tar, member)
                member = tar.next() if tar.offset < end else None
            if tar.offset != end:  # tarfile takes a damaged header for the end of the file
                raise tarfile.ReadError(f"bad header at byte {tar.offset}")
    except tarfile.TarError as error:
        raise ViewSetError(f"{name}: the shard is damaged or cut short ({error})") from error
    return files


def walk(path: Path) -> Iterator[tuple[str, int, dict[str, bytes]]]:
    """Name, end and files of every object of a tar, which is read once from front to end.

    Raises:
        ViewSetError: the tar is damaged or cut short; what came before was whole.
    """
    name, end, files = "", 0, dict[str, bytes]()
    try:
        with path.open("rb") as stream, tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as tar:
            for member in tar:
                if not member.isfile():
                    continue
                key, ending = split(member.name)
                if key != name and files:
                    yield name, end, files
                    files = {}
                name, files[ending] = key, _content(tar, member)
                end = tar.offset
            if not _ends_at(path, tar.offset):  # tarfile takes a damaged header for the end of the file
                raise tarfile.ReadError(f"bad header at byte {tar.offset}")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ViewSetError(f"{path.name}: damaged or cut short after {name or 'nothing'} ({error})") from error
    if files:
        yield name, end, files


def split(member: str) -> tuple[str, str]:
    """A member's name as that of the object and that of the file.

    Raises:
        ViewSetError: it has no file part, or leads out of the object's folder.
    """
    key, _, file = member.partition(".")
    name = name_of(key)
    if not key or not file or "/" in member or "\\" in member or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ViewSetError(f"{member}: members of a shard are named OBJECT.FILE")
    return name, file


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    data = b"" if stream is None else stream.read()
    if len(data) != member.size:
        raise tarfile.ReadError(f"{member.name} ends after {len(data)} of {member.size} bytes")
    return data


def _ends_at(path: Path, place: int) -> bool:
    """Whether the file has nothing or a block of zeros there, as a tar's end has."""
    with path.open("rb") as file:
        file.seek(place)
        return not any(file.read(tarfile.BLOCKSIZE))

"""Files of Objaverse and Objaverse-XL: downloaded on request, in batches, with the attribution they ask for."""

from __future__ import annotations

import csv
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from zero123.data.objaverse import Entry, package, quiet, read_rows
from zero123.files import atomic_path, writable_folder
from zero123.run_log import alone_in

ATTRIBUTION = "attribution.csv"
_BATCH = 200
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_LICENCES = {
    "cc0": "CC0 1.0",
    "by": "CC BY 4.0",
    "by-sa": "CC BY-SA 4.0",
    "by-nd": "CC BY-ND 4.0",
    "by-nc": "CC BY-NC 4.0",
    "by-nc-sa": "CC BY-NC-SA 4.0",
    "by-nc-nd": "CC BY-NC-ND 4.0",
}


def download(entries: Sequence[Entry], out: Path, processes: int = 4) -> Iterator[tuple[Entry, str | None]]:
    """Fetch objects to `out/<uid>.glb`, skipping those that are there, and keep `out/attribution.csv` up to date.

    Yields:
        Each object when it is there, with None, or with one line that says why it is not.

    Raises:
        OSError: the folder, or the one in which the package keeps objects, cannot be written or is full, or another run
            downloads into it.
    """
    writable_folder(out)
    with alone_in(out, "downloading"):
        there = [entry for entry in entries if entry.file(out).is_file()]
        write_attribution(there, out)
        yield from ((entry, None) for entry in there)
        missing = [entry for entry in entries if not entry.file(out).is_file()]
        for first in range(0, len(missing), _BATCH):
            batch = missing[first : first + _BATCH]
            reasons = _fetch(batch, out, processes)
            write_attribution([entry for entry in batch if entry.file(out).is_file()], out)
            for entry in batch:
                got = entry.file(out).is_file()
                reason = reasons.get(entry.uid, "not there any more, or changed since it was listed")
                yield entry, None if got else reason


def write_attribution(entries: Sequence[Entry], out: Path) -> None:
    """Add objects to `out/attribution.csv`, which licences ask to travel with what is made from them."""
    path = out / ATTRIBUTION
    rows = {row["object"]: row for row in read_rows(path)} if path.is_file() else {}
    for entry in entries:
        licence = _LICENCES.get(entry.licence, entry.licence)
        rows[entry.uid] = {
            "object": entry.uid,
            "file": entry.file(out).name,
            "name": entry.name,
            "author": entry.author,
            "licence": licence,
            "url": entry.url,
        }
    if not rows:
        return
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["object", "file", "name", "author", "licence", "url"])
        writer.writeheader()
        writer.writerows(rows.values())


def write_list(entries: Sequence[Entry], out: Path) -> Path:
    """Write `out/objects.csv`: what was chosen, with licence and size."""
    path = out / "objects.csv"
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["object", "name", "author", "licence", "megabytes", "faces", "animations", "url"])
        for e in entries:
            writer.writerow([e.uid, e.name, e.author, e.licence, e.megabytes, e.faces, e.animations, e.url])
    return path


def _fetch(batch: Sequence[Entry], out: Path, processes: int) -> dict[str, str]:
    """Bring what can be had; reasons for the rest, by uid."""
    if batch[0].origin[1]:
        return _fetch_xl(batch, out, processes)
    collection = package()
    try:
        with quiet():
            found = collection.load_objects([entry.uid for entry in batch], download_processes=processes)
    except Exception:  # noqa: BLE001  the package's errors are those of its network code; asked again one by one below
        found = {}
    reasons = {}
    for entry in batch:
        try:
            if entry.uid not in found:
                with quiet():
                    found.update(collection.load_objects([entry.uid], download_processes=1))
            if entry.uid in found:
                _keep(found[entry.uid], out, entry)
        except Exception as error:  # noqa: BLE001  told with the object
            _refuse_full(error, out)
            reasons[entry.uid] = " ".join(f"{type(error).__name__}: {error}".split())
    return reasons


def _fetch_xl(batch: Sequence[Entry], out: Path, processes: int) -> dict[str, str]:
    package()  # else it is Python that tells, without the extra
    import pandas
    from objaverse import xl

    table = pandas.DataFrame(
        [
            {"fileIdentifier": e.origin[0], "source": e.origin[1], "sha256": e.uid, "fileType": e.suffix[1:]}
            for e in batch
        ]
    )
    try:
        with quiet():
            # The package deletes what it took from a repository when the callback has returned.
            xl.download_objects(
                objects=table,
                download_dir=str(out / ".cache"),
                processes=processes,
                handle_found_object=partial(_found, out=out),
            )
    except Exception as error:  # noqa: BLE001  the package's errors are those of its network code; told with the objects
        _refuse_full(error, out)
        line = " ".join(f"{type(error).__name__}: {error}".split())
        return dict.fromkeys((entry.uid for entry in batch), line)
    return {}


def _refuse_full(error: Exception, out: Path) -> None:
    """The next object would meet a full disk too."""
    if isinstance(error, OSError) and error.errno in _FULL:
        where = f"{out} or ~/.objaverse"
        raise OSError(
            f"cannot write into {where}: {error.strerror}; what is there is kept, the same command goes on"
        ) from error


def _found(local_path: str, file_identifier: str, sha256: str, metadata: dict[Any, Any], out: Path) -> None:
    """Called by the package, in its processes, with a file whose hash is the listed one."""
    _keep(local_path, out, Entry(sha256, suffix=Path(local_path).suffix.lower()))


def _keep(local_path: str, out: Path, entry: Entry) -> None:
    with atomic_path(entry.file(out)) as temporary:
        try:
            os.link(local_path, temporary)  # the package's own copy takes no room twice
        except OSError:
            shutil.copyfile(local_path, temporary)

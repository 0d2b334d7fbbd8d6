"""Objects of Objaverse and Objaverse-XL, through the `objaverse` package, chosen by licence, animation and size.

Nothing here runs unless a person asks for it; the package reads annotations and objects from the network and keeps them
in `~/.objaverse`.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import logging
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zero123.data.render.source import BLENDER_SUFFIXES

log = logging.getLogger(__name__)

_CHUNK = 20_000
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, json.JSONDecodeError)


@dataclass(frozen=True)
class Entry:
    """An object of the collection, as its annotations describe it.

    Attributes:
        uid: of Objaverse; the SHA-256 of the file for Objaverse-XL.
        name, author, url: for its attribution.
        licence: short name in small letters, `by`, `cc0`, ...; `unknown` where none is given.
        suffix: of its file.
        megabytes, faces, animations: None where the annotations do not say.
        origin: where Objaverse-XL found it: (fileIdentifier, source); empty for Objaverse.
    """

    uid: str
    name: str = ""
    author: str = ""
    url: str = ""
    licence: str = "unknown"
    suffix: str = ".glb"
    megabytes: float | None = None
    faces: int | None = None
    animations: int | None = None
    origin: tuple[str, str] = ("", "")

    def file(self, folder: Path) -> Path:
        """Where its file goes."""
        return folder / f"{self.uid}{self.suffix}"


@dataclass(frozen=True)
class Choice:
    """Which objects are wanted.

    Attributes:
        licences: short names, which also find their long forms, or these; empty for all.
        still: only objects without animation.
        max_megabytes, max_faces: of the file; None for no limit. An object whose size is not known is left out.
        limit: how many at most, drawn at random.
        seed: of the draw.
    """

    licences: tuple[str, ...] = ()
    still: bool = False
    max_megabytes: float | None = None
    max_faces: int | None = None
    limit: int | None = None
    seed: int = 0

    def wants(self, entry: Entry) -> bool:
        """Whether an object passes, the limit apart."""
        return (
            (not self.licences or not {entry.licence, short_licence(entry.licence)}.isdisjoint(self.licences))
            and (not self.still or entry.animations == 0)
            and (self.max_megabytes is None or (entry.megabytes is not None and entry.megabytes <= self.max_megabytes))
            and (self.max_faces is None or (entry.faces is not None and entry.faces <= self.max_faces))
        )

    def draw(self, entries: Sequence[Entry]) -> list[Entry]:
        """At most `limit` of them, at random by the seed, whatever order they came in."""
        ordered = sorted(entries, key=lambda entry: entry.uid)
        if self.limit is None or len(ordered) <= self.limit:
            return ordered
        return random.Random(self.seed).sample(ordered, self.limit)


def short_licence(licence: str) -> str:
    """The short name of a Creative Commons licence however Objaverse-XL's sources spell it; others as they are.

    `creative commons - attribution - share alike`, `cc-by-sa-4.0` and `by-sa` are all `by-sa`.
    """
    text = licence.lower().replace("-", " ").replace("_", " ")
    words = text.replace("share alike", "sa").replace("sharealike", "sa").replace("non commercial", "nc").split()
    if "cc0" in words or "public domain dedication" in text:
        return "cc0"
    if not ("creative commons" in text or words[:1] == ["cc"]) or not {"by", "attribution"} & set(words):
        return licence
    alike = {"noncommercial": "nc", "noderivatives": "nd", "noderivs": "nd"}
    kinds = {alike.get(word, word) for word in words} | ({"nd"} if "no deriv" in text else set())
    return "-".join(["by", *(kind for kind in ("nc", "nd", "sa") if kind in kinds)])


def read_uids(path: str | Path) -> list[str]:
    """Uids of a text file, one a line; empty lines and those that begin with # are skipped."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    uids = [line.strip().removesuffix(".glb") for line in lines if line.strip() and not line.startswith("#")]
    if not uids:
        raise ValueError(f"{path}: holds no uids (one a line)")
    return list(dict.fromkeys(uids))


def lvis_uids(categories: Sequence[str] = ()) -> list[str]:
    """Uids of the LVIS subset, 47 thousand objects with a category each; all categories where none is named.

    Raises:
        ValueError: no such category; names some that are alike.
        OSError: the network does not answer.
    """
    with _asking():
        by_category = package().load_lvis_annotations()
    for category in categories:
        if category not in by_category:
            alike = [name for name in sorted(by_category) if category.lower() in name.lower()][:5]
            raise ValueError(f"LVIS has no category {category!r}" + (f"; there is {', '.join(alike)}" if alike else ""))
    return list(dict.fromkeys(uid for name in categories or sorted(by_category) for uid in by_category[name]))


def choose(
    choice: Choice, uids: Sequence[str] | None = None, progress: Callable[[int, int], None] | None = None
) -> list[Entry]:
    """Objects of Objaverse that are wanted, by their annotations.

    Args:
        choice: licence, size and so on.
        uids: only these; None for all 800 thousand.
        progress: called with how many were looked at, and of how many.

    Raises:
        ImportError: the `objaverse` package is not installed; names the extra.
        OSError: the network does not answer.
        ValueError: no object passes; says which licences there are.
    """
    collection = package()
    with _asking():
        everything = list(collection.load_uids())
    if uids is not None:
        there = set(everything)
        everything = [uid for uid in uids if uid in there]
        if unknown := [uid for uid in uids if uid not in there]:
            log.warning("Objaverse has no object %s: %d of %d uids passed over", unknown[0], len(unknown), len(uids))
    # The annotations of all objects at once would need 10 GB; those of chosen ones are scattered over all files.
    step = _CHUNK if uids is None else max(len(everything), 1)
    wanted: list[Entry] = []
    licences: set[str] = set()
    for first in range(0, len(everything), step):
        with _asking():
            annotations = collection.load_annotations(everything[first : first + step])
        entries = [_entry(uid, values) for uid, values in annotations.items()]
        licences |= {entry.licence for entry in entries}
        wanted += filter(choice.wants, entries)
        if progress is not None:
            progress(min(first + step, len(everything)), len(everything))
    return _some(choice.draw(wanted), len(everything), licences)


def choose_xl(manifest: str | Path, choice: Choice) -> list[Entry]:
    """Objects of an Objaverse-XL manifest that are wanted: CSV or Parquet with its columns.

    Those are `fileIdentifier`, `source`, `license`, `fileType` and `sha256`. They say nothing of animation and size.

    Raises:
        ValueError: not such a file, or the choice asks for what it does not say.
    """
    if choice.still or choice.max_megabytes is not None or choice.max_faces is not None:
        raise ValueError("Objaverse-XL's manifests say nothing of animation and size; filter by licence only")
    rows = read_rows(Path(manifest))
    needed = {"fileIdentifier", "source", "license", "fileType", "sha256"}
    if not rows or not needed <= rows[0].keys():
        raise ValueError(f"{manifest}: needs rows with the columns {', '.join(sorted(needed))}")
    entries = {entry.uid: entry for entry in map(_xl_entry, rows) if entry.suffix in BLENDER_SUFFIXES}
    wanted = [entry for entry in entries.values() if choice.wants(entry)]
    return _some(choice.draw(wanted), len(rows), {entry.licence for entry in entries.values()})


def _some(chosen: list[Entry], among: int, licences: set[str]) -> list[Entry]:
    if not chosen:
        known = f"; their licences are {', '.join(sorted(licences)[:12])}" if licences else ""
        raise ValueError(f"none of {among} objects passes the filters{known}")
    return chosen


def _entry(uid: str, values: dict[str, Any]) -> Entry:
    archive = (values.get("archives") or {}).get("glb") or {}
    size = archive.get("size")
    user = values.get("user") or {}
    return Entry(
        uid,
        name=str(values.get("name") or ""),
        author=str(user.get("displayName") or user.get("username") or ""),
        url=str(values.get("viewerUrl") or values.get("uri") or ""),
        licence=str(values.get("license") or "unknown").lower(),
        megabytes=None if size is None else size / 1e6,
        faces=archive.get("faceCount", values.get("faceCount")),
        animations=values.get("animationCount"),
    )


def _xl_entry(row: dict[str, Any]) -> Entry:
    place = str(row["fileIdentifier"])
    licence = row["license"].lower() if isinstance(row["license"], str) and row["license"] else "unknown"  # may be NaN
    suffix = "." + str(row["fileType"]).lower().lstrip(".")
    return Entry(str(row["sha256"]), place, "", place, licence, suffix, origin=(place, str(row["source"])))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a CSV or Parquet file, by column.

    Raises:
        ValueError: not such a file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix.lower() == ".parquet":
        try:
            import pandas
        except ImportError as error:
            raise ImportError("Parquet is read by pandas: pip install 'zero123[objaverse]'") from error
        return list(pandas.read_parquet(path).to_dict("records"))
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file ({error})") from error


def package() -> Any:
    """The `objaverse` package.

    Raises:
        ImportError: it is not installed; names the extra.
    """
    try:
        import objaverse
    except ImportError as error:
        raise ImportError("Objaverse needs its package: pip install 'zero123[objaverse]'") from error
    return objaverse


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    """What goes wrong while the package reads annotations, in one line."""
    try:
        with quiet():
            yield
    except _DAMAGED as error:
        raise OSError(
            "a file of annotations in ~/.objaverse is damaged, as an interrupted download leaves it; delete the files "
            f"there that are not objects, and try again ({type(error).__name__}: {error})"
        ) from error
    except OSError as error:
        raise OSError(f"Objaverse's annotations cannot be had: {error}; is there a network?") from error


def quiet() -> contextlib.AbstractContextManager[Any]:
    """The package prints as it goes; our progress says the same."""
    return contextlib.redirect_stdout(io.StringIO())

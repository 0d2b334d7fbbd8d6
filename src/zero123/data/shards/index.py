"""What a folder of shards holds: shard, objects, places, sizes and hashes, as `index.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from zero123.data.view_set import ViewSetError
from zero123.files import atomic_path

INDEX = "index.json"

Kind = Literal["views", "encoded"]
"""Pictures with cameras, or latents with poses."""

_FORMAT, _VERSION = "zero123 shards", 1


@dataclass(frozen=True)
class Shard:
    """One tar.

    Attributes:
        name: of the file.
        bytes: its length.
        sha256: of the file, hexadecimal.
        objects: names, in order.
        views: how many views each object has.
        starts: where each object's first header is, and where the last object ends, bytes.
        planned: hash of the names it was to hold, by which an interrupted run knows its shards again.
        skipped: objects that are not in it though planned, with the reason.
    """

    name: str
    bytes: int
    sha256: str
    objects: list[str]
    views: list[int]
    starts: list[int]
    planned: str = ""
    skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Shard:
        """From what `asdict` and JSON made of it.

        Raises:
            ValueError: it does not fit together, or the name leads elsewhere.
        """
        shard = cls(**content)
        if not len(shard.objects) == len(shard.views) == len(shard.starts) - 1:
            raise ValueError(f"shard {shard.name}: objects, views and starts differ in number")
        if Path(shard.name).name != shard.name:
            raise ValueError(f"shard {shard.name}: lies in another folder")
        return shard


@dataclass(frozen=True)
class ShardIndex:
    """All shards of a folder.

    Attributes:
        kind: what objects are made of.
        training: how many objects, from the first, are for training; the rest is for validation.
        shards: in order.
        about: what else a reader has to know, such as the encoder of latents.
    """

    kind: Kind
    training: int
    shards: list[Shard]
    about: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `index.json`, whole or not at all; the same content gives the same bytes."""
        content = {"format": _FORMAT, "version": _VERSION, **asdict(self)}
        with atomic_path(folder / INDEX) as temporary:
            temporary.write_text(json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ShardIndex:
        """Read `index.json`.

        Raises:
            ViewSetError: missing, damaged, or of another kind of file or a later version.
        """
        path = folder / INDEX
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.get("format") != _FORMAT:
                raise ViewSetError(f"{path}: not an index of zero123's shards")
            if content["version"] > _VERSION:
                raise ViewSetError(f"{path}: version {content['version']} is newer than this program; update it")
            if content["kind"] not in get_args(Kind):
                raise ViewSetError(f"{path}: unknown kind of shards {content['kind']!r}")
            shards = [Shard.from_json(shard) for shard in content["shards"]]
            return cls(content["kind"], int(content["training"]), shards, content["about"])
        except ViewSetError:
            raise
        except FileNotFoundError:
            raise ViewSetError(f"{folder}: holds no shards ({INDEX} is missing)") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ViewSetError(f"{path}: not a readable index of shards ({error})") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest_of(names: list[str]) -> str:
    """A hash of names in their order."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()

"""Protocols: frozen files that say which objects, views, cameras, seeds and metrics make a score."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

Edges = Literal["blended", "hard"]
CameraRule = Literal["own", "listed"]
Place = tuple[float, float, float]
"""Azimuth and elevation of a camera, degrees, and its distance, world units."""


@dataclass(frozen=True)
class ListedObject:
    """An object of a protocol.

    Attributes:
        name: of its views in the folder.
        kind: kinds are reported apart; empty where there is but one.
        cameras: of its views, in their order; None where the protocol lists them for all objects, or not at all.
        seed: of a procedural object that can be made; None for others.
    """

    name: str
    kind: str = ""
    cameras: tuple[Place, ...] | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Bootstrap:
    """How confidence intervals are drawn: the share they cover, resamplings of the objects, and their seed."""

    level: float = 0.95
    draws: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Protocol:
    """What is asked of a method, and how its answers are judged.

    Attributes:
        name, version, title: of the protocol.
        paper: where it comes from.
        facts: what was found out about it, with sources.
        differs: where it differs from what the paper did.
        input: number of the view that is the input.
        targets: numbers of the views to make.
        size: side of the pictures judged, pixels; None for the side the model works at.
        edges: how views are laid over white, "blended" by alpha, or "hard": all white where alpha is 0, and all object
            elsewhere, then resized bicubically, as EscherNet does.
        camera_rule: "own", each object's cameras come with its views; "listed", they must be those of the protocol.
        folder: where the views of an object are, below the folder given; "{object}" is its name.
        field_of_view: horizontal, radians.
        known_source: the method is told where the input was taken from.
        seed, samples: of the pictures; how many of each view.
        bins: upper ends of the ranges of angles between input and target that are reported apart, degrees, rising.
        bootstrap: of the confidence intervals.
        metrics: what each number is.
        cameras: for all objects alike; empty where objects have their own.
        objects: None where every object in the folder counts.
        render: how views of ours are rendered; None for others'.
        sha256: of the file; empty for one that is no file.
    """

    name: str
    targets: tuple[int, ...]
    version: int = 1
    title: str = ""
    paper: str = ""
    facts: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    input: int = 0
    size: int | None = None
    edges: Edges = "blended"
    camera_rule: CameraRule = "own"
    folder: str = "{object}"
    field_of_view: float = 2 * math.atan(16 / 35)
    known_source: bool = False
    seed: int = 0
    samples: int = 1
    bins: tuple[float, ...] = (30.0, 60.0, 90.0, 180.0)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    metrics: Mapping[str, str] = field(default_factory=dict)
    cameras: tuple[Place, ...] = ()
    objects: tuple[ListedObject, ...] | None = None
    render: Mapping[str, Any] | None = None
    sha256: str = ""

    def __post_init__(self) -> None:
        if not self.targets or self.input in self.targets or len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets must be different views, at least one, and not the input, got {self.targets}")
        for name, kinds in (("edges", Edges), ("camera_rule", CameraRule)):
            if getattr(self, name) not in get_args(kinds):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kinds))}, got {getattr(self, name)!r}")
        if list(self.bins) != sorted(set(self.bins)) or not self.bins or self.bins[-1] != 180:
            raise ValueError(f"bins must rise to 180 degrees, got {self.bins}")
        names = [one.name for one in self.objects or ()]
        if len(set(names)) < len(names) or (self.objects is not None and not names):
            raise ValueError("objects must be at least one, each with a name of its own")
        if self.camera_rule == "listed":
            short = [one.name for one in self.objects or () if len(self.places(one)) < self.views]
            if self.objects is None or short:
                raise ValueError(f"listed cameras are needed for all {self.views} views of {(short or ['objects'])[0]}")

    @property
    def numbers(self) -> tuple[int, ...]:
        """The views that are read: the input, then the targets."""
        return (self.input, *self.targets)

    @property
    def views(self) -> int:
        """How many views an object must at least have."""
        return max(self.numbers) + 1

    def places(self, one: ListedObject) -> tuple[Place, ...]:
        """The listed cameras of an object; none where it has its own."""
        return self.cameras if one.cameras is None else one.cameras

    def only(self, objects: Sequence[ListedObject]) -> Protocol:
        """The same with these objects; those it lists keep their kinds and cameras.

        Raises:
            ValueError: one that the protocol does not list.
        """
        if self.objects is None:
            return replace(self, objects=tuple(objects))
        known = {one.name: one for one in self.objects}
        for one in objects:
            if one.name not in known:
                raise ValueError(f"{self.name} has no object {one.name!r}")
        return replace(self, objects=tuple(known[one.name] for one in objects))


def departures(
    protocol: Protocol, objects: Sequence[ListedObject] | None, known_source: bool, seed: int, samples: int
) -> tuple[str, ...]:
    """What a run does otherwise than a protocol says, a phrase each; with any, its name may not stand alone.

    Args:
        protocol: as it was loaded.
        objects: those of the run; None for all.
        known_source: whether the method is told where the input was taken from.
        seed: of the pictures.
        samples: of each view.
    """
    found = []
    if protocol.objects is not None and objects is not None and len(objects) < len(protocol.objects):
        found.append(f"{len(objects)} of its {len(protocol.objects)} objects")
    if known_source != protocol.known_source:
        found.append(f"the input's place is {'told' if known_source else 'not told'}")
    for name, value, own in (("seed", seed, protocol.seed), ("samples", samples, protocol.samples)):
        if value != own:
            found.append(f"{name} {value}, not {own}")
    return tuple(found)


def names() -> list[str]:
    """The named protocols."""
    return sorted(p.name.removesuffix(".json") for p in _home().iterdir() if p.name.endswith(".json"))


def load(name: str) -> Protocol:
    """A named protocol, or one in a JSON file of the same form.

    Raises:
        ValueError: no such protocol, or a file that is none.
    """
    if name in names():
        return parse(_home().joinpath(f"{name}.json").read_bytes(), name)
    path = Path(name)
    if path.suffix != ".json":
        raise ValueError(f"no protocol {name!r}; there are {', '.join(names())}, or give a .json file")
    try:
        return parse(path.read_bytes(), name)
    except OSError as error:
        raise ValueError(f"{name}: no readable protocol ({error.strerror or error})") from error


def parse(data: bytes, where: str) -> Protocol:
    """The protocol in a JSON text; `where` begins the line of an error.

    Raises:
        ValueError: it is none.
    """
    try:
        content = json.loads(data)
        if content["background"] != "white":
            raise ValueError(f"background must be white, got {content['background']!r}")
        plain: dict[str, Any] = {key: content[key] for key in _PLAIN}
        lists: dict[str, Any] = {key: tuple(content[key]) for key in ("facts", "differs", "targets")}
        return Protocol(
            **plain,
            **lists,
            bins=tuple(map(float, content["bins_deg"])),
            bootstrap=Bootstrap(**content["bootstrap"]),
            field_of_view=math.radians(content["field_of_view_deg"]),
            cameras=tuple(_place(camera) for camera in content["cameras"] or ()),
            objects=None if content["objects"] is None else tuple(map(_listed, content["objects"])),
            sha256=hashlib.sha256(data).hexdigest(),
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{where}: not a protocol ({type(error).__name__}: {error})") from error


_PLAIN = (
    "name", "version", "title", "paper", "input", "size", "edges", "camera_rule", "folder", "known_source", "seed",
    "samples", "metrics", "render",
)  # fmt: skip


def _home() -> Any:
    return resources.files("zero123.evaluation").joinpath("protocols")


def _place(camera: Mapping[str, float]) -> Place:
    return float(camera["azimuth_deg"]), float(camera["elevation_deg"]), float(camera["radius"])


def _listed(entry: Mapping[str, Any]) -> ListedObject:
    rows = entry.get("cameras")
    cameras = None if rows is None else tuple((float(a), float(e), float(r)) for a, e, r in rows)
    return ListedObject(str(entry["name"]), str(entry.get("kind", "")), cameras, entry.get("seed"))


def read_objects(path: Path) -> list[ListedObject]:
    """The objects in a text file: a name a line, with its kind behind it where kinds shall be reported apart.

    Raises:
        ValueError: no such file, nothing in it, or a line of another form.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no readable list of objects ({error})") from error
    parts = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if wrong := next((p for p in parts if len(p) > 2), None):
        raise ValueError(f"{path}: expected NAME, or NAME KIND, in a line, got {' '.join(wrong)!r}")
    found = [ListedObject(p[0], p[1] if len(p) > 1 else "") for p in parts]
    if not found or len({one.name for one in found}) < len(found):
        raise ValueError(f"{path}: names no objects, or one of them twice")
    return found

"""The linter of training data: what is missing, damaged, empty, clipped, doubled, or not what its camera sees."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from zero123 import jobs
from zero123.data.shards.reader import ShardedObjects, faults
from zero123.data.silhouettes import Frame, agreement, mesh_files
from zero123.data.sources import ObjectSource
from zero123.data.view_files import camera_seen, field_of_view, hashes, origin, picture_levels, view_names
from zero123.data.view_set import ViewSetError
from zero123.geometry.camera import Camera

Kind = Literal["shard", "missing", "damaged", "empty", "clipped", "camera", "size", "duplicate", "silhouette", "mesh"]

_HALF = 127  # 8-bit alpha over this is object
_LISTED = 20


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        where: object, object/file, or shard.
        kind: of fault.
        what: the fault in words.
    """

    where: str
    kind: Kind
    what: str


@dataclass(frozen=True)
class CheckSettings:
    """What is looked at.

    Attributes:
        meshes: folder with a mesh per object, by name, whose outlines the views must show; None leaves that out.
        frame: how those meshes stood when they were rendered.
        agreement: least intersection over union of outline and view.
        processes: objects looked at at a time.
    """

    meshes: Path | None = None
    frame: Frame = "zero123"
    agreement: float = 0.8
    processes: int = 1


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        root: the folder.
        objects: how many were looked at.
        views: how many were looked at.
        findings: what is wrong.
        notes: what is worth knowing and not wrong.
    """

    root: str
    objects: int
    views: int
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For people: counts by kind, then the first of each."""
        lines = [f"{self.root}: {self.objects} objects, {self.views} views, {len(self.findings)} faults"]
        for kind, count in Counter(finding.kind for finding in self.findings).most_common():
            lines.append(f"{kind}: {count}")
            own = [finding for finding in self.findings if finding.kind == kind]
            lines += [f"  {finding.where}: {finding.what}" for finding in own[:_LISTED]]
            lines += [f"  and {count - _LISTED} more"] * (count > _LISTED)
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class _Looked:
    """What was seen of one object."""

    name: str
    findings: list[Finding]
    views: int
    digest: str = ""
    opaque: bool = False
    mesh: bool = False
    origin: str = ""
    lost_with: str | None = None  # the shard that is missing or cut short


def check(
    source: ObjectSource, settings: CheckSettings | None = None, progress: Callable[[int, int], None] | None = None
) -> Report:
    """Look at every picture and camera of a source.

    Args:
        source: what to check; of shards, length and hash are checked too.
        settings: what to look at.
        progress: told objects done and objects in all.

    Raises:
        ValueError: the folder of meshes holds none.
    """
    settings = settings or CheckSettings()
    meshes = {} if settings.meshes is None else mesh_files(settings.meshes)
    by_index: dict[int, _Looked] = {}
    for index, one in _all_looked(source, settings, meshes):
        by_index[index] = one
        if progress is not None:
            progress(len(by_index), len(source.names))
    looked = [by_index[index] for index in range(len(source.names))]
    lost = Counter(one.lost_with for one in looked)
    findings = [finding for one in looked if one.lost_with is None for finding in one.findings]
    if isinstance(source, ShardedObjects):
        findings = [_of_shard(name, what, lost[name]) for name, what in faults(source.root).items()] + findings
    findings += _fewer_views(looked) + _doubles(looked)
    return Report(str(source.root), len(looked), sum(o.views for o in looked), findings, _notes(looked, settings))


def _all_looked(
    source: ObjectSource, settings: CheckSettings, meshes: dict[str, Path]
) -> Iterator[tuple[int, _Looked]]:
    """Every object with its index, as it is done; one that its process does not survive is a finding."""
    look = partial(_look, source, settings, meshes)
    if settings.processes == 1:
        yield from enumerate(map(look, range(len(source.names))))
        return
    with closing(jobs.run(look, range(len(source.names)), settings.processes)) as outcomes:
        for outcome in outcomes:
            name = source.names[outcome.item]
            fault = Finding(name, "damaged", f"could not be looked at: {outcome.error}")
            yield outcome.item, outcome.result or _Looked(name, [fault], 0)


def _look(source: ObjectSource, settings: CheckSettings, meshes: dict[str, Path], index: int) -> _Looked:
    name = source.names[index]
    try:
        files = source.files(index)
        lens = field_of_view(files, name)
    except ViewSetError as error:
        kind: Kind = "missing" if isinstance(error.__cause__, FileNotFoundError) else "damaged"
        return _Looked(name, [Finding(name, kind, str(error))], 0, lost_with=_lost_shard(source, index))
    names = view_names(files)
    if not names:
        return _Looked(name, [Finding(name, "missing", "holds no views")], 0)
    findings = _numbering(name, names, files)
    pictures, cameras, told = {}, {}, hashes(files)
    for view in names:
        where = f"{name}/{view}"
        if view in told and told[view] != hashlib.sha256(files[view]).hexdigest():
            findings.append(Finding(where, "damaged", "is not the picture of which manifest.json has the sha256"))
        try:
            pictures[view] = picture_levels(files[view], where)
            findings += _at_the_border(where, pictures[view][..., 3])
        except ViewSetError as error:
            findings.append(Finding(where, "empty" if "shows nothing" in str(error) else "damaged", str(error)))
        try:
            cameras[view] = camera_seen(files, name, view, lens)
        except ViewSetError as error:
            findings.append(Finding(where, "missing" if "missing" in str(error) else "camera", str(error)))
    findings += _sizes_and_doubles(name, pictures)
    if name in meshes:
        findings += _outlines(name, pictures, cameras, lens, meshes[name], settings)
    digest = hashlib.sha256("".join(sorted(map(_digest, pictures.values()))).encode()).hexdigest() if pictures else ""
    opaque = bool(pictures) and all((p[..., 3] == 255).all() for p in pictures.values())
    return _Looked(name, findings, len(names), digest, opaque, name in meshes, origin(files))


def _lost_shard(source: ObjectSource, index: int) -> str | None:
    """The object's shard where it is missing or cut short: one fault, told once for all its objects."""
    if not isinstance(source, ShardedObjects):
        return None
    name = source.shard_of(index)
    path, needed = source.root / name, next(s.bytes for s in source.index.shards if s.name == name)
    return None if path.is_file() and path.stat().st_size == needed else name


def _of_shard(name: str, what: str, lost: int) -> Finding:
    return Finding(name, "shard", what + (f"; {lost} objects cannot be read" if lost else ""))


def _numbering(name: str, names: list[str], files: dict[str, bytes]) -> list[Finding]:
    """Gaps in the numbers of views, and cameras without a picture."""
    there = {int(view[:-4]) for view in names}
    gaps = sorted(set(range(max(there) + 1)) - there)
    found = [Finding(f"{name}/{gap:03d}.png", "missing", "the views before and after it are there") for gap in gaps]
    lonely = [f for f in files if re.fullmatch(r"[0-9]+\.npy", f) and f[:-4] + ".png" not in files]
    listed = {f"{gap:03d}.npy" for gap in gaps}
    return found + [Finding(f"{name}/{f}", "missing", "has no picture") for f in lonely if f not in listed]


def _at_the_border(where: str, alpha: NDArray[np.uint8]) -> list[Finding]:
    """An object that touches the picture's border; pictures without transparency are all object and are let pass."""
    if (alpha == 255).all():
        return []
    sides = {"top": alpha[0], "bottom": alpha[-1], "left": alpha[:, 0], "right": alpha[:, -1]}
    touched = [side for side, pixels in sides.items() if (pixels > _HALF).any()]
    return [Finding(where, "clipped", f"the object touches the border: {', '.join(touched)}")] if touched else []


def _sizes_and_doubles(name: str, pictures: dict[str, NDArray[np.uint8]]) -> list[Finding]:
    """Views of another size than the first, or with the very picture of another."""
    found, seen = [], dict[str, str]()
    shapes = [picture.shape for picture in pictures.values()]
    for view, picture in pictures.items():
        if picture.shape != shapes[0]:
            height, width = picture.shape[:2]
            found.append(Finding(f"{name}/{view}", "size", f"{width}x{height}, not {shapes[0][1]}x{shapes[0][0]}"))
        first = seen.setdefault(_digest(picture), view)
        if first != view:
            found.append(Finding(f"{name}/{view}", "duplicate", f"the same picture as {first}"))
    return found


def _outlines(
    name: str,
    pictures: dict[str, NDArray[np.uint8]],
    cameras: dict[str, NDArray[np.float32]],
    lens: float,
    mesh: Path,
    settings: CheckSettings,
) -> list[Finding]:
    """Views that do not show the outline of the mesh from where their camera says it is."""
    both = [view for view in pictures if view in cameras and not (pictures[view][..., 3] == 255).all()]
    if not both:
        return []
    try:
        matched = agreement(
            mesh,
            [Camera.from_blender_rt(torch.from_numpy(cameras[view]), lens, pictures[view].shape[:2]) for view in both],
            [pictures[view][..., 3] > _HALF for view in both],
            settings.frame,
        )
    except ValueError as error:
        return [Finding(name, "mesh", str(error))]
    hint = f"; turned by {matched.turn_deg} degrees about z the mesh would fit" if matched.turn_deg else ""
    return [
        Finding(f"{name}/{view}", "silhouette", f"agrees with the mesh to {share:.2f} only{hint}")
        for view, share in zip(both, matched.shares, strict=True)
        if share < settings.agreement
    ]


def _fewer_views(looked: list[_Looked]) -> list[Finding]:
    """Objects with another number of views than most; nothing where no number is that of most."""
    counts = Counter(o.views for o in looked if o.views)
    if not counts or (usual := counts.most_common(1)[0])[1] * 2 <= len(looked):
        return []
    odd = [o for o in looked if o.views and o.views < usual[0]]
    return [Finding(o.name, "missing", f"has {o.views} views, most objects have {usual[0]}") for o in odd]


def _doubles(looked: list[_Looked]) -> list[Finding]:
    """Objects whose pictures are all those of another, or that show the very mesh of another, from elsewhere."""
    found, seen, meshes = [], dict[str, str](), dict[str, str]()
    for one in looked:
        if one.digest and (first := seen.setdefault(one.digest, one.name)) != one.name:
            found.append(Finding(one.name, "duplicate", f"the same pictures as {first}"))
        elif one.origin and (first := meshes.setdefault(one.origin, one.name)) != one.name:
            found.append(Finding(one.name, "duplicate", f"rendered from the same object as {first}"))
    return found


def _notes(looked: list[_Looked], settings: CheckSettings) -> list[str]:
    opaque = [o.name for o in looked if o.opaque]
    notes = []
    if opaque:
        notes.append(
            f"{len(opaque)} objects without transparency, such as {opaque[0]}: taken as they are, background and all"
        )
    if settings.meshes is not None and (bare := [o.name for o in looked if not o.mesh]):
        notes.append(f"{len(bare)} objects have no mesh in {settings.meshes}, such as {bare[0]}")
    return notes


def _digest(picture: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(picture).data).hexdigest()

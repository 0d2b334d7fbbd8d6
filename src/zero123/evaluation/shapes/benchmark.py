"""Meshes of a protocol's inputs, made, judged and kept one by one; a stopped run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from zero123.data.render.source import Source
from zero123.evaluation.cases import Case, Cases
from zero123.evaluation.making import differences
from zero123.evaluation.protocols import Protocol
from zero123.evaluation.shapes.cost import measured
from zero123.evaluation.shapes.judging import (
    Judged,
    ShapeJudging,
    Turn,
    agreement_of,
    in_true_world,
    judge,
    least_distance,
    true_turn,
)
from zero123.evaluation.shapes.makers import Made, Maker
from zero123.evaluation.shapes.truth import TrueShape, check_placed, true_shape
from zero123.files import atomic_path, writable_folder
from zero123.geometry.orbit import RADIUS, OrbitPose
from zero123.images import io
from zero123.images.alpha import composite
from zero123.images.photo import Photo
from zero123.images.sheets import contact_sheet
from zero123.meshes.export import export_mesh
from zero123.pipeline import NovelViews
from zero123.reconstruction.scene import prepare_whole

Elevation = Literal["given", "estimated"]
Frame = Literal["rendered", "photo"]
Progress = Callable[[int, int], None]

MESHES, ASKED = "meshes", "made.json"
_SHOWN = 6
_FAULTS = (ValueError, ArithmeticError, MemoryError, RuntimeError)  # out of a GPU's memory is a RuntimeError
"""What a method may raise of one object without ending the run; each is listed."""


@dataclass(frozen=True)
class Line:
    """A line of the tables: who makes the meshes, and whether it is told where the input was taken from."""

    maker: Maker
    elevation: Elevation

    @property
    def name(self) -> str:
        """Of the line."""
        return f"{self.maker.name}, elevation {self.elevation}"

    @property
    def file(self) -> str:
        """What the names of its files begin with."""
        return f"{self.maker.name.replace(' ', '-')}-{self.elevation}"


@dataclass(frozen=True)
class Outcome:
    """What a line made of an object.

    Attributes:
        scores: see `Judged` and `agreement_of`; empty where it failed.
        seconds: from the picture to the textured mesh; None where the work was stopped in between.
        gigabytes: at most; see `Cost`.
        elevation_deg: from which the picture was taken to be taken.
        faces: of the mesh.
        fault: why there is no mesh; None where there is one.
    """

    scores: dict[str, float]
    seconds: float | None = None
    gigabytes: float | None = None
    elevation_deg: float | None = None
    faces: int = 0
    fault: str | None = None


@dataclass(frozen=True)
class ObjectOutcomes:
    """What all lines made of an object.

    Attributes:
        name, kind: of the object.
        closed: whether its true mesh encloses a volume.
        elevation_deg: from which its input was taken.
        least: Chamfer distance of the true mesh against itself.
        lines: by name.
    """

    name: str
    kind: str
    closed: bool
    elevation_deg: float
    least: float | None
    lines: dict[str, Outcome]


@dataclass(frozen=True)
class Job:
    """What is asked of a run.

    Attributes:
        protocol: its objects; only their inputs are used.
        sources: the true meshes, by object.
        lines: who makes meshes.
        views: frames the inputs.
        judging: how meshes are judged.
        frame: "rendered" leaves the input's object where it is in the picture, at the middle and size of all views, as
            pictures are judged; a told pose is then its camera's own. "photo" cuts it out and frames it anew, as a
            person's photo, and tells the elevation alone: size and middle of what is hidden are then unknown.
        out: folder for everything.
    """

    protocol: Protocol
    sources: Mapping[str, Source]
    lines: Sequence[Line]
    views: NovelViews
    judging: ShapeJudging
    out: Path
    frame: Frame = "rendered"

    def photo(self, case: Case) -> Photo:
        """The case's input as the makers get it."""
        if self.frame == "photo":
            return self.views.prepare(case.photo, "alpha")
        return prepare_whole(self.views, case.photo, "alpha")

    def source(self, case: Case) -> OrbitPose:
        """Pose of the input's camera as makers are told it, (1,): azimuth 0."""
        pose = case.pose[:1].to(torch.float32)
        radius = torch.tensor([RADIUS]) if self.frame == "photo" else pose.radius
        return OrbitPose(torch.zeros(1), pose.elevation, radius)


def run(job: Job, cases: Cases, progress: Progress | None = None) -> list[ObjectOutcomes]:
    """Make and judge what is not there yet; failures are tried again.

    `OUT/meshes/OBJECT/` holds for each line its mesh (`.glb`), its numbers (`.json`) and pictures of its turn beside
    the true ones (`.png`).

    Args:
        job: what is asked.
        cases: the objects, with their inputs.
        progress: told objects done, and their number.

    Raises:
        ValueError: broken views, or `out` holds meshes that the same methods made otherwise.
        OSError: `out` cannot be written.
        ImportError: the renderer of the true meshes is not installed.
    """
    for _ in cases:  # a broken object is told before hours are spent
        pass
    _same(job)
    found = []
    for index, case in enumerate(cases):
        found.append(_object(job, case))
        if progress is not None:
            progress(index + 1, len(cases))
    return found


def _same(job: Job) -> None:
    """Write down how the meshes are made and judged, or refuse a folder in which that was otherwise."""
    record = writable_folder(job.out / MESHES) / ASKED
    now = {
        "judging": json.loads(json.dumps(asdict(job.judging))),
        "frame": job.frame,
        "methods": {line.maker.name: line.maker.describe() for line in job.lines},
    }
    before = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else now
    both = {name: before["methods"].get(name, described) for name, described in now["methods"].items()}
    if other := differences({**before, "methods": both}, now):
        raise ValueError(f"{job.out / MESHES} holds meshes made with {'; '.join(other)}: choose another folder")
    kept = {**now, "methods": before["methods"] | now["methods"]}
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _object(job: Job, case: Case) -> ObjectOutcomes:
    """All lines of an object; where its true mesh cannot be used, each says so."""
    degrees = float(case.pose.elevation[0].rad2deg())
    try:
        truth = true_shape(job.sources[case.name], job.protocol)
        check_placed(truth, case)
        turn = true_turn(truth, job.judging)
    except ValueError as error:
        failed = {line.name: Outcome({}, fault=f"true mesh: {error}") for line in job.lines}
        return ObjectOutcomes(case.name, case.kind, False, degrees, None, failed)
    outcomes = {line.name: _line(job, line, case, truth, turn) for line in job.lines}
    least = least_distance(truth, job.judging)
    return ObjectOutcomes(case.name, case.kind, truth.closed, degrees, least, outcomes)


def _line(job: Job, line: Line, case: Case, truth: TrueShape, turn: Turn) -> Outcome:
    """What a line makes of an object, or made of it in an earlier run."""
    folder = job.out / MESHES / case.name
    record, of = folder / f"{line.file}.json", {"views_sha256": case.digest, "mesh_sha256": truth.sha256}
    if (before := _kept(record, of)) is not None:
        return before
    work = folder / f"{line.file}-run"
    whole = not work.exists()
    made = None
    with measured(job.views.device) as cost:
        try:
            made = line.maker(job.photo(case), job.source(case) if line.elevation == "given" else None, work)
        except _FAULTS as error:
            fault = f"{type(error).__name__}: {' '.join(str(error).split())}"
    seconds = cost.seconds if whole else None
    if made is None:
        return Outcome({}, seconds, cost.gigabytes, fault=fault)
    mesh = in_true_world(made.mesh, float(case.pose.azimuth[0]))
    try:
        judged = judge(mesh, truth, turn, job.judging)
    except ValueError as error:
        return Outcome({}, seconds, cost.gigabytes, fault=f"not to be judged: {error}")
    export_mesh(mesh, folder / f"{line.file}.glb")
    io.save(folder / f"{line.file}.png", _sheet(case, turn.pictures, judged))
    outcome = _outcome(made, {**judged.scores, **agreement_of(made)}, seconds, cost.gigabytes)
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps({**of, **asdict(outcome)}, indent=1) + "\n", encoding="utf-8")
    return outcome


def _outcome(made: Made, scores: dict[str, float], seconds: float | None, gigabytes: float | None) -> Outcome:
    degrees = float(torch.rad2deg(torch.tensor(made.elevation, dtype=torch.float64)))
    return Outcome(scores, seconds, gigabytes, degrees, len(made.mesh.faces))


def _kept(record: Path, of: dict[str, Any]) -> Outcome | None:
    """What an earlier run found of these very views and this true mesh."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        if any(content[key] != value for key, value in of.items()):
            return None
        return Outcome(**{key: value for key, value in content.items() if key not in of})
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or cut short: it is made anew


def _sheet(case: Case, pictures: Tensor, judged: Judged) -> Tensor:
    """The input, then the turn around the true mesh, and below it around the one that was made."""
    shown = min(_SHOWN, len(pictures))
    chosen = torch.arange(shown) * len(pictures) // shown
    truth, made = (composite(views[chosen], torch.ones(3)).clamp(0, 1) for views in (pictures, judged.pictures))
    photo = io.resized(composite(case.photo[None], torch.ones(3))[0], pictures.shape[-1], pictures.shape[-1])[None]
    labels = ["input", *["truth"] * len(chosen), "", *["made"] * len(chosen)]
    return contact_sheet(torch.cat((photo, truth, torch.ones_like(photo), made)), len(chosen) + 1, labels)

"""Options that several verbs share: each group is a dataclass, and a verb takes a whole group as one argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_type_hints

import typer

if TYPE_CHECKING:
    from zero123.batch.settings import ModelChoice
    from zero123.diffusion.sampling import SamplingSettings, Symmetry
    from zero123.geometry.orbit import OrbitPose
    from zero123.jobs import Workers
    from zero123.pipeline import NovelViews


def grouped(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb as typer takes it: parameters that are dataclasses are replaced by their fields."""
    # Not by get_type_hints: Python 3.10's wraps what defaults to None once more, and hides the names of the option.
    parameters = inspect.signature(verb, eval_str=True).parameters
    groups: dict[str, Any] = {name: one.annotation for name, one in parameters.items() if is_dataclass(one.annotation)}
    shown = []
    for name, parameter in parameters.items():
        if name not in groups:
            shown.append(parameter)
            continue
        own = get_type_hints(groups[name], include_extras=True)
        shown += [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=own[f.name])
            for f in fields(groups[name])
        ]

    shown.sort(key=lambda parameter: parameter.kind)  # what is not in a group comes first, wherever it is named

    @wraps(verb)
    def flat(**values: Any) -> None:
        packed = {name: kind(**{f.name: values.pop(f.name) for f in fields(kind)}) for name, kind in groups.items()}
        verb(**values, **packed)

    flat.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return flat


def _open(text: str, default: str, *names: str, **limits: Any) -> Any:
    """An option that may be left open; `default` says what then happens."""
    return typer.Option(*names, help=f"{text} [default: {default}]", show_default=False, **limits)


@dataclass(frozen=True)
class RunOptions:
    """Which model runs, and how it uses the machine."""

    model: Annotated[str, typer.Option(help="mini, a name of `weights list`, a model folder, or a file.")] = "mini"
    device: Annotated[str | None, _open("cpu, cuda or mps.", "the fastest")] = None
    dtype: Annotated[str | None, _open("float32, bfloat16 or float16.", "what the device is fast in")] = None
    int8: Annotated[bool, typer.Option("--int8", help="Keep weights in 8 bits: half the memory, a little slower.")] = (
        False
    )
    max_memory: Annotated[
        float | None, _open("Gigabytes for everything; fewer views per call.", "what is fast", "--max-memory")
    ] = None
    offload: Annotated[bool, typer.Option("--offload", help="Small GPUs: networks are on it only while they work.")] = (
        False
    )
    lora: Annotated[Path | None, _open("File of a fine-tuning to add, from `zero123 train`.", "none")] = None
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network first: minutes, pays on long jobs.")
    ] = False

    def load(self) -> NovelViews:
        """The model, ready.

        Raises:
            ValueError: something about it or about these options is wrong; in one line.
        """
        return self.choice().load()

    def choice(self) -> ModelChoice:
        """The same for those who load it later, in other processes.

        Raises:
            ValueError: no such dtype.
        """
        from zero123.batch.settings import ModelChoice

        return ModelChoice(
            self.model, self.lora, self.int8, self.dtype, self.device, self.max_memory, self.offload, self.compiled
        )


@dataclass(frozen=True)
class SamplingOptions:
    """How views are drawn."""

    steps: Annotated[int | None, _open("Sampling steps.", "the model's")] = None
    scale: Annotated[float | None, _open("Guidance, 1 is off.", "the model's")] = None
    guidance_interval: Annotated[
        tuple[float, float] | None, _open("Noise levels, LOW HIGH, in which guidance acts.", "all")
    ] = None
    solver: Annotated[str, typer.Option(help="dpmpp_2m, euler (DDIM) or ancestral (DDIM, eta 1).")] = "dpmpp_2m"
    spacing: Annotated[str | None, _open("trailing, leading, karras or original.", "the model's")] = None
    seed: Annotated[int, typer.Option(help="Same seed, same pictures.")] = 0
    symmetry: Annotated[
        str,
        typer.Option(
            help="If its left and right are alike: where the object's front is, degrees to the right of the camera, as "
            "90 for a picture of its side; auto guesses."
        ),
    ] = "none"
    joint: Annotated[
        bool | None, _open("Views look at each other while they are drawn.", "the model's", "--joint/--no-joint")
    ] = None

    def settings(self) -> SamplingSettings:
        """The same, checked.

        Raises:
            ValueError: one of them is out of range.
        """
        from zero123.diffusion.sampling import SamplingSettings

        return SamplingSettings(
            steps=self.steps,
            scale=self.scale,
            guidance_interval=self.guidance_interval,
            solver=cast(Any, self.solver),  # checked there, as is the spacing
            spacing=cast(Any, self.spacing),
            seed=self.seed,
            symmetry=_symmetry(self.symmetry),
            joint=self.joint,
        )


def _symmetry(text: str) -> Symmetry:
    """The option's text; ValueError, in one line, if it says nothing."""
    if text in ("auto", "none"):
        return cast("Symmetry", text)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--symmetry must be auto, none or degrees, got {text!r}") from None


@dataclass(frozen=True)
class PhotoOptions:
    """What is known of the picture."""

    background: Annotated[str, typer.Option(help="How the object is found: auto, alpha, plain, grabcut or rembg.")] = (
        "auto"
    )
    photo_elevation_deg: Annotated[float | None, _open("Height the picture was taken from, degrees.", "estimated")] = (
        None
    )

    def source(self) -> OrbitPose | None:
        """Where the picture was taken from, (1,), if that is known."""
        from zero123.reconstruction.from_photo import source_at

        return None if self.photo_elevation_deg is None else source_at(self.photo_elevation_deg)


@dataclass(frozen=True)
class MeshPhotoOptions(PhotoOptions):
    """The same where no other elevation could be meant."""

    photo_elevation_deg: Annotated[
        float | None,
        _open("Height it was taken from, degrees.", "estimated", "--photo-elevation-deg", "--elevation-deg"),
    ] = None
    distance: Annotated[
        float | None,
        _open(
            "Distance it was taken from, in longest sides of the object, whose middle is the picture's; the picture "
            "then stays as it is.",
            "it is framed anew",
        ),
    ] = None

    def source(self) -> OrbitPose | None:
        """Where the picture was taken from, (1,), if that is known."""
        from zero123.geometry.orbit import RADIUS
        from zero123.reconstruction.from_photo import source_at

        placed = source_at(self.photo_elevation_deg or 0.0, RADIUS if self.distance is None else self.distance)
        return None if self.photo_elevation_deg is None else placed


@dataclass(frozen=True)
class WorkerOptions:
    """Who works on many items."""

    processes: Annotated[
        int | None, _open("Processes.", "one per GPU, or as many as there are cores and memory for", min=1)
    ] = None
    threads: Annotated[int, typer.Option(min=1, help="Cores of each process.")] = 1
    cluster: Annotated[
        str | None, _open("Address of a Ray cluster, or auto; all its machines must see --out.", "this machine")
    ] = None
    time_limit: Annotated[float | None, _open("Seconds an item may take.", "no limit")] = None
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed in earlier runs.")] = False

    def workers(self) -> Workers:
        """The same, checked.

        Raises:
            ValueError: one of them is out of range.
        """
        from zero123.jobs import Workers

        return Workers(self.processes, time_limit=self.time_limit, threads=self.threads)

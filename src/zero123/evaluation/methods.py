"""Who answers a protocol: a model of ours, or pictures that any other method left in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from zero123.diffusion.sampling import SamplingSettings
from zero123.evaluation.cases import Case
from zero123.images import io
from zero123.images.alpha import composite
from zero123.images.matting import Matte
from zero123.images.photo import Photo
from zero123.pipeline import NovelViews


@dataclass(frozen=True)
class Answer:
    """What a method makes of an object.

    Attributes:
        views: pictures on white, (T, K, 3, S, S) in [0, 1]: K samples of each target.
        elevation: where the method believes the input was taken from, radians; None where it says nothing of it.
        doubt: how wrong it expects each view to be, standard deviation, (T, S, S); None where it says nothing of it.
    """

    views: Tensor
    elevation: float | None = None
    doubt: Tensor | None = None


class Method(Protocol):
    """Makes the targets of a case from its input."""

    def describe(self) -> dict[str, Any]:
        """Everything its pictures depend on, as JSON values; equal descriptions mean equal pictures."""

    def __call__(self, case: Case) -> Answer:
        """The targets of one object."""


@dataclass(frozen=True)
class OfModel:
    """The pictures of a model.

    Attributes:
        views: the model.
        sampling: how views are drawn.
        samples: of each target; sample s has the seed of `sampling` plus s.
        known_source: the model is told where the input was taken from.
        name: what the person asked for.
    """

    views: NovelViews
    sampling: SamplingSettings
    samples: int = 1
    known_source: bool = False
    name: str = ""

    def describe(self) -> dict[str, Any]:
        """The model with a hash of its weights as they were loaded, what it runs on, and the sampling."""
        model = self.views.model
        settings = model.settings
        return {
            "model": self.name or settings.name,
            "weights_sha256": weights_hash(model),
            "parameters": sum(p.numel() for p in model.parameters()),
            "image_size": settings.image_size,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": self.views.device.type,
            "torch": torch.__version__,
            "known_source": self.known_source,
            "drawing": {name: getattr(settings, name) for name in ("outline", "second_looks", "photo_detail")},
            "sampling": {
                **asdict(self.sampling),
                "steps": self.sampling.steps or settings.steps,
                "scale": settings.scale if self.sampling.scale is None else self.sampling.scale,
                "spacing": self.sampling.spacing or settings.spacing,
                "joint": self._joint(),
                "samples": self.samples,
            },
        }

    def __call__(self, case: Case) -> Answer:
        """All targets in one call, or, where views look at each other, in one call for each sample."""
        size = self.views.model.settings.image_size
        rgba = case.photo if case.photo.shape[-1] == size else io.resized(case.photo, size, size)
        photo = Photo(rgba, Matte("alpha", float(rgba[3].mean()), cropped=False), rgba[3:])
        source, targets = case.pose[:1], case.pose[1:]
        told = source if self.known_source else None
        moves = targets.relative_to(source)
        if self._joint():  # views that look at each other are drawn a sample at a time
            each = [replace(self.sampling, seed=self.sampling.seed + k) for k in range(self.samples)]
            made = torch.stack([self.views(photo, moves, settings, told) for settings in each], dim=1)
        else:
            all_at_once = replace(self.sampling, samples=self.samples)
            made = self.views(photo, moves, all_at_once, told).unflatten(0, (len(moves), self.samples))
        believed = self.views.belief(photo, moves, told, self.sampling)
        return Answer(made, self._elevation(photo), None if believed is None else believed.doubt)

    def _joint(self) -> bool:
        own = self.views.model.settings.joint
        return own if self.sampling.joint is None else self.sampling.joint

    def _elevation(self, photo: Photo) -> float | None:
        if self.views.model.place_reader is None:
            return None
        return float(self.views.source(photo).elevation[0])


@dataclass(frozen=True)
class OfFolder:
    """Pictures that are there already: `FOLDER/OBJECT/NNN.png`, or `NNN-K.png` for sample K, NNN the target's number.

    Attributes:
        folder: above the objects' folders.
        samples: of each target, at most; fewer where there are fewer of all.
    """

    folder: Path
    samples: int = 1

    def describe(self) -> dict[str, Any]:
        """Where the pictures are; each object's own hash is beside its scores."""
        return {"pictures": str(self.folder), "samples": self.samples}

    def __call__(self, case: Case) -> Answer:
        """Read them.

        Raises:
            ValueError: one is missing, not square, or of another size than the others.
        """
        return Answer(read_pictures(self.folder / case.name, case.numbers[1:], self.samples))


def read_pictures(folder: Path, numbers: tuple[int, ...], samples: int) -> Tensor:
    """Pictures of targets on white, (T, K, 3, S, S), from `NNN-K.png`, or from `NNN.png` where there is one of each.

    Raises:
        ValueError: one is missing, or they are not square and of one size.
    """
    rows = []
    for number in numbers:
        plain = folder / f"{number:03d}.png"
        paths = [plain] if samples == 1 and plain.is_file() else [folder / name(number, k) for k in range(samples)]
        images = [io.load(path) for path in paths]
        white = [image if len(image) == 3 else composite(image[None], torch.ones(3))[0] for image in images]
        rows += white
    shapes = {tuple(image.shape) for image in rows}
    if len(shapes) > 1 or rows[0].shape[1] != rows[0].shape[2]:
        raise ValueError(f"{folder}: pictures must be square and of one size, got {sorted(shapes)}")
    return torch.stack(rows).unflatten(0, (len(numbers), samples))


def write_pictures(folder: Path, numbers: tuple[int, ...], views: Tensor) -> None:
    """Write pictures (T, K, 3, S, S) as `NNN-K.png`, 8 bits, without loss."""
    for number, row in zip(numbers, views, strict=True):
        for sample, image in enumerate(row):
            io.save(folder / name(number, sample), image)


def name(number: int, sample: int) -> str:
    """The file of a sample of a target."""
    return f"{number:03d}-{sample}.png"


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over names and numbers of all weights as they are in memory."""
    digest = hashlib.sha256()
    state: Mapping[str, Any] = model.state_dict()
    for key in sorted(state):
        if not isinstance(state[key], Tensor):
            continue
        value = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

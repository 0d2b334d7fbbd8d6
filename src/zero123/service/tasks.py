"""What the worker's process does: views of many requests at once, and jobs."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from zero123.batch import one
from zero123.batch.pictures import Picture
from zero123.batch.settings import BatchSettings, ModelChoice
from zero123.diffusion.sampling import SamplingSettings
from zero123.geometry.orbit import RelativePose
from zero123.images import io
from zero123.images.matting import Method
from zero123.images.photo import Photo
from zero123.pipeline import NovelViews, Wanted
from zero123.reconstruction.from_photo import source_at
from zero123.service.loaded import LoadedModels
from zero123.service.uploads import Upload

Report = Callable[..., None]

_PHOTOS: OrderedDict[tuple[ModelChoice, str, Method], Photo] = OrderedDict()
_KEPT = 16
"""Photos that stay prepared: who turns an object asks for many views of one picture."""


@dataclass(frozen=True)
class ViewsWanted:
    """Views of one request.

    Attributes:
        upload: the picture.
        made: moves, seed, background, elevation; all of a call share how they are drawn but for the seed.
    """

    upload: Upload
    made: BatchSettings

    @property
    def pictures(self) -> int:
        """How many are drawn."""
        return len(self.made.moves()) * self.made.sampling.samples


@dataclass(frozen=True)
class ViewsDrawn:
    """What came of them.

    Attributes:
        pictures: samples of a view side by side.
        found_by: how the object was told from the background.
        coverage: share of the picture that is object, in [0, 1].
        cropped: the object touches the picture's edge.
        elevation_deg: height the picture was taken from, or is taken to be.
        elevation_is: "given", "estimated" or "not used" by this model.
    """

    pictures: list[Image.Image]
    found_by: str
    coverage: float
    cropped: bool
    elevation_deg: float
    elevation_is: str


def warm(models: LoadedModels, report: Report, choice: ModelChoice) -> dict[str, Any]:
    """Load the model and draw once, so that the first request finds it as fast as all others; what it is."""
    views = models(choice)
    report(0.5, "model loaded")
    size = views.model.settings.image_size
    place = (torch.arange(size) + 0.5) / size * 2 - 1
    alpha = (torch.hypot(place[:, None], place[None]) < 0.6).float()
    ball = torch.cat((torch.full((3, size, size), 0.5), alpha[None]))
    views(views.prepare(ball), RelativePose.from_degrees([30.0], [0.0]))
    own = views.model.settings
    return {
        "name": own.name,
        "licence": own.licence,
        "image_size": size,
        "steps": own.steps,
        "scale": own.scale,
        "device": str(views.device),
        "dtype": str(views.model.dtype).removeprefix("torch."),
    }


def draw_views(
    models: LoadedModels, report: Report, choice: ModelChoice, asked: Sequence[ViewsWanted]
) -> list[ViewsDrawn | str]:
    """Views of several requests in the same network calls; for a picture that cannot be used one line says why."""
    views = models(choice)
    found: list[ViewsDrawn | str] = [""] * len(asked)
    wanted: dict[int, tuple[Wanted, str]] = {}
    for index, request in enumerate(asked):
        try:
            photo = _photo(views, choice, request.upload, request.made.background)
        except io.PictureError as error:
            found[index] = str(error)
            continue
        given = request.made.photo_elevation_deg
        read = views.model.place_reader is not None
        source = views.source(photo) if given is None else source_at(given)
        told = "given" if given is not None else "estimated" if read else "not used"
        wanted[index] = Wanted(photo, request.made.moves(), source, request.made.sampling.seed), told
    if wanted:
        settings = next(request.made.sampling for request in asked)
        drawn = views.together([one for one, _ in wanted.values()], settings, lambda k, n: report(k / n, "drawing"))
        for (index, (of, told)), pictures in zip(wanted.items(), drawn, strict=True):
            found[index] = _drawn(of, told, [io.to_pillow(picture) for picture in pictures])
    return found


def make_job(
    models: LoadedModels,
    report: Report,
    choice: ModelChoice,
    picture: Path,
    made: BatchSettings,
    formats: tuple[str, ...],
    folder: Path,
) -> list[str]:
    """Make all that a job asks for in `folder`; the names of the files."""
    views = models(choice)
    shares = {"views": (0.0, 0.9), "elevation": (0.0, 0.1)}
    if made.faces is not None:
        shares = {"elevation": (0.0, 0.1), "views": (0.1, 0.3), "fit": (0.4, 0.5)}
    words = {"views": "drawing views", "fit": "fitting the object", "elevation": "finding the elevation"}

    def told(stage: str, done: int, total: int) -> None:
        before, share = shares[stage]
        report(before + share * done / max(total, 1), words[stage])

    values = one.draw(Picture(picture.stem, picture), made, {}, views, folder, formats, told)
    for key in ("worker", "picture", "name"):  # where and under which name the service keeps things is its own business
        del values[key]
    report(1.0, "done")
    (folder / "manifest.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return [*values["outputs"], "manifest.json"]


def shared(settings: SamplingSettings) -> tuple[Any, ...]:
    """What requests must have in common to be drawn in the same calls: all but the seed."""
    return tuple(value for name, value in vars(settings).items() if name != "seed")


def _photo(views: NovelViews, choice: ModelChoice, upload: Upload, method: Method) -> Photo:
    key = choice, upload.digest, method
    if key not in _PHOTOS:
        _PHOTOS[key] = views.prepare(io.from_pillow(upload.image), method)
        while len(_PHOTOS) > _KEPT:
            _PHOTOS.popitem(last=False)
    _PHOTOS.move_to_end(key)
    return _PHOTOS[key]


def _drawn(of: Wanted, told: str, pictures: list[Image.Image]) -> ViewsDrawn:
    matte, source = of.photo.matte, of.source
    elevation = 0.0 if source is None else float(source.elevation[0].rad2deg())
    return ViewsDrawn(pictures, matte.method, float(matte.coverage), bool(matte.cropped), elevation, told)

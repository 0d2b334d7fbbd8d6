"""What the page asks of its worker processes: each task takes paths and settings, and returns paths and numbers.

They run where models are loaded, so heavy packages are imported there, by the task, and the page stays light.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from zero123.ui.settings import ViewSettings

if TYPE_CHECKING:
    from torch import Tensor

    from zero123.diffusion.sampling import SamplingSettings
    from zero123.geometry.orbit import OrbitPose
    from zero123.images.framing import Framing
    from zero123.images.photo import Photo
    from zero123.pipeline import NovelViews

Models = Callable[..., "NovelViews"]
Report = Callable[..., None]

_EDITING_SIDE = 512
_MASK_BYTES = 4_000_000


@dataclass(frozen=True)
class CutOut:
    """An object without its background.

    Attributes:
        file: straight-alpha PNG of the picture's size.
        editing: the picture on white, small, for the mask brush.
        mask: its mask, of that size.
        words: how it was found, for the person.
        elevation: height it was taken from as the model reads it, degrees; None: the model cannot.
        front: where the object's front is, degrees to the right of the camera, as its owner says who knows that its
            left and right are alike; None where nobody said.
    """

    file: Path
    editing: Path
    mask: Path
    words: str
    elevation: float | None
    front: float | None = None


@dataclass(frozen=True)
class Request:
    """A cut-out object and what is wanted of it.

    Attributes:
        file: the cut-out.
        source: the model, as `NovelViews.from_pretrained` takes it.
        view: the view and how it is drawn.
        photo_elevation: height the picture was taken from, degrees; None lets the model estimate it.
        front: see `CutOut`; models that draw no drafts have no use for it but in meshes.
    """

    file: Path
    source: str
    view: ViewSettings
    photo_elevation: float | None = None
    front: float | None = None


@dataclass(frozen=True)
class Drawn:
    """A view.

    Attributes:
        pictures: one file for each sample.
        guess: the samples' mean under their spread, or None of one sample.
        spread: the largest spread, averaged over a patch, in units of pictures; 0 of one sample.
        seconds: it took.
        remark: on what was asked and not done, or "".
    """

    pictures: tuple[Path, ...]
    guess: Path | None
    spread: float
    seconds: float
    remark: str


def load(models: Models, report: Report, source: str) -> str:
    """Load a model and draw one view with it, so that nobody's first view waits for that; its name."""
    import torch

    from zero123.diffusion.sampling import SamplingSettings
    from zero123.geometry.orbit import relative_moves

    views = models(source)
    disc = torch.ones(4, 64, 64)
    disc[3, :16] = disc[3, 48:] = 0
    views(views.prepare(disc), relative_moves([30.0], [0.0], [0.0]), SamplingSettings(steps=1, scale=1.0))
    return views.model.settings.name


def cut_out(models: Models, report: Report, picture: Path, method: str, source: str, folder: Path) -> CutOut:
    """The object of a picture, by `method` as `images.matting.foreground` has it, written into `folder`."""
    from zero123.images import io
    from zero123.images.matting import foreground

    image = io.load(picture)
    rgba, matte = foreground(image, cast(Any, method))
    words = f"Found by {_METHODS.get(matte.method, matte.method)}; {matte.coverage:.0%} of the picture."
    if matte.cropped:
        words += " It touches the picture's edge: what lies beyond will be guessed badly."
    return _cut(models, rgba, image, words, source, folder)


_METHODS = {"alpha": "its transparency", "plain": "its plain background", "rembg": "a matting network"}


def masked(models: Models, report: Report, picture: Path, before: Path, mask: str, source: str, folder: Path) -> CutOut:
    """The object as a mask says that was drawn by hand.

    Args:
        models: gives loaded models.
        report: told how far it is.
        picture: as it was given.
        before: the cut-out so far, whose colours are kept where it was solid.
        mask: data URL of a PNG, white on the object, of any size.
        source: model that reads the elevation.
        folder: to write into.

    Raises:
        PictureError: the mask is no picture, or leaves nothing.
    """
    import torch

    from zero123.images import io

    image, found = io.load(picture), io.load(before)
    alpha = io.resized(_decoded(mask, folder)[:1], image.shape[-2], image.shape[-1])
    if float(alpha.max()) < 0.5:
        raise io.PictureError("the mask leaves nothing of the object: keep some of it")
    rgba = torch.cat((torch.where(found[3:] > 0, found[:3], image[:3]), alpha))
    return _cut(models, rgba, image, f"Masked by hand; {float(alpha.mean()):.0%} of the picture.", source, folder)


def _decoded(url: str, folder: Path) -> Tensor:
    """The picture in a data URL, checked like any other picture, (3|4, H, W)."""
    from zero123.files import atomic_path
    from zero123.images import io

    head, _, body = url.partition(",")
    if head != "data:image/png;base64" or len(body) > _MASK_BYTES:
        raise io.PictureError("the mask is not a small PNG picture")
    try:
        data = base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise io.PictureError("the mask is not a small PNG picture") from error
    with atomic_path(folder / "mask-in.png") as temporary:
        temporary.write_bytes(data)
        return io.load(temporary)


def _cut(models: Models, rgba: Tensor, image: Tensor, words: str, source: str, folder: Path) -> CutOut:
    import torch

    from zero123.images import io
    from zero123.images.alpha import composite

    name = sha256(rgba.numpy().tobytes()).hexdigest()[:16]
    file, editing, mask = (folder / f"{name}{end}" for end in (".png", "-picture.jpg", "-mask.png"))
    io.save(file, rgba)
    shown = composite(image[None], torch.ones(3))[0] if len(image) == 4 else image
    ratio = min(1.0, _EDITING_SIDE / max(shown.shape[1:]))
    small = tuple(max(1, round(side * ratio)) for side in shown.shape[1:])
    io.save(editing, io.resized(shown, *small), quality=88)
    io.save(mask, io.resized(rgba[3:], *small))
    views, elevation = models(source), None
    if views.model.place_reader is not None:
        elevation = float(views.source(_photo(file, views.framing)).elevation[0].rad2deg())
        words += f" Taken from about {elevation:.0f}° above the horizon."
    return CutOut(file, editing, mask, words, elevation)


@lru_cache(maxsize=16)
def _photo(file: Path, framing: Framing) -> Photo:
    """A cut-out as the model knows objects; its file never changes."""
    from zero123.images import io
    from zero123.images.framing import frame
    from zero123.images.matting import Matte
    from zero123.images.photo import Photo

    rgba = io.load(file)
    return Photo(frame(rgba, framing), Matte("alpha", float(rgba[3].mean()), False), rgba[3:])


def prepared(models: Models, request: Request) -> tuple[NovelViews, Photo, SamplingSettings, OrbitPose | None]:
    """The model, the framed object, how to draw, and where the picture was taken from, (1,), if that is known."""
    from zero123.diffusion.sampling import SamplingSettings
    from zero123.reconstruction.from_photo import source_at

    views, wanted = models(request.source), request.view
    sampling = SamplingSettings(steps=wanted.steps, scale=wanted.scale, samples=wanted.samples, seed=wanted.seed)
    if request.front is not None and views.model.draft is not None:
        sampling = replace(sampling, symmetry=request.front)
    known = None if request.photo_elevation is None else source_at(request.photo_elevation)
    return views, _photo(request.file, views.framing), sampling, known


def remark_on(request: Request, views: NovelViews) -> str:
    """What the model has no use for, of what it was told for its views, in words; "" for nothing."""
    idle = request.front is not None and views.model.draft is None
    return f"{views.model.settings.name} has no use for the object's front" if idle else ""


def draw(models: Models, report: Report, request: Request, folder: Path) -> Drawn:
    """One view, its samples, and where they differ."""
    from torch.nn.functional import avg_pool2d

    from zero123.geometry.orbit import relative_moves
    from zero123.images import io
    from zero123.images.spread import laid_over

    start = time.monotonic()
    views, photo, sampling, known = prepared(models, request)
    wanted = request.view
    moves = relative_moves([wanted.azimuth], [wanted.elevation], [wanted.radius])
    samples = views.samples(photo, moves, sampling, known, lambda done, total: report(done / total, "drawing"))
    pictures = samples.pictures[0]
    name = f"view-{sha256(repr(request).encode()).hexdigest()[:16]}"
    files = tuple(folder / f"{name}-{index}.png" for index in range(len(pictures)))
    for file, picture in zip(files, pictures, strict=True):
        io.save(file, picture)
    if wanted.samples < 2:
        return Drawn(files, None, 0.0, time.monotonic() - start, remark_on(request, views))
    guess = folder / f"{name}-guess.png"
    io.save(guess, laid_over(samples.mean, samples.spread)[0])
    patch = max(1, pictures.shape[-1] // 16)
    most = float(avg_pool2d(samples.spread[None], patch).max())
    return Drawn(files, guess, most, time.monotonic() - start, remark_on(request, views))

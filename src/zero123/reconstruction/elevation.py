"""From which height a photo was taken, and how sure that is: read from the photo, or found by views around it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from zero123.diffusion.sampling import SamplingSettings
from zero123.geometry.orbit import RADIUS, OrbitPose
from zero123.images.alpha import composite, premultiply, straighten
from zero123.images.photo import Photo
from zero123.pipeline import NovelViews
from zero123.reconstruction.view_sweep import Sweep, SweepSettings, nearby_moves, seen_again, shrunk, sweep

Way = Literal["auto", "reader", "views"]

Progress = Callable[[int, int], None]

_FRAMINGS = (
    *((scale, 0.0, 0.0) for scale in (1.0, 0.92, 1.08)),
    *((1.0, x, y) for x, y in ((0.04, 0.0), (-0.04, 0.0), (0.0, 0.04), (0.0, -0.04))),
)
"""Scale and shift, shares of the picture's side, of the copies that a reader reads, each also mirrored."""

_USUAL_ERROR = math.radians(11.4)
_PER_SPREAD = 3.1
"""A reader's standard deviation as a function of its spread over copies, see `reader_deviation`."""


@dataclass(frozen=True)
class Elevation:
    """Where a photo was taken from.

    Attributes:
        angle: above the horizon, radians.
        deviation: standard deviation of its error as it is believed to be, radians.
        way: "reader" or "views".
        spread: standard deviation of what a reader says of the copies, radians; nan for views.
        sweep: the candidates that were tried on views; None where none were drawn.
    """

    angle: float
    deviation: float
    way: Literal["reader", "views"]
    spread: float = math.nan
    sweep: Sweep | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """From one standard deviation below to one above, within the poles, radians."""
        low, high = self.angle - self.deviation, self.angle + self.deviation
        return max(low, -math.pi / 2), min(high, math.pi / 2)


def chosen_way(views: NovelViews, way: str) -> Literal["reader", "views"]:
    """How the elevation is found; "auto" reads it where the model can.

    Raises:
        ValueError: no such way, or a reader is asked for that the model does not have.
    """
    if way not in get_args(Way):
        raise ValueError(f"method must be one of {', '.join(get_args(Way))}, got {way!r}")
    has = views.model.place_reader is not None
    if way == "reader" and not has:
        raise ValueError(f"{views.model.settings.name} has no reader of places: choose --method views")
    return "reader" if has and way != "views" else "views"


def read(views: NovelViews, photo: Photo) -> Elevation:
    """The elevation as the model's reader says, and how far it says the same of copies of the photo.

    The angle is the mean over the copies: the photo, a little larger and smaller and moved, and all that mirrored.
    None of this changes the elevation (moves do by less than two degrees), so that the spread is error. It is not all
    of the error, which is why the deviation is more than the spread: see `reader_deviation`.

    Raises:
        ValueError: the model has no reader.
    """
    if views.model.place_reader is None:
        raise ValueError(f"{views.model.settings.name} has no reader of places")
    found = views.places(copies(photo.rgba)).elevation.double().cpu()
    spread = float(found.std())
    return Elevation(float(found.mean()), reader_deviation(spread), "reader", spread)


def reader_deviation(spread: float) -> float:
    """Standard deviation of the error of a reader whose answers differ that much between copies, radians.

    The root of the sum of two squares: an error that all copies share, and a multiple of their spread. Both were fitted
    to `mini`'s errors on its validation objects (`docs/experiments-3d.md`) and are not those of another reader.
    """
    return math.hypot(_USUAL_ERROR, _PER_SPREAD * spread)


def copies(rgba: Tensor) -> Tensor:
    """The object (4, S, S), straight alpha, on white a little larger, smaller and moved, and mirrored, (14, 3, S, S).

    The first is the picture itself.
    """
    both = torch.stack((rgba, rgba.flip(-1))).repeat_interleave(len(_FRAMINGS), 0)
    matrix = torch.tensor([[[1 / s, 0.0, 2 * x], [0.0, 1 / s, 2 * y]] for s, x, y in _FRAMINGS] * 2)
    grid = functional.affine_grid(matrix, list(both.shape), align_corners=False).to(both)
    moved = functional.grid_sample(premultiply(both), grid, align_corners=False)
    return composite(straighten(moved), torch.ones(3))


def by_views(
    views: NovelViews,
    photo: Photo,
    sampling: SamplingSettings | None = None,
    progress: Progress | None = None,
    settings: SweepSettings | None = None,
) -> tuple[Elevation, Tensor]:
    """The elevation under which views that the model draws around the photo agree with it, see `view_sweep`.

    Args:
        views: the model, with a reader or without.
        photo: from `views.prepare`.
        sampling: how the four views are drawn; one sample of each.
        progress: told steps of drawing done, and in all.
        settings: how candidates are tried.

    Returns:
        The elevation, and the photo and views it was found by, (5, 3, S, S).

    Raises:
        ValueError: nothing is seen in a view.
    """
    moves = nearby_moves()
    drawn = views(photo, moves, replace(sampling or SamplingSettings(), samples=1), None, progress)
    images = torch.cat((photo.on_white[None], drawn))
    tried = sweep(images, moves, settings)
    return Elevation(tried.mean, tried.deviation, "views", sweep=tried), images


def found_source(
    views: NovelViews, photo: Photo, sampling: SamplingSettings | None = None, progress: Progress | None = None
) -> OrbitPose:
    """Pose of a photo's camera that nobody told, (1,), float32, on the CPU: by `read` if possible, else `by_views`."""
    has = views.model.place_reader is not None
    found = read(views, photo) if has else by_views(views, photo, sampling, progress)[0]
    angle = torch.tensor([found.angle], dtype=torch.float32)
    return OrbitPose(torch.zeros(1), angle, read_distance(views, photo))


def read_distance(views: NovelViews, photo: Photo) -> Tensor:
    """Distance of a photo's camera as the model's reader says, (1,), world units, on the CPU.

    The usual one where the model has none: pictures are framed alike, whatever it was.
    """
    if views.model.place_reader is None:
        return torch.tensor([RADIUS])
    return views.places(photo.on_white[None]).radius.to("cpu", torch.float32)


def sweep_pictures(images: Tensor, tried: Sweep, settings: SweepSettings | None = None) -> tuple[Tensor, list[str]]:
    """What each candidate implies: the photo seen again in the views, and a label with its angle and its cost.

    Args:
        images: from `by_views`.
        tried: the sweep of them.
        settings: the sweep's.

    Returns:
        The photo first, then every candidate in rising order, (1 + C, 3, s, s) in [0, 1], and as many labels; the
        candidate of the least cost is marked by an asterisk.
    """
    settings = settings or SweepSettings()
    small, moves = shrunk(images, settings.size), nearby_moves()
    shown = [1 - small[0]] + [seen_again(small, moves, float(e), settings.depths) for e in tried.elevation]
    best, labels = int(tried.cost.argmin()), ["picture"]
    for index, (angle, cost) in enumerate(zip(tried.elevation.rad2deg(), tried.cost, strict=True)):
        labels.append(f"{float(angle):g}° {float(cost):.4f}" + ("*" if index == best else ""))
    return torch.stack(shown), labels

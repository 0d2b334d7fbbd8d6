"""A contact sheet of objects and their views, to look at before a long training."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from zero123.data.broken import BrokenItems
from zero123.data.pictures import Edges, training_pictures
from zero123.data.sources import ObjectSource
from zero123.data.view_files import ViewLevels
from zero123.data.view_set import ViewSetError
from zero123.images.sheets import contact_sheet


@dataclass(frozen=True)
class PreviewSettings:
    """What is shown.

    Attributes:
        objects: rows; spread evenly over the source.
        views: columns; spread evenly over the object's.
        size: side of each picture, pixels.
        edges: of objects on white.
    """

    objects: int = 8
    views: int = 6
    size: int = 128
    edges: Edges = "blended"

    def __post_init__(self) -> None:
        for name in ("objects", "views", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def preview(source: ObjectSource, settings: PreviewSettings | None = None) -> tuple[Tensor, BrokenItems]:
    """A row per object, labelled with its name and the azimuth and elevation of each view, degrees.

    Returns:
        The sheet, (3, H, W), in [0, 1], and the objects that could not be shown; the next ones are in their places.

    Raises:
        ViewSetError: no object can be shown.
    """
    settings = settings or PreviewSettings()
    broken = BrokenItems(len(source.names), 1.0)
    rows = min(settings.objects, len(source.names))
    starts = [row * len(source.names) // rows for row in range(rows + 1)]
    shown = []
    for start, end in pairwise(starts):
        tried = (_shown(source, index, settings, broken) for index in range(start, end))
        shown += [one for one in [next(filter(None, tried), None)] if one is not None]
    if not shown:
        raise ViewSetError(f"{source.root}: nothing to show, {broken.line()}")
    columns = max(len(views) for views, _ in shown)
    pictures = [_padded(training_pictures(views, settings.size, settings.edges), columns) for views, _ in shown]
    labels = [label for views, name in shown for label in _labels(views, name, columns)]
    return contact_sheet(torch.cat(pictures), columns, labels), broken


def _shown(
    source: ObjectSource, index: int, settings: PreviewSettings, broken: BrokenItems
) -> tuple[ViewLevels, str] | None:
    try:
        count = source.views(index)
        columns = min(settings.views, count)
        return source.load(index, [column * count // columns for column in range(columns)]), source.names[index]
    except ViewSetError as error:
        broken.add(source.names[index], str(error))
        return None


def _labels(views: ViewLevels, name: str, columns: int) -> list[str]:
    pose = views.camera.orbit()
    turns = [
        f"{azimuth:.0f}, {elevation:.0f}"
        for azimuth, elevation in zip(pose.azimuth.rad2deg().tolist(), pose.elevation.rad2deg().tolist(), strict=True)
    ]
    return [name, *turns[1:], *[""] * (columns - len(turns))]


def _padded(pictures: Tensor, columns: int) -> Tensor:
    return torch.cat((pictures, pictures.new_ones(columns - len(pictures), *pictures.shape[1:])))

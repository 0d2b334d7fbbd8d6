"""Views of protocols whose objects this package makes itself: rendered where a folder lacks them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zero123.data.render.batch import CameraSettings, RenderSettings, Source, Workers, render_all
from zero123.evaluation.protocols import Protocol


def lacking(folder: Path, protocol: Protocol) -> list[Source]:
    """The objects that can be made and have no views in the folder; none of a protocol with others' objects."""
    made = [one for one in protocol.objects or () if one.seed is not None]
    return [Source(one.name, None, one.seed or 0) for one in made if not (folder / one.name).is_dir()]


def settings_of(protocol: Protocol) -> RenderSettings:
    """How the protocol's views are rendered.

    Raises:
        ValueError: it does not say.
    """
    if protocol.render is None:
        raise ValueError(f"{protocol.name} does not say how its views are rendered")
    told = dict(protocol.render)
    cameras = CameraSettings(
        sampler=told.pop("sampler"),
        views=told.pop("views"),
        elevation_deg=tuple(told.pop("elevation_deg")),
        radius=tuple(told.pop("radius")),
        field_of_view=protocol.field_of_view,
    )
    return RenderSettings(cameras=cameras, **told)


def render(folder: Path, protocol: Protocol, sources: list[Source], processes: int | None = None) -> Iterator[None]:
    """Render objects into the folder, one a step.

    Raises:
        ValueError: one of them failed, or the folder holds views of other settings.
        ImportError: the renderer is not installed; says how to install it.
    """
    for _, failure in render_all(sources, folder, settings_of(protocol), Workers(processes)):
        if failure is not None:
            raise ValueError(failure)
        yield

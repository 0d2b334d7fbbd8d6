"""How objects are photographed: cameras, size, light, renderer."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from zero123.geometry.camera import FIELD_OF_VIEW

SamplerName = Literal["band", "sphere", "original", "rings", "list"]
RendererName = Literal["embree", "blender"]
LightName = Literal["studio", "original"]
Device = Literal["cpu", "cuda", "optix"]

_LARGEST = 8192
_MOST_DEFORMED = 4.0
_SHAPE = ("stretch", "swell")


@dataclass(frozen=True)
class GivenCamera:
    """A camera of the person's own list.

    Attributes:
        world_from_camera: 4x4 by rows, OpenCV axes (x right, y down, z forward), world units.
        field_of_view: horizontal, radians.
    """

    world_from_camera: tuple[float, ...]
    field_of_view: float = FIELD_OF_VIEW


@dataclass(frozen=True)
class CameraSettings:
    """Where the cameras stand.

    Attributes:
        sampler: `band`, uniform in area between two elevations; `sphere`, uniform in area; `original`, as
            Zero-1-to-3 drew them: uniform in a cube, then normalised; `rings`; `list`, the cameras given.
        views: of each object; `rings` and `list` say it themselves.
        elevation_deg: lowest and highest camera of `band`.
        radius: nearest and farthest camera, world units; `rings` stand in the middle.
        rings_deg: elevations of the rings.
        azimuths: cameras on each ring.
        given: the cameras of `list`.
        field_of_view: horizontal, radians; of all but the given cameras.
    """

    sampler: SamplerName = "band"
    views: int = 12
    elevation_deg: tuple[float, float] = (-17.0, 72.0)
    radius: tuple[float, float] = (1.5, 2.2)
    rings_deg: tuple[float, ...] = (-10.0, 20.0, 50.0)
    azimuths: int = 12
    given: tuple[GivenCamera, ...] = ()
    field_of_view: float = FIELD_OF_VIEW

    def __post_init__(self) -> None:
        _one_of("sampler", self.sampler, SamplerName)
        if self.views < 1 or self.azimuths < 1:
            raise ValueError(f"views and azimuths must be at least 1, got {self.views} and {self.azimuths}")
        if not -90 <= self.elevation_deg[0] <= self.elevation_deg[1] <= 90:
            raise ValueError(f"elevations must rise within -90 to 90 degrees, got {self.elevation_deg}")
        if not 0 < self.radius[0] <= self.radius[1]:
            raise ValueError(f"radii must be positive and rise, got {self.radius}")
        if self.sampler == "rings" and (not self.rings_deg or max(map(abs, self.rings_deg)) > 90):
            raise ValueError(f"rings need elevations within -90 to 90 degrees, got {self.rings_deg}")
        if (self.sampler == "list") != bool(self.given):
            raise ValueError("the cameras of a list go with the sampler 'list', and it needs at least one")
        if len({camera.field_of_view for camera in self.given}) > 1:
            raise ValueError("all cameras of a list must have one field of view; render the others to another folder")
        if not 0 < self.field_of_view < math.pi:
            raise ValueError(f"the field of view must be between 0 and 180 degrees, got {self.field_of_view} radians")


@dataclass(frozen=True)
class CyclesSettings:
    """Blender's path tracer, with the values of Zero-1-to-3's renders.

    Attributes:
        samples: paths per pixel.
        diffuse_bounces, glossy_bounces, transmission_bounces, transparent_bounces: limits of a path.
        filter_width: of the pixel filter, pixels; 0.01 leaves edges hard, 1.5 is Blender's own, smooth.
        denoise: clean the picture of noise.
        transparent: the background is transparent; otherwise the world is seen.
        merge_vertices: join vertices of glTF files that lie at one place.
        view_transform: `Standard` shows base colours as they are; `Filmic` is what Blender 3.2 rendered Objaverse with,
            `AgX` what Blender 4 has.
    """

    samples: int = 128
    diffuse_bounces: int = 1
    glossy_bounces: int = 1
    transmission_bounces: int = 3
    transparent_bounces: int = 3
    filter_width: float = 0.01
    denoise: bool = True
    transparent: bool = True
    merge_vertices: bool = True
    view_transform: Literal["Standard", "Filmic", "AgX"] = "Standard"

    def __post_init__(self) -> None:
        bounces = (self.diffuse_bounces, self.glossy_bounces, self.transmission_bounces, self.transparent_bounces)
        if self.samples < 1 or min(bounces) < 0 or not 0.01 <= self.filter_width <= 10:
            raise ValueError(
                "Cycles needs at least 1 sample, bounces of at least 0 and a filter width of 0.01 to 10 pixels, "
                f"got {self.samples}, {bounces} and {self.filter_width}"
            )


@dataclass(frozen=True)
class RenderSettings:
    """What decides the pictures of an object, together with the object and its name.

    Attributes:
        cameras: where they stand.
        size: side of the square pictures, pixels.
        samples: rays per pixel of embree, 1 or 4.
        renderer: `embree` or `blender`.
        light: `studio`, soft with two far lamps; `original`, a wide area light of random power and place and a bulb,
            by Blender only.
        cycles: Blender's settings.
        need_textures: an object whose textures are missing fails; otherwise it is rendered grey.
        stretch: objects are stretched along each axis by factors drawn from 1 / stretch to stretch, evenly in their
            logarithm: more shapes to learn from, by embree.
        swell: then they become thicker here and thinner there along each axis, by factors of up to this, by embree.
        seed: with the object's name it decides cameras, light and shape.
    """

    cameras: CameraSettings = field(default_factory=CameraSettings)
    size: int = 128
    samples: int = 4
    renderer: RendererName = "embree"
    light: LightName = "studio"
    cycles: CyclesSettings = field(default_factory=CyclesSettings)
    need_textures: bool = True
    stretch: float = 1.0
    swell: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of("renderer", self.renderer, RendererName)
        _one_of("light", self.light, LightName)
        if not 8 <= self.size <= _LARGEST:
            raise ValueError(f"the size must be 8 to {_LARGEST} pixels, got {self.size}")
        if self.samples not in (1, 4):
            raise ValueError(f"samples must be 1 or 4, got {self.samples}")
        for name in _SHAPE:
            value = getattr(self, name)
            if not 1 <= value <= _MOST_DEFORMED:
                raise ValueError(f"{name} must be 1 to {_MOST_DEFORMED:g}, got {value:g}")
            if self.renderer == "blender" and value > 1:
                raise ValueError(f"{name} is for the embree renderer: --renderer embree, or --{name} 1")
        if self.renderer == "embree" and self.light == "original":
            raise ValueError(
                "the original's area light is rendered by Blender only: --renderer blender, or --light studio"
            )

    def as_json(self) -> dict[str, Any]:
        """What two runs into one folder must agree on; settings of the other renderer are left out."""
        values = asdict(self)
        values.pop("samples" if self.renderer == "blender" else "cycles")
        for name in _SHAPE:
            if values[name] == 1:  # as it was before there was one, so that such folders go on
                values.pop(name)
        return values


@dataclass(frozen=True)
class Machine:
    """Where Blender is and what it computes with; decides how fast pictures come, not what is on them.

    Attributes:
        blender: a Python with `bpy`, or a Blender; None for what ZERO123_BLENDER names, or this Python.
        device: `cpu`, `cuda` or `optix`, of Blender.
        threads: of Blender on the CPU.
    """

    blender: str | None = None
    device: Device = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        _one_of("device", self.device, Device)
        if self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")


def _one_of(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {value!r}")

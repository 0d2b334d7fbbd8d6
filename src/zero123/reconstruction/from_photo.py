"""Views first: from one photo, the views a model makes of it all around, then the reconstruction from them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from zero123.diffusion.sampling import Begin, SamplingSettings
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import RADIUS, OrbitPose
from zero123.geometry.paths import turntable
from zero123.images.alpha import composite
from zero123.images.photo import Photo
from zero123.machine import out_of_memory
from zero123.pipeline import NovelViews
from zero123.reconstruction.budget import coarser, within
from zero123.reconstruction.elevation import found_source, read_distance
from zero123.reconstruction.fit import FitSettings, Show
from zero123.reconstruction.from_views import Reconstruction, ReconstructionSettings, from_views, mesh_of
from zero123.reconstruction.hull import HullSettings
from zero123.reconstruction.preview import renders
from zero123.reconstruction.score_gradient import sds_weight
from zero123.reconstruction.teacher import Teacher
from zero123.reconstruction.unseen import UnseenSettings, refined

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Watch:
    """Who wants to see what there is so far, so that nothing is lost with a run that is stopped.

    Attributes:
        views: called with the photos and the views, (P + V, 3, S, S), once they are drawn.
        field: called with the field now and then while it is fitted.
        smaller: called with the settings tried next where memory was short.
    """

    views: Callable[[Tensor], None] = lambda images: None
    field: Show = lambda field: None
    smaller: Callable[[ReconstructionSettings], None] = lambda settings: None


# Made views are softer than photographs: their outlines fade to white, what is fog in them is no shape to keep, where
# their colours differ a field would dig the dark ones into the surface, and the colours of sides that the photo does
# not show are paler than they should be.
_SOFT_VIEWS = ReconstructionSettings(
    hull=HullSettings(halo=0.25, agreement=0.8, first_whole=True),
    fit=FitSettings(density_smoothness=0.6, colours_shape=0.0),
    rim=3,
    input_outline=True,
    photo_tint=0.5,
)


@dataclass(frozen=True)
class PhotoSettings:
    """Which views are made, and what becomes of them.

    Attributes:
        ring: views all around at `ring_elevation_deg`.
        crown: views all around at `crown_elevation_deg`.
        low: views all around at `low_elevation_deg`, from below: without them a flat base grows a cone.
        near: views around the photo itself, `near_deg` from it, where a model is at its best.
        near_deg: their angle to the photo, degrees.
        ring_elevation_deg, crown_elevation_deg, low_elevation_deg: heights of the cameras above the horizon.
        elevation_deg: height from which the photo was taken; None lets the model estimate it, by its reader or, where
            it has none, by four more views, see `reconstruction.elevation`.
        radius: distance from which it was taken, world units, for a photo that keeps the place and size of its object
            (`scene.prepare_whole`); None for what the model's reader says, or the usual one where it has none.
        seconds: all of it may take, roughly; None for as long as it needs.
        rounds: how often views are drawn; from the second time on they begin from renders of what the last ones gave,
            so that they agree with each other.
        strength: how far up the noise levels they then begin, in (0, 1].
        unseen: how what no view saw is refined by the model's score once the views are explained; not at all without
            steps.
        sampling: how views are drawn.
        reconstruction: how they become a mesh.
    """

    ring: int = 8
    crown: int = 8
    low: int = 8
    near: int = 0
    near_deg: float = 25.0
    ring_elevation_deg: float = 10.0
    crown_elevation_deg: float = 45.0
    low_elevation_deg: float = -15.0
    elevation_deg: float | None = None
    radius: float | None = None
    seconds: float | None = None
    rounds: int = 1
    strength: float = 0.25
    unseen: UnseenSettings = field(default_factory=UnseenSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    reconstruction: ReconstructionSettings = _SOFT_VIEWS

    def __post_init__(self) -> None:
        if self.ring < 3 or min(self.crown, self.low) < 0:
            raise ValueError(
                f"ring must be at least 3, crown and low at least 0, got {self.ring}, {self.crown} and {self.low}"
            )
        if self.near < 0 or not 0 < self.near_deg <= 90:
            raise ValueError(f"near must be at least 0, at 0 to 90 degrees, got {self.near} at {self.near_deg}")
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {self.rounds}")
        if self.elevation_deg is not None:
            source_at(self.elevation_deg)
        if self.radius is not None:
            source_at(0.0, self.radius)


def source_at(elevation_deg: float, radius: float = RADIUS) -> OrbitPose:
    """The pose of a photo taken from that height and distance (world units), (1,): azimuth 0.

    Raises:
        ValueError: not a number between -90 and 90, or a camera within the object or out of sight of it.
    """
    if not 1 <= radius <= 10:
        raise ValueError(f"the photo's distance must be from 1 to 10 of the object's longest side, got {radius}")
    if not abs(elevation_deg) <= 90:
        raise ValueError(f"the photo's elevation must be a number from -90 to 90 degrees, got {elevation_deg}")
    return OrbitPose.from_degrees(torch.zeros(1), torch.tensor([float(elevation_deg)]), torch.tensor([float(radius)]))


def all_around(settings: PhotoSettings) -> OrbitPose:
    """The cameras of the views to be made, (ring + crown + low,); those above and below stand between the ring's."""
    circles = [turntable(settings.ring, math.radians(settings.ring_elevation_deg), RADIUS)]
    for count, degrees in ((settings.crown, settings.crown_elevation_deg), (settings.low, settings.low_elevation_deg)):
        if count:
            circles.append(turntable(count, math.radians(degrees), RADIUS, start=math.pi / count))
    return OrbitPose.cat(circles)


def near_photo(source: OrbitPose, settings: PhotoSettings) -> OrbitPose:
    """The cameras around a photo's own pose, (1,), on a circle about it: (near,); none over a pole."""
    turn = 2 * math.pi * torch.arange(settings.near) / max(settings.near, 1)
    away, steep = math.radians(settings.near_deg), math.radians(80)
    elevation = (source.elevation + away * torch.sin(turn)).clamp(-steep, steep)
    return OrbitPose(source.azimuth + away * torch.cos(turn) / torch.cos(elevation), elevation, torch.tensor(RADIUS))


def from_photo(
    views: NovelViews,
    photo: Photo,
    settings: PhotoSettings | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> tuple[Reconstruction, Tensor, OrbitPose]:
    """Reconstruct the object of one photo.

    Args:
        views: the model.
        photo: from `views.prepare`.
        settings: None for the defaults.
        progress: told what is being done ("elevation" where views are drawn for it, "views", "fit", "unseen"), steps
            done, and steps in all.
        watch: shown what there is so far.

    Returns:
        The reconstruction; the pictures it was made from, (P + V, 3, S, S), the photo first, then its mirror image if
        there is one, see `with_mirror_image`; and their poses, (P + V,).

    Raises:
        ValueError: the views show no object.
        MemoryError, torch.OutOfMemoryError: there is not enough even for a coarse one.
    """
    settings, start, watch = settings or PhotoSettings(), time.monotonic(), watch or Watch()
    own = _of_use(settings.sampling, views)
    source = _source(views, photo, replace(settings, sampling=own), progress)
    poses = OrbitPose.cat([all_around(settings), near_photo(source, settings)])
    shown, taken = with_mirror_image(photo, source, settings.sampling)
    count, everything, begin = len(shown), OrbitPose.cat([taken, poses]), None
    sampling = replace(own, tilted_looks=False, photo_detail=False)
    believed = views.belief(photo, poses.relative_to(source), source, sampling)
    outlines = shown[:, 3] if believed is None else torch.cat((shown[:, 3], believed.opacity))
    for left in reversed(range(settings.rounds)):
        asked = (photo, poses.relative_to(source), sampling, source, _named(progress, "views"))
        drawn = views(*asked) if begin is None else views(*asked, begin)
        images = torch.cat((composite(shown, torch.ones(3)), drawn))
        watch.views(images)
        camera = Camera.from_orbit(everything, hw=(images.shape[-2], images.shape[-1]))
        if left:
            draft = from_views(images, camera, _quick(settings.reconstruction), None, outlines, watch.field, count)
            begin = Begin(renders(draft.field, camera)[count:], settings.strength)
    how = settings.reconstruction
    if settings.seconds is not None:
        how = within(how, settings.seconds - (time.monotonic() - start))
    told = _named(progress, "fit")

    def make(fitting: ReconstructionSettings) -> Reconstruction:
        found = from_views(images, camera, fitting, told, outlines, watch.field, count)
        if not settings.unseen.steps:
            return found
        teacher = Teacher(views.model, photo.on_white[None], source, settings.unseen.scale, sds_weight)
        with_these = replace(settings, reconstruction=fitting)
        return _with_unseen(found, teacher, camera, with_these, _named(progress, "unseen"))

    return _as_memory_allows(make, how, watch), images, everything


_APART = math.radians(20)
"""Angle between a photo's camera and its mirror image's, as seen from the object, below which they see the same."""

_LOOKS = 64
"""Side of the pictures by which it is found what the views saw, pixels."""


def _with_unseen(
    found: Reconstruction,
    teacher: Teacher,
    camera: Camera,
    settings: PhotoSettings,
    progress: Callable[[int, int], None] | None,
) -> Reconstruction:
    """The same with what no view saw refined; as it was where the views saw everything."""
    changed = refined(found.field, teacher, camera.resized((_LOOKS, _LOOKS)), settings.unseen, progress)
    if not bool(changed.any()):
        return found
    return replace(found, mesh=mesh_of(found.field, found.hull, found.photos, camera, settings.reconstruction))


def _quick(settings: ReconstructionSettings) -> ReconstructionSettings:
    """The first stage alone, without a mesh to keep."""
    fit = replace(settings.fit, grids=settings.fit.grids[:1], steps=settings.fit.steps[:1])
    return replace(settings, fit=fit, faces=1000, smoothing=0, texture=0)


def _as_memory_allows(
    make: Callable[[ReconstructionSettings], Reconstruction], settings: ReconstructionSettings, watch: Watch
) -> Reconstruction:
    """What comes of the settings, or of coarser ones where these need more memory than there is."""
    while True:
        try:
            return make(settings)
        except (MemoryError, RuntimeError) as error:
            smaller = coarser(settings) if out_of_memory(error) else None
            if smaller is None:
                raise
        settings = smaller  # what failed is freed only once its error is gone
        watch.smaller(settings)


def with_mirror_image(photo: Photo, source: OrbitPose, sampling: SamplingSettings) -> tuple[Tensor, OrbitPose]:
    """A photo, and its mirror image as it would have been taken of an object whose plane of symmetry was told.

    The mirror image of a photo of the front is of the front: it shows nothing new, and would be at odds with whatever
    is not quite symmetric.

    Returns:
        Straight alpha, (P, 4, S, S), and poses of their cameras, (P,): P is 2 where a plane was told that puts the
        second camera well away from the first, else 1.
    """
    if isinstance(sampling.symmetry, str):
        return photo.rgba[None], source
    twin = replace(source, azimuth=source.azimuth + 2 * math.radians(sampling.symmetry))
    if functional.cosine_similarity(source.point(), twin.point()).item() > math.cos(_APART):
        return photo.rgba[None], source
    return torch.stack((photo.rgba, photo.rgba.flip(-1))), OrbitPose.cat([source, twin])


def _of_use(sampling: SamplingSettings, views: NovelViews) -> SamplingSettings:
    """How a model draws: one that makes no drafts has no use for a plane, whose photo in a mirror is for the mesh."""
    told = not isinstance(sampling.symmetry, str)
    return replace(sampling, symmetry="none") if told and views.model.draft is None else sampling


def _source(views: NovelViews, photo: Photo, settings: PhotoSettings, progress: Progress | None) -> OrbitPose:
    """Where the photo was taken from, (1,): what was told, and the model's word for the rest."""
    if settings.elevation_deg is not None:
        return source_at(settings.elevation_deg, settings.radius or float(read_distance(views, photo)))
    found = found_source(views, photo, settings.sampling, _named(progress, "elevation"))
    return found if settings.radius is None else replace(found, radius=torch.tensor([settings.radius]))


def _named(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(name, done, total)

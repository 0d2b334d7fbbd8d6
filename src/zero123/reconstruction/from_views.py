"""Views of an object and their cameras in, a radiance field and a coloured mesh out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from zero123.fields.surface_colours import field_colours
from zero123.fields.voxels import VoxelField
from zero123.geometry.camera import Camera
from zero123.images.framing import shifted
from zero123.meshes.bake import Photo, bake
from zero123.meshes.finishing import clean
from zero123.meshes.mesh import Mesh
from zero123.meshes.surface import extract_surface
from zero123.reconstruction.fit import FitSettings, Progress, Show, Told, fit, gather_rays
from zero123.reconstruction.hull import Hull, HullSettings, beside_outlines, silhouettes, voted_hull
from zero123.reconstruction.outlines import hardened
from zero123.reconstruction.photo_colours import tinted
from zero123.reconstruction.photo_outline import kept_to

_SOMETHING = 0.2
"""Raw density by which the densest place must differ from the emptiest for there to be an object."""

_RIM = 0.1
"""Belief in the colours beside the outline of a soft view."""


@dataclass(frozen=True)
class ReconstructionSettings:
    """From views to mesh.

    Attributes:
        hull: how outlines are put together.
        fit: how the field is fitted.
        picture_size: views are brought to this height for the fit, pixels; the input keeps its sharpness for the
            colours.
        rim: width of the band inside the outlines of generated views whose colours are hardly believed, pixels at
            `picture_size`: soft views fade to white there.
        level: raw density at the surface, in (-1, 1); one voxel of 0.35 blocks half of a ray, and blurring costs a
            little.
        blur: of the density before the surface is taken, voxels (standard deviation); closes pinholes.
        faces: triangles of the mesh, at most about this many.
        smallest_part: parts below this share of the largest part's volume are dropped.
        smoothing: rounds of smoothing of the surface, which keeps edges.
        input_outline: the mesh has the input picture's own outline, see `photo_outline.kept_to`.
        photo_tint: share of the blurred input picture in the colours of what it does not show, see
            `photo_colours.tinted`, in [0, 1].
        input_colours: weight of the input picture's own colours where it saw the surface squarely, in [0, 1].
        even_light: share of the light in the colours that is taken out of them, in [0, 1]; see `meshes.light`.
        texture: side of the texture, texels; None for one in which the input picture keeps its sharpness, 0 for
            colours at the vertices only.
    """

    hull: HullSettings = field(default_factory=HullSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    picture_size: int = 128
    rim: int = 0
    level: float = 0.25
    blur: float = 1.0
    faces: int = 30000
    smallest_part: float = 0.02
    smoothing: int = 20
    input_outline: bool = False
    photo_tint: float = 0.0
    input_colours: float = 1.0
    even_light: float = 0.0
    texture: int | None = None


@dataclass(frozen=True)
class Reconstruction:
    """What came of the views.

    Attributes:
        field: density and colour.
        mesh: closed surface with vertex colours and, unless it was not wanted, a texture.
        hull: what the outlines said.
        weights: trust in each view after the fit, (V,), in [0, 1]; low ones disagree with the rest.
        photos: straight alpha, (P, 4, H, W), moved to their places.
        view_height: height of the views in which `hull.shifts` are measured, pixels.
    """

    field: VoxelField
    mesh: Mesh
    hull: Hull
    weights: Tensor
    photos: Tensor
    view_height: int


def from_views(
    images: Tensor,
    camera: Camera,
    settings: ReconstructionSettings | None = None,
    progress: Progress | None = None,
    outlines: Tensor | None = None,
    show: Show | None = None,
    photos: int = 1,
) -> Reconstruction:
    """Reconstruct an object from views that agree roughly.

    Args:
        images: (V, 3, H, W) on white, or (V, 4, H, W) with straight alpha, in [0, 1]; photos first, then drawn views.
        camera: V cameras, `world_from_camera` (V, 4, 4); `hw` that of the images.
        settings: None for the defaults.
        progress: called with (steps done, steps in all) of the fit.
        outlines: what is known of silhouettes besides the pictures, since white on white tells nothing: of the photos
            alone, (P, H, W), their own alpha; or of all views, (V, H, W), in [0, 1], the others as far as who drew them
            believes in the object there.
        show: called with the field now and then while it is fitted.
        photos: how many of the images are photos, P, at least 1: believed more than views that were drawn.

    Raises:
        ValueError: shapes do not fit, values are not finite, or the outlines share no volume.
    """
    settings = settings or ReconstructionSettings()
    _check(images, camera)
    images, views = images.float(), Camera(camera.world_from_camera.float(), camera.field_of_view, camera.hw)
    small, cameras = _shrunk(images, views, settings.picture_size)
    alpha, confidence = silhouettes(small, settings.hull.halo)
    emphasis = torch.where(torch.arange(len(images), device=images.device) < photos, settings.fit.input_weight, 1.0)
    told = Told(_on_white(small), alpha, confidence, _painted(alpha, settings.rim, photos), emphasis)
    if outlines is not None:
        told = _outlined(told, outlines.to(images), settings.rim, photos)
    hull = voted_hull(told.alpha, cameras, settings.hull)
    occupied = _widened(hull.votes > settings.hull.doubt)
    rays = gather_rays(told, cameras, hull, occupied)
    found, weights = fit(rays, hull, occupied, settings.hull.agreement, settings.fit, progress, show)
    known: Sequence[Tensor | None] = [None] * photos if outlines is None else list(outlines[:photos])
    pictures = [_with_alpha(image, outline) for image, outline in zip(images[:photos], known, strict=True)]
    out = -hull.shifts[:photos] * (images.shape[-2] / cameras.hw[0])
    placed = torch.stack([shifted(picture, by) for picture, by in zip(pictures, out.round(), strict=True)])
    mesh = mesh_of(found, hull, placed, views, settings)
    return Reconstruction(found, mesh, hull, weights, placed, cameras.hw[0])


def _outlined(told: Told, outlines: Tensor, rim: int, photos: int) -> Told:
    """What pictures say, (V), where the silhouettes of the photos or of all of them are known better."""
    known = functional.interpolate(outlines[:, None], told.alpha.shape[1:], mode="area")[:, 0]
    count = len(known)
    # Where the model is sure its pictures are sharper than its belief; the belief adds what is faint or white in them.
    known = torch.cat((known[:photos], torch.maximum(hardened(known[photos:]), told.alpha[photos:count])))
    alpha, confidence = torch.cat((known, told.alpha[count:])), told.confidence.clone()
    confidence[:count] = 1
    colour, painted = told.colour.clone(), told.painted.clone()
    # Beyond its outline a picture shows nothing, and where it is white within, it may have been cut off or be white.
    drawn = slice(photos, count)
    colour[drawn] = 1 - (1 - colour[drawn]) * known[drawn, None]
    painted[drawn] = _painted(known, rim, photos)[drawn]
    painted[drawn][told.alpha[drawn] < 0.5] = _RIM
    return Told(colour, alpha, confidence, painted, told.emphasis)


def mesh_of(found: VoxelField, hull: Hull, photos: Tensor, views: Camera, settings: ReconstructionSettings) -> Mesh:
    """The clean, coloured surface of a field.

    Args:
        found: the field.
        hull: where the object may be.
        photos: straight alpha, (P, 4, H, W).
        views: all cameras, the photos' first; `hw` the photos'.
        settings: of surface and colours.

    Raises:
        ValueError: there is nothing.
    """
    occupied = _widened(hull.votes > settings.hull.doubt)
    density = surface_density(found, occupied, settings.blur)
    if settings.input_outline:
        density, found = kept_to(density, found, photos, views, settings.level, settings.picture_size)
    return painted(surface_of(density, found, settings), found, photos, views, settings)


@torch.no_grad()
def surface_density(found: VoxelField, occupied: Tensor, blur: float) -> Tensor:
    """The raw density that the surface is taken from, in [-1, 1], (Z, Y, X) over the field's box.

    Args:
        found: the field.
        occupied: cells where the object may be, bool (Z, Y, X) over the same box; elsewhere is outside.
        blur: standard deviation, voxels.
    """
    from scipy.ndimage import gaussian_filter

    # Beyond one unit raw density says nothing more about where the surface is, but would pull it.
    density = found.density[0].clamp(-1, 1)
    allowed = functional.interpolate(occupied[None, None].float(), density.shape[1:], mode="nearest")[0]
    density = torch.where(allowed > 0.5, density, -1.0)[0]
    return torch.from_numpy(gaussian_filter(density.cpu().numpy(), blur, mode="nearest"))


def surface_of(density: Tensor, found: VoxelField, settings: ReconstructionSettings) -> Mesh:
    """The clean surface of a field, without colours.

    Args:
        density: from `surface_density`.
        found: the field.
        settings: level, faces, smoothing; where nothing is as dense as the level, the densest there is is taken.

    Raises:
        ValueError: there is nothing.
    """
    low, high = found.low.cpu().numpy(), found.high.cpu().numpy()
    most, least = float(density.max()), float(density.min())
    if most - least < _SOMETHING:
        raise ValueError("the views agree on no solid object: try another --seed, or the picture's true elevation")
    mesh = extract_surface(density.cpu().numpy(), min(settings.level, most - (most - least) / 4), low, high)
    return clean(mesh, settings.faces, settings.smallest_part, settings.smoothing)


def painted(mesh: Mesh, found: VoxelField, photos: Tensor, views: Camera, settings: ReconstructionSettings) -> Mesh:
    """The mesh with vertex colours and a texture from the field and from the photos.

    Args:
        mesh: the field's surface.
        found: the field.
        photos: straight alpha, (P, 4, H, W).
        views: all cameras, the photos' first; `hw` the photos'.
        settings: texture, input_colours.
    """
    size = settings.texture
    if size is None:
        size = int(min(max(2 ** math.ceil(math.log2(4 * photos.shape[-1])), 512), 2048))
    cameras = [views[k].resized((photos.shape[-2], photos.shape[-1])) for k in range(len(views.world_from_camera))]
    over = [Photo(p, c, settings.input_colours) for p, c in zip(photos, cameras, strict=False)]
    paint = tinted(partial(field_colours, found), photos[0], cameras[0], settings.photo_tint)
    return bake(mesh, size, paint, over, cameras, settings.even_light)


def _check(images: Tensor, camera: Camera) -> None:
    if images.dim() != 4 or images.shape[1] not in (3, 4):
        raise ValueError(f"images must be (V, 3, H, W) or (V, 4, H, W), got {tuple(images.shape)}")
    if camera.world_from_camera.shape != (len(images), 4, 4):
        raise ValueError(f"camera must hold {len(images)} views, got {tuple(camera.world_from_camera.shape)}")
    if tuple(images.shape[2:]) != tuple(camera.hw):
        raise ValueError(f"camera.hw must be the images' {tuple(images.shape[2:])}, got {camera.hw}")
    if len(images) < 2:
        raise ValueError(f"images must be at least 2 views, got {len(images)}")
    if not bool(torch.isfinite(images).all()):
        raise ValueError("images must be finite, got NaN or infinity")


def _shrunk(images: Tensor, camera: Camera, height: int) -> tuple[Tensor, Camera]:
    """Images and cameras at no more than this height; colours are averaged by their alpha."""
    if camera.hw[0] <= height:
        return images, camera
    hw = (height, round(height * camera.hw[1] / camera.hw[0]))
    if images.shape[1] == 3:
        return functional.interpolate(images, hw, mode="area"), camera.resized(hw)
    layers = torch.cat((images[:, :3] * images[:, 3:], images[:, 3:]), dim=1)
    mean = functional.interpolate(layers, hw, mode="area")
    return torch.cat((mean[:, :3] / mean[:, 3:].clamp(min=1e-6), mean[:, 3:]), dim=1), camera.resized(hw)


def _on_white(images: Tensor) -> Tensor:
    if images.shape[1] == 3:
        return images
    return images[:, :3] * images[:, 3:] + 1 - images[:, 3:]


def _painted(alpha: Tensor, rim: int, photos: int) -> Tensor:
    """How far the views' colours are to be believed, (V, H, W), in [0, 1]; the photos' everywhere."""
    painted = torch.ones_like(alpha)
    if rim:
        # Not 0: a thin thing is all rim.
        painted[photos:] = torch.where(beside_outlines(alpha[photos:], rim), _RIM, painted[photos:])
    return painted


def _with_alpha(image: Tensor, outline: Tensor | None) -> Tensor:
    """One image with its silhouette, (H, W), as straight alpha, (4, H, W).

    Where it is not known what is white around the object counts as none, and white enclosed by it as object.
    """
    if image.shape[0] == 4:
        return image if outline is None else torch.cat((image[:3], outline[None].to(image)))
    if outline is None:
        alpha, confidence = silhouettes(image[None])
        return torch.cat((image, torch.maximum(alpha, (confidence < 1).to(alpha))))
    alpha = outline[None].to(image)
    return torch.cat((((image - 1 + alpha) / alpha.clamp(min=1e-3)).clamp(0, 1), alpha))


def _widened(cells: Tensor) -> Tensor:
    """Marked cells and their neighbours, bool (Z, Y, X)."""
    return functional.max_pool3d(cells[None, None].float(), 3, 1, 1)[0, 0] > 0

"""A texture from what is known of the surface: a field everywhere, a photo where it saw, guesses where nothing did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from zero123.geometry.camera import Camera
from zero123.meshes.atlas import texels_of, textured, unwrap
from zero123.meshes.light import light_on, without_light
from zero123.meshes.mesh import Mesh, linked
from zero123.meshes.texture import Sight

Paint = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""Colours, (K, 3), sRGB in [0, 1], of points and unit normals, (K, 3) each."""


_SURE = 0.2
"""Cosine from which on a view of a surface is as good as any."""

_HOLD = 10.0
"""How much more than one edge the field's own colours weigh where something is filled in beside them."""


@dataclass(frozen=True)
class Photo:
    """A picture that is believed more than the field.

    Attributes:
        picture: straight alpha, (4, H, W), in [0, 1].
        camera: one camera of that size.
        strength: its weight where it looks squarely at the surface, in [0, 1].
        reach: how far its difference from the field is carried over the seam, world units.
    """

    picture: Tensor
    camera: Camera
    strength: float = 1.0
    reach: float = 0.1


def bake(
    mesh: Mesh,
    size: int,
    paint: Paint,
    photos: Sequence[Photo] = (),
    cameras: Sequence[Camera] = (),
    even_light: float = 0.0,
) -> Mesh:
    """The mesh with vertex colours, texture coordinates and a texture.

    What no camera saw is filled in from its surroundings. Where the photo ends, its difference from the field fades
    out over the surface, so that no seam is left (the membrane of Perez et al., 2003, "Poisson image editing",
    screened, on a mesh instead of a plane).

    Args:
        mesh: without texture.
        size: side of the texture, texels; below 16 for vertex colours only.
        paint: what the field says.
        photos: what is painted over it; where several saw a place, the one that saw it most squarely counts most.
        cameras: of the views that the field was fitted to, one each; none to believe the field everywhere.
        even_light: share of the light that the colours hold which is taken out of them, in [0, 1]; see `light_on`.

    Raises:
        ValueError: a photo's shape does not fit its camera.
    """
    normals = mesh.vertex_normals()
    known = paint(mesh.vertices, normals)
    layers = _layers(mesh, normals, known, photos, cameras)
    colours = _mixed(known, layers, mesh.vertices, normals, photos)
    mesh = mesh.replace(vertex_colours=colours.astype(np.float32), normals=normals)
    light = even_light * light_on(mesh) if even_light else None
    if light is not None:
        mesh = mesh.replace(vertex_colours=without_light(colours, normals, light))
    if size < 16:
        return mesh
    flat, origin = unwrap(mesh, size)
    texels = texels_of(flat, size)
    points = texels.interpolated(flat, flat.vertices).astype(np.float32)
    smooth = texels.interpolated(flat, normals[origin])
    smooth = (smooth / np.maximum(np.linalg.norm(smooth, axis=-1, keepdims=True), 1e-9)).astype(np.float32)
    near = _Layers(texels.interpolated(flat, layers.values[origin]), layers.sights)
    colours = _mixed(paint(points, smooth), near, points, smooth, photos)
    return textured(flat, texels, colours if light is None else without_light(colours, smooth, light))


def spread(
    mesh: Mesh, values: NDArray[np.floating], weights: NDArray[np.floating], reach: float
) -> NDArray[np.float64]:
    """Values carried over the surface from where they are known, as smoothly as it goes.

    The minimum of `weights |x - values|^2`, the squared differences along all edges, and a pull towards nothing.

    Args:
        mesh: N vertices.
        values: at the vertices, (N, C); of no account where the weight is 0.
        weights: (N,), at least 0; 1 for as strong a hold as one edge has.
        reach: world units over which values fade to 1/e of themselves where none are known; infinite to fill with them
            without fading, and parts of the mesh on which nothing is known with their mean.

    Returns:
        (N, C).
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import splu

    count, weights = len(mesh.vertices), np.asarray(weights, np.float64)
    links, degree = linked(mesh.faces, count)
    corners = mesh.vertices[mesh.faces]
    length = float(np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=-1).mean())
    # On even triangles, six edges to a vertex, the edges' part is 3/2 of the squared gradient times the squared length.
    pull = max(1.5 * (length / reach) ** 2, 1e-9)
    mean = np.zeros(values.shape[1])
    if np.isinf(reach) and weights.sum() > 0:
        mean = (values * weights[:, None]).sum(axis=0) / weights.sum()
    system = (diags(degree[:, 0] + weights + pull) - links).tocsc()
    return splu(system).solve((values - mean) * weights[:, None]) + mean


@dataclass(frozen=True)
class _Layers:
    """What is mixed into the field's colour at some points.

    Attributes:
        values: trust in the field, what is filled in, the photos' difference from both; (K, 7).
        sights: of the photos.
    """

    values: NDArray[np.float64]
    sights: list[Sight]


def _layers(
    mesh: Mesh,
    normals: NDArray[np.float32],
    known: NDArray[np.float32],
    photos: Sequence[Photo],
    cameras: Sequence[Camera],
) -> _Layers:
    """The layers at the vertices."""
    trust, fill = np.ones(len(known)), np.asarray(known, np.float64)
    if cameras:
        squarely = np.max([Sight(mesh, camera).squarely(mesh.vertices, normals) for camera in cameras], axis=0)
        trust = np.clip(squarely / _SURE, 0, 1)
        fill = spread(mesh, known, _HOLD * trust, np.inf)
    shift, sights = np.zeros_like(fill), [Sight(mesh, photo.camera) for photo in photos]
    if photos:
        colour, belief = _shown(sights, photos, mesh.vertices, normals)
        base = trust[:, None] * known + (1 - trust[:, None]) * fill
        shift = max(p.strength for p in photos) * spread(mesh, colour - base, belief, photos[0].reach)
    return _Layers(np.concatenate((trust[:, None], fill, shift), axis=1), sights)


def _shown(
    sights: Sequence[Sight], photos: Sequence[Photo], points: NDArray[np.floating], normals: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colours that the photos show at points, (K, 3), and how far one of them is to be believed, (K,).

    A photo counts where those before it are not believed.
    """
    colour, left = np.zeros((len(points), 3)), np.ones(len(points))
    for sight, photo in zip(sights, photos, strict=True):
        seen, belief = sight.read(photo.picture, points, normals)
        colour += (left * belief)[:, None] * seen
        left = left * (1 - belief)
    belief = 1 - left
    return colour / np.maximum(belief, 1e-9)[:, None], belief


def _mixed(
    field: NDArray[np.float32],
    layers: _Layers,
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    photos: Sequence[Photo],
) -> NDArray[np.float64]:
    """Colours in [0, 1], (K, 3)."""
    trust, fill, shift = layers.values[:, :1], layers.values[:, 1:4], layers.values[:, 4:]
    colours = trust * field + (1 - trust) * fill + shift
    if photos:
        seen, belief = _shown(layers.sights, photos, points, normals)
        weight = max(p.strength for p in photos) * belief[:, None]
        colours = (1 - weight) * colours + weight * seen
    return np.clip(colours, 0, 1)

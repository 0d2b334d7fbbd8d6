"""What the input's outline alone says of the shape: its visual hull of one view, and an ellipsoid that just fits it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from zero123.fields.voxels import cell_centres
from zero123.geometry.camera import Camera
from zero123.images.alpha import Box, bounding_box, premultiply
from zero123.meshes.mesh import Mesh
from zero123.meshes.surface import extract_surface

_FLATTEST = 0.02
"""Least semi-axis of an ellipsoid, share of the outline's longest side."""


def extruded_outline(rgba: Tensor, camera: Camera, cells: int = 96) -> Mesh:
    """The visual hull of one picture: all that projects into its silhouette and is no deeper than that is long.

    The cone of sight over the silhouette (alpha over one half), cut by two planes that face the camera, half of the
    silhouette's longest side before and behind the world's origin; the side is measured at the origin's depth. Without
    a second view nothing is known of the depth; an object is taken to be at most as deep as it is wide or high.
    Laurentini, 1994, "The visual hull concept", for one view.

    Args:
        rgba: the picture, straight alpha, (4, H, W), in [0, 1].
        camera: of the picture, one, `hw` the picture's; looks at the origin.
        cells: of the grid, along each side.

    Returns:
        A closed mesh coloured by the picture, see `coloured_by`.

    Raises:
        PictureError: there is no object.
    """
    distance, middle, size = _measured(bounding_box(rgba[3]), camera)
    side = float(size.max())
    scales = torch.tensor([[1 - side / (2 * distance)], [1 + side / (2 * distance)]])  # the cone is wider behind
    corners = torch.cat(((middle - size / 2) * scales, (middle + size / 2) * scales))
    low = torch.cat((corners.amin(0), torch.tensor([distance - side / 2]))) - side / 32
    high = torch.cat((corners.amax(0), torch.tensor([distance + side / 2]))) + side / 32
    points = cell_centres((cells,) * 3, low, high)
    flat = points[..., :2] / points[..., 2:] * camera.focal
    unit = flat / flat.new_tensor((camera.hw[1] / 2, camera.hw[0] / 2))
    alpha = functional.grid_sample(rgba[None, 3:], unit.reshape(1, 1, -1, 2), align_corners=False).reshape((cells,) * 3)
    step = float(high[2] - low[2]) / cells
    depth = ((side / 2 - (points[..., 2] - distance).abs()) / (2 * step)).clamp(-0.5, 0.5)
    mesh = extract_surface(torch.minimum(alpha - 0.5, depth).numpy(), 0.0, low.numpy(), high.numpy())
    return coloured_by(_to_world(mesh, camera), rgba, camera)


def fitted_ellipsoid(rgba: Tensor, camera: Camera) -> Mesh:
    """The upright ellipsoid, as deep as wide, whose outline has the bounding box of the silhouette.

    Semi-axes (w, w, h) along the world's x, y and z; its middle at the depth of the world's origin. A plane is tangent
    to it where the middle's distance equals `sqrt(w² (nx² + ny²) + h² nz²)`, n the plane's unit normal; the planes are
    those through the camera and the four sides of the box, so the fit holds under perspective. Semi-axes stay between
    0.02 and 1 times the silhouette's longest side.

    Args:
        rgba: the picture, straight alpha, (4, H, W), in [0, 1].
        camera: of the picture, one, `hw` the picture's; looks at the origin.

    Returns:
        A closed mesh coloured by the picture, see `coloured_by`.

    Raises:
        PictureError: there is no object.
    """
    import trimesh
    from scipy.optimize import least_squares

    box = bounding_box(rgba[3])
    distance, middle, size = _measured(box, camera)
    rotation = camera.world_from_camera[:3, :3].double().numpy()
    inward = _sides(box, camera)
    squares = (inward @ rotation.T) ** 2

    def misfit(x: NDArray[np.float64]) -> NDArray[np.float64]:
        away = inward @ np.array((x[0], x[1], distance))
        return np.asarray(away - np.sqrt(x[2] ** 2 * squares[:, :2].sum(1) + x[3] ** 2 * squares[:, 2]))

    side = float(size.max())
    start = np.array((*middle.tolist(), float(size[0]) / 2, float(size[1]) / 2))
    lowest, highest = np.array((-9, -9, *[_FLATTEST * side] * 2)), np.array((9, 9, side, side))
    found = least_squares(misfit, np.clip(start, lowest, highest), bounds=(lowest, highest)).x
    centre = camera.position.double().numpy() + rotation @ np.array((found[0], found[1], distance))
    ball = trimesh.creation.icosphere(subdivisions=5)
    vertices = np.asarray(ball.vertices) * found[[2, 2, 3]] + centre
    return coloured_by(Mesh(vertices.astype(np.float32), np.asarray(ball.faces, np.int64)), rgba, camera)


def coloured_by(mesh: Mesh, rgba: Tensor, camera: Camera) -> Mesh:
    """The mesh with, at each vertex, the colour that the picture has where the vertex appears, seen or hidden.

    So the back has the front's colours. Where the picture is empty, its mean colour is taken.

    Args:
        mesh: without texture.
        rgba: the picture, straight alpha, (4, H, W), in [0, 1].
        camera: of the picture, one.
    """
    pixels, _ = camera.project(torch.from_numpy(mesh.vertices).to(camera.world_from_camera))
    unit = pixels / pixels.new_tensor((camera.hw[1], camera.hw[0])) * 2 - 1
    layers = premultiply(rgba)
    read = functional.grid_sample(layers[None], unit.to(layers)[None, None], align_corners=False)[0, :, 0].T
    total = layers.flatten(1).sum(1)
    colour = torch.where(read[:, 3:] > 0.05, read[:, :3] / read[:, 3:].clamp(min=0.05), total[:3] / total[3])
    return mesh.replace(vertex_colours=colour.clamp(0, 1).numpy().astype(np.float32))


def _measured(box: Box, camera: Camera) -> tuple[float, Tensor, Tensor]:
    """Distance of the origin; middle (x, y) and size (x, y) of the box there, camera axes, world units."""
    distance = float(camera.position.norm())
    scale = distance / camera.focal
    middle = torch.tensor(((box.left + box.right - camera.hw[1]) / 2, (box.top + box.bottom - camera.hw[0]) / 2))
    return distance, middle * scale, torch.tensor((float(box.width), float(box.height))) * scale


def _sides(box: Box, camera: Camera) -> NDArray[np.float64]:
    """Unit normals, towards the object, of the planes through camera and sides of a box, camera axes, (4, 3)."""
    x, y = camera.hw[1] / 2, camera.hw[0] / 2
    normals = np.array(
        (
            (camera.focal, 0, x - box.left),
            (-camera.focal, 0, box.right - x),
            (0, camera.focal, y - box.top),
            (0, -camera.focal, box.bottom - y),
        )
    )
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _to_world(mesh: Mesh, camera: Camera) -> Mesh:
    """A mesh in camera axes, in the world."""
    rotation = camera.world_from_camera[:3, :3].double().numpy()
    vertices = mesh.vertices @ rotation.T + camera.position.double().numpy()
    return mesh.replace(vertices=vertices.astype(np.float32))

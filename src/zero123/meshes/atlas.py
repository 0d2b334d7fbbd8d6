"""A texture on a surface: the mesh cut open and laid flat, where each texel lies, and the texture filled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zero123.meshes.mesh import Mesh
from zero123.meshes.raster import rasterise_flat

PADDING = 4
"""Texels between pieces, before these are scaled into the texture: as many as smaller copies of it may mix."""


@dataclass(frozen=True)
class Texels:
    """Those texels of a square texture whose middle lies on the surface.

    Attributes:
        size: side of the texture, texels.
        row, column: (K,) each; row 0 on top.
        face: index of the face, (K,).
        barycentric: weights of its corners, (K, 3).
    """

    size: int
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    face: NDArray[np.int64]
    barycentric: NDArray[np.float64]

    def interpolated(self, mesh: Mesh, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Values at the vertices, (N, C), brought to the texels, (K, C)."""
        corners = mesh.faces[self.face]
        return np.asarray(sum(values[corners[:, k]] * self.barycentric[:, k, None] for k in range(3)))


def unwrap(mesh: Mesh, size: int) -> tuple[Mesh, NDArray[np.int64]]:
    """The mesh with texture coordinates: cut into pieces that lie flat without overlap, with room between them.

    The work is xatlas's (Young, 2018). Where the mesh is cut its vertices are doubled at exactly the same place, with
    the same normal and colour, so that it stays closed and shading shows no seam.

    Args:
        mesh: any mesh; a texture it has is dropped.
        size: side of the texture that is to come, texels.

    Returns:
        The mesh, and for each of its vertices the number of the one it was, (N',).

    Raises:
        ValueError: the mesh has no faces or `size` is below 16.
    """
    import xatlas

    if not len(mesh.faces) or size < 16:
        raise ValueError(f"mesh must have faces and size be at least 16, got {len(mesh.faces)} and {size}")
    atlas = xatlas.Atlas()
    atlas.add_mesh(np.ascontiguousarray(mesh.vertices), mesh.faces.astype(np.uint32))
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding, pack.bilinear = size, PADDING, True
    atlas.generate(xatlas.ChartOptions(), pack)
    origin, faces, uv = atlas[0]
    normals = mesh.vertex_normals() if mesh.normals is None else mesh.normals
    cut = Mesh(
        vertices=mesh.vertices[origin],
        faces=faces.astype(np.int64),
        vertex_colours=None if mesh.vertex_colours is None else mesh.vertex_colours[origin],
        uv=np.clip(uv, 0, 1).astype(np.float32),
        normals=normals[origin],
    )
    return cut, origin.astype(np.int64)


def texels_of(mesh: Mesh, size: int) -> Texels:
    """The texels of a mesh with texture coordinates.

    Raises:
        ValueError: it has none.
    """
    if mesh.uv is None:
        raise ValueError("mesh must have uv, got None")
    places = np.stack((mesh.uv[:, 0], 1 - mesh.uv[:, 1]), axis=-1).astype(np.float64) * size
    found = rasterise_flat(places[mesh.faces], np.ones((len(mesh.faces), 3)), (size, size))
    row, column = np.nonzero(found.face >= 0)
    return Texels(size, row, column, found.face[row, column], found.barycentric[row, column])


def textured(mesh: Mesh, texels: Texels, colours: NDArray[np.floating]) -> Mesh:
    """The mesh with colours as its texture; room between the pieces gets the nearest colour, so that no edge shows.

    Args:
        mesh: with the texture coordinates of `texels`.
        texels: from `texels_of`.
        colours: (K, 3), sRGB in [0, 1].

    Raises:
        ValueError: no texel lies on the surface, or the colours are of another number.
    """
    from scipy.ndimage import distance_transform_edt

    if not len(texels.row) or colours.shape != (len(texels.row), 3):
        raise ValueError(f"colours must be ({len(texels.row)}, 3) with a texel at least, got {colours.shape}")
    texture = np.zeros((texels.size, texels.size, 3), np.float32)
    texture[texels.row, texels.column] = np.clip(colours, 0, 1)
    free = np.ones((texels.size, texels.size), bool)
    free[texels.row, texels.column] = False
    row, column = distance_transform_edt(free, return_distances=False, return_indices=True)
    return mesh.replace(texture=texture[row, column])

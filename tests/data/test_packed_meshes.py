"""Packed meshes come back as they were, to what a picture of them can show, and no more are packed than have room."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import trimesh

from zero123.meshes.export import export_mesh
from zero123.meshes.load import load
from zero123.meshes.mesh import Mesh

SCRIPT = Path(__file__).parents[2] / "runs" / "packed_meshes.py"
if not SCRIPT.is_file():
    pytest.skip("tested beside its script only", allow_module_level=True)
spec = importlib.util.spec_from_file_location("packed_meshes", SCRIPT)
packed_meshes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(packed_meshes)


@pytest.fixture
def folders(tmp_path):
    """Two balls with a texture, and six of other colours."""
    numbers = np.random.default_rng(0)
    for kind, count in (("textured", 2), ("flat", 6)):
        (tmp_path / kind).mkdir()
        for index in range(count):
            ball = trimesh.creation.icosphere(3, radius=0.4 + 0.01 * index)
            vertices, faces = np.asarray(ball.vertices, np.float32), np.asarray(ball.faces, np.int64)
            numbers.shuffle(faces)
            look = {"vertex_colours": numbers.random(vertices.shape, np.float32)}
            if kind == "textured":
                look = {"uv": vertices[:, :2] * 3, "texture": numbers.random((8, 8, 3)).astype(np.float32)}
            export_mesh(Mesh(vertices, faces, **look), tmp_path / kind / f"{kind}{index}.glb")
    return [tmp_path / "textured", tmp_path / "flat"]


def test_meshes_come_back(folders, tmp_path):
    counts = packed_meshes.pack(folders, tmp_path / "meshes.zip", 10**7)
    assert counts == {"textured": 2, "flat": 6}
    assert packed_meshes.unpack(tmp_path / "meshes.zip", tmp_path / "again") == 8
    limits = {"vertices": 1.5e-4, "vertex_colours": 5e-3, "uv": 1e-3, "normals": 1e-2}
    for folder in folders:
        for path in folder.iterdir():
            (before,), (after,) = load(path), load(tmp_path / "again" / folder.name / path.name)
            for name, limit in limits.items():
                one, other = getattr(before, name), getattr(after, name)
                assert (one is None) == (other is None)
                if one is not None:  # vertices have another order, the corners of faces the same
                    assert np.abs(one[before.faces] - other[after.faces]).max() < limit
            if before.texture is not None:
                assert np.array_equal(before.texture, after.texture)


def test_the_last_folder_gives_way(folders, tmp_path):
    packed_meshes.pack(folders, tmp_path / "all.zip", 10**7)
    limit = int((tmp_path / "all.zip").stat().st_size * 0.7)
    counts = packed_meshes.pack(folders, tmp_path / "some.zip", limit)
    assert (tmp_path / "some.zip").stat().st_size <= limit and counts["textured"] == 2 and 0 < counts["flat"] < 6
    with pytest.raises(ValueError, match="without any of"):
        packed_meshes.pack(folders, tmp_path / "none.zip", 1000)

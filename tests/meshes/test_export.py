"""Files other programs read: axes, colours, normals, and nothing half-written."""

import json
import struct

import numpy as np
import pytest
import trimesh

from zero123.meshes.bake import bake
from zero123.meshes.export import export_mesh, gltf_axes, to_glb
from zero123.meshes.load import load
from zero123.meshes.mesh import Mesh, srgb_to_linear
from zero123.meshes.surface import volume


@pytest.fixture(scope="module")
def box():
    """A box, longest along +z (up), with a different colour at each corner."""
    solid = trimesh.creation.box((0.2, 0.4, 0.9))
    vertices = np.asarray(solid.vertices, np.float32) + np.float32((0.1, 0.0, 0.05))
    colours = np.random.default_rng(0).uniform(0, 1, (len(vertices), 3)).astype(np.float32)
    return Mesh(vertices, np.asarray(solid.faces, np.int64), colours)


def glb_parts(data):
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert (kind, size % 4) == (b"JSON", 0)
    document, rest = json.loads(data[20 : 20 + size]), 20 + size
    binary, kind = struct.unpack_from("<I4s", data, rest)
    assert (kind, binary) == (b"BIN\0", document["buffers"][0]["byteLength"])
    return document, data[rest + 8 :]


def read_accessor(document, data, number):
    accessor = document["accessors"][number]
    view = document["bufferViews"][accessor["bufferView"]]
    kind = {5123: "<u2", 5125: "<u4", 5126: "<f4"}[accessor["componentType"]]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
    return np.frombuffer(data, kind, accessor["count"] * width, view["byteOffset"]).reshape(-1, width)


def test_up_is_plus_y_and_front_is_plus_z():
    world = np.eye(3, dtype=np.float32)  # front, left, up
    np.testing.assert_array_equal(gltf_axes(world), [[0, 0, 1], [1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("ending", ["glb", "obj", "ply", "stl"])
def test_every_format_comes_back_with_its_shape_turned_y_up(box, tmp_path, ending):
    path = export_mesh(box, tmp_path / f"model.{ending}")
    back = trimesh.load(path, force="mesh", process=False)
    np.testing.assert_allclose(back.bounds, [gltf_axes(box.vertices).min(0), gltf_axes(box.vertices).max(0)], atol=1e-6)
    assert back.volume == pytest.approx(volume(box), rel=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == [f"model.{ending}"]


@pytest.mark.parametrize("ending", ["obj", "ply"])
def test_vertex_colours_come_back_from_obj_and_ply_as_they_were(box, tmp_path, ending):
    back = trimesh.load(export_mesh(box, tmp_path / f"model.{ending}"), force="mesh", process=False)
    order = np.linalg.norm(back.vertices[:, None] - gltf_axes(box.vertices)[None], axis=-1).argmin(axis=1)
    colours = np.asarray(back.visual.vertex_colors)[:, :3] / 255
    np.testing.assert_allclose(colours, box.vertex_colours[order], atol=0.5 / 255 + 1e-3)


def test_glb_colours_are_linear_light_and_return_to_the_same_srgb(box):
    document, data = glb_parts(to_glb(box))
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    stored = read_accessor(document, data, attributes["COLOR_0"]) / 65535
    assert document["accessors"][attributes["COLOR_0"]]["normalized"] is True
    np.testing.assert_allclose(stored[:, :3], srgb_to_linear(box.vertex_colours), atol=1e-5)
    srgb = np.where(stored <= 0.0031308, stored * 12.92, 1.055 * np.maximum(stored, 1e-9) ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(srgb[:, :3], box.vertex_colours, atol=2e-4)
    assert (stored[:, 3] == 1).all()


def test_srgb_to_linear_has_its_known_values():
    got = srgb_to_linear(np.array([0.0, 0.04045, 0.5, 1.0], np.float32))
    np.testing.assert_allclose(got, [0, 0.0031308, 0.2140411, 1], atol=1e-6)


def test_glb_normals_are_unit_and_match_the_mesh(box):
    document, data = glb_parts(to_glb(box))
    normals = read_accessor(document, data, document["meshes"][0]["primitives"][0]["attributes"]["NORMAL"])
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(normals, gltf_axes(box.vertex_normals()), atol=1e-6)


def test_the_material_is_rough_and_single_sided_only_when_the_mesh_is_closed(box):
    closed, _ = glb_parts(to_glb(box))
    opened, _ = glb_parts(to_glb(box.replace(faces=box.faces[1:])))
    assert closed["materials"][0]["pbrMetallicRoughness"] == {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    assert [d["materials"][0]["doubleSided"] for d in (closed, opened)] == [False, True]


def test_a_texture_travels_inside_the_glb_the_right_way_up(tmp_path):
    vertices = np.array([[0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1]], np.float32)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    texture = np.zeros((4, 4, 3), np.float32)
    texture[0] = 1
    mesh = Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]), uv=uv, texture=texture)
    back = trimesh.load(export_mesh(mesh, tmp_path / "model.glb"), force="mesh", process=False)
    np.testing.assert_allclose(back.visual.uv, uv, atol=1e-6)
    image = np.asarray(back.visual.material.baseColorTexture.convert("RGB"))
    np.testing.assert_array_equal(image, (texture * 255).astype(np.uint8))


@pytest.fixture(scope="module")
def baked():
    """A ball with a texture of one colour for each direction."""
    solid = trimesh.creation.icosphere(3, 0.4)
    ball = Mesh(np.asarray(solid.vertices, np.float32), np.asarray(solid.faces, np.int64))
    return bake(ball, 128, lambda points, normals: 0.5 + points)


@pytest.mark.parametrize("ending", ["obj", "ply", "stl", "glb"])
def test_a_texture_opens_the_surface_in_no_format(baked, tmp_path, ending):
    back = trimesh.load(export_mesh(baked, tmp_path / f"ball.{ending}"), force="mesh")
    back.merge_vertices(merge_tex=True, merge_norm=True)
    assert back.is_watertight
    assert back.is_winding_consistent
    assert back.volume == pytest.approx(volume(baked), rel=1e-4)
    if ending == "glb":
        assert glb_parts((tmp_path / "ball.glb").read_bytes())[0]["materials"][0]["doubleSided"] is False


def test_an_obj_has_its_texture_beside_it_and_gives_the_colours_back(baked, tmp_path):
    path = export_mesh(baked, tmp_path / "a ball.obj")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a ball.obj", "a_ball.mtl", "a_ball.png"]
    (back,) = load(path)
    colours = back.colours_at(np.arange(len(back.faces)), np.full((len(back.faces), 3), 1 / 3))
    middles = back.vertices[back.faces].mean(axis=1)
    np.testing.assert_allclose(colours, 0.5 + middles, atol=0.02)


def test_normals_that_a_mesh_has_are_the_ones_written(box):
    own = np.tile(np.float32((0, 0, 2)), (len(box.vertices), 1))
    document, data = glb_parts(to_glb(box.replace(normals=own)))
    normals = read_accessor(document, data, document["meshes"][0]["primitives"][0]["attributes"]["NORMAL"])
    np.testing.assert_allclose(normals, np.tile((0, 1, 0), (len(own), 1)), atol=1e-6)


def test_an_unknown_ending_or_an_empty_mesh_leaves_no_file(box, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.glb"):
        export_mesh(box, tmp_path / "model.fbx")
    with pytest.raises(ValueError, match="faces"):
        export_mesh(Mesh(np.zeros((3, 3), np.float32), np.zeros((0, 3), np.int64)), tmp_path / "model.glb")
    assert not list(tmp_path.iterdir())

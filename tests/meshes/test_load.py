"""Mesh files written by another library come back with their shape, axes and colours; bad files say why in one line."""

import numpy as np
import pytest
import trimesh
from PIL import Image

from zero123.meshes.load import MeshError, load
from zero123.meshes.mesh import linear_to_srgb, srgb_to_linear

# a triangle in the file's axes: right, up and towards the front of a +Y up, front +Z file
POINTS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float64)
WORLD = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.float64)  # left of the viewer, up, front
PIXELS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [128, 64, 32]]], np.uint8)
UV = np.array([[0.1, 0.9], [0.9, 0.9], [0.1, 0.1]])


def _triangle(**more):
    return trimesh.Trimesh(POINTS, [[0, 1, 2]], process=False, **more)


def _textured(material):
    return _triangle(visual=trimesh.visual.TextureVisuals(UV, material=material))


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_y_up_files_are_turned_z_up_with_the_front_to_x(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    _triangle().export(path)
    (part,) = load(path)
    np.testing.assert_allclose(part.vertices, WORLD, atol=1e-6)
    np.testing.assert_allclose(part.face_normals()[0], np.full(3, 3**-0.5), atol=1e-6)


@pytest.mark.parametrize("suffix", [".ply", ".stl"])
def test_files_without_a_convention_are_taken_as_they_are(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    _triangle().export(path)
    np.testing.assert_allclose(load(path)[0].vertices, POINTS, atol=1e-6)


def test_vertex_colours_of_glb_are_light(tmp_path):
    colours = np.array([[255, 0, 0, 255], [55, 55, 55, 255], [0, 255, 128, 255]], np.uint8)
    _triangle(vertex_colors=colours).export(tmp_path / "a.glb")
    (part,) = load(tmp_path / "a.glb")
    expected = linear_to_srgb(colours[:, :3].astype(np.float32) / 255)
    np.testing.assert_allclose(part.vertex_colours, expected, atol=1e-3)
    assert part.texture is None


@pytest.mark.parametrize("suffix", [".ply", ".obj"])
def test_vertex_colours_of_ply_and_obj_are_display_colours(tmp_path, suffix):
    colours = np.array([[255, 0, 0, 255], [55, 55, 55, 255], [0, 255, 128, 255]], np.uint8)
    _triangle(vertex_colors=colours).export(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(load(tmp_path / f"a{suffix}")[0].vertex_colours, colours[:, :3] / 255, atol=2e-3)


def test_a_glb_texture_keeps_its_pixels_and_places(tmp_path):
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(PIXELS))
    _textured(material).export(tmp_path / "a.glb")
    (part,) = load(tmp_path / "a.glb")
    np.testing.assert_allclose(part.texture, PIXELS / 255, atol=2e-5)
    np.testing.assert_allclose(part.uv, UV, atol=1e-6)


def test_the_base_colour_factor_tints_the_texture_as_light(tmp_path):
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(PIXELS), baseColorFactor=[0.5, 1.0, 1.0, 1.0]
    )
    _textured(material).export(tmp_path / "a.glb")
    tint = np.float32([128 / 255, 1, 1])
    expected = linear_to_srgb(srgb_to_linear(PIXELS.astype(np.float32) / 255) * tint)
    np.testing.assert_allclose(load(tmp_path / "a.glb")[0].texture, expected, atol=4e-3)


def test_an_obj_with_its_material_and_picture_is_textured(tmp_path):
    material = trimesh.visual.material.SimpleMaterial(image=Image.fromarray(PIXELS))
    _textured(material).export(tmp_path / "a.obj")
    (part,) = load(tmp_path / "a.obj")
    np.testing.assert_allclose(part.texture, PIXELS / 255, atol=2e-5)
    np.testing.assert_allclose(part.uv, UV, atol=1e-6)


def test_a_plain_material_becomes_vertex_colours(tmp_path):
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[1.0, 0.2, 0.0, 1.0])
    _textured(material).export(tmp_path / "a.glb")
    (part,) = load(tmp_path / "a.glb")
    expected = linear_to_srgb(np.float32([1, 51 / 255, 0]))
    np.testing.assert_allclose(part.vertex_colours, np.tile(expected, (3, 1)), atol=1e-3)


def test_a_mesh_without_colours_is_grey(tmp_path):
    _triangle().export(tmp_path / "a.stl")
    colours = load(tmp_path / "a.stl")[0].vertex_colours
    assert (colours == colours[0, 0]).all() and 0.5 < colours[0, 0] < 0.9


def test_parts_are_placed_by_the_scene_and_mirrored_parts_stay_outside_out(tmp_path):
    scene = trimesh.Scene()
    box = trimesh.creation.box()
    scene.add_geometry(box, transform=trimesh.transformations.translation_matrix([0, 3, 0]))
    scene.add_geometry(box, transform=np.diag([-1.0, 1, 1, 1]))
    scene.export(tmp_path / "a.glb")
    parts = load(tmp_path / "a.glb")
    assert sorted(round(float(p.vertices[:, 2].mean())) for p in parts) == [0, 3]
    for part in parts:
        outward = part.vertices[part.faces].mean(1) - part.vertices.mean(0)
        assert ((part.face_normals() * outward).sum(1) > 0).all()


@pytest.mark.parametrize("name", ["a.glb", "a.gltf", "a.obj", "a.ply", "a.stl"])
def test_a_text_file_is_not_a_mesh(tmp_path, name):
    (tmp_path / name).write_text("this is\nno mesh\n")
    with pytest.raises(MeshError) as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_missing_and_unknown_files_are_named(tmp_path):
    with pytest.raises(MeshError, match=r"a\.glb: no such file"):
        load(tmp_path / "a.glb")
    with pytest.raises(MeshError, match=r"a\.fbx: cannot read this kind of mesh; use one of \.glb"):
        load(tmp_path / "a.fbx")


def test_points_that_are_not_numbers_are_refused(tmp_path):
    broken = _triangle()
    broken.vertices[0, 0] = np.nan
    broken.export(tmp_path / "a.ply")
    with pytest.raises(MeshError, match="not finite"):
        load(tmp_path / "a.ply")

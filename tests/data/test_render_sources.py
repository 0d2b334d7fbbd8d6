"""What is rendered: objects found, named apart, and refused where they are no good."""

import json

import numpy as np
import pytest
import trimesh
from PIL import Image

from zero123.data.render.batch import CameraSettings, RenderSettings, Source, render_object, sources_of
from zero123.data.render.textures import texture_fault
from zero123.meshes.load import MeshError

SMALL = RenderSettings(CameraSettings(views=1), size=24, samples=1)


def _touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_are_found_at_any_depth_and_named_by_their_stems(tmp_path):
    _touch(tmp_path / "a.glb", tmp_path / "deep" / "b.FBX", tmp_path / "c.txt", tmp_path / "._a.glb")
    assert {s.name: s.path.name for s in sources_of([tmp_path])} == {"a": "a.glb", "b": "b.FBX"}
    assert [s.name for s in sources_of([tmp_path / "a.glb", tmp_path])] == ["a", "b"]


def test_files_of_one_name_are_named_by_their_way(tmp_path):
    _touch(tmp_path / "mug" / "model.obj", tmp_path / "cup" / "model.obj")
    assert [s.name for s in sources_of([tmp_path])] == ["cup-model", "mug-model"]
    _touch(tmp_path / "cup" / "model.ply")
    assert [s.name for s in sources_of([tmp_path])] == ["cup-model-obj", "cup-model-ply", "mug-model-obj"]


def test_one_name_for_two_objects_is_refused(tmp_path):
    _touch(tmp_path / "a" / "x.glb", tmp_path / "b" / "x.glb")
    with pytest.raises(ValueError, match=r"two objects would be named x-glb: .*a/x.glb, .*b/x.glb"):
        sources_of([tmp_path / "a", tmp_path / "b"])


def test_no_meshes_are_told(tmp_path):
    with pytest.raises(ValueError, match="no meshes found"):
        sources_of([tmp_path])
    with pytest.raises(ValueError, match=r"x\.glb: no such file or folder"):
        sources_of([tmp_path / "x.glb"])


def test_fbx_is_sent_to_blender(tmp_path):
    _touch(tmp_path / "a.fbx")
    with pytest.raises(MeshError, match="FBX is read by Blender only; render it with --renderer blender"):
        render_object(Source("a", tmp_path / "a.fbx"), SMALL)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_absurd_scales_are_rendered_as_any_other(tmp_path, scale):
    shape = trimesh.creation.box((1, 2, 3))
    shape.export(tmp_path / "plain.ply")
    shape.apply_scale(scale).export(tmp_path / "scaled.ply")
    plain, scaled = (render_object(Source("a", tmp_path / f"{n}.ply"), SMALL) for n in ("plain", "scaled"))
    assert float((plain.images[:, 3] - scaled.images[:, 3]).abs().mean()) < 0.01


def test_objects_without_extent_or_lost_to_rounding_are_refused(tmp_path):
    shape = trimesh.creation.box((1, 2, 3))
    far = shape.copy().apply_translation((1e8, 0, 0))
    far.export(tmp_path / "far.ply")
    with pytest.raises(MeshError, match=r"times its size away from the origin"):
        Source("far", tmp_path / "far.ply").parts()
    flat = trimesh.Trimesh(np.zeros((3, 3)), [[0, 1, 2]], process=False)
    flat.export(tmp_path / "point.ply")
    with pytest.raises(MeshError, match="its longest side is 0; there is nothing to see"):
        Source("point", tmp_path / "point.ply").parts()
    trimesh.Trimesh(np.eye(3), np.empty((0, 3), int), process=False).export(tmp_path / "none.ply")
    with pytest.raises(MeshError, match=r"none\.ply"):
        Source("none", tmp_path / "none.ply").parts()


def _textured_obj(folder):
    (folder / "a.obj").write_text("mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nusemtl m\nf 1/1 2/1 3/1\n")
    (folder / "a.mtl").write_text("newmtl m\nmap_Kd -s 1 1 1 skin.png\n")
    return folder / "a.obj"


def test_missing_textures_are_named_and_may_be_allowed(tmp_path):
    path = _textured_obj(tmp_path)
    assert texture_fault(path) == "its texture skin.png is missing; put it there"
    with pytest.raises(MeshError, match=r"its texture skin.png is missing; put it there"):
        render_object(Source("a", path), SMALL)
    allowed = RenderSettings(CameraSettings(views=1), size=24, samples=1, need_textures=False)
    assert float(render_object(Source("a", path), allowed).images[:, 3].max()) == 1
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "skin.png")
    assert texture_fault(path) is None
    (tmp_path / "skin.png").write_text("no picture")
    assert texture_fault(path) == "its texture skin.png is damaged, huge, or of a kind that is not read"
    assert texture_fault(path, decode=False) is None
    (tmp_path / "a.mtl").unlink()
    assert texture_fault(path) == "its materials a.mtl are missing; put the file there"


def test_pictures_of_a_gltf_are_looked_for_by_their_names(tmp_path):
    images = [{"uri": "there%20is.png"}, {"uri": "gone.png"}, {"uri": "data:image/png;base64,"}, {"bufferView": 0}]
    (tmp_path / "there is.png").touch()
    (tmp_path / "a.gltf").write_text(json.dumps({"images": images}))
    assert texture_fault(tmp_path / "a.gltf") == "its texture gone.png is missing; put it there"

"""Every format is read as it is: the original's renders, NeRF's scenes, our view sets, each by its own conventions."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from deterministic import agree, golden, rgba_picture
from small_views import SIZE, view_set
from zero123.data.formats.detect import open_source
from zero123.data.formats.nerf import NerfScenes
from zero123.data.pictures import training_pictures
from zero123.data.source_pairs import PairSettings, SourcePairs
from zero123.data.view_cache import CacheSettings, ViewCache
from zero123.data.view_files import ViewLevels
from zero123.data.view_set import ViewSet, ViewSetError
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.images.alpha import composite
from zero123.images.framing import original_training_view
from zero123.images.io import from_pillow, to_pillow
from zero123.models.pose_conditioning import pose_vector


def keep(pictures, generator):
    return pictures


def release(folder, objects=4, views=5):
    """A small `views_release`, listed in another order than the names'."""
    names = [f"object{(index * 7) % 10}" for index in range(objects)]
    for index, name in enumerate(names):
        view_set(index, views).save(folder / name)
    (folder / "valid_paths.json").write_text(json.dumps(names))
    return names


def test_the_pose_vector_of_stored_matrices_is_the_originals_for_all_pairs(tmp_path):
    stored = golden("get_T")
    for index, matrix in enumerate(stored["RT_f64"]):
        np.save(tmp_path / f"{index:03d}.npy", matrix.numpy())
        Image.new("RGBA", (SIZE, SIZE), (9, 9, 9, 255)).save(tmp_path / f"{index:03d}.png")
    pose = open_source(tmp_path).load(0).camera.orbit()
    target, source = stored["pairs_target_cond"].T
    vector = pose_vector(pose[target].relative_to(pose[source]))
    agree("get_T", "pose vectors from stored files", vector, stored["T"], 2e-6)  # the files' float64 become float32


@pytest.mark.parametrize(
    ("name", "hard", "key"), [("ds_0", False, "processed_sub"), ("ds_2", True, "processed_hard_sub")]
)
def test_the_originals_edges_are_its_loaders_to_the_bit(tmp_path, name, hard, key):
    levels = rgba_picture(name, 512, 512, hard).to(torch.uint8).permute(1, 2, 0).numpy()
    for index in range(2):
        Image.fromarray(levels).save(tmp_path / f"{index:03d}.png")
        np.save(tmp_path / f"{index:03d}.npy", view_set(0).camera.to_blender_rt()[index].numpy())
    views = open_source(tmp_path).load(0, [1])
    ours = training_pictures(views, 256, "original")[0, :, ::3, ::3] * 2 - 1
    agree("dataset", f"read from disk, {name}", ours, golden("dataset")[key].permute(2, 0, 1), 1e-6)


def test_by_default_edges_are_blended_with_white():
    half = np.zeros((1, SIZE, SIZE, 4), np.uint8)
    half[..., 3] = 51
    views = ViewLevels(half, view_set(0).camera[:1])
    assert float((training_pictures(views) - 0.8).abs().max()) < 1e-6
    assert float((training_pictures(views, 8) - 0.8).abs().max()) < 1e-6
    assert float(training_pictures(views, 8, "original").max()) == 0
    with pytest.raises(ValueError, match="edges must be one of blended, original"):
        training_pictures(views, 8, "soft")


@pytest.mark.parametrize("size", [SIZE, 12, 40])
def test_pictures_made_of_levels_are_those_made_of_floats(tmp_path, size):
    view_set(2).save(tmp_path)
    levels = open_source(tmp_path).load(0)
    for image, hard, soft in zip(
        levels.views().images, training_pictures(levels, size, "original"), training_pictures(levels, size), strict=True
    ):
        assert torch.equal(hard, original_training_view(image, size))
        white = to_pillow(composite(image, torch.ones(3))).resize((size, size), Image.Resampling.BILINEAR)
        assert float((soft - from_pillow(white)).abs().max()) <= 1 / 255 + 1e-6


def test_a_release_is_split_99_to_1_by_its_own_order_and_counts_views_from_its_folders(tmp_path):
    names = release(tmp_path, 4)
    assert list(open_source(tmp_path).names) == names
    assert list(open_source(tmp_path, "training").names) == names[:3]  # floor(0.99 * 4)
    (held_out,) = open_source(tmp_path, "validation").names
    assert held_out == names[3] and open_source(tmp_path).views(0) == 5
    again = open_source(tmp_path, "validation").load(0, [4, 0]).views()
    assert float((again.images - view_set(3).images[[4, 0]]).abs().max()) <= 0.5 / 255 + 1e-6


def test_both_ways_of_reading_a_view_set_give_the_same(tmp_path):
    view_set(3).save(tmp_path / "a")
    one, other = ViewSet.load(tmp_path / "a"), open_source(tmp_path / "a").load(0).views()
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.camera.world_from_camera, other.camera.world_from_camera)
    assert open_source(tmp_path).names == open_source(tmp_path / "a").names == ["a"]


def nerf_scene(folder, distance=4.0, angle=0.6911112):
    """Two frames each of train and test, with poses known in closed form."""
    poses = OrbitPose(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([0.1, 0.2, 0.3, 0.4]), distance)
    matrices = Camera.from_orbit(poses).to_opengl()
    for part, which in (("train", (0, 1)), ("test", (2, 3))):
        (folder / part).mkdir(parents=True)
        frames = []
        for row, index in enumerate(which):
            Image.new("RGBA", (SIZE, SIZE), (index, 0, 0, 255)).save(folder / part / f"r_{row}.png")
            frames.append({"file_path": f"./{part}/r_{row}", "transform_matrix": matrices[index].tolist()})
        content = {"camera_angle_x": angle, "frames": frames}
        (folder / f"transforms_{part}.json").write_text(json.dumps(content))
    return poses


def test_a_nerf_scene_has_its_lens_its_poses_and_its_pictures(tmp_path):
    poses = nerf_scene(tmp_path / "lego")
    source = open_source(tmp_path)
    views = source.load(0).views()
    assert list(source.names) == ["lego"] and source.views(0) == 4
    assert views.camera.field_of_view == pytest.approx(0.6911112)
    assert (views.images[:, 0, 0, 0] * 255).round().tolist() == [2, 3, 0, 1]  # files by name: test, train
    torch.testing.assert_close(views.camera.orbit().azimuth, poses.azimuth[[2, 3, 0, 1]], atol=1e-5, rtol=0)
    torch.testing.assert_close(views.camera.orbit().elevation, poses.elevation[[2, 3, 0, 1]], atol=1e-5, rtol=0)
    (chosen,) = source.load(0, [2]).views().images
    assert torch.equal(chosen, views.images[2])
    train = NerfScenes(tmp_path, [tmp_path / "lego"], "transforms_train.json", radius=2.0).load(0)
    assert len(train) == 2 and float((train.camera.orbit().radius - 2).abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not NeRF's"),
        ('{"camera_angle_x": 0.7, "frames": []}', "name no frames"),
        ('{"camera_angle_x": 0.7, "frames": [{"file_path": "../x", "transform_matrix": []}]}', "outside the scene"),
        ('{"camera_angle_x": 0.7, "frames": [{"file_path": "x", "transform_matrix": [1]}]}', "not NeRF's"),
        ('{"frames": [{"file_path": "x"}]}', "not NeRF's"),
    ],
)
def test_a_bad_nerf_scene_says_why_in_one_line(tmp_path, content, message):
    (tmp_path / "transforms_train.json").write_text(content)
    with pytest.raises(ViewSetError, match=message) as caught:
        open_source(tmp_path).load(0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable JSON list"),
        ("[]", "expected a JSON list"),
        ('["a", "a"]', "names 1 folders more than once"),
        ('["../a"]', "lies outside"),
    ],
)
def test_a_bad_list_of_a_release_says_why(tmp_path, text, message):
    (tmp_path / "valid_paths.json").write_text(text)
    with pytest.raises(ViewSetError, match=message):
        open_source(tmp_path)


def test_folders_that_hold_nothing_known_say_so(tmp_path):
    with pytest.raises(ViewSetError, match="no such folder of views"):
        open_source(tmp_path / "nothing")
    with pytest.raises(ViewSetError, match="holds no view sets"):
        open_source(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(ViewSetError, match=r"tars without index\.json"):
        open_source(tmp_path)


def test_a_lens_beside_the_views_is_used(tmp_path):
    view_set(0).save(tmp_path / "a")
    (tmp_path / "a" / "manifest.json").write_text(json.dumps({"views": [{"lens": {"field_of_view_deg": 60.0}}]}))
    assert open_source(tmp_path).load(0).camera.field_of_view == pytest.approx(math.radians(60))
    (tmp_path / "a" / "lens.json").write_text('{"field_of_view": 9}')
    with pytest.raises(ViewSetError, match=r"lens\.json: the field of view must be between 0 and pi"):
        open_source(tmp_path).load(0)


def test_pictures_without_alpha_are_taken_as_they_are_and_that_is_said_once(tmp_path, caplog):
    for name in ("a", "b"):
        view_set(0).save(tmp_path / name)
        for index in range(5):
            Image.new("RGB", (SIZE, SIZE), (0, 200, 0)).save(tmp_path / name / f"{index:03d}.png")
    batch = SourcePairs([open_source(tmp_path)], keep, PairSettings(size=SIZE)).batch(0, 4)
    assert bool((batch.photo[:, 1] == 200 / 255).all()) and float(batch.photo[:, 0].max()) == 0
    assert [r.message for r in caplog.records if "without transparency" in r.message] == [
        f"{tmp_path}: pictures without transparency are taken as they are, background and all"
    ]


def test_any_format_becomes_a_cache_at_the_models_size(tmp_path):
    nerf_scene(tmp_path / "lego")
    cache = ViewCache.build(tmp_path, tmp_path / "cache", lambda p: p[:, :, ::4, ::4], CacheSettings(size=8))
    assert cache.images.shape == (4, 3, 8, 8) and cache.first.tolist() == [0, 4]


def test_hard_edges_in_a_cache_are_the_originals(tmp_path):
    view_set(1).save(tmp_path / "v" / "a")
    cache = ViewCache.build(tmp_path / "v", tmp_path / "c", lambda p: p[:, :, ::4, ::4], CacheSettings(8, "original"))
    loaded = ViewSet.load(tmp_path / "v" / "a").images[3]
    expected = (original_training_view(loaded, 8) * 255).round().to(torch.uint8)
    assert np.array_equal(cache.images[3], expected.numpy())

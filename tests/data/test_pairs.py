"""Training pairs: two views of one object, reproducible, weighted, and truthful in the mirror."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from small_views import view_set
from zero123.data.pairs import PairSampler
from zero123.data.render.embree import render
from zero123.data.render.light import Light
from zero123.data.view_cache import CacheSettings, ViewCache
from zero123.data.view_set import ViewSet, ViewSetError
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.geometry.paths import random_views
from zero123.meshes.mesh import Mesh

VIEWS, SIZE = 5, 16


def _encode(images):
    return torch.nn.functional.avg_pool2d(images, 4)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    for index in range(3):
        generator = torch.Generator().manual_seed(index)
        images = torch.rand(VIEWS, 4, SIZE, SIZE, generator=generator)
        camera = Camera.from_orbit(random_views(VIEWS, generator), hw=(SIZE, SIZE))
        ViewSet(images, camera).save(folder / "views" / f"object{index}")
    return ViewCache.build(folder / "views", folder / "cache", _encode), folder


def _view_of(cache, pose, sign):
    wanted = np.array([sign * float(pose.azimuth), float(pose.elevation), float(pose.radius)])
    return int(np.abs(cache.poses - wanted).sum(1).argmin()), float(np.abs(cache.poses - wanted).sum(1).min())


def test_an_opened_cache_is_what_was_built(cache):
    built, folder = cache
    opened = ViewCache.open(folder / "cache")
    for name in ("images", "latents", "poses", "first"):
        assert np.array_equal(getattr(opened, name), getattr(built, name))
    assert opened.first.tolist() == [0, 5, 10, 15] and opened.latents.shape == (15, 2, 3, 4, 4)
    images = torch.from_numpy(np.array(opened.images)) / 255
    for mirrored, pictures in enumerate((images, images.flip(-1))):
        np.testing.assert_allclose(opened.latents[:, mirrored], _encode(pictures).numpy(), atol=3e-3)
    third = ViewSet.load(folder / "views" / "object2").camera.orbit()
    np.testing.assert_allclose(opened.poses[10:, 1], third.elevation.numpy(), atol=1e-6)


def test_input_and_target_are_two_views_of_one_object_seen_straight_or_both_mirrored(cache):
    cache, _ = cache
    batch = PairSampler([cache], [1.0], seed=1).batch(0, 64)
    mirrors = 0
    for row in range(64):
        found = [(_view_of(cache, batch.source[row], sign), sign) for sign in (1, -1)]
        (source, error), sign = min(found, key=lambda f: f[0][1])
        target, target_error = _view_of(cache, batch.source[row].moved(batch.relative[row]), sign)
        if target_error > 1e-4:  # the move is wrapped, so the azimuth may be a full turn off
            turned = batch.source[row].moved(batch.relative[row])
            target, target_error = _view_of(cache, OrbitPose.from_point(turned.point()), sign)
        assert error < 1e-5 and target_error < 1e-4
        assert source != target and source // VIEWS == target // VIEWS
        picture = torch.from_numpy(np.array(cache.images[source])) / 255
        assert torch.equal(batch.photo[row], picture if sign == 1 else picture.flip(-1))
        assert torch.equal(
            batch.latent[row], torch.from_numpy(np.array(cache.latents[target, int(sign == -1)])).float()
        )
        mirrors += sign == -1
    assert 16 < mirrors < 48


def test_the_same_seed_and_step_give_the_same_batch(cache):
    cache, _ = cache
    first, second = (PairSampler([cache], [1.0], seed=4).batch(7, 8) for _ in range(2))
    assert torch.equal(first.photo, second.photo) and torch.equal(first.relative.azimuth, second.relative.azimuth)
    others = PairSampler([cache], [1.0], seed=4).batch(8, 8), PairSampler([cache], [1.0], seed=5).batch(7, 8)
    assert all(not torch.equal(first.photo, other.photo) for other in others)


def test_kinds_are_drawn_by_their_weights(cache):
    cache, _ = cache
    dark, light = (ViewCache(np.full_like(cache.images, v), cache.latents, cache.poses, cache.first) for v in (0, 255))
    share = PairSampler([dark, light], [1, 3]).batch(0, 2000).photo[:, 0, 0, 0].mean()
    assert float(share) == pytest.approx(0.75, abs=0.04)
    assert float(PairSampler([dark, light], [1, 0]).batch(0, 50).photo.max()) == 0


def test_no_mirror_where_none_is_wanted(cache):
    cache, _ = cache
    batch = PairSampler([cache], [1.0], mirror=False).batch(0, 32)
    assert all(_view_of(cache, batch.source[row], 1)[1] < 1e-6 for row in range(32))


def test_a_mirrored_picture_is_the_mirrored_object_from_the_negative_azimuth():
    ball, box = trimesh.creation.icosphere(radius=0.15), trimesh.creation.box((0.8, 0.3, 0.2))
    ball.apply_translation((0.2, 0.3, 0.25))  # nothing of this object is symmetric about y = 0
    shape = trimesh.util.concatenate([ball, box])
    vertices, faces = np.asarray(shape.vertices, np.float32), np.asarray(shape.faces, np.int64)
    colours = np.clip(vertices + 0.5, 0, 1)
    mesh = Mesh(vertices, faces, vertex_colours=colours)
    mirrored = Mesh(vertices * np.float32([1, -1, 1]), faces[:, ::-1], vertex_colours=colours)
    light = Light(key_direction=(0.6, 0.0, 0.8), fill=0)
    pictures = [
        render([m], Camera.from_orbit(OrbitPose.from_degrees(a, 25.0, 1.8), hw=(64, 64)), light, samples=1)
        for m, a in ((mesh, 40.0), (mirrored, -40.0), (mesh, -40.0))
    ]
    assert float((pictures[0].flip(-1) - pictures[1]).abs().mean()) < 2e-3
    assert (
        float((pictures[0].flip(-1) - pictures[2]).abs().mean()) > 2e-2
    )  # the object is chiral, so this test can fail


def test_caches_that_cannot_be_used_say_why(tmp_path):
    with pytest.raises(ViewSetError, match="not a cache of views"):
        ViewCache.open(tmp_path)
    with pytest.raises(ViewSetError, match="holds no view sets"):
        ViewCache.build(tmp_path, tmp_path / "cache", _encode)
    camera = Camera.from_orbit(OrbitPose([0.0], 0, 2), hw=(16, 16))
    ViewSet(torch.ones(1, 4, 16, 16), camera).save(tmp_path / "views" / "a")
    with pytest.raises(ViewSetError, match="holds one view; a pair needs two"):
        ViewCache.build(tmp_path / "views", tmp_path / "cache", _encode)


def _cached(tmp_path, objects=3, seed=0, **settings):
    for index in range(objects):
        view_set(seed + index, VIEWS, SIZE).save(tmp_path / "views" / f"object{index}")
    own = CacheSettings(**settings)
    return ViewCache.build(tmp_path / "views", tmp_path / "cache", _encode, own), own


def test_a_cache_of_the_same_views_made_in_the_same_way_is_taken(tmp_path):
    built, own = _cached(tmp_path, size=8, codec="a")
    shutil.copytree(tmp_path / "views", tmp_path / "elsewhere")
    for views in ("views", "elsewhere"):
        opened = ViewCache.open_for(tmp_path / views, tmp_path / "cache", replace(own, share=0.5))
        assert np.array_equal(opened.latents, built.latents)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": 16}, "size: 8 -> 16"),
        ({"edges": "original"}, "edges: blended -> original"),
        ({"first_views": 3}, "first_views: None -> 3"),
        ({"codec": "b"}, "codec: a -> b"),
    ],
)
def test_a_cache_made_otherwise_is_refused_in_one_line(tmp_path, change, says):
    _, own = _cached(tmp_path, size=8, codec="a")
    with pytest.raises(ViewSetError, match=rf"cached otherwise \({says}\); remove it to make it anew") as caught:
        ViewCache.open_for(tmp_path / "views", tmp_path / "cache", replace(own, **change))
    assert "\n" not in str(caught.value)


def _one_more(views):
    view_set(9, VIEWS, SIZE).save(views / "object9")


def _one_less(views):
    shutil.rmtree(views / "object1")


def _another_render(views):
    view_set(7, VIEWS, SIZE).save(views / "object0")


def _a_view_less(views):
    (views / "object1" / "004.png").unlink()


@pytest.mark.parametrize("change", [_one_more, _one_less, _another_render, _a_view_less])
def test_a_cache_of_other_views_is_refused(tmp_path, change):
    _, own = _cached(tmp_path)
    change(tmp_path / "views")
    with pytest.raises(ViewSetError, match=r"cache: holds other views, or views cached otherwise .*views: "):
        ViewCache.open_for(tmp_path / "views", tmp_path / "cache", own)


def test_a_cache_of_an_older_version_is_taken_if_its_pictures_have_the_size(tmp_path):
    _, own = _cached(tmp_path, size=8)
    (tmp_path / "cache" / "about.json").unlink()
    ViewCache.open_for(tmp_path / "views", tmp_path / "cache", replace(own, codec="b"))
    with pytest.raises(ViewSetError, match="holds pictures of 8 pixels, not 16; remove it"):
        ViewCache.open_for(tmp_path / "views", tmp_path / "cache", replace(own, size=16))
    (tmp_path / "cache" / "about.json").write_text("{half")
    with pytest.raises(ViewSetError, match=r"about\.json: cannot be read .*; remove .*cache to make it again"):
        ViewCache.open_for(tmp_path / "views", tmp_path / "cache", own)


def test_only_the_first_views_are_cached_where_that_is_asked(tmp_path):
    few, _ = _cached(tmp_path / "few", first_views=2)
    every, _ = _cached(tmp_path / "every", first_views=99)
    assert few.first.tolist() == [0, 2, 4, 6] and every.first.tolist() == [0, 5, 10, 15]
    assert np.array_equal(few.images[2:4], every.images[5:7])


def test_objects_of_two_sizes_are_refused(tmp_path):
    for name, size in (("a", 16), ("b", 24)):
        camera = Camera.from_orbit(OrbitPose([0.0, 1.0], 0, 2), hw=(size, size))
        ViewSet(torch.ones(2, 4, size, size), camera).save(tmp_path / "views" / name)
    with pytest.raises(ViewSetError, match="b: differs in size from a"):
        ViewCache.build(tmp_path / "views", tmp_path / "cache", _encode)


@pytest.mark.parametrize("weights", [[1.0, 2.0], [], [-1.0], [0.0], [float("nan")]])
def test_weights_that_make_no_sense_are_refused(cache, weights):
    with pytest.raises(ValueError, match="weights must be"):
        PairSampler([cache[0]], weights)


def test_near_targets_come_with_their_weight_and_inputs_with_their_share():
    poses = np.zeros((5, 3), np.float32)
    poses[:, 0], poses[:, 2] = np.deg2rad([0, 20, 60, 120, 180]), 1.5
    images, latents = np.zeros((5, 3, 4, 4), np.uint8), np.zeros((5, 2, 1, 1, 1), np.float16)
    cache = ViewCache(images, latents, poses, np.array([0, 5]))
    batch = PairSampler([cache], [1.0], near=np.deg2rad(60), mirror=False).batch(0, 20000)
    front = batch.source.azimuth == 0
    angle = batch.relative.azimuth.abs().rad2deg().round()
    counts = torch.stack([(front & (angle == a)).sum() for a in (20, 60, 120, 180)]).float()
    expected = torch.exp(-torch.tensor([20.0, 60, 120, 180]) / 60)
    torch.testing.assert_close(counts / counts.sum(), expected / expected.sum(), atol=0.02, rtol=0)
    same = PairSampler([cache], [1.0], same=0.25, mirror=False).batch(0, 4000)
    assert float((same.relative.azimuth == 0).float().mean()) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("share", [{}, {"targets": 4}, {"targets": 3, "pictures": True, "near": 0.9, "same": 0.3}])
def test_caches_held_on_a_device_give_the_same_batches_as_mapped_ones(cache, monkeypatch, share):
    first = cache[0]
    second = ViewCache(255 - first.images[:10], first.latents[:10] * 2, first.poses[:10], first.first[:3])
    mapped = PairSampler([first, second], [1, 2], seed=3, **share)
    monkeypatch.setattr("zero123.data.pairs.free_memory", lambda device: 2**30)
    held = PairSampler([first, second], [1, 2], seed=3, **share, device=torch.device("cpu"))
    assert held._images._held is not None and mapped._images._held is None
    monkeypatch.setattr("zero123.data.pairs.free_memory", lambda device: 1000)
    assert PairSampler([first], [1], device=torch.device("cpu"))._images._held is None  # no room for it
    for step in range(3):
        ours, theirs = held.batch(step, 12), mapped.batch(step, 12)
        for name in ("photo", "latent", "picture"):
            one, other = getattr(ours, name), getattr(theirs, name)
            assert (one is None and other is None) or torch.equal(one, other)
        assert ours.group == theirs.group
        for name in ("relative", "source"):
            one, other = vars(getattr(ours, name)).values(), vars(getattr(theirs, name)).values()
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_pairs_of_a_seed_and_step_are_those_of_earlier_versions():
    poses = np.zeros((12, 3), np.float32)
    poses[:, 0], poses[:, 2] = np.arange(12), 1.5
    images = np.broadcast_to(np.arange(12, dtype=np.uint8)[:, None, None, None], (12, 3, 2, 2))
    latents = np.arange(24, dtype=np.float16).reshape(12, 2, 1, 1, 1)
    caches = [ViewCache(images + np.uint8(k), latents + np.float16(k), poses, np.array([0, 5, 12])) for k in (0, 100)]
    batch = PairSampler(caches, [0.4, 0.6], seed=5, targets=2, near=1.5, same=0.2, pictures=True).batch(9, 8)
    assert (batch.photo[:, 0, 0, 0] * 255).round().int().tolist() == [110, 110, 104, 104, 103, 103, 108, 108]
    assert batch.latent.flatten().int().tolist() == [118, 116, 104, 108, 102, 104, 112, 118]


def test_caches_of_two_sizes_are_refused(cache):
    small = ViewCache(cache[0].images[..., :8, :8], cache[0].latents, cache[0].poses, cache[0].first)
    with pytest.raises(ValueError, match="caches must be of one size"):
        PairSampler([cache[0], small], [1, 1])

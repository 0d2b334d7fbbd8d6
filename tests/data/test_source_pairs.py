"""Pairs from pictures on disk: of one object, each once an epoch, alike after a resume, never of a broken object."""

from collections import Counter

import numpy as np
import pytest
import torch

from small_views import SIZE, filled, view_set
from zero123.data.broken import BrokenItems, TooManyBroken
from zero123.data.draws import ObjectDraws
from zero123.data.formats.detect import open_source
from zero123.data.pictures import training_pictures
from zero123.data.source_pairs import PairSettings, SourcePairs
from zero123.data.view_cache import ViewCache
from zero123.geometry.orbit import OrbitPose

OBJECTS, VIEWS = 12, 5


def keep(pictures, generator):
    return pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("views"), OBJECTS, VIEWS)


@pytest.fixture
def known(folder):
    """Every picture of the folder by its bytes: object and view."""
    pictures = {}
    for index in range(OBJECTS):
        for view, picture in enumerate(training_pictures(open_source(folder).load(index))):
            pictures[picture.numpy().tobytes()] = (index, view)
    return pictures


def pairs_of(folder, threads=0, **settings):
    return SourcePairs([open_source(folder)], keep, PairSettings(size=SIZE, **settings), threads=threads)


def objects_of(batch, known):
    return [known[photo.numpy().tobytes()][0] for photo in batch.photo]


def test_input_and_target_are_two_views_of_one_object_and_the_move_leads_from_one_to_the_other(folder, known):
    batch = pairs_of(folder).batch(0, 24)
    for row in range(24):
        source = known[batch.photo[row].numpy().tobytes()]
        target = known[batch.latent[row].numpy().tobytes()]
        assert source[0] == target[0] and source[1] != target[1]
        pose = view_set(source[0], VIEWS).camera.orbit()
        reached = batch.source[row].moved(batch.relative[row]).point()
        torch.testing.assert_close(reached, pose.point()[target[1]], atol=1e-5, rtol=0)
        torch.testing.assert_close(batch.source[row].point(), pose.point()[source[1]], atol=1e-5, rtol=0)


def test_the_first_view_drawn_is_the_target_as_in_the_original(folder, known):
    batch = pairs_of(folder, seed=3).batch(0, 1)
    numbers = np.random.default_rng([3, 0, 0])
    first, second = numbers.choice(VIEWS, 2, replace=False)
    assert known[batch.latent[0].numpy().tobytes()][1] == first
    assert known[batch.photo[0].numpy().tobytes()][1] == second


def test_every_object_comes_once_an_epoch_whatever_the_batch_and_in_another_order_next_time(folder, known):
    orders = []
    for epoch in range(2):
        small = [o for step in range(3) for o in objects_of(pairs_of(folder).batch(3 * epoch + step, 4), known)]
        large = [o for step in range(2) for o in objects_of(pairs_of(folder).batch(2 * epoch + step, 6), known)]
        assert small == large and sorted(small) == list(range(OBJECTS))
        orders.append(small)
    assert orders[0] != orders[1]


def test_processes_that_take_turns_share_no_object_in_an_epoch(folder, known):
    ranks = [
        [o for step in range(2) for o in objects_of(pairs_of(folder).batch(step * 2 + rank, 3), known)]
        for rank in range(2)
    ]
    assert not set(ranks[0]) & set(ranks[1]) and len(set(ranks[0] + ranks[1])) == OBJECTS


def test_a_step_is_the_same_in_any_order_and_with_threads(folder):
    forward, threaded = pairs_of(folder, seed=5), pairs_of(folder, seed=5, threads=3)
    first = [forward.batch(step, 4) for step in range(3)]
    for step in (2, 0, 1):
        again = threaded.batch(step, 4)
        assert torch.equal(again.photo, first[step].photo) and torch.equal(again.latent, first[step].latent)
        assert torch.equal(again.relative.azimuth, first[step].relative.azimuth)
    assert not torch.equal(pairs_of(folder, seed=6).batch(0, 4).photo, first[0].photo)


def test_latents_drawn_from_a_posterior_are_the_same_after_a_resume(folder):
    def noisy(pictures, generator):
        return torch.randn(pictures.shape, generator=generator)

    def latent(step):
        return SourcePairs([open_source(folder)], noisy, PairSettings(size=SIZE)).batch(step, 2).latent

    assert torch.equal(latent(7), latent(7)) and not torch.equal(latent(7), latent(8))


def test_mirrored_pairs_have_mirrored_pictures_and_negated_azimuths(folder, known):
    batch = pairs_of(folder, mirror=True).batch(0, 36)
    seen = Counter()
    for row in range(36):
        straight = known.get(batch.photo[row].numpy().tobytes())
        turned = known.get(batch.photo[row].flip(-1).contiguous().numpy().tobytes())
        index, view = straight or turned
        pose = view_set(index, VIEWS).camera.orbit()[view]
        sign = 1 if straight else -1
        expected = OrbitPose(sign * pose.azimuth, pose.elevation, pose.radius).point()
        torch.testing.assert_close(batch.source[row].point(), expected, atol=1e-5, rtol=0)
        assert (batch.latent[row] if straight else batch.latent[row].flip(-1)).contiguous().numpy().tobytes() in known
        seen[sign] += 1
    assert 8 < seen[-1] < 28


def test_only_the_first_views_where_that_is_asked(folder, known):
    batch = pairs_of(folder, first_views=2).batch(0, 24)
    assert {known[p.numpy().tobytes()][1] for p in (*batch.photo, *batch.latent)} == {0, 1}


def test_several_targets_share_one_input(folder, known):
    batch = pairs_of(folder, targets=3).batch(0, 12)
    for start in range(0, 12, 3):
        assert all(torch.equal(batch.photo[start], batch.photo[start + k]) for k in range(3))
        views = {known[p.numpy().tobytes()] for p in (*batch.latent[start : start + 3], batch.photo[start])}
        assert len(views) == 4 and len({index for index, _ in views}) == 1
    with pytest.raises(ValueError, match="size must be a multiple of targets, got 4 and 3"):
        pairs_of(folder, targets=3).batch(0, 4)


def test_sources_are_drawn_by_their_weights(folder, tmp_path, known):
    filled(tmp_path, 2, VIEWS)  # the same pictures as the first two objects of `folder`
    pairs = SourcePairs([open_source(folder), open_source(tmp_path)], keep, PairSettings(size=SIZE), weights=[1, 3])
    share = np.mean([o < 2 for o in objects_of(pairs.batch(0, 400), known)])
    assert share == pytest.approx(0.75 + 0.25 * 2 / OBJECTS, abs=0.06)


SPOILED = {
    "missing camera": lambda f: (f / "001.npy").unlink(),
    "truncated picture": lambda f: (f / "001.png").write_bytes((f / "001.png").read_bytes()[:-60]),
    "empty file": lambda f: (f / "001.png").write_bytes(b""),
    "nan camera": lambda f: np.save(f / "001.npy", np.full((3, 4), np.nan)),
    "camera in millimetres": lambda f: np.save(f / "001.npy", np.load(f / "001.npy") * ([1] * 3 + [1000])),
    "no rotation": lambda f: np.save(f / "001.npy", np.ones((3, 4))),
    "pickle": lambda f: np.save(f / "001.npy", np.array([{}])),
    "empty render": lambda f: torch_save_empty(f / "001.png"),
    "no views": lambda f: [p.unlink() for p in f.iterdir()],
}


def torch_save_empty(path):
    from PIL import Image

    Image.new("RGBA", (SIZE, SIZE)).save(path)


@pytest.mark.parametrize("kind", SPOILED)
def test_a_broken_object_is_skipped_counted_and_never_black(tmp_path, kind, caplog):
    filled(tmp_path, 4, 2)
    SPOILED[kind](tmp_path / "object02")
    pairs = pairs_of(tmp_path, share=0.25)
    batch = pairs.batch(0, 8)
    assert len(batch.photo) == 8 and all(float(p.max()) > 0.5 for p in (*batch.photo, *batch.latent))
    assert list(pairs.broken.reasons) == [f"{tmp_path}/object02"]
    assert "1 of 4 objects skipped" in pairs.broken.line()
    assert sum("skipped" in r.message for r in caplog.records) == 1
    again = pairs_of(tmp_path, share=0.25)
    assert torch.equal(again.batch(0, 8).photo, batch.photo)


def test_more_than_the_share_of_broken_objects_stops_the_run_with_their_names(tmp_path):
    filled(tmp_path, 4, 2)
    for index in (1, 3):
        (tmp_path / f"object0{index}" / "000.npy").unlink()
    with pytest.raises(TooManyBroken, match=r"2 of 4 objects are broken.*25.*object0[13] .*object0[13] ") as caught:
        pairs_of(tmp_path, share=0.25).batch(0, 8)
    assert "\n" not in str(caught.value)
    with pytest.raises(TooManyBroken, match=r"1 of 4 objects are broken, more than the 1\.000%"):
        pairs_of(tmp_path).batch(0, 8)


def test_a_cache_skips_and_notes_what_is_broken(tmp_path):
    from zero123.data.view_cache import CacheSettings

    filled(tmp_path / "views", 4, 2)
    (tmp_path / "views" / "object01" / "000.npy").unlink()
    with pytest.raises(TooManyBroken, match="object01"):
        ViewCache.build(tmp_path / "views", tmp_path / "cache", lambda p: p[..., ::4, ::4])
    assert not (tmp_path / "cache" / "first.npy").exists()
    settings = CacheSettings(share=0.25)
    cache = ViewCache.build(tmp_path / "views", tmp_path / "cache", lambda p: p[..., ::4, ::4], settings)
    assert cache.first.tolist() == [0, 2, 4, 6]
    assert "object01" in (tmp_path / "cache" / "skipped.json").read_text()
    whole = training_pictures(open_source(tmp_path / "views").load(3))
    assert np.array_equal(cache.images[4:], (whole * 255).round().to(torch.uint8).numpy())


def test_broken_objects_are_counted_once():
    broken = BrokenItems(100, 0.02)
    for _ in range(5):
        broken.add("a", "why\nnot")
    broken.add("b", "so")
    assert len(broken) == 2 and broken.reasons["a"] == "why not" and broken.line() == "2 of 100 objects skipped: a, b"
    with pytest.raises(TooManyBroken):
        broken.add("c", "too")
    with pytest.raises(ValueError, match="share of broken objects must be in 0 to 1"):
        BrokenItems(1, 2.0)


def test_draws_need_objects_and_sensible_weights(folder):
    with pytest.raises(ValueError, match="must hold objects"):
        ObjectDraws([])
    with pytest.raises(ValueError, match="weights must be"):
        ObjectDraws([open_source(folder)], [0.0])
    with pytest.raises(ValueError, match="first_views must be at least 2"):
        PairSettings(first_views=1)

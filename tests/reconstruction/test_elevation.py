"""Where a photo was taken from: true views of a known object give it away, and nobody is sure without evidence."""

import math
from types import SimpleNamespace

import exact_scene
import pytest
import torch

from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.images.matting import Matte
from zero123.images.photo import Photo
from zero123.reconstruction.elevation import (
    Elevation,
    by_views,
    chosen_way,
    copies,
    found_source,
    read,
    reader_deviation,
    sweep_pictures,
)
from zero123.reconstruction.from_photo import source_at
from zero123.reconstruction.view_sweep import SweepSettings, cost_at, judged, nearby_moves, seen_again, shrunk, sweep

SIZE = 64
TRUE_VIEWS = SweepSettings(evidence=30)  # the default is for views that a model draws, which are worth less


def pictures(pose):
    return exact_scene.picture(Camera.from_orbit(pose, hw=(SIZE, SIZE)), samples=2)


def photo_from(elevation_deg):
    rgba = pictures(source_at(elevation_deg))[0]
    return Photo(rgba, Matte("alpha", 0.2, False), rgba[3:])


def around(elevation_deg, moves=None):
    """The photo and true views around it, on white."""
    source = source_at(elevation_deg)
    return exact_scene.on_white(pictures(OrbitPose.cat([source, source.moved(moves or nearby_moves())])))


class Oracle:
    """In the place of `NovelViews`: draws true views of a photo taken from a height that it tells nobody."""

    def __init__(self, elevation_deg, readings=None):
        self.taken = source_at(elevation_deg)
        self.readings = readings
        self.model = SimpleNamespace(
            place_reader=None if readings is None else "there", settings=SimpleNamespace(name="oracle")
        )

    def __call__(self, photo, relative, settings, source, progress=None):
        assert source is None and settings.samples == 1
        return exact_scene.on_white(pictures(self.taken.moved(relative)))

    def places(self, shown):
        return OrbitPose.from_degrees([0.0] * len(shown), self.readings[: len(shown)], [1.7] * len(shown))


# By views


@pytest.mark.parametrize("true", [-35, 0, 20, 45, 70])
def test_true_views_of_a_known_object_give_the_elevation_within_their_interval_of_two_deviations(true):
    found, images = by_views(Oracle(true), photo_from(true), settings=TRUE_VIEWS)
    assert images.shape == (5, 3, SIZE, SIZE)
    assert math.degrees(found.angle) == pytest.approx(true, abs=10)
    assert abs(math.degrees(found.angle) - true) < 2 * math.degrees(found.deviation)
    assert math.degrees(found.deviation) < 15 and found.way == "views"


def test_a_body_that_looks_the_same_from_everywhere_leaves_the_elevation_open():
    place = (torch.arange(SIZE) + 0.5) / SIZE - 0.5
    disc = (torch.hypot(place[:, None], place) < 0.3).float()
    found = sweep((1 - 0.6 * disc).expand(5, 3, -1, -1), nearby_moves())
    assert math.degrees(found.deviation) > 25
    assert abs(math.degrees(found.mean)) < 20


def test_views_of_something_else_are_no_evidence_of_the_true_height():
    sure = sweep(around(20), nearby_moves())
    noise = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 0.8
    torn = sweep(torch.cat((around(20)[:1], noise)), nearby_moves())
    assert torn.deviation > 2 * sure.deviation


def test_moves_up_and_down_say_nothing_as_they_are_the_same_from_every_height():
    moves = RelativePose.from_degrees([0.0, 0.0], [-15.0, 20.0])
    small = shrunk(around(10, moves), SIZE)
    low, high = (cost_at(small, moves, math.radians(angle), 16) for angle in (-30, 40))
    assert low == pytest.approx(high, rel=1e-3)


def test_the_photo_is_seen_again_best_under_the_true_candidate():
    images, moves = around(30), nearby_moves()
    small = shrunk(images, SIZE)
    error = {
        a: float((seen_again(small, moves, math.radians(a), 32) - images[0]).square().mean()) for a in (-30, 0, 30)
    }
    assert error[30] < 0.7 * error[0] < 0.5 * error[-30]


def test_candidates_are_dense_around_the_best_and_their_density_is_one_in_all():
    found = sweep(around(27), nearby_moves(), SweepSettings(size=32, depths=12))
    best = float(found.elevation[found.cost.argmin()])
    steps = found.elevation.diff().rad2deg()
    assert (steps > 0).all() and steps.max() == pytest.approx(10) and steps.min() == pytest.approx(2.5)
    near = (found.elevation - best).abs() < math.radians(9)
    assert int(near.sum()) >= 6
    assert float(torch.trapezoid(found.probability, found.elevation)) == pytest.approx(1, abs=0.1)
    assert abs(best - found.mean) < 3 * found.deviation


def test_more_evidence_makes_the_same_costs_surer_and_equal_costs_say_nothing():
    angles = torch.linspace(-80, 80, 17, dtype=torch.float64).deg2rad()
    cost = 0.01 + (angles - 0.3) ** 2 / 10
    few, many = judged(angles, cost, 5), judged(angles, cost, 50)
    assert many.deviation < 0.7 * few.deviation and many.mean == pytest.approx(0.3, abs=0.03)
    flat = judged(angles, torch.ones(17, dtype=torch.float64), 50)
    assert math.degrees(flat.deviation) == pytest.approx(160 / 12**0.5, rel=0.01)  # of an even spread
    assert flat.mean == pytest.approx(0, abs=1e-9)


def test_the_sweeps_pictures_are_the_photo_and_one_for_each_candidate_with_the_best_marked():
    found, images = by_views(Oracle(20), photo_from(20), settings=SweepSettings(size=32, depths=12))
    shown, labels = sweep_pictures(images, found.sweep, SweepSettings(size=32, depths=12))
    assert len(shown) == len(labels) == len(found.sweep.elevation) + 1
    assert labels[0] == "picture" and [label.endswith("*") for label in labels].count(True) == 1
    assert shown.min() >= 0 and shown.max() <= 1


@pytest.mark.parametrize(
    ("images", "moves", "message"),
    [
        (torch.zeros(5, 3, 32, 32), RelativePose.from_degrees([10.0], [0.0]), "one more than moves"),
        (torch.zeros(5, 4, 32, 32), nearby_moves(), r"must be \(V, 3, S, S\)"),
        (torch.ones(5, 3, 32, 32), nearby_moves(), "nothing is seen in view 0"),
    ],
)
def test_pictures_that_cannot_be_swept_are_refused(images, moves, message):
    with pytest.raises(ValueError, match=message):
        sweep(images, moves)


@pytest.mark.parametrize(
    "wrong", [{"size": 4}, {"depths": 1}, {"fine_deg": 20.0}, {"evidence": 0.0}, {"limit_deg": 90.0}]
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        SweepSettings(**wrong)


# By a reader


def test_the_reading_is_the_mean_over_copies_and_its_deviation_grows_with_their_spread():
    steady, torn = read(Oracle(0, [20.0] * 14), photo_from(20)), read(Oracle(0, [0.0, 40.0] * 7), photo_from(20))
    assert [math.degrees(found.angle) for found in (steady, torn)] == pytest.approx([20, 20], abs=1e-3)
    assert steady.spread == pytest.approx(0, abs=1e-5) and math.degrees(torn.spread) == pytest.approx(20.75, abs=0.1)
    assert 0 < steady.deviation < torn.deviation
    assert torn.deviation == reader_deviation(torn.spread) and torn.way == "reader"


def test_copies_are_the_picture_itself_mirrored_and_moved_on_white():
    rgba = photo_from(20).rgba
    made, white = copies(rgba), exact_scene.on_white(rgba[None])[0]
    assert made.shape == (14, 3, SIZE, SIZE)
    torch.testing.assert_close(made[0], white, atol=1e-4, rtol=0)
    torch.testing.assert_close(made[7], white.flip(-1), atol=1e-4, rtol=0)
    size = [(1 - picture).sum() for picture in made[:3]]
    assert size[1] < size[0] < size[2]
    assert (made[:, :, 0, 0] > 0.999).all()


# Which way


def test_a_reader_is_used_where_there_is_one_and_views_where_there_is_none():
    reads, blind = Oracle(0, [12.0] * 14), Oracle(25)
    assert [chosen_way(views, "auto") for views in (reads, blind)] == ["reader", "views"]
    assert chosen_way(reads, "views") == "views"
    with pytest.raises(ValueError, match="oracle has no reader of places: choose --method views"):
        chosen_way(blind, "reader")
    with pytest.raises(ValueError, match="method must be one of auto, reader, views, got 'guess'"):
        chosen_way(reads, "guess")
    source = found_source(reads, photo_from(0))
    assert math.degrees(float(source.elevation)) == pytest.approx(12, abs=1e-3)
    assert float(source.radius) == pytest.approx(1.7)
    assert math.degrees(float(found_source(blind, photo_from(25)).elevation)) == pytest.approx(25, abs=10)


def test_intervals_end_at_the_poles():
    low, high = Elevation(1.4, 0.5, "views").interval
    assert (low, high) == (pytest.approx(0.9), math.pi / 2)

"""How long a reconstruction may take: times as people write them, stages that end early and calmly."""

import dataclasses
import itertools
import time

import pytest

from zero123.reconstruction.budget import coarser, seconds_in, within
from zero123.reconstruction.from_views import ReconstructionSettings
from zero123.reconstruction.timetable import Timetable


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("2m", 120), ("10M", 600), ("1.5h", 5400), (" 45 ", 45)])
def test_times_are_read_as_people_write_them(text, seconds):
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3m", "3s", "1e9h", "nan", "2d"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="time must be at least 10s, as 30s, 2m or 1h"):
        seconds_in(text)


def test_little_time_limits_the_fit_and_much_makes_a_finer_field():
    usual = ReconstructionSettings()
    little, much = within(usual, 20), within(usual, 600)
    assert little.fit.grids == usual.fit.grids and 5 < little.fit.seconds < 20
    assert max(much.fit.grids) > max(usual.fit.grids) and 500 < much.fit.seconds < 600 and much.fit.window
    assert within(usual, -5).fit.seconds > 0


def test_coarser_settings_end_somewhere():
    settings, seen = ReconstructionSettings(), []
    while settings is not None:
        seen.append(settings.fit.rays * max(settings.fit.grids) ** 3)
        settings = coarser(settings)
    assert 2 < len(seen) < 8
    assert all(later < earlier / 2 for earlier, later in itertools.pairwise(seen))
    assert coarser(dataclasses.replace(ReconstructionSettings(), texture=0)).texture == 0


def test_a_stage_ends_after_its_steps_and_earlier_once_its_error_stays():
    falling, still = Timetable(100, None, 10), Timetable(100, None, 10)
    while falling.share < 1:
        falling.told(0.97**falling.done)
    while still.share < 1:
        before = still.share
        still.told(1.0)
        assert still.share > before
    assert falling.done == 100
    assert still.done == 40  # two windows, and a fifth of all steps to come to rest
    assert Timetable(0, None, 0).share == 1


def test_seconds_end_a_stage_at_its_share():
    table, start = Timetable(10**9, 0.05, 0), time.monotonic()
    while table.share < 1:
        table.told(1.0)
    assert 0.04 < time.monotonic() - start < 1

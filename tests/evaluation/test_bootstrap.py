"""Bootstrap intervals against the closed form for normal data, and in the long run."""

import math

import pytest
import torch

from zero123.evaluation.bootstrap import interval, paired_difference


def normal(count, seed=0, mean=20.0, deviation=3.0):
    return mean + deviation * torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("level", "z"), [(0.95, 1.95996), (0.68268, 1.0), (0.99, 2.57583)])
def test_the_interval_of_normal_data_is_its_closed_form(level, z):
    values = normal(400)
    low, high = interval(values, level, draws=20_000)
    reach = z * float(values.std(correction=0)) / math.sqrt(400)
    assert low == pytest.approx(float(values.mean()) - reach, abs=0.05 * reach)
    assert high == pytest.approx(float(values.mean()) + reach, abs=0.05 * reach)


def test_it_holds_the_true_mean_as_often_as_it_says():
    held = [low < 20 < high for low, high in (interval(normal(60, seed), draws=500) for seed in range(400))]
    assert sum(held) / 400 == pytest.approx(0.94, abs=0.03)  # a little under 0.95 is its nature with 60 objects


def test_same_seed_same_digits_and_another_seed_others():
    values = normal(30)
    assert interval(values, seed=1) == interval(values, seed=1) != interval(values, seed=2)


def test_one_object_and_equal_objects_have_no_width():
    assert interval(torch.tensor([7.0])) == (7, 7)
    assert interval(torch.full((9,), 7.0)) == (7, 7)


def test_a_small_but_steady_gain_shows_only_in_pairs():
    second = normal(40, deviation=5.0)
    first = second + 0.5 + 0.1 * torch.randn(40, generator=torch.Generator().manual_seed(1))
    gain = paired_difference(first, second)
    assert gain.low < gain.mean < gain.high and gain.low > 0.4
    assert gain.mean == pytest.approx(float((first - second).mean()))
    assert interval(first)[0] < interval(second)[1]  # unpaired, they overlap
    back = paired_difference(second, first)
    assert (back.mean, back.low, back.high) == pytest.approx((-gain.mean, -gain.high, -gain.low))


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (torch.zeros(0), {}, r"values must be \(N,\) with N over 0, got shape \(0,\)"),
        (torch.zeros(2, 3), {}, r"values must be \(N,\)"),
        (torch.tensor([1.0, float("nan")]), {}, "values must be finite, got 1 that are not"),
        (torch.ones(3), {"level": 1.0}, r"level must be in \(0, 1\), got 1.0"),
        (torch.ones(3), {"draws": 0}, "draws must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        interval(values, **options)


def test_scores_of_other_objects_are_no_pairs():
    with pytest.raises(ValueError, match="first and second must be scores of the same objects, got 3 and 4"):
        paired_difference(torch.ones(3), torch.ones(4))

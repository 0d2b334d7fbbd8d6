"""Averages by a power of time are what their formula says, and any other is made of two of them and a few snapshots."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn

from zero123.training.averages import LENGTHS, PowerAverages, averaged, exponent, mixture, product, snapshots


def profile(time, end, gamma):
    return np.where(time <= end, (gamma + 1) * (time / end) ** gamma / end, 0)


@pytest.mark.parametrize(("length", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_the_papers_two_lengths_have_the_papers_exponents(length, gamma):
    assert exponent(length) == pytest.approx(gamma, abs=0.01)


@pytest.mark.parametrize("length", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_the_length_is_the_standard_deviation_of_the_profile(length):
    gamma = exponent(length)
    moments = [quad(lambda t, k=k: t**k * profile(t, 1.0, gamma), 0, 1)[0] for k in (0, 1, 2)]
    assert moments[0] == pytest.approx(1)
    assert math.sqrt(moments[2] - moments[1] ** 2) == pytest.approx(length, rel=1e-6)


def test_the_product_of_profiles_is_its_integral():
    for a, b in (((50.0, 17.0), (80.0, 7.0)), ((80.0, 7.0), (50.0, 17.0)), ((80.0, 3.0), (80.0, 3.0))):
        integral = quad(lambda t, a=a, b=b: profile(t, *a) * profile(t, *b), 0, 100, points=[50, 80])[0]
        assert product(*a, *b) == pytest.approx(integral, rel=1e-6)


def _walk(steps, averages=None, layer=None, folder=None, every=0):
    """A parameter that is sin(step / 30) after each step."""
    layer = layer or nn.Linear(1, 1, bias=False)
    averages = averages or PowerAverages(layer)
    for step in steps:
        with torch.no_grad():
            layer.weight.fill_(math.sin(step / 30))
        averages.update(layer, step)
        if every and step % every == 0:
            averages.save(folder, step)
    return layer, averages


def test_a_running_average_has_its_profile():
    _, averages = _walk(range(1, 401))
    time = np.arange(1, 401)
    for length in LENGTHS:
        # a step's weight is the profile's share of its interval of time
        share = np.diff((np.arange(401) / 400) ** (exponent(length) + 1))
        expected = (share * np.sin(time / 30)).sum()
        assert float(averages.values[length]["weight"]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("length", [0.05, 0.07, 0.1, 0.15])
def test_any_average_is_made_after_training(tmp_path, length):
    _walk(range(1, 401), folder=tmp_path, every=25)
    share = np.diff((np.arange(401) / 400) ** (exponent(length) + 1))
    expected = (share * np.sin(np.arange(1, 401) / 30)).sum()
    assert float(averaged(tmp_path, length)["weight"]) == pytest.approx(expected, abs=0.01)


def test_an_average_that_was_kept_comes_back_exactly(tmp_path):
    _, averages = _walk(range(1, 101), folder=tmp_path, every=50)
    for length in LENGTHS:
        assert float(averaged(tmp_path, length)["weight"]) == pytest.approx(
            float(averages.values[length]["weight"]), abs=1e-5
        )
    early = averaged(tmp_path, 0.1, step=50)["weight"]
    assert float(early) == pytest.approx(float(_walk(range(1, 51))[1].values[0.1]["weight"]), abs=1e-5)


def test_weights_of_snapshots_add_up_to_one_nearly():
    kept = [(float(t), exponent(length)) for t in range(100, 1001, 100) for length in LENGTHS]
    assert mixture(kept, 1000.0, exponent(0.12)).sum() == pytest.approx(1, abs=0.01)


def test_a_resumed_run_goes_on_exactly_and_drops_what_came_after(tmp_path):
    _walk(range(1, 101), folder=tmp_path, every=20)
    layer = nn.Linear(1, 1, bias=False)
    averages = PowerAverages(layer)
    averages.restore(tmp_path, 60)
    assert sorted({step for step, *_ in snapshots(tmp_path)}) == [20, 40, 60]
    _, straight = _walk(range(1, 101))
    _walk(range(61, 101), averages, layer)
    for length in LENGTHS:
        assert torch.equal(averages.values[length]["weight"], straight.values[length]["weight"])


def test_mistakes_are_named(tmp_path):
    for length in (0.0, 0.3):
        with pytest.raises(ValueError, match=r"length of an average must be over 0 and at most 0\.28"):
            exponent(length)
    with pytest.raises(ValueError, match="holds no snapshots"):
        averaged(tmp_path, 0.1)
    with pytest.raises(ValueError, match="is missing; the run cannot go on with power_averages"):
        PowerAverages(nn.Linear(1, 1)).restore(tmp_path, 3)
    _walk(range(1, 3), folder=tmp_path, every=1)
    with pytest.raises(ValueError, match="belongs to another model"):
        PowerAverages(nn.Linear(1, 1)).restore(tmp_path, 1)

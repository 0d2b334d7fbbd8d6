"""A drawing is its solver's walk from its seeds' noise, guided where the settings say so."""

import pytest
import torch

from closed_form import Gaussian
from zero123.diffusion.guidance import Pair
from zero123.diffusion.samplers import ancestral, dpmpp_2m, euler, exploding, noise_like, preserving
from zero123.diffusion.sampling import Begin, SamplingSettings, draw

DATA = Gaussian.example(1, 2, 2)
SIGMAS = DATA.schedule.sampling_sigmas(6)
PAIR = Pair(DATA.mean.expand(3, -1, -1, -1), torch.zeros(3, 1, 2, 2, dtype=torch.float64))
START = torch.zeros(3, 1, 2, 2, dtype=torch.float64)
SEEDS = [4, 5, 4]


def drawn(scale=1.0, seeds=SEEDS, start=START, pair=PAIR, sigmas=SIGMAS, **settings):
    return draw(DATA, pair, sigmas, start, seeds, SamplingSettings(**settings), scale)


@pytest.mark.parametrize("solver", ["dpmpp_2m", "euler", "ancestral"])
@pytest.mark.parametrize("spacing", ["trailing", "original"])
def test_a_drawing_is_the_solvers_walk_from_the_seeds_noise(solver, spacing):
    sigmas = DATA.schedule.sampling_sigmas(10, spacing)
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    x = exploding(noise_like(START, generators), sigmas[0])
    if solver == "ancestral":
        x = ancestral(DATA, x, sigmas, PAIR.conditional, noise=generators)
    else:
        x = {"dpmpp_2m": dpmpp_2m, "euler": euler}[solver](DATA, x, sigmas, PAIR.conditional)
    assert torch.equal(drawn(solver=solver, sigmas=sigmas), preserving(x, sigmas[-1]))


def test_equal_seeds_give_equal_pictures_wherever_they_stand():
    whole = drawn(solver="ancestral")
    assert torch.equal(whole[0], whole[2])
    assert not torch.equal(whole[0], whole[1])
    alone = drawn(solver="ancestral", seeds=SEEDS[1:2], start=START[1:2], pair=Pair(DATA.mean[None], START[:1]))
    torch.testing.assert_close(alone[0], whole[1])


def test_the_values_of_the_start_do_not_matter():
    assert torch.equal(drawn(start=START + 7), drawn())


def test_a_drawing_that_begins_from_something_keeps_as_much_of_it_as_its_level_leaves():
    """The probability flow of Gaussian data scales offsets by sqrt(C / (C + sigma^2)); equal noise cancels."""
    values, axes = torch.linalg.eigh(DATA.covariance)
    offset, kept = torch.ones_like(START[:1]), []
    for strength in (0.3, 0.8):
        sigmas = Begin(START, strength).sigmas(DATA.schedule, 60, "trailing")
        assert len(sigmas) == 61 and sigmas[-1] == 0
        some, other = (
            draw(DATA, PAIR, sigmas, START, SEEDS, SamplingSettings(), 1.0, None, DATA.mean + away)
            for away in (START + offset, START)
        )
        shrink = axes @ torch.diag((values / (values + sigmas[0] ** 2)).sqrt()) @ axes.T
        expected = (shrink @ offset.flatten()).reshape(1, 1, 2, 2).expand_as(START)
        torch.testing.assert_close(some - other, expected, atol=0.02, rtol=0)
        kept.append(float((some - other).abs().mean()))
    assert kept[0] > 2 * kept[1]
    with pytest.raises(ValueError, match="strength must be over 0 and at most 1, got 0"):
        Begin(START, 0.0)


def test_guidance_acts_within_its_interval_only():
    """No level lies in the first interval, all of them in the second."""
    assert torch.equal(drawn(3.0, guidance_interval=(20.0, 30.0)), drawn(1.0))
    assert torch.equal(drawn(3.0, guidance_interval=(0.0, 20.0)), drawn(3.0))
    half = drawn(3.0, guidance_interval=(0.5, 3.0))
    assert not torch.equal(half, drawn(3.0))
    assert not torch.equal(half, drawn(1.0))


@pytest.mark.parametrize(
    ("settings", "seeds"),
    [
        ({}, [7, 7, 7]),
        ({"same_noise": False}, [7, 8, 9]),
        ({"samples": 2}, [7, 8, 7, 8, 7, 8]),
        ({"samples": 2, "same_noise": False}, [7, 8, 9, 10, 11, 12]),
    ],
)
def test_samples_have_seeds_of_their_own(settings, seeds):
    assert SamplingSettings(seed=7, **settings).seeds(3) == seeds


def test_the_originals_settings_ask_for_its_76_evaluations():
    original = SamplingSettings.original()
    assert len(DATA.schedule.sampling_sigmas(original.steps, original.spacing)) - 1 == 76
    assert (original.solver, original.scale) == ("ancestral", 3.0)


@pytest.mark.parametrize("interval", [(1.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0)])
def test_an_interval_that_does_not_rise_is_refused(interval):
    with pytest.raises(ValueError, match="guidance_interval must be two rising noise levels"):
        SamplingSettings(guidance_interval=interval)

"""Proof that guidance follows its formula and costs no more passes than it needs."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from closed_form import Gaussian
from zero123.diffusion.guidance import Guided, Pair

DATA = Gaussian.example(1, 2, 2)
GENERATOR = torch.Generator().manual_seed(3)
X = torch.randn(2, 1, 2, 2, generator=GENERATOR, dtype=torch.float64)
PAIR = Pair(
    conditional=torch.randn(2, 1, 2, 2, generator=GENERATOR, dtype=torch.float64),
    unconditional=torch.zeros(2, 1, 2, 2, dtype=torch.float64),
)


@dataclass(frozen=True)
class Mean:
    """A condition that can be joined."""

    values: Tensor

    def join(self, other: "Mean") -> "Mean":
        return Mean(torch.cat((self.values, other.values)))


class Counting:
    """The Gaussian, noting the batch of each pass."""

    def __init__(self):
        self.batches = []

    def __call__(self, x, sigma, condition):
        self.batches.append(len(x))
        return DATA(x, sigma, condition.values if isinstance(condition, Mean) else condition)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0, 100.0])
def test_guided_gaussian_is_the_gaussian_whose_mean_is_extrapolated(scale):
    # the posterior mean is affine in the prior mean, so guidance moves the mean and nothing else
    mean = PAIR.unconditional + scale * (PAIR.conditional - PAIR.unconditional)
    sigma = torch.tensor([0.3, 4.0], dtype=torch.float64)
    torch.testing.assert_close(Guided(DATA, scale)(X, sigma, PAIR), DATA(X, sigma, mean))


def test_scale_one_costs_one_pass_and_never_looks_at_the_unconditional():
    spy = Counting()
    result = Guided(spy, 1.0)(X, torch.tensor(0.5), Pair(PAIR.conditional, None))
    assert spy.batches == [2]
    assert torch.equal(result, DATA(X, torch.tensor(0.5), PAIR.conditional))


@pytest.mark.parametrize("sigma", [torch.tensor(0.5), torch.tensor([0.3, 4.0])])
def test_joined_conditions_run_as_one_doubled_batch_with_the_same_result(sigma):
    apart, together = Counting(), Counting()
    expected = Guided(apart, 3.0)(X, sigma, PAIR)
    joined = Guided(together, 3.0)(X, sigma, Pair(Mean(PAIR.conditional), Mean(PAIR.unconditional)))
    assert (apart.batches, together.batches) == ([2, 2], [4])
    torch.testing.assert_close(joined, expected)


def test_guidance_acts_only_above_low_and_up_to_high():
    spy = Counting()
    guided = Guided(spy, 3.0, interval=(0.5, 2.0))
    for sigma, passes in ((0.4, 1), (0.5, 1), (0.6, 2), (2.0, 2), (2.1, 1)):
        spy.batches.clear()
        result = guided(X, torch.tensor(sigma), PAIR)
        assert len(spy.batches) == passes
        torch.testing.assert_close(result, Guided(DATA, 3.0 if passes == 2 else 1.0)(X, torch.tensor(sigma), PAIR))


def test_interval_is_judged_for_each_image():
    sigma = torch.tensor([0.1, 1.0], dtype=torch.float64)
    result = Guided(DATA, 3.0, interval=(0.5, 2.0))(X, sigma, PAIR)
    torch.testing.assert_close(result[:1], Guided(DATA, 1.0)(X, sigma, PAIR)[:1])
    torch.testing.assert_close(result[1:], Guided(DATA, 3.0)(X, sigma, PAIR)[1:])

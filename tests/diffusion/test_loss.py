"""Proof that training is right: means over Gaussian pictures are exact here, by quadrature instead of sampling."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from closed_form import Gaussian
from zero123.diffusion.loss import denoising_loss

DATA = Gaussian.example(1, 1, 2)
NETWORKS = {"noise": DATA.noise_network, "velocity": DATA.velocity_network}
STEPS = (0, 20, 300, 700, 999)


def quadrature() -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, noises and weights whose weighted sum is the exact mean of any polynomial of degree up to 5."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    points = torch.tensor(list(itertools.product(nodes, repeat=4)))
    weight = torch.tensor([np.prod(w) for w in itertools.product(weights / weights.sum(), repeat=4)])
    x0 = DATA.mean.flatten() + points[:, :2] @ torch.linalg.cholesky(DATA.covariance).T
    return x0.reshape(-1, 1, 1, 2), points[:, 2:].reshape(-1, 1, 1, 2), weight


def expected_loss(network, step: int, **options) -> Tensor:
    x0, noise, weight = quadrature()
    steps = torch.full((len(x0),), step)
    return (weight * denoising_loss(network, DATA.schedule, x0, noise, steps, None, **options)).sum()


@pytest.mark.parametrize("step", STEPS)
def test_loss_of_the_best_network_is_its_closed_form(step):
    # Cov(noise | x) = C (C + sigma^2)^-1, and v = noise * sqrt(1 + sigma^2) + what x tells
    square, variances = DATA.schedule.sigmas[step] ** 2, DATA.variances
    expected = (variances / (variances + square)).mean()
    torch.testing.assert_close(expected_loss(DATA.noise_network, step), expected)
    velocity = expected_loss(DATA.velocity_network, step, prediction="velocity")
    torch.testing.assert_close(velocity, expected * (1 + square))


@pytest.mark.parametrize("weighting", ["uniform", "min_snr_5"])
@pytest.mark.parametrize("prediction", ["noise", "velocity"])
@pytest.mark.parametrize("step", STEPS)
def test_the_posterior_mean_is_the_minimiser(step, prediction, weighting):
    best = NETWORKS[prediction]
    matrix = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    offset = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def network(x, steps, condition):
        return best(x, steps, condition) + (x @ matrix + offset)

    loss = expected_loss(network, step, prediction=prediction, weighting=weighting)
    for gradient in torch.autograd.grad(loss, (matrix, offset)):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-10)
    with torch.no_grad():
        matrix += 0.1
        assert expected_loss(network, step, prediction=prediction, weighting=weighting) > loss


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, len(STEPS), 1, 1, 2, generator=generator, dtype=torch.float64)
    return x0, noise, torch.tensor(STEPS)


def test_default_is_the_plain_mean_squared_error_of_the_noise():
    x0, noise, step = batch()
    seen = []
    condition = object()

    def network(x, steps, passed):
        seen.append((x, steps, passed))
        return 0.3 * x

    loss = denoising_loss(network, DATA.schedule, x0, noise, step, condition)
    share = DATA.schedule.alphas_cumprod[step].reshape(-1, 1, 1, 1)
    x = share.sqrt() * x0 + (1 - share).sqrt() * noise
    torch.testing.assert_close(loss, ((noise - 0.3 * x) ** 2).mean((1, 2, 3)))
    ((x_seen, step_seen, condition_seen),) = seen
    torch.testing.assert_close(x_seen, x)
    assert torch.equal(step_seen, step)
    assert condition_seen is condition


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_min_snr_weighs_the_error_of_the_clean_picture(prediction):
    x0, noise, step = batch()
    sigma = DATA.schedule.sigmas[step]
    network = NETWORKS[prediction]
    loss = denoising_loss(network, DATA.schedule, x0, noise, step, None, prediction, "min_snr_5")
    x = x0 + sigma.reshape(-1, 1, 1, 1) * noise
    error = (DATA(x, sigma, None) - x0).square().mean((1, 2, 3))
    torch.testing.assert_close(loss, sigma.pow(-2).clamp(max=5) * error, rtol=1e-6, atol=1e-9)


def test_float32_loses_nothing_that_matters():
    x0, noise, step = batch()
    expected = denoising_loss(lambda x, *_: 0.3 * x, DATA.schedule, x0, noise, step, None, "velocity")
    single = denoising_loss(lambda x, *_: 0.3 * x, DATA.schedule, x0.float(), noise.float(), step, None, "velocity")
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=2e-6, atol=1e-7)


def test_mistakes_are_named():
    x0, noise, step = batch()
    with pytest.raises(ValueError, match="prediction must be one of noise, velocity, flow, got 'x0'"):
        denoising_loss(DATA.noise_network, DATA.schedule, x0, noise, step, None, "x0")
    with pytest.raises(ValueError, match="weighting must be one of uniform, min_snr_5, got 'snr'"):
        denoising_loss(DATA.noise_network, DATA.schedule, x0, noise, step, None, weighting="snr")
    with pytest.raises(ValueError, match="noise must be like x0"):
        denoising_loss(DATA.noise_network, DATA.schedule, x0, noise[:1], step, None)
    with pytest.raises(ValueError, match=r"step must be \(5,\)"):
        denoising_loss(DATA.noise_network, DATA.schedule, x0, noise, step[:1], None)

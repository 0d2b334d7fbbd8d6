"""The score gradient: for Gaussian pictures it is known exactly; less variance costs no bias; the golden of SJC."""

import pytest
import torch

from closed_form import Gaussian
from zero123.diffusion.guidance import Guided, Pair
from zero123.reconstruction.score_gradient import score_gradient, sds_weight, sjc_weight

SHAPE = (2, 3, 3)


def noises(count, seed=1):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def model():
    return Gaussian.example(*SHAPE)


@pytest.fixture(scope="module")
def render():
    return torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def expected(model, render, sigma):
    """sigma (C + sigma^2)^-1 (y - mean): the mean over noise is the denoiser at the render itself, as it is linear."""
    return (render - model(render, torch.tensor(sigma), None)) / sigma


@pytest.mark.parametrize("sigma", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("reduce_variance", [True, False])
def test_its_mean_over_noise_is_the_score_of_the_noised_gaussian(model, render, sigma, reduce_variance):
    noise = noises(20_000)
    noise = torch.cat((noise, -noise))  # so that what is odd in the noise goes away
    many = render.expand(len(noise), -1, -1, -1)
    found = score_gradient(model, many, torch.tensor(sigma), None, noise, reduce_variance=reduce_variance)
    torch.testing.assert_close(found.mean(0, keepdim=True), expected(model, render, sigma))
    score = torch.linalg.solve(
        model.covariance + sigma**2 * torch.eye(18, dtype=torch.float64), (render - model.mean).flatten()
    )
    torch.testing.assert_close(expected(model, render, sigma).flatten(), sigma * score)


def test_measured_from_the_render_it_varies_less_at_levels_above_the_pictures_own_spread(model, render):
    noise = noises(4000)
    many = render.expand(len(noise), -1, -1, -1)
    level = torch.tensor(4.0)
    less, more = (
        score_gradient(model, many, level, None, noise, reduce_variance=r).var(0).mean() for r in (True, False)
    )
    assert less < 0.05 * more


def test_with_variance_reduced_it_is_predicted_noise_less_noise(model, render):
    noise, sigma = noises(1), torch.tensor(0.7, dtype=torch.float64)
    found = score_gradient(model, render, sigma, None, noise)
    noised = render + sigma * noise
    predicted = (noised - model(noised, sigma, None)) / sigma
    torch.testing.assert_close(found, predicted - noise)


def test_going_down_along_it_arrives_at_the_mean(model, render):
    generator = torch.Generator().manual_seed(0)
    y = render.clone()
    for _ in range(600):
        noise = torch.randn(y.shape, generator=generator, dtype=y.dtype)
        y = y - 0.05 * score_gradient(model, y, torch.tensor(1.0), None, noise)
    assert (y - model.mean).norm() < 0.25 * (render - model.mean).norm()


def test_weights_scale_each_picture_by_its_own_level(model, render):
    sigma = torch.tensor([0.2, 3.0], dtype=torch.float64)
    noise, two = noises(2), render.expand(2, -1, -1, -1)
    plain, weighted = (score_gradient(model, two, sigma, None, noise, w) for w in (sjc_weight, sds_weight))
    factor = torch.tensor([0.2**2 / (1 + 0.2**2), 9 / 10], dtype=torch.float64)
    torch.testing.assert_close(weighted, plain * factor[:, None, None, None])


def test_guidance_moves_it_along_the_difference_of_conditions(model, render):
    other = model.mean + 1
    noise, sigma = noises(1), torch.tensor(1.5)
    with_it, without = (score_gradient(model, render, sigma, mean, noise) for mean in (other, model.mean))
    guided = score_gradient(Guided(model, 100.0), render, sigma, Pair(other, model.mean), noise)
    torch.testing.assert_close(guided, without + 100 * (with_it - without))


def test_nothing_is_recorded_for_the_backward_pass(model, render):
    y = render.clone().requires_grad_()
    assert not score_gradient(model, y, torch.tensor(1.0), None, noises(1)).requires_grad

"""Proof that networks become denoisers without loss: exact for Gaussian pictures, whatever the network predicts."""

import pytest
import torch

from closed_form import Gaussian
from zero123.diffusion.denoiser import NoisePrediction, VelocityPrediction, per_image

DATA = Gaussian.example(2, 3, 2)
WRAPPERS = [
    NoisePrediction(DATA.noise_network, DATA.schedule),
    VelocityPrediction(DATA.velocity_network, DATA.schedule),
]


def noisy(batch: int) -> torch.Tensor:
    return 5 * torch.randn(batch, 2, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("denoiser", WRAPPERS, ids=["noise", "velocity"])
def test_wrapped_network_is_the_exact_posterior_mean_at_every_step(denoiser):
    sigma = DATA.schedule.sigmas
    x = noisy(1000)
    torch.testing.assert_close(denoiser(x, sigma, None), DATA(x, sigma, None), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("denoiser", WRAPPERS, ids=["noise", "velocity"])
def test_one_level_for_all_equals_a_level_for_each(denoiser):
    x = noisy(3)
    sigma = DATA.schedule.sigmas[500]
    expected = denoiser(x, sigma.expand(3), None)
    torch.testing.assert_close(denoiser(x, sigma, None), expected, rtol=0, atol=0)


def test_posterior_mean_agrees_with_conditioning_the_joint_gaussian():
    # the textbook formula, without the eigenvectors the closed form uses
    sigma, x = 0.7, noisy(4)
    gain = DATA.covariance @ torch.linalg.inv(DATA.covariance + sigma**2 * torch.eye(12, dtype=torch.float64))
    expected = DATA.mean + ((x - DATA.mean).flatten(1) @ gain.T).reshape(x.shape)
    torch.testing.assert_close(DATA(x, torch.tensor(sigma), None), expected)


def test_network_is_fed_unit_variance_int64_steps_and_the_condition_as_it_is():
    seen = []

    def network(x_scaled, step, condition):
        seen.append((x_scaled, step, condition))
        return torch.zeros_like(x_scaled)

    x = noisy(3).float()
    condition = object()
    sigma = DATA.schedule.sigmas[[10, 500, 999]]
    x0 = NoisePrediction(network, DATA.schedule)(x, sigma, condition)
    ((x_scaled, step, passed),) = seen
    assert passed is condition
    assert step.dtype == torch.int64
    assert step.tolist() == [10, 500, 999]
    assert x_scaled.dtype == x0.dtype == torch.float32
    torch.testing.assert_close(x_scaled, x * DATA.schedule.alphas_cumprod[step].sqrt().float().reshape(3, 1, 1, 1))


def test_per_image_numbers_multiply_images():
    x = torch.ones(2, 3, 4, 5)
    assert per_image(torch.tensor(2.0), x).shape == (1, 1, 1, 1)
    assert torch.equal((per_image(torch.tensor([1, 2]), x) * x)[:, 0, 0, 0], torch.tensor([1.0, 2.0]))

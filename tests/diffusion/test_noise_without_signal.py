"""Schedules that end in pure noise, and rectified flow: exact for Gaussian pictures from the first step to the last."""

import math
from dataclasses import dataclass

import pytest
import torch

from closed_form import Gaussian
from zero123.diffusion.denoiser import FlowPrediction, VelocityPrediction, flow_time, shares
from zero123.diffusion.guidance import Pair
from zero123.diffusion.loss import denoising_loss
from zero123.diffusion.samplers import ancestral, dpmpp_2m, euler, exploding, preserving
from zero123.diffusion.sampling import Begin, SamplingSettings, draw
from zero123.diffusion.schedule import NoiseSchedule

DATA = Gaussian.example(1, 2, 2)
SCHEDULES = {"zero_snr": NoiseSchedule.named("zero_snr"), "flow": NoiseSchedule.named("flow")}


@dataclass
class Best:
    """The best network for the Gaussian, by the shares of picture and noise in what it is shown."""

    schedule: NoiseSchedule
    kind: str

    def __call__(self, z, step, condition):
        level = self.schedule.sigmas[step].reshape(-1, 1, 1, 1)
        time = flow_time(level)
        alpha, beta = shares(level) if self.kind == "velocity" else (1 - time, time)
        offset = z - alpha * DATA.mean
        variances, axes = torch.linalg.eigh(DATA.covariance)
        a, b = alpha.reshape(-1, 1), beta.reshape(-1, 1)
        gain = a * variances / (a**2 * variances + b**2)
        x0 = DATA.mean + ((offset.flatten(1) @ axes * gain) @ axes.T).reshape(z.shape)
        noise = (z - alpha * x0) / beta
        return alpha * noise - beta * x0 if self.kind == "velocity" else noise - x0


DENOISERS = {
    "zero_snr": VelocityPrediction(Best(SCHEDULES["zero_snr"], "velocity"), SCHEDULES["zero_snr"]),
    "flow": FlowPrediction(Best(SCHEDULES["flow"], "flow"), SCHEDULES["flow"]),
}
NAMES = sorted(SCHEDULES)


def noise(count):
    return torch.randn(count, 1, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_the_rescaled_schedule_is_that_of_the_papers_algorithm():
    plain, ours = NoiseSchedule.stable_diffusion(), SCHEDULES["zero_snr"]
    # Algorithm 1 of Lin et al., on betas as they print it
    root = plain.alphas_cumprod.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    root = (root - last) * first / (first - last)
    alphas = torch.cat(((root**2)[:1], (root**2)[1:] / (root**2)[:-1]))
    torch.testing.assert_close(ours.alphas_cumprod, torch.cumprod(alphas, 0))
    assert ours.alphas_cumprod[0] == pytest.approx(float(plain.alphas_cumprod[0]), rel=1e-14)
    assert ours.alphas_cumprod[-1] == 0 and ours.ends_in_noise and not plain.ends_in_noise


def test_the_rescaled_schedule_is_diffusers():
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", rescale_betas_zero_snr=True
    )
    torch.testing.assert_close(
        SCHEDULES["zero_snr"].alphas_cumprod.float(), theirs.alphas_cumprod, rtol=1e-3, atol=1e-6
    )


def test_the_flows_levels_are_its_times():
    sigmas = SCHEDULES["flow"].sigmas
    torch.testing.assert_close(flow_time(sigmas), torch.arange(1, 1001, dtype=torch.float64) / 1000)
    assert math.isinf(sigmas[-1])


@pytest.mark.parametrize("name", NAMES)
def test_every_level_finds_its_step_infinity_the_last(name):
    schedule = SCHEDULES[name]
    assert torch.equal(schedule.step_of(schedule.sigmas), torch.arange(1000))
    assert int(schedule.step_of(torch.tensor(1e9))) == 999


@pytest.mark.parametrize("name", NAMES)
def test_denoisers_are_the_exact_posterior_mean_at_every_step(name):
    sigma, x = SCHEDULES[name].sigmas[:-1], 3 * noise(999)
    torch.testing.assert_close(DENOISERS[name](x, sigma, None), DATA(x, sigma, None), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_pure_noise_is_cleaned_to_the_mean(name):
    x0 = DENOISERS[name](noise(3), torch.tensor(math.inf), None)
    torch.testing.assert_close(x0, DATA.mean.expand(3, 1, 2, 2))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("solver", [euler, dpmpp_2m], ids=["euler", "dpmpp_2m"])
def test_sampling_from_pure_noise_ends_where_the_flow_does(name, solver):
    sigmas = SCHEDULES[name].sampling_sigmas(500)
    assert math.isinf(sigmas[0]) and sigmas[-1] == 0
    start = noise(4)
    x = solver(DENOISERS[name], exploding(start, sigmas[0]), sigmas, None)
    assert torch.equal(exploding(start, sigmas[0]), start) and torch.equal(preserving(start, sigmas[0]), start)
    variances, axes = torch.linalg.eigh(DATA.covariance)
    exact = DATA.mean + ((start.flatten(1) @ axes * variances.sqrt()) @ axes.T).reshape(start.shape)
    torch.testing.assert_close(x, exact, rtol=0, atol=0.02)


def test_ancestral_steps_from_pure_noise_draw_the_data():
    sigmas = SCHEDULES["zero_snr"].sampling_sigmas(200)
    generator = torch.Generator().manual_seed(5)
    fresh = lambda index: torch.randn(4000, 1, 2, 2, generator=generator, dtype=torch.float64)  # noqa: E731
    x = ancestral(DENOISERS["zero_snr"], noise(4000), sigmas, None, noise=fresh).flatten(1)
    torch.testing.assert_close(x.mean(0), DATA.mean.flatten(), rtol=0, atol=0.06)
    torch.testing.assert_close(torch.cov(x.T), DATA.covariance, rtol=0, atol=0.12)


def test_without_renewed_noise_ancestral_steps_are_eulers():
    sigmas = SCHEDULES["flow"].sampling_sigmas(7)
    both = [
        euler(DENOISERS["flow"], noise(2), sigmas, None),
        ancestral(DENOISERS["flow"], noise(2), sigmas, None, noise=[], eta=0.0),
    ]
    assert torch.equal(*both)


def test_even_spacing_in_a_power_of_sigma_starts_where_there_is_a_signal():
    sigmas = SCHEDULES["zero_snr"].sampling_sigmas(10, "karras")
    assert sigmas.isfinite().all() and sigmas[0] == pytest.approx(float(SCHEDULES["zero_snr"].sigmas[-2]))


@pytest.mark.parametrize(("name", "kind"), [("zero_snr", "velocity"), ("flow", "flow")])
def test_the_network_is_shown_and_asked_for_what_the_papers_say(name, kind):
    schedule, step = SCHEDULES[name], torch.tensor([0, 400, 999])
    x0, unit = noise(3), noise(6)[3:]
    seen = []

    def network(z, steps, condition):
        seen.append(z)
        return torch.zeros_like(z)

    loss = denoising_loss(network, schedule, x0, unit, step, None, kind)
    share = schedule.alphas_cumprod[step].reshape(-1, 1, 1, 1)
    time = ((step + 1) / 1000).double().reshape(-1, 1, 1, 1)
    if kind == "velocity":
        z, target = share.sqrt() * x0 + (1 - share).sqrt() * unit, share.sqrt() * unit - (1 - share).sqrt() * x0
    else:
        z, target = (1 - time) * x0 + time * unit, unit - x0
    torch.testing.assert_close(seen[0], z)
    torch.testing.assert_close(loss, target.square().mean((1, 2, 3)))
    assert torch.equal(seen[0][2], unit[2])  # the last step shows noise alone


def test_min_snr_of_a_flow_weighs_the_error_of_the_clean_picture():
    schedule, step = SCHEDULES["flow"], torch.tensor([20, 300, 700])
    x0, unit = noise(3), noise(6)[3:]
    loss = denoising_loss(Best(schedule, "flow"), schedule, x0, unit, step, None, "flow", "min_snr_5")
    sigma = schedule.sigmas[step]
    error = (DATA(x0 + sigma.reshape(-1, 1, 1, 1) * unit, sigma, None) - x0).square().mean((1, 2, 3))
    torch.testing.assert_close(loss, sigma.pow(-2).clamp(max=5) * error)


def test_an_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="schedule must be one of stable_diffusion, zero_snr, flow, got 'cosine'"):
        NoiseSchedule.named("cosine")


@pytest.mark.parametrize("name", SCHEDULES)
def test_what_is_begun_with_is_forgotten_at_noise_alone(name):
    sigmas = Begin(DATA.mean[None], 1.0).sigmas(SCHEDULES[name], 8, "trailing")
    assert sigmas[0].isinf()
    pair, start = Pair(DATA.mean[None], torch.zeros_like(DATA.mean[None])), torch.zeros_like(DATA.mean[None])
    begun, anew = (
        draw(DENOISERS[name], pair, sigmas, start, [3], SamplingSettings(), 1.0, begin=begin)
        for begin in (DATA.mean[None] + 5, None)
    )
    assert torch.equal(begun, anew) and begun.isfinite().all()

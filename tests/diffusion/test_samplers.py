"""Proof that the samplers are DDIM and a second-order solver: by numpy, exact solutions and the original's tables."""

from pathlib import Path

import numpy as np
import pytest
import torch

from closed_form import Gaussian
from deterministic import agree
from zero123.diffusion.samplers import ancestral, dpmpp_2m, euler, exploding, noise_like, preserving
from zero123.diffusion.schedule import NoiseSchedule

TABLES = np.load(Path(__file__).parents[1] / "golden" / "ddim_tables.npz")
SCHEDULE = NoiseSchedule.stable_diffusion()
DATA = Gaussian.example(1, 2, 3)


def unit_noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def shrink(x, sigma, condition):
    """Exact for pixels drawn from N(0, 1); treats each pixel alone, so batches cannot differ even by rounding."""
    return x / (1 + sigma**2)


def ddim(x: np.ndarray, steps: list[int], noises: np.ndarray, eta: float) -> np.ndarray:
    """DDIM as the original runs it, in its variance-preserving scaling, for the pictures of `DATA`; plain numpy."""
    betas = np.linspace(0.00085**0.5, 0.0120**0.5, 1000) ** 2
    shares = np.cumprod(1 - betas)
    mean, covariance = DATA.mean.numpy().reshape(-1), DATA.covariance.numpy()
    x = x.reshape(len(x), -1)
    for k, step in enumerate(steps):
        a, a_prev = shares[step], shares[steps[k + 1] if k + 1 < len(steps) else 0]
        # x ~ N(sqrt(a) mean, a C + (1 - a) I), and the noise is what moves x off sqrt(a) x0
        spread = a * covariance + (1 - a) * np.eye(len(mean))
        eps = np.sqrt(1 - a) * np.linalg.solve(spread, (x - np.sqrt(a) * mean).T).T
        x0 = (x - np.sqrt(1 - a) * eps) / np.sqrt(a)
        s = eta * np.sqrt((1 - a_prev) / (1 - a) * (1 - a / a_prev))
        x = np.sqrt(a_prev) * x0 + np.sqrt(1 - a_prev - s**2) * eps + s * noises[k].reshape(x.shape)
    return x


@pytest.mark.parametrize("count", [2, 10, 75])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_euler_and_ancestral_are_ddim(count, eta):
    sigmas = SCHEDULE.sampling_sigmas(count, "original")
    start, noises = unit_noise(2, 1, 2, 3), unit_noise(len(sigmas), 2, 1, 2, 3, seed=1)
    expected = ddim(start.numpy(), SCHEDULE.step_of(sigmas[:-1]).tolist(), noises.numpy(), eta)
    x = exploding(start, sigmas[0])
    results = [ancestral(DATA, x, sigmas, None, noise=lambda k: noises[k], eta=eta)]
    if eta == 0:
        results.append(euler(DATA, x, sigmas, None))
    for result in results:
        np.testing.assert_allclose(preserving(result, sigmas[-1]).numpy().reshape(2, -1), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("count", [2, 4, 5, 8, 10, 16, 20, 25, 30, 50, 75, 76, 100, 200, 250, 500])
def test_ancestral_noise_is_that_of_the_originals_table(count):
    sigmas = SCHEDULE.sampling_sigmas(count, "original")
    path = []
    # where nothing is removed, each step adds its fresh noise alone
    ancestral(
        lambda x, sigma, condition: path.append(x) or x,
        torch.zeros(1, 1, 1, 1, dtype=torch.float64),
        torch.cat((sigmas, sigmas.new_zeros(1))),
        None,
        noise=lambda k: torch.ones(1, 1, 1, 1, dtype=torch.float64),
    )
    fresh = torch.cat(path).flatten().diff().numpy()
    ours = fresh / np.sqrt(1 + sigmas[1:].numpy() ** 2)
    agree("ddim_tables", f"sigmas, S={count}", ours, TABLES[f"S{count}_ddim_sigmas"][-2::-1].copy(), 2e-6)


def errors(sampler, counts):
    """Distance from the exact solution after walking from level 10 to 0.1 in evenly falling log levels."""
    x = 10 * unit_noise(4, 1, 2, 3)
    exact = DATA.flow(x, 10.0, 0.1)
    return [
        (sampler(DATA, x, torch.logspace(1, -1, n + 1, dtype=torch.float64), None) - exact).norm().item()
        for n in counts
    ]


@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (dpmpp_2m, 2)])
def test_order_of_convergence_to_the_exact_solution(sampler, order):
    coarse, middle, fine = errors(sampler, (80, 160, 320))
    assert np.log2(coarse / middle) == pytest.approx(order, abs=0.1)
    assert np.log2(middle / fine) == pytest.approx(order, abs=0.05)


def test_exact_flow_solves_its_equation():
    x, sigma, width = unit_noise(2, 1, 2, 3), 0.8, 1e-4
    slope = (DATA.flow(x, sigma, sigma + width) - DATA.flow(x, sigma, sigma - width)) / (2 * width)
    torch.testing.assert_close(slope, (x - DATA(x, torch.tensor(sigma), None)) / sigma, rtol=1e-6, atol=1e-6)


def test_second_order_in_15_steps_is_closer_than_first_order_in_60():
    def error(sampler, count):
        sigmas = SCHEDULE.sampling_sigmas(count, "karras")
        x = exploding(unit_noise(8, 1, 2, 3), sigmas[0])
        return (sampler(DATA, x, sigmas, None) - DATA.flow(x, float(sigmas[0]), 0.0)).norm()

    assert error(dpmpp_2m, 15) < error(euler, 60)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_ancestral_converges_to_the_distribution_of_the_data(eta):
    data = Gaussian(torch.zeros(1, 1, 1), torch.full((1, 1), 0.3, dtype=torch.float64), SCHEDULE)

    def variance(n):
        # the walk is linear in its start and its noises, so its variance is the sum of squared answers to unit impulses
        impulses = torch.eye(n + 1, dtype=torch.float64).reshape(n + 1, n + 1, 1, 1, 1)
        sigmas = torch.logspace(1, -1, n + 1, dtype=torch.float64)
        answers = ancestral(data, impulses[0], sigmas, None, noise=lambda k: impulses[k + 1], eta=eta).flatten()
        return (answers[0] ** 2 * (0.3 + 10.0**2) + answers[1:].square().sum()).item()

    coarse, fine = (abs(variance(n) - (0.3 + 0.1**2)) for n in (400, 800))
    assert fine < 0.01 * 0.31
    assert np.log2(coarse / fine) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ["euler", "ancestral", "dpmpp_2m"])
@pytest.mark.parametrize("spacing", ["trailing", "leading", "original", "karras"])
def test_same_seed_same_picture_whatever_the_batch(name, spacing):
    sigmas = SCHEDULE.sampling_sigmas(6, spacing)

    def draw(*seeds):
        generators = seeded(*seeds)
        x = exploding(noise_like(torch.empty(len(seeds), 4, 5, 5), generators), sigmas[0])
        if name == "ancestral":
            return ancestral(shrink, x, sigmas, None, noise=generators)
        return {"euler": euler, "dpmpp_2m": dpmpp_2m}[name](shrink, x, sigmas, None)

    batch = draw(7, 8, 9)
    assert batch.dtype == torch.float32
    assert torch.isfinite(batch).all()
    for picture, seed in zip(batch, (7, 8, 9), strict=True):
        assert torch.equal(picture, draw(seed)[0])
    assert not torch.equal(batch[0], batch[1])


@pytest.mark.parametrize("sampler", [euler, dpmpp_2m, lambda *a, **k: ancestral(*a, noise=seeded(1, 2), **k)])
def test_last_step_to_level_0_returns_what_the_denoiser_saw_and_callbacks_come_in_order(sampler):
    calls = []
    x = unit_noise(2, 1, 2, 3)
    sigmas = SCHEDULE.sampling_sigmas(5)
    result = sampler(DATA, x, sigmas, None, callback=lambda index, x0: calls.append((index, x0)))
    assert [index for index, _ in calls] == [0, 1, 2, 3, 4]
    assert torch.equal(result, calls[-1][1])
    assert torch.equal(sampler(DATA, x, sigmas[:1], None), x)


def test_eta_0_draws_nothing_and_equals_euler():
    def refuse(index):
        raise AssertionError("drew noise")

    x, sigmas = unit_noise(2, 1, 2, 3), SCHEDULE.sampling_sigmas(5, "original")
    assert torch.equal(ancestral(DATA, x, sigmas, None, noise=refuse, eta=0.0), euler(DATA, x, sigmas, None))


def test_scalings_undo_each_other_and_give_unit_variance():
    x = unit_noise(2, 1, 2, 3)
    torch.testing.assert_close(preserving(exploding(x, 3.0), torch.tensor(3.0)), x)
    assert exploding(torch.ones(1), 3.0).item() == pytest.approx(10**0.5)


def test_mistakes_are_named():
    x = unit_noise(2, 1, 2, 3)
    for sigmas in ([1.0, 2.0], [1.0, 1.0], [1.0, -1.0], [], [[1.0, 0.0]]):
        with pytest.raises(ValueError, match="sigmas must"):
            euler(DATA, x, torch.tensor(sigmas), None)
    with pytest.raises(ValueError, match="generators must be 2, one for each image, got 1"):
        noise_like(x, seeded(1))
    with pytest.raises(ValueError, match=r"eta must lie in \[0, 1\], got 2"):
        ancestral(DATA, x, torch.tensor([1.0, 0.0]), None, noise=seeded(1, 2), eta=2.0)

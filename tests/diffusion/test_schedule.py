"""Proof that the noise levels are those of the original, and that each timetable keeps its promises for every count."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deterministic import agree
from zero123.diffusion.schedule import NoiseSchedule

GOLDEN = Path(__file__).parents[1] / "golden"
SCHEDULE = NoiseSchedule.stable_diffusion()
TABLES = np.load(GOLDEN / "ddim_tables.npz")
COLUMNS = ("alphas", "alphas_prev", "sqrt_one_minus_alphas")
COUNTS = (2, 4, 5, 8, 10, 16, 20, 25, 30, 50, 75, 76, 100, 200, 250, 500)


def test_original_schedule_buffers_follow_from_ours():
    ac = SCHEDULE.alphas_cumprod.numpy()
    previous = np.append(1.0, ac[:-1])
    betas = 1 - ac / previous
    variance = betas * (1 - previous) / (1 - ac)
    buffers = {
        "alphas_cumprod": ac,
        "alphas_cumprod_prev": previous,
        "betas": betas,
        "sqrt_alphas_cumprod": np.sqrt(ac),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - ac),
        "log_one_minus_alphas_cumprod": np.log(1 - ac),
        "sqrt_recip_alphas_cumprod": np.sqrt(1 / ac),
        "sqrt_recipm1_alphas_cumprod": SCHEDULE.sigmas.numpy(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": betas * np.sqrt(previous) / (1 - ac),
        "posterior_mean_coef2": (1 - previous) * np.sqrt(1 - betas) / (1 - ac),
    }
    golden = np.load(GOLDEN / "weight_check.npz")
    assert sorted(golden["schedule_names"]) == sorted(buffers)
    for name, values in zip(golden["schedule_names"], golden["schedule_first_last"], strict=True):
        np.testing.assert_allclose(buffers[name][[0, 1, 499, -1]], values, rtol=2e-7, err_msg=name)


def test_sigmas_are_the_originals_in_float64():
    golden = np.load(GOLDEN / "rec_camera.npz")["sigma_us_f64"]
    falling = SCHEDULE.sigmas.flip(0).numpy()
    np.testing.assert_allclose(falling[[0, 1, 29, 30, 31, 500, 988, 989, 990, 999]], golden, rtol=1e-12)


@pytest.mark.parametrize("count", COUNTS)
def test_original_timetable_is_the_originals(count):
    sigmas = SCHEDULE.sampling_sigmas(count, "original")
    used = TABLES[f"S{count}_used_descending"]
    np.testing.assert_array_equal(SCHEDULE.step_of(sigmas[:-1]).numpy(), used)
    np.testing.assert_array_equal(TABLES[f"S{count}_timesteps"][-2::-1], used)
    shares = 1 / (1 + sigmas.numpy() ** 2)
    theirs = {name: TABLES[f"S{count}_ddim_{name}"][-2::-1].copy() for name in COLUMNS}
    for name, ours in zip(COLUMNS, (shares[:-1], shares[1:], np.sqrt(1 - shares[:-1])), strict=True):
        agree("ddim_tables", f"{name}, S={count}", ours, theirs[name], 1e-6)


def test_original_timetable_works_for_every_count_also_where_the_original_crashed():
    for count in range(1, 1100):
        stride = max(1000 // count, 1)
        expected = [t + 1 for t in range(0, 1000, stride)][:-1][::-1]
        sigmas = SCHEDULE.sampling_sigmas(count, "original")
        assert SCHEDULE.step_of(sigmas[:-1]).tolist() == expected
        assert sigmas[-1] == SCHEDULE.sigmas[0]
        assert (sigmas.diff() < 0).all()
    crashed = [s for low, high in TABLES["raising_step_ranges"] for s in range(low, high + 1)]
    assert {3, 105, 110, 1000} <= set(crashed)
    assert len(SCHEDULE.sampling_sigmas(105, "original")) == 112  # stride 9 gives 112 steps, 111 are used
    assert len(SCHEDULE.sampling_sigmas(1, "original")) == 1


@pytest.mark.parametrize("spacing", ["trailing", "leading", "karras"])
def test_every_count_gives_that_many_falling_levels_within_the_table_and_then_zero(spacing):
    for count in range(1, 1100):
        sigmas = SCHEDULE.sampling_sigmas(count, spacing)
        assert len(sigmas) == (count if spacing == "karras" else min(count, 1000)) + 1
        assert sigmas.dtype == torch.float64
        assert sigmas[-1] == 0
        assert (sigmas.diff() < 0).all()
        assert sigmas[-2] >= SCHEDULE.sigmas[0] - 1e-12
        assert sigmas[0] <= SCHEDULE.sigmas[-1] + 1e-12


def test_trailing_and_karras_start_at_the_noisiest_level():
    for count in (1, 2, 7, 20, 333, 1000):
        for spacing in ("trailing", "karras"):
            assert SCHEDULE.sampling_sigmas(count, spacing)[0] == pytest.approx(SCHEDULE.sigmas[-1].item(), rel=1e-12)


def test_timetables_by_hand():
    def steps(count, spacing):
        return SCHEDULE.step_of(SCHEDULE.sampling_sigmas(count, spacing)[:-1]).tolist()

    assert steps(4, "trailing") == [999, 749, 499, 249]
    assert steps(4, "leading") == [751, 501, 251, 1]
    assert steps(4, "original") == [501, 251, 1]
    assert steps(1000, "trailing") == steps(1000, "leading") == list(range(999, -1, -1))


def test_karras_levels_are_even_in_the_seventh_root():
    levels = SCHEDULE.sampling_sigmas(10, "karras")[:-1]
    assert levels[-1] == pytest.approx(SCHEDULE.sigmas[0].item(), rel=1e-12)
    gaps = (levels ** (1 / 7)).diff()
    torch.testing.assert_close(gaps, gaps[:1].expand(9), rtol=1e-9, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_step_of_undoes_the_table_and_takes_the_nearest_level_elsewhere(dtype):
    table = SCHEDULE.sigmas.to(dtype)
    assert SCHEDULE.step_of(table).tolist() == list(range(1000))
    generator = torch.Generator().manual_seed(0)
    sigma = 20 * torch.rand(50, 4, generator=generator).to(dtype) ** 3
    nearest = (sigma[..., None] - table).abs().argmin(-1)
    assert torch.equal(SCHEDULE.step_of(sigma), nearest)
    assert SCHEDULE.step_of(torch.tensor([0.0, 1e9])).tolist() == [0, 999]
    assert SCHEDULE.step_of(torch.tensor(14.6)).shape == ()


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        SCHEDULE.sampling_sigmas(0)
    with pytest.raises(ValueError, match=r"spacing must be one of trailing.*got 'even'"):
        SCHEDULE.sampling_sigmas(4, "even")
    for table in ([0.5, 0.6], [1.0, 0.5], [0.5, -0.1], [0.5, 0.0, 0.0], [0.0], [[0.5]], []):
        with pytest.raises(ValueError, match="alphas_cumprod"):
            NoiseSchedule(torch.tensor(table))

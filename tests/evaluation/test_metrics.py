"""Metrics against scikit-image, formulas and closed forms; baselines against their known answers."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch.nn import functional as F

from zero123.evaluation.baselines import BASELINES, baseline_views
from zero123.evaluation.metrics import all_metrics, over_samples, psnr, silhouette_iou, ssim


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(3, 3, 24, 32, generator=generator)
    return (truth + 0.1 * torch.randn(truth.shape, generator=generator)).clamp(0, 1), truth


def test_psnr_equals_scikit_images(pictures):
    image, truth = pictures
    expected = [peak_signal_noise_ratio(t.numpy(), i.numpy(), data_range=1) for i, t in zip(image, truth, strict=True)]
    np.testing.assert_allclose(psnr(image, truth), expected, rtol=1e-5)


def test_psnr_of_a_constant_error_is_its_decibels():
    assert psnr(torch.full((1, 3, 4, 4), 0.6), torch.full((1, 3, 4, 4), 0.5)).tolist() == pytest.approx(
        [20.0], abs=1e-4
    )


def test_psnr_counts_only_the_mask():
    truth = torch.zeros(1, 3, 4, 4)
    image = truth.clone()
    image[..., :2] = 0.1
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    mask[..., :2] = True
    assert float(psnr(image, truth, mask)) == pytest.approx(20, abs=1e-4)
    assert float(psnr(image, truth, ~mask)) == pytest.approx(100)


def test_ssim_equals_its_formula(pictures):
    image, truth = pictures
    window = lambda x: F.avg_pool2d(x, 11, 1)  # noqa: E731
    mean_x, mean_y = window(image), window(truth)
    unbias = 121 / 120
    var_x, var_y = (unbias * (window(v * v) - m * m) for v, m in ((image, mean_x), (truth, mean_y)))
    cov = unbias * (window(image * truth) - mean_x * mean_y)
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    np.testing.assert_allclose(ssim(image, truth), value.mean((1, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(ssim(truth, truth), 1)


def test_gaussian_ssim_equals_its_formula(pictures):
    image, truth = (p.double() for p in pictures)
    taps = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    taps = taps / taps.sum()
    kernel = (taps[:, None] * taps)[None, None].expand(3, 1, 11, 11)
    window = lambda x: F.conv2d(x, kernel, groups=3)  # noqa: E731
    mean_x, mean_y = window(image), window(truth)
    var_x, var_y = window(image * image) - mean_x**2, window(truth * truth) - mean_y**2
    cov = window(image * truth) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    np.testing.assert_allclose(ssim(*pictures, "gaussian"), value.mean((1, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(ssim(truth, truth, "gaussian"), 1)


def test_an_unknown_window_is_refused(pictures):
    with pytest.raises(ValueError, match="window must be 'uniform' or 'gaussian', got 'round'"):
        ssim(*pictures, "round")


def test_mean_of_k_and_best_of_k_are_told_apart():
    values = torch.tensor([1.0, 5.0, 2.0, 4.0, 4.0, 4.0])
    mean, best = over_samples(values, 3)
    assert (mean.tolist(), best.tolist()) == (pytest.approx([8 / 3, 4]), [5, 4])
    assert over_samples(values, 3, higher_is_better=False)[1].tolist() == [1, 4]
    for wrong, samples in ((values, 4), (values, 0), (values[None], 3), (values[:0], 1)):
        with pytest.raises(ValueError, match=f"values must be {samples} for each view"):
            over_samples(wrong, samples)


def _square(left, right):
    image = torch.ones(1, 3, 8, 8)
    image[..., 2:6, left:right] = 0.5
    return image, image.amin(1, keepdim=True) < 1


def test_the_overlap_of_shifted_squares_is_their_closed_form():
    image, _ = _square(0, 4)
    _, mask = _square(2, 6)
    assert float(silhouette_iou(image, mask)) == pytest.approx(2 / 6)
    assert float(silhouette_iou(image, _square(0, 4)[1])) == 1
    assert float(silhouette_iou(image, _square(4, 8)[1])) == 0
    assert float(silhouette_iou(torch.ones_like(image), torch.zeros_like(mask))) == 1


def test_every_metric_is_one_number_a_picture(pictures):
    image, truth = pictures
    scores = all_metrics(image, truth, truth.amin(1, keepdim=True) < 0.5)
    names = ("psnr", "psnr_foreground", "ssim", "ssim_gaussian", "iou")
    assert {k: v.shape for k, v in scores.items()} == dict.fromkeys(names, (3,))


def _baseline(name):
    photo = torch.ones(3, 8, 8)
    photo[:, :4] = torch.tensor([0.2, 0.4, 0.6])[:, None, None]
    photo[:, :2] = torch.tensor([0.4, 0.4, 0.4])[:, None, None]
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[:, :4] = True
    true_mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    true_mask[0, :, :, :3] = True
    return photo, mask, true_mask, baseline_views(name, photo, mask, true_mask)


MEAN = torch.tensor([0.3, 0.4, 0.5])


def test_baselines_give_their_known_answers():
    photo, mask, true_mask, copied = _baseline(BASELINES[0])
    assert copied.shape == (2, 3, 8, 8) and all(torch.equal(c, photo) for c in copied)
    *_, same = _baseline(BASELINES[1])
    torch.testing.assert_close(same[1], torch.where(mask, MEAN[:, None, None], torch.ones(())))
    *_, oracle = _baseline(BASELINES[2])
    torch.testing.assert_close(oracle, torch.where(true_mask, MEAN[:, None, None], torch.ones(())))
    *_, white = _baseline(BASELINES[3])
    assert white.shape == (2, 3, 8, 8) and bool((white == 1).all())


def test_an_empty_photo_has_white_for_its_mean_colour():
    empty = torch.zeros(1, 8, 8, dtype=torch.bool)
    views = baseline_views(BASELINES[2], torch.zeros(3, 8, 8), empty, ~empty[None])
    assert bool((views == 1).all())


def test_an_unknown_baseline_is_refused():
    with pytest.raises(ValueError, match="name must be one of copy the input"):
        _baseline("none")

"""Rank correlation against scipy's and its laws."""

import math

import pytest
import torch
from scipy.stats import spearmanr

from zero123.evaluation.calibration import pixel_error, rank_correlation


def fields(seed=0, ties=False):
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(3, 8, 9, generator=generator)
    error = spread * torch.tensor([1.0, 0.5, 0.1])[:, None, None] + 0.3 * torch.rand(3, 8, 9, generator=generator)
    return ((spread * 5).round(), (error * 5).round()) if ties else (spread, error)


@pytest.mark.parametrize("ties", [False, True])
def test_it_equals_scipys_with_and_without_ties(ties):
    spread, error = fields(ties=ties)
    mask = torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(1)) > 0.4
    found = rank_correlation(spread, error, mask)
    assert found.pooled == pytest.approx(float(spearmanr(spread[mask], error[mask]).statistic))
    each = [float(spearmanr(s[m], e[m]).statistic) for s, e, m in zip(spread, error, mask, strict=True)]
    assert found.per_view.tolist() == pytest.approx(each)
    assert found.mean == pytest.approx(sum(each) / 3)
    assert rank_correlation(spread, error).pooled == pytest.approx(float(spearmanr(spread.ravel(), error.ravel())[0]))


def test_only_the_order_counts():
    spread, error = fields()
    assert rank_correlation(spread, spread**3).pooled == pytest.approx(1)
    assert rank_correlation(spread, -spread).pooled == pytest.approx(-1)
    assert rank_correlation(spread.exp(), error).pooled == pytest.approx(rank_correlation(spread, error).pooled)


def test_background_lifts_the_figure_unless_it_is_masked():
    spread, error = (t.clone() for t in fields(2))
    spread[:, :, :4] = error[:, :, :4] = 0
    inside = torch.zeros_like(spread, dtype=torch.bool)
    inside[:, :, 4:] = True
    assert rank_correlation(spread, error).pooled > rank_correlation(spread, error, inside).pooled + 0.1


def test_where_one_is_constant_it_is_not_defined_and_left_out_of_the_mean():
    spread, error = fields()
    spread = spread.clone()
    spread[1] = 0.5
    found = rank_correlation(spread, error)
    assert math.isnan(found.per_view[1]) and math.isfinite(found.pooled)
    assert found.mean == pytest.approx(float((found.per_view[0] + found.per_view[2]) / 2))


def test_the_error_of_a_pixel_is_in_the_units_of_pictures():
    image, truth = torch.full((1, 3, 2, 2), 0.5), torch.full((1, 3, 2, 2), 0.3)
    truth[0, :, 0, 0] = torch.tensor([0.5, 0.5, 0.2])
    torch.testing.assert_close(pixel_error(image, truth)[0, 1], torch.tensor([0.2, 0.2]))
    assert float(pixel_error(image, truth)[0, 0, 0]) == pytest.approx(0.3 / math.sqrt(3))


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"must be of one shape \(V, H, W\), got \(3, 8, 9\), \(3, 8, 8\)"):
        rank_correlation(fields()[0], fields()[1][..., :8])
    with pytest.raises(ValueError, match="must be of one shape"):
        rank_correlation(torch.rand(8, 9), torch.rand(8, 9))

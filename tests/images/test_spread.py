"""Spread over samples: closed forms, independence of their number, its colours and files."""

import numpy as np
import pytest
import torch

from zero123.images.spread import SPREAD_TOP, Samples, save_spread, spread_picture


def test_the_spread_of_known_samples():
    pictures = torch.zeros(4, 3, 2, 2)
    pictures[1, :, 0, 0] = 0.2  # both samples of the first view: 0 and 0.2 in every channel
    pictures[3, 0, 1, 1] = 0.3  # of the second: 0 and 0.3 in one channel
    samples = Samples.of(pictures, 2)
    assert samples.pictures.shape == (2, 2, 3, 2, 2) and samples.spread.shape == (2, 2, 2)
    assert float(samples.spread[0, 0, 0]) == pytest.approx(0.2 / 2**0.5)
    assert float(samples.spread[1, 1, 1]) == pytest.approx(0.3 / 2**0.5 / 3**0.5)
    assert float(samples.spread.sum()) == pytest.approx(0.2 / 2**0.5 + 0.3 / 6**0.5)
    torch.testing.assert_close(samples.mean[0, :, 0, 0], torch.full((3,), 0.1))


def test_more_samples_do_not_make_it_larger():
    noise = 0.5 + 0.1 * torch.randn(64, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    for count in (2, 4, 8, 64):
        squares = Samples.of(noise, count).spread.square().mean()
        assert float(squares.sqrt()) == pytest.approx(0.1, rel=0.02)


def test_equal_samples_have_none_and_one_sample_cannot_say():
    pictures = torch.rand(1, 3, 4, 4).expand(5, 3, 4, 4)
    assert bool((Samples.of(pictures, 5).spread < 1e-6).all())
    with pytest.raises(ValueError, match="spread needs 2 samples of each view or more, got 1"):
        _ = Samples.of(pictures, 1).spread


def test_what_the_model_doubts_adds_to_how_far_samples_differ():
    """Law of total variance: samples about 0.5 with deviation 0.03, each of them expected to be 0.04 off."""
    noise = 0.5 + 0.03 * torch.randn(200, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    doubt = torch.full((1, 40, 40), 0.04)
    assert float(Samples.of(noise, 200, doubt).spread.mean()) == pytest.approx(0.05, rel=0.01)
    torch.testing.assert_close(Samples.of(noise[:1], 1, doubt).spread, doubt)
    with pytest.raises(ValueError, match=r"doubt must be \(1, 40, 40\), like the views, got \(40, 40\)"):
        Samples.of(noise, 200, doubt[0])


@pytest.mark.parametrize(
    ("shape", "samples"), [((5, 3, 4, 4), 2), ((4, 3, 4, 4), 0), ((3, 4, 4), 3), ((0, 3, 4, 4), 1)]
)
def test_pictures_that_are_not_so_many_for_each_view_are_refused(shape, samples):
    with pytest.raises(ValueError, match=f"pictures must be {samples} for each view"):
        Samples.of(torch.zeros(shape), samples)


def test_colours_run_from_white_to_dark_and_stop_there():
    levels = torch.linspace(0, SPREAD_TOP, 50)[None].expand(2, 50)
    picture = spread_picture(levels)
    assert picture.shape == (3, 2, 50) and float(picture.min()) >= 0 and float(picture.max()) <= 1
    assert picture[:, 0, 0].tolist() == [1, 1, 1]
    light = (torch.tensor([0.2126, 0.7152, 0.0722])[:, None] * picture[:, 0]).sum(0)
    assert bool((light.diff() < 0).all())
    torch.testing.assert_close(spread_picture(torch.full((1, 1), 9.0)), picture[:, :1, -1:])
    torch.testing.assert_close(spread_picture(levels, top=1.0), spread_picture(levels * SPREAD_TOP))
    assert spread_picture(torch.zeros(4, 2, 2)).shape == (4, 3, 2, 2)
    with pytest.raises(ValueError, match="top must be over 0, got 0"):
        spread_picture(levels, top=0)


def test_the_array_comes_back_as_it_was(tmp_path):
    spread = torch.rand(5, 6)
    save_spread(tmp_path / "new" / "000-spread.npy", spread)
    read = np.load(tmp_path / "new" / "000-spread.npy")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, spread)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["000-spread.npy"]

"""The square around an object in its picture: where it is, what it shows, and what a blank picture gives."""

import pytest
import torch

from zero123.models.window import boxes, cut, windows


def rectangle(left, top, width, height, side=64):
    picture = torch.ones(1, 3, side, side)
    picture[..., top : top + height, left : left + width] = 0.3
    return picture


@pytest.mark.parametrize(("left", "top", "width", "height"), [(8, 16, 20, 10), (0, 0, 12, 40), (50, 30, 14, 7)])
def test_it_is_centred_on_the_object_and_a_tenth_longer(left, top, width, height):
    picture = rectangle(left, top, width, height)
    assert [float(end) * 64 for end in boxes(picture)] == [left, left + width, top, top + height]
    x, y, half = windows(picture)[0]
    assert (float(x) + 1) * 32 == pytest.approx(left + width / 2) and (float(y) + 1) * 32 == pytest.approx(
        top + height / 2
    )
    assert float(half) * 64 == pytest.approx(1.1 * max(width, height))


@pytest.mark.parametrize("given", [(8, 16, 20, 10), (0, 40, 24, 24), (30, 2, 8, 33)])
def test_what_it_shows_is_the_object_at_one_size(given):
    picture = rectangle(*given)
    shown = cut(picture, windows(picture))
    left, right, top, bottom = (float(end) for end in boxes((shown > 0.65).float()))
    assert max(right - left, bottom - top) == pytest.approx(1 / 1.1, abs=0.05)
    assert (left + right) / 2 == pytest.approx(0.5, abs=0.03) and (top + bottom) / 2 == pytest.approx(0.5, abs=0.03)
    assert float(shown.amin()) == pytest.approx(0.3) and float(shown[..., 0].amin()) == 1


def test_of_a_picture_that_is_full_or_blank_it_is_all():
    for picture in (torch.ones(1, 3, 32, 32), rectangle(0, 0, 32, 32, side=32)):
        window = windows(picture)
        torch.testing.assert_close(window, torch.tensor([[0.0, 0.0, 1.0]]))
        torch.testing.assert_close(cut(picture, window), picture, atol=1e-6, rtol=0)


def test_a_speck_is_not_enlarged_without_end():
    assert float(windows(rectangle(10, 10, 1, 1))[0, 2]) == pytest.approx(0.1)


def test_beyond_the_picture_it_is_white():
    picture = rectangle(0, 0, 64, 64)
    shown = cut(picture, torch.tensor([[0.0, 0.0, 2.0]]))
    assert torch.equal(shown[..., :15, :], torch.ones(1, 3, 15, 64))
    assert float(shown[..., 32, 32].mean()) == pytest.approx(0.3)

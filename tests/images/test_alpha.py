"""The laws of compositing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zero123.images.alpha import Box, bounding_box, composite, premultiply, straighten
from zero123.images.io import PictureError


def random_rgba(seed, *batch):
    return torch.rand(*batch, 4, 5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("batch", [(), (1,), (3, 2)])
def test_opaque_shows_the_picture_and_clear_shows_the_ground(batch):
    rgba, ground = random_rgba(0, *batch), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    rgba[..., 3, :, :] = 1
    torch.testing.assert_close(composite(rgba, ground), rgba[..., :3, :, :])
    rgba[..., 3, :, :] = 0
    torch.testing.assert_close(composite(rgba, ground), ground[:, None, None].expand(*batch, 3, 5, 7))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), grey=st.floats(0, 1))
def test_compositing_is_linear_in_the_ground_and_stays_in_range(seed, grey):
    rgba = random_rgba(seed)
    black, white, middle = (composite(rgba, torch.full((3,), v, dtype=torch.float64)) for v in (0.0, 1.0, grey))
    torch.testing.assert_close(middle, (1 - grey) * black + grey * white)
    torch.testing.assert_close(white - black, (1 - rgba[3:]).expand(3, -1, -1))
    assert middle.min() >= 0 and middle.max() <= 1


def test_a_picture_can_be_the_ground():
    rgba, picture = random_rgba(1, 2), random_rgba(2, 2)[:, :3]
    alpha = rgba[:, 3:]
    torch.testing.assert_close(composite(rgba, picture), alpha * rgba[:, :3] + (1 - alpha) * picture)


@pytest.mark.parametrize("batch", [(), (1,), (3, 2)])
def test_straighten_undoes_premultiply(batch):
    rgba = random_rgba(3, *batch)
    torch.testing.assert_close(straighten(premultiply(rgba)), rgba)
    rgba[..., 3, :, :] = 0
    assert straighten(premultiply(rgba)).eq(0).all()


def test_the_bounding_box_is_the_smallest():
    alpha = torch.zeros(20, 30)
    alpha[4:9, 7] = 0.6
    alpha[5, 7:21] = 0.9
    alpha[0, 0] = 0.5
    box = bounding_box(alpha)
    assert box == Box(7, 4, 21, 9) and (box.width, box.height) == (14, 5)
    assert bounding_box(alpha, 0.4) == Box(0, 0, 21, 9)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="rgba must be"):
        composite(torch.zeros(2, 3, 4, 4), torch.ones(3))
    with pytest.raises(ValueError, match="alpha must be"):
        bounding_box(torch.zeros(1, 4, 4))
    with pytest.raises(PictureError, match="transparent everywhere"):
        bounding_box(torch.zeros(4, 4))

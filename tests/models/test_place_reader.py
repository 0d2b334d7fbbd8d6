"""Reading where a picture was taken from: what can come out, and that it is learned."""

import math

import pytest
import torch

from tiny_model import blobs
from zero123.geometry.orbit import RADIUS
from zero123.models.place_reader import PlaceReader


def test_what_is_read_is_a_place_in_front_of_the_horizon_between_the_poles():
    torch.manual_seed(0)
    reader = PlaceReader(32, (8, 16))
    with torch.no_grad():
        reader.last[2].weight.mul_(1000)
        found = reader(blobs(16))
    assert found.shape == (16,) and not found.azimuth.any()
    assert found.elevation.abs().max() <= math.pi / 2 + 1e-6 and found.radius.min() > 0


def test_pictures_of_any_size_are_read_alike():
    torch.manual_seed(0)
    reader, large = PlaceReader(32, (8, 16)), blobs(3, 64)
    shrunk = torch.nn.functional.avg_pool2d(large, 2)
    with torch.no_grad():
        torch.testing.assert_close(reader(large).elevation, reader(shrunk).elevation)


def test_how_large_and_where_the_object_is_changes_only_what_it_is_told_of_that():
    """The same blob at other places and half the size, to a reader whose weights of the part are nothing."""
    torch.manual_seed(0)
    reader = PlaceReader(32, (8, 16))
    whole, small = torch.ones(1, 3, 32, 32), torch.ones(1, 3, 32, 32)
    whole[..., 2:30, 2:30] = blobs(1, 28) * 0.9
    small[..., 10:24, 4:18] = torch.nn.functional.interpolate(whole[..., 2:30, 2:30], (14, 14), mode="area")
    other = torch.ones_like(small)
    other[..., 16:30, 17:31] = small[..., 10:24, 4:18]
    with torch.no_grad():
        told = [reader(picture).radius for picture in (small, other)]
        reader.last[0].weight[:, -3:] = 0
        reader.last[2].weight.mul_(50)  # whole and small would then be read 0.066 apart, were all of the picture read
        read = [reader(picture) for picture in (whole, small, other)]
    assert told[0] != told[1]
    torch.testing.assert_close(read[1].elevation, read[2].elevation, atol=1e-5, rtol=0)
    assert (read[0].elevation - read[1].elevation).abs() < 0.035


def test_height_and_distance_are_learned_from_where_a_blob_is_and_how_large():
    torch.manual_seed(0)
    reader = PlaceReader(32, (8, 16))
    optimiser = torch.optim.Adam(reader.parameters(), 3e-3)
    axis = (torch.arange(32) + 0.5) / 32 - 0.5

    def drawn(count):
        high, far = torch.rand(2, count) * 0.6 - 0.3
        size = (0.25 - far / 4)[:, None, None]
        inside = (axis[None, :, None] - high[:, None, None]) ** 2 + axis[None, None] ** 2 < size**2
        return 1 - inside[:, None].float().expand(-1, 3, -1, -1) * 0.8, high, RADIUS + far

    for _ in range(150):
        pictures, high, radius = drawn(64)
        read = reader(pictures)
        loss = (read.elevation - high).square().mean() + (read.radius - radius).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    pictures, high, radius = drawn(200)
    with torch.no_grad():
        read = reader(pictures)
    assert (read.elevation - high).abs().mean() < 0.05 and (read.radius - radius).abs().mean() < 0.05


@pytest.mark.parametrize("wrong", [{"size": 30}, {"widths": ()}, {"widths": (8, 12)}])
def test_sizes_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="size must be a multiple of 4"):
        PlaceReader(**wrong)

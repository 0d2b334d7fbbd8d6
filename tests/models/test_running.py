"""As many views go into one call as fit, never more, and a limit too low is refused with the one that is enough."""

import re

import pytest
import torch

from tiny_model import tiny_view_model
from zero123.models.running import batches, picture_bytes, suit, view_bytes, weights_bytes

MODEL = tiny_view_model()
CPU = torch.device("cpu")


def least():
    """The smallest limit that is accepted, bytes, by asking."""
    with pytest.raises(ValueError, match="is too little") as error:
        batches(MODEL, CPU, 1)
    return int(1e9 * float(re.search(r"takes ([\d.]+) GB", str(error.value))[1]))


def test_the_limit_that_the_refusal_names_is_enough():
    views, pictures = batches(MODEL, CPU, least())
    assert views >= 1
    assert pictures >= 1


def test_memory_for_one_more_view_lets_one_more_view_in():
    view = view_bytes(MODEL)
    room = max(view, picture_bytes(MODEL))
    fixed = weights_bytes(MODEL) + 600_000_000 + room
    start = batches(MODEL, CPU, fixed)[0]
    for more in range(1, 4):
        assert batches(MODEL, CPU, fixed + more * view)[0] == min(8, start + more)


def test_without_guidance_twice_as_many_views_fit():
    assert view_bytes(MODEL, guided=True) == 2 * view_bytes(MODEL, guided=False)


def test_without_a_limit_the_batch_is_what_is_fast():
    assert batches(MODEL, CPU, None) == (8, 2)
    assert batches(MODEL, torch.device("cuda"), None) == (64, 64)


def test_offloaded_only_the_largest_network_counts():
    limit = weights_bytes(MODEL.unet) + 600_000_000 + max(view_bytes(MODEL), picture_bytes(MODEL))
    assert batches(MODEL, CPU, limit, offload=True)[0] >= 1
    with pytest.raises(ValueError, match="is too little"):
        batches(MODEL, CPU, limit)


def test_narrow_networks_keep_their_memory_format():
    model = suit(tiny_view_model(), CPU)
    kernel = model.unet.conv_in.weight
    assert kernel.is_contiguous()

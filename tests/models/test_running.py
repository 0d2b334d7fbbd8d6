"""As many views go into one call as fit, never more, and a limit too low is refused with the one that is enough."""

import re

import pytest
import torch

from deterministic import normal, tiny_state
from tiny_model import tiny_view_model
from zero123.models.pretrained import load_model
from zero123.models.running import batches, decoding_in_tiles, picture_bytes, suit, view_bytes, weights_bytes

MODEL = tiny_view_model()
CPU = torch.device("cpu")


def least():
    """The smallest limit that is accepted, bytes, by asking."""
    with pytest.raises(ValueError, match="is too little") as error:
        batches(MODEL, CPU, 1)
    return int(1e9 * float(re.search(r"takes ([\d.]+) GB", str(error.value))[1]))


def test_the_limit_that_the_refusal_names_is_enough():
    views, pictures, _ = batches(MODEL, CPU, least())
    assert views >= 1
    assert pictures >= 1


def test_memory_for_one_more_view_lets_one_more_view_in():
    view = view_bytes(MODEL)
    room = max(view, picture_bytes(MODEL))
    fixed = weights_bytes(MODEL) + 1_100_000_000 + room
    start = batches(MODEL, CPU, fixed)[0]
    for more in range(1, 4):
        assert batches(MODEL, CPU, fixed + more * view)[0] == min(8, start + more)


def test_without_guidance_twice_as_many_views_fit():
    assert view_bytes(MODEL, guided=True) == 2 * view_bytes(MODEL, guided=False)


def test_without_a_limit_the_batch_is_what_is_fast():
    assert batches(MODEL, CPU, None) == (8, 2, False)
    assert batches(MODEL, torch.device("cuda"), None) == (64, 64, False)


def test_offloaded_only_the_largest_network_counts():
    limit = weights_bytes(MODEL.unet) + 1_100_000_000 + max(view_bytes(MODEL), picture_bytes(MODEL))
    assert batches(MODEL, CPU, limit, offload=True)[0] >= 1
    with pytest.raises(ValueError, match="is too little"):
        batches(MODEL, CPU, limit)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "tiny.ckpt"
    torch.save({"state_dict": tiny_state()}, path)
    return load_model(path)


def test_where_no_picture_fits_the_decoder_works_in_tiles_and_then_as_before(released):
    fixed = weights_bytes(released) + 1_100_000_000
    picture, view = picture_bytes(released), view_bytes(released)
    assert batches(released, CPU, fixed + picture) == (min(8, picture // view), 1, False)
    assert batches(released, CPU, fixed + picture - 1).tiled
    with pytest.raises(ValueError, match="is too little"):
        batches(released, CPU, fixed + max(view, picture // 4) - 1)
    latents = normal("tiny_tiles", (1, 4, 32, 32)) * 0.2
    with torch.no_grad():
        whole = released.autoencoder.decode(latents)
        with decoding_in_tiles(released, tiled=True):
            tiled = released.autoencoder.decode(latents)
        assert torch.equal(released.autoencoder.decode(latents), whole)
    assert tiled.shape == whole.shape
    assert not torch.equal(tiled, whole)
    assert (tiled - whole).square().mean() < 0.1 * whole.var()  # random weights, so normalisation counts for much


def test_narrow_networks_keep_their_memory_format():
    model = suit(tiny_view_model(), CPU)
    kernel = model.unet.conv_in.weight
    assert kernel.is_contiguous()

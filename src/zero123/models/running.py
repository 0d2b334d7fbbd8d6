"""How a model is laid out to run on a machine: memory format, and how many views go into one call."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from zero123.models.view_model import ViewModel

_WIDE = 256
"""Networks with this many channels and more gain from channels-last convolutions, narrow ones lose (2 CPU cores)."""

_UNET_BUFFERS, _DECODER_BUFFERS = 24, 5
"""Activations alive at once, in units of the widest full-size tensor: measured 17.5 and 4 on a CPU, and some room."""

_TILES = 4
"""How many times less memory the decoder takes on tiles of half the side."""

_CPU_OVERHEAD = 1_100_000_000
"""Bytes of interpreter, libraries and what the allocator holds back, which a limit on a CPU is meant to include."""

_CPU_BATCH, _GPU_BATCH = 8, 64
"""Views per call beyond which a call only takes longer in proportion."""


def suit(model: ViewModel, device: torch.device) -> ViewModel:
    """Move the model to `device` and give its convolutions the memory format they are fast in; in place."""
    for network in (model.unet, model.autoencoder.network):
        widths = dict(network.config).get("block_out_channels", ())
        if max(widths, default=0) >= _WIDE and device.type != "mps":
            network.to(memory_format=torch.channels_last)
    return model.to(device)


def weights_bytes(network: nn.Module) -> int:
    """Memory of parameters and buffers."""
    return sum(t.nbytes for t in (*network.parameters(), *network.buffers()))


def view_bytes(model: ViewModel, guided: bool = True) -> int:
    """Memory one more view in a call of the UNet takes at its peak, about."""
    _, height, width = model.latent_shape
    widest = model.unet.config.block_out_channels[0] * height * width * model.dtype.itemsize
    return _UNET_BUFFERS * widest * (2 if guided else 1)


def picture_bytes(model: ViewModel) -> int:
    """Memory the decoding of one more picture takes at its peak, about."""
    config = dict(model.autoencoder.network.config)
    widths: list[int] = list(config.get("block_out_channels", [3]))  # a linear decoder makes colours at once
    # the second finest level's channels meet the finest level's pixels where it is scaled up
    channels = widths[min(1, len(widths) - 1)]
    return _DECODER_BUFFERS * channels * model.settings.image_size**2 * model.dtype.itemsize


class Batches(NamedTuple):
    """What goes into one call.

    Attributes:
        views: of the UNet.
        pictures: of the decoder.
        tiled: not even one picture fits into the decoder at once, so it is decoded in overlapping quarters.
    """

    views: int
    pictures: int
    tiled: bool = False


def batches(
    model: ViewModel, device: torch.device, limit: int | None, guided: bool = True, offload: bool = False
) -> Batches:
    """How many views go into one call.

    Args:
        model: on its device.
        device: where the networks run.
        limit: bytes for everything, weights included; None takes what is fast.
        guided: each view costs two rows of a call.
        offload: only one network at a time is on the device.

    Raises:
        ValueError: not even one view fits into `limit`.
    """
    most = _CPU_BATCH if device.type == "cpu" else _GPU_BATCH
    if limit is None:
        return Batches(most, 2 if device.type == "cpu" else most)
    parts = [weights_bytes(n) for n in (model.unet, model.autoencoder, model.image_encoder)]
    fixed = max(parts) if offload else weights_bytes(model)
    room = limit - fixed - (_CPU_OVERHEAD if device.type == "cpu" else 0)
    view, picture = view_bytes(model, guided), picture_bytes(model)
    least = picture // _TILES if hasattr(model.autoencoder.network, "enable_tiling") else picture
    if room < max(view, least):
        needed = math.ceil((limit - room + max(view, least)) / 1e8) / 10
        raise ValueError(f"max_memory of {limit / 1e9:g} GB is too little: one view with this model takes {needed} GB")
    return Batches(min(most, room // view), max(1, min(most, room // picture)), tiled=room < picture)


@contextmanager
def decoding_in_tiles(model: ViewModel, tiled: bool) -> Iterator[None]:
    """While the block runs the decoder works on overlapping tiles of half the side, blended where they meet.

    Takes a quarter of the memory. Its normalisation then sees a tile, not the picture, so colours shift a little.
    """
    network = model.autoencoder.network
    if not tiled:
        yield
        return
    sizes = network.tile_sample_min_size, network.tile_latent_min_size
    side = model.settings.image_size // 2
    network.tile_sample_min_size, network.tile_latent_min_size = side, side // model.autoencoder.factor
    network.enable_tiling()
    try:
        yield
    finally:
        network.disable_tiling()
        network.tile_sample_min_size, network.tile_latent_min_size = sizes

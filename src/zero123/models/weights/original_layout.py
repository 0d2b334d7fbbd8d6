"""The layout of the released Zero-1-to-3 checkpoints, read as library networks and written back.

It is the one of Stable Diffusion 1 with a CLIP image tower and a Linear beside it; names are in `names.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zero123.models.weights.errors import WeightsError
from zero123.models.weights.names import (
    CLIP,
    EMA,
    FUSED,
    LEVELS,
    POSE,
    UNET,
    VAE,
    PartName,
    ema_key,
    to_library,
    to_original,
)
from zero123.models.weights.stored import StoredTensor, as_stored
from zero123.models.weights.strict import Part


@dataclass(frozen=True)
class OriginalParts:
    """What a released checkpoint holds.

    Attributes:
        unet: for diffusers' `UNet2DConditionModel`.
        vae: for diffusers' `AutoencoderKL`.
        image_encoder: for transformers' `CLIPVisionModelWithProjection`.
        pose_conditioning: for `torch.nn.Linear`, (image embedding, pose vector) to context token; None in a start for
            training, which knows no poses and takes the noisy latents alone.
        averaged: whether the UNet's weights are the running averages of training.
    """

    unet: Part
    vae: Part
    image_encoder: Part
    pose_conditioning: Part | None
    averaged: bool


def from_original(state: Mapping[str, StoredTensor | Tensor], *, ema: bool = True) -> OriginalParts:
    """The networks of a checkpoint in the original's layout; what no network needs is left out and never read.

    Those are the schedule tables, CLIP's text leftovers and, where the checkpoint has averages, the raw UNet. Widths
    are read off the shapes, so that a smaller copy of the architecture loads as well; depth and the eight attention
    heads are those of every release.

    Args:
        state: the `state_dict` of the checkpoint.
        ema: take the averaged UNet weights where the checkpoint has them, as the original's programs do.

    Raises:
        WeightsError: `state` is in another layout, a tensor that gives a width is missing, or some averages are.
    """
    stored = as_stored(state)
    raw = _under(UNET, stored)
    if not raw:
        raise WeightsError(
            f"these are no Zero-1-to-3 weights in the original layout: no tensor name starts with {UNET}"
        )
    averaged = ema and any(key.startswith(EMA) for key in stored)
    if averaged and (missing := [ema_key(key) for key in raw if ema_key(key) not in stored]):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise WeightsError(f"unet: missing tensor {missing[0]}{more}: some averaged weights are there, but not all")
    unet = {key: stored[ema_key(key)] for key in raw} if averaged else raw
    vae, clip, pose = (_under(prefix, stored) for prefix in (VAE, CLIP, POSE))
    is_start = not pose and _Shapes(unet, UNET)("input_blocks.0.0.weight", 1) == 4
    return OriginalParts(
        unet=Part(
            _unet_config(_Shapes(unet, UNET)),
            {to_library("unet", key): tensor for key, tensor in unet.items()},
            lambda key: ema_key(to_original("unet", key).removeprefix(UNET)) if averaged else to_original("unet", key),
        ),
        vae=Part(_vae_config(_Shapes(vae, VAE)), dict(_vae_tensors(vae)), lambda key: to_original("vae", key)),
        image_encoder=Part(
            _clip_config(_Shapes(clip, CLIP)), dict(_clip_tensors(clip)), lambda key: to_original("image_encoder", key)
        ),
        pose_conditioning=None
        if is_start
        else Part(_pose_config(_Shapes(pose, POSE)), pose, lambda key: to_original("pose_conditioning", key)),
        averaged=averaged,
    )


def to_original_state(part: PartName, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's state dict under the original's names, prefix included, in the original's shapes.

    Args:
        part: which network.
        tensors: its state dict under the library's names.
    """
    fused: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        fused.setdefault(to_original(part, key), {})[key] = _original_shape(part, key, tensor)
    return {
        key: next(iter(parts.values())) if len(parts) == 1 else torch.cat([parts[k] for k in sorted(parts, key=_order)])
        for key, parts in fused.items()
    }


def _order(key: str) -> int:
    """Place of a projection in the matrix that holds all three."""
    return next(number for number, name in enumerate(FUSED) if f".{name}." in key)


def _original_shape(part: PartName, key: str, tensor: Tensor) -> Tensor:
    if part == "vae" and ".attentions." in key and tensor.ndim == 2:
        return tensor[:, :, None, None]
    if part == "image_encoder" and key == "visual_projection.weight":
        return tensor.mT.contiguous()
    return tensor


def _vae_tensors(vae: Mapping[str, StoredTensor]) -> Iterator[tuple[str, StoredTensor]]:
    """The attention's projections are 1x1 convolutions in the original and matrices in the library."""
    for key, tensor in vae.items():
        if key.split(".")[0] in ("encoder", "decoder", "quant_conv", "post_quant_conv"):
            is_projection = ".attn_1." in key and tensor.ndim == 4
            yield to_library("vae", key), tensor.then(lambda t: t.squeeze(-1).squeeze(-1)) if is_projection else tensor


def _clip_tensors(clip: Mapping[str, StoredTensor]) -> Iterator[tuple[str, StoredTensor]]:
    """The original keeps query, key and value in one matrix, and multiplies by `proj` from the right."""
    for key, tensor in clip.items():
        name = to_library("image_encoder", key)
        block, fused, leaf = name.partition("in_proj_")
        if fused and tensor.ndim:
            for third, projection in enumerate(FUSED):
                yield f"{block}{projection}.{leaf}", tensor.then(_Third(third))
        elif key == "proj" and tensor.ndim == 2:
            yield name, tensor.then(lambda t: t.mT.contiguous())
        else:
            yield name, tensor


@dataclass(frozen=True)
class _Third:
    """Takes one of the three equal parts of a tensor along its first axis; a rest goes to the last."""

    number: int

    def __call__(self, tensor: Tensor) -> Tensor:
        size = len(tensor) // 3
        return tensor[self.number * size : (self.number + 1) * size if self.number < 2 else None]


# Settings of the library classes, read off the shapes


class _Shapes:
    """Sizes of tensors by name; a missing one is named in full."""

    def __init__(self, tensors: Mapping[str, StoredTensor], prefix: str) -> None:
        self.tensors, self._prefix = tensors, prefix

    def __call__(self, key: str, axis: int) -> int:
        if key not in self.tensors:
            raise WeightsError(f"the checkpoint misses tensor {self._prefix}{key}: it is damaged or of another model")
        shape = self.tensors[key].shape
        if axis >= len(shape):
            raise WeightsError(
                f"tensor {self._prefix}{key} must have at least {axis + 1} axes, got shape {tuple(shape)}"
            )
        return shape[axis]


def _unet_config(size: _Shapes) -> dict[str, Any]:
    return {
        "sample_size": 32,
        "in_channels": size("input_blocks.0.0.weight", 1),
        "out_channels": size("out.2.weight", 0),
        "block_out_channels": [size(f"input_blocks.{3 * n + 1}.0.in_layers.2.weight", 0) for n in range(LEVELS)],
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "cross_attention_dim": size("input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", 1),
        "attention_head_dim": 8,  # this library means the number of heads by it
    }


def _vae_config(size: _Shapes) -> dict[str, Any]:
    return {
        "sample_size": 256,
        "in_channels": size("encoder.conv_in.weight", 1),
        "out_channels": size("decoder.conv_out.weight", 0),
        "latent_channels": size("post_quant_conv.weight", 0),
        "block_out_channels": [size(f"encoder.down.{n}.block.0.conv1.weight", 0) for n in range(LEVELS)],
        "down_block_types": ["DownEncoderBlock2D"] * LEVELS,
        "up_block_types": ["UpDecoderBlock2D"] * LEVELS,
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "scaling_factor": 0.18215,
    }


def _clip_config(size: _Shapes) -> dict[str, Any]:
    width, patch = size("conv1.weight", 0), size("conv1.weight", 2)
    return {
        "hidden_size": width,
        "intermediate_size": size("transformer.resblocks.0.mlp.c_fc.weight", 0),
        "num_hidden_layers": len({k.split(".")[2] for k in size.tensors if k.startswith("transformer.resblocks.")}),
        "num_attention_heads": max(1, width // 64),
        "patch_size": patch,
        "image_size": patch * math.isqrt(size("positional_embedding", 0) - 1),
        "projection_dim": size("proj", 1),
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    }


def _pose_config(size: _Shapes) -> dict[str, Any]:
    return {"in_features": size("weight", 1), "out_features": size("weight", 0)}


def _under(prefix: str, state: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    return {key[len(prefix) :]: tensor for key, tensor in state.items() if key.startswith(prefix)}

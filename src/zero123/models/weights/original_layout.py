"""The names and shapes of the released Zero-1-to-3 checkpoints, turned into those of the library networks.

The layout is the one of Stable Diffusion 1 with a CLIP image tower and a Linear beside it (prefixes below). A key is
translated by the longest module name in a table and then, inside that module, by the names of its layers. The tables
read both ways, so writing the original layout needs no second copy of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zero123.models.weights.errors import WeightsError

UNET, EMA, VAE = "model.diffusion_model.", "model_ema.diffusion_model", "first_stage_model."
CLIP, POSE = "cond_stage_model.model.visual.", "cc_projection."

LEVELS = 4
"""Resolutions of both the UNet and the autoencoder."""


@dataclass(frozen=True)
class Part:
    """One network in a file: the settings its library class takes, and its state dict under the library's names."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class OriginalParts:
    """What a released checkpoint holds.

    Attributes:
        unet: for diffusers' `UNet2DConditionModel`.
        vae: for diffusers' `AutoencoderKL`.
        image_encoder: for transformers' `CLIPVisionModelWithProjection`.
        pose_conditioning: for `torch.nn.Linear`, (image embedding, pose vector) to context token.
    """

    unet: Part
    vae: Part
    image_encoder: Part
    pose_conditioning: Part


def from_original(state: Mapping[str, Tensor], *, ema: bool = True) -> OriginalParts:
    """The networks of a checkpoint in the original's layout; schedule tables and CLIP's text leftovers are dropped.

    Tensors are views of those given wherever the layouts allow it. Widths are read off the shapes, so that a smaller
    copy of the architecture loads as well; depth and the eight attention heads are those of every release.

    Args:
        state: the `state_dict` of the checkpoint.
        ema: take the averaged UNet weights where the checkpoint has them, as the original's programs do.

    Raises:
        WeightsError: `state` is in another layout, or a tensor that gives a width is missing.
    """
    if not any(key.startswith(UNET) for key in state):
        raise WeightsError(
            f"these are no Zero-1-to-3 weights in the original layout: no tensor name starts with {UNET}"
        )
    unet = {key: state.get(ema_key(key), tensor) if ema else tensor for key, tensor in _under(UNET, state)}
    vae, clip, pose = (dict(_under(prefix, state)) for prefix in (VAE, CLIP, POSE))
    modules = unet_modules()
    return OriginalParts(
        unet=Part(
            _unet_config(_Shapes(unet, UNET)),
            {_translate(key, modules, UNET_LAYERS): tensor for key, tensor in unet.items()},
        ),
        vae=Part(_vae_config(_Shapes(vae, VAE)), dict(_vae_tensors(vae))),
        image_encoder=Part(_clip_config(_Shapes(clip, CLIP)), dict(_clip_tensors(clip))),
        pose_conditioning=Part(_pose_config(_Shapes(pose, POSE)), pose),
    )


def ema_key(key: str) -> str:
    """Where the running average of a UNet parameter lies: its name without the dots (spec: checkpoint layout)."""
    return EMA + key.replace(".", "")


# Tables of (original, library) names

UNET_LAYERS = (
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
)

VAE_LAYERS = (
    ("nin_shortcut", "conv_shortcut"),
    ("norm", "group_norm"),
    ("q", "to_q"),
    ("k", "to_k"),
    ("v", "to_v"),
    ("proj_out", "to_out.0"),
)

CLIP_LAYERS = (
    ("attn.out_proj", "self_attn.out_proj"),
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
)


def unet_modules() -> dict[str, str]:
    """Modules of the UNet: the original numbers blocks through, the library counts inside each resolution."""
    table = {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "input_blocks.0.0": "conv_in",
        "middle_block.0": "mid_block.resnets.0",
        "middle_block.1": "mid_block.attentions.0",
        "middle_block.2": "mid_block.resnets.1",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
    }
    for level in range(LEVELS):
        for slot in range(2):  # two residual blocks a level on the way down
            source, target = f"input_blocks.{3 * level + slot + 1}", f"down_blocks.{level}"
            table[f"{source}.0"] = f"{target}.resnets.{slot}"
            if level < LEVELS - 1:  # none at the lowest resolution
                table[f"{source}.1"] = f"{target}.attentions.{slot}"
        if level < LEVELS - 1:
            table[f"input_blocks.{3 * level + 3}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
        for slot in range(3):  # three on the way up, which starts at the lowest resolution
            source, target = f"output_blocks.{3 * level + slot}", f"up_blocks.{level}"
            table[f"{source}.0"] = f"{target}.resnets.{slot}"
            if level > 0:
                table[f"{source}.1"] = f"{target}.attentions.{slot}"
        if level < LEVELS - 1:
            upsampler = f"output_blocks.{3 * level + 2}.{2 if level > 0 else 1}.conv"
            table[upsampler] = f"up_blocks.{level}.upsamplers.0.conv"
    return table


def vae_modules() -> dict[str, str]:
    """Modules of the autoencoder; the original counts the decoder's levels from the highest resolution."""
    table = {}
    for side in ("encoder", "decoder"):
        table[f"{side}.mid.block_1"] = f"{side}.mid_block.resnets.0"
        table[f"{side}.mid.attn_1"] = f"{side}.mid_block.attentions.0"
        table[f"{side}.mid.block_2"] = f"{side}.mid_block.resnets.1"
        table[f"{side}.norm_out"] = f"{side}.conv_norm_out"
    for level in range(LEVELS):
        up = LEVELS - 1 - level
        table |= {f"encoder.down.{level}.block.{n}": f"encoder.down_blocks.{level}.resnets.{n}" for n in range(2)}
        table |= {f"decoder.up.{level}.block.{n}": f"decoder.up_blocks.{up}.resnets.{n}" for n in range(3)}
        table[f"encoder.down.{level}.downsample"] = f"encoder.down_blocks.{level}.downsamplers.0"
        table[f"decoder.up.{level}.upsample"] = f"decoder.up_blocks.{up}.upsamplers.0"
    return table


def clip_modules(depth: int) -> dict[str, str]:
    """Modules of CLIP's image tower with `depth` blocks."""
    table = {
        "conv1": "vision_model.embeddings.patch_embedding",
        "ln_pre": "vision_model.pre_layrnorm",  # the library's spelling
        "ln_post": "vision_model.post_layernorm",
    }
    return table | {f"transformer.resblocks.{n}": f"vision_model.encoder.layers.{n}" for n in range(depth)}


def _translate(key: str, modules: Mapping[str, str], layers: tuple[tuple[str, str], ...]) -> str:
    """The library's name; a key no table knows keeps its own and is then reported as unknown by whoever loads it."""
    parts = key.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = modules.get(".".join(parts[:length]))
        if module is not None:
            rest = ".".join(parts[length:])
            for source, target in layers:
                if rest.startswith(source + "."):
                    rest = target + rest[len(source) :]
                    break
            return f"{module}.{rest}"
    return key


def _vae_tensors(vae: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The attention's projections are 1x1 convolutions in the original and matrices in the library."""
    modules = vae_modules()
    for key, tensor in vae.items():
        if key.split(".")[0] in ("encoder", "decoder", "quant_conv", "post_quant_conv"):
            is_projection = ".attn_1." in key and tensor.ndim == 4
            yield _translate(key, modules, VAE_LAYERS), tensor.squeeze(-1).squeeze(-1) if is_projection else tensor


def _clip_tensors(clip: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The original keeps query, key and value in one matrix, and multiplies by `proj` from the right."""
    modules = clip_modules(_clip_depth(clip))
    for key, tensor in clip.items():
        block, fused, leaf = key.partition(".attn.in_proj_")
        if fused:
            for name, part in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=False):
                yield f"{modules.get(block, block)}.self_attn.{name}.{leaf}", part
        elif key == "proj":
            yield "visual_projection.weight", tensor.mT.contiguous()
        elif key == "class_embedding":
            yield "vision_model.embeddings.class_embedding", tensor
        elif key == "positional_embedding":
            yield "vision_model.embeddings.position_embedding.weight", tensor
        else:
            yield _translate(key, modules, CLIP_LAYERS), tensor


def _clip_depth(clip: Mapping[str, Tensor]) -> int:
    return len({key.split(".")[2] for key in clip if key.startswith("transformer.resblocks.")})


# Settings of the library classes, read off the shapes


class _Shapes:
    """Sizes of tensors by name; a missing one is named in full."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str) -> None:
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
        "scaling_factor": 0.18215,
    }


def _clip_config(size: _Shapes) -> dict[str, Any]:
    width, patch = size("conv1.weight", 0), size("conv1.weight", 2)
    return {
        "hidden_size": width,
        "intermediate_size": size("transformer.resblocks.0.mlp.c_fc.weight", 0),
        "num_hidden_layers": _clip_depth(size.tensors),
        "num_attention_heads": max(1, width // 64),
        "patch_size": patch,
        "image_size": patch * math.isqrt(size("positional_embedding", 0) - 1),
        "projection_dim": size("proj", 1),
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    }


def _pose_config(size: _Shapes) -> dict[str, Any]:
    return {"in_features": size("weight", 1), "out_features": size("weight", 0)}


def _under(prefix: str, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    return ((key[len(prefix) :], tensor) for key, tensor in state.items() if key.startswith(prefix))

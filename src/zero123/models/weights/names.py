"""Names of layers in the released Zero-1-to-3 checkpoints and in the library networks, translated both ways.

A key is translated by the longest module name in a table and then, inside that module, by the names of its layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal

PartName = Literal["unet", "vae", "image_encoder", "pose_conditioning"]

UNET, EMA, VAE = "model.diffusion_model.", "model_ema.diffusion_model", "first_stage_model."
CLIP, POSE = "cond_stage_model.model.visual.", "cc_projection."

PREFIXES: dict[PartName, str] = {"unet": UNET, "vae": VAE, "image_encoder": CLIP, "pose_conditioning": POSE}
"""Where the networks lie in a released checkpoint."""

LEVELS = 4
"""Resolutions of both the UNet and the autoencoder."""

FUSED = ("q_proj", "k_proj", "v_proj")
"""What the original's image encoder keeps in one matrix, in this order."""

_CLIP_BLOCKS = 64  # more than any CLIP has

_UNET_LAYERS = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}

_VAE_LAYERS = {
    "nin_shortcut": "conv_shortcut",
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
}

_CLIP_LAYERS = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}

_CLIP_LEAVES = {
    "proj": "visual_projection.weight",
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
}


def ema_key(key: str) -> str:
    """Where the running average of a UNet parameter lies: its name without the dots (spec: checkpoint layout)."""
    return EMA + key.replace(".", "")


def to_library(part: PartName, key: str) -> str:
    """The library's name of the original's `key`, which is given without its prefix.

    A key no table knows keeps its own name and is then reported as unknown by whoever loads it. A fused matrix gets
    the name of its block with `self_attn.in_proj_weight` or `_bias`.
    """
    if part == "image_encoder":
        if key in _CLIP_LEAVES:
            return _CLIP_LEAVES[key]
        block, fused, leaf = key.partition(".attn.in_proj_")
        if fused:
            return f"{_tables(part, False)[0].get(block, block)}.self_attn.in_proj_{leaf}"
    return key.removeprefix("projection.") if part == "pose_conditioning" else _translate(key, *_tables(part, False))


def to_original(part: PartName, key: str) -> str:
    """The original's name, prefix included, of the tensor that has or is part of the library's `key`."""
    if part == "image_encoder":
        for leaf, library in _CLIP_LEAVES.items():
            if key == library:
                return CLIP + leaf
        block, _, rest = key.rpartition(".self_attn.")
        layer, _, leaf = rest.partition(".")
        if block and layer in FUSED:
            return f"{CLIP}{_tables(part, True)[0].get(block, block)}.attn.in_proj_{leaf}"
    if part == "pose_conditioning":
        return POSE + key.removeprefix("projection.")
    return PREFIXES[part] + _translate(key, *_tables(part, True))


@cache
def _tables(part: PartName, inverse: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Modules and layers of a network, from the original's names or (`inverse`) to them."""
    modules, layers = {
        "unet": (unet_modules, _UNET_LAYERS),
        "vae": (_vae_modules, _VAE_LAYERS),
        "image_encoder": (_clip_modules, _CLIP_LAYERS),
        "pose_conditioning": (dict, {}),
    }[part]
    tables = modules(), layers
    return tuple({v: k for k, v in t.items()} for t in tables) if inverse else tables  # type: ignore[return-value]


def _translate(key: str, modules: Mapping[str, str], layers: Mapping[str, str]) -> str:
    parts = key.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = modules.get(".".join(parts[:length]))
        if module is not None:
            rest = ".".join(parts[length:])
            for source, target in layers.items():
                if rest.startswith(source + "."):
                    rest = target + rest[len(source) :]
                    break
            return f"{module}.{rest}"
    return key


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


def _vae_modules() -> dict[str, str]:
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


def _clip_modules() -> dict[str, str]:
    """Modules of CLIP's image tower."""
    table = {
        "conv1": "vision_model.embeddings.patch_embedding",
        "ln_pre": "vision_model.pre_layrnorm",  # the library's spelling
        "ln_post": "vision_model.post_layernorm",
    }
    return table | {f"transformer.resblocks.{n}": f"vision_model.encoder.layers.{n}" for n in range(_CLIP_BLOCKS)}

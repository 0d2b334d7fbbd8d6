"""Low-rank updates of the UNet's attention: added to be trained, kept in a small file, laid into a model's weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zero123.files import atomic_path, save_tensors
from zero123.models.int8 import is_int8
from zero123.models.view_model import ViewModel
from zero123.models.weights import WeightsError

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
"""The layers of every attention block that get an update, by the end of their names."""

_DOWN_UP = {"lora_A": "down", "lora.down": "down", "lora_B": "up", "lora.up": "up"}
_KEY = re.compile(
    r"^(?:unet\.|base_model\.model\.)?(?P<layer>.+)\."
    r"(?:(?P<side>lora_A|lora_B|lora\.down|lora\.up)(?:\.default)?\.weight|(?P<alpha>alpha))$"
)


def add_lora(model: ViewModel, rank: int) -> None:
    """Freeze the model and give the UNet's attention projections updates of `rank` to train; they start as nothing.

    W + B A with A (rank, in) and B (out, rank): Section 4.1 of Hu et al., 2021 (arXiv:2106.09685), alpha equal to the
    rank; by peft, float32.

    Raises:
        ValueError: peft is not installed, the weights are kept in 8 bits, or the rank is below 1; in one line.
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}")
    _refuse_int8(model)
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise ValueError("LoRA needs the package peft: pip install 'zero123[lora]'") from error
    model.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS), init_lora_weights="gaussian")
    model.unet.add_adapter(config)
    for parameter in model.unet.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def lora_tensors(model: ViewModel) -> dict[str, Tensor]:
    """The updates under the names diffusers and peft give them, `unet.LAYER.lora_A.weight`; empty if there are none."""
    return {
        f"unet.{name.replace('.default.weight', '.weight')}": parameter.detach().cpu().contiguous()
        for name, parameter in model.unet.named_parameters()
        if ".lora_A." in name or ".lora_B." in name
    }


def save_lora(model: ViewModel, path: str | Path) -> None:
    """Write the updates in the layout of diffusers' `load_lora_weights`; whole or not at all.

    Raises:
        ValueError: the model has none.
        OSError: it cannot be written.
    """
    tensors = lora_tensors(model)
    if not tensors:
        raise ValueError(f"{model.settings.name} has no LoRA to write")
    with atomic_path(path) as temporary:
        save_tensors(tensors, temporary, {"format": "pt", "base": model.settings.name})


@torch.no_grad()
def apply_lora(model: ViewModel, path: str | Path, strength: float = 1.0) -> None:
    """Add the updates in a file to the model's weights; in place, and a model so changed costs no more than before.

    Files of diffusers and of peft are read, their `alpha` included.

    Args:
        model: whose UNet is changed.
        path: a safetensors file, or a folder with `pytorch_lora_weights.safetensors` or `lora.safetensors`.
        strength: of the update; 0 changes nothing.

    Raises:
        WeightsError: the file is missing or no LoRA, it does not fit the model, or the weights are kept in 8 bits.
    """
    _refuse_int8(model)
    path = _file(Path(path))
    updates = _read(path)
    layers = dict(model.unet.named_modules())
    for name, (down, up, scale) in updates.items():
        layer = layers.get(name)
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            raise WeightsError(f"{path}: changes the layer {name}, which {model.settings.name} does not have")
        weight = layer.weight
        delta = up.flatten(1).float() @ down.flatten(1).float()
        if delta.numel() != weight.numel() or len(delta) != len(weight):
            raise WeightsError(
                f"{path}: {name} changes a weight of {tuple(delta.shape)}, this model has {tuple(weight.shape)}"
            )
        moved = weight.float() + (strength * scale * delta).reshape(weight.shape).to(weight.device)
        layer.weight = nn.Parameter(moved.to(weight.dtype), requires_grad=weight.requires_grad)


def _refuse_int8(model: ViewModel) -> None:
    if is_int8(model):
        raise WeightsError("a LoRA cannot be laid into weights kept in 8 bits; leave out int8")


def _file(path: Path) -> Path:
    if path.is_dir():
        for name in ("pytorch_lora_weights.safetensors", "lora.safetensors", "adapter_model.safetensors"):
            if (path / name).is_file():
                return path / name
    if not path.is_file():
        raise WeightsError(f"{path}: there is no LoRA file here")
    return path


def _read(path: Path) -> dict[str, tuple[Tensor, Tensor, float]]:
    """Both factors and the scale of each layer's update."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            texts, tensors = file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a safetensors file, or damaged ({error})") from error
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = _KEY.match(key)
        if match is None:
            raise WeightsError(f"{path}: {key!r} is no LoRA tensor in the layout of diffusers or peft")
        part = "alpha" if match["alpha"] else _DOWN_UP[match["side"]]
        found.setdefault(match["layer"], {})[part] = tensor
    general = _general_scale(texts)
    updates = {}
    for layer, parts in found.items():
        if not {"down", "up"} <= parts.keys():
            raise WeightsError(f"{path}: half of the update of {layer} is missing")
        rank = len(parts["down"])
        scale = float(parts["alpha"]) / rank if "alpha" in parts else general
        updates[layer] = (parts["down"], parts["up"], scale)
    if not updates:
        raise WeightsError(f"{path}: holds no LoRA")
    return updates


def _general_scale(texts: dict[str, str]) -> float:
    """Alpha over rank as diffusers notes it in the file; 1 where it notes nothing."""
    try:
        noted: dict[str, Any] = json.loads(texts.get("lora_adapter_metadata", "{}"))
    except ValueError:
        return 1.0
    rank, alpha = (noted.get(f"unet.{name}", noted.get(name)) for name in ("r", "lora_alpha"))
    return float(alpha) / float(rank) if rank and alpha else 1.0

"""Component folders in the diffusers layout: config.json and safetensors, read strictly, written all or nothing."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zero123.files import replace_folder
from zero123.models.weights.checkpoint import read_safetensors
from zero123.models.weights.errors import WeightsError
from zero123.models.weights.strict import build_component

_PICKLES = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}

_DIFFUSERS_NAME, _TRANSFORMERS_NAME = "diffusion_pytorch_model", "model"


def load_component(
    folder: str | Path, cls: type[Any], name: str | None = None, *, dtype: torch.dtype = torch.float32
) -> Any:
    """The network saved in `folder`, in evaluation mode; never asks the network (the other one) for anything.

    Args:
        folder: the folder of this one network, for example `model/unet`.
        cls: its class, see `build_component`.
        name: what to call it in messages; by default the name of the folder.
        dtype: floating point type of the parameters.

    Raises:
        WeightsError: something in the folder is missing, damaged or does not fit `cls`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise WeightsError(f"{folder}: no such folder; a model folder needs one for each of its networks")
    config = read_json(folder / "config.json")
    return build_component(cls, config, _read_tensors(folder), name or folder.name, dtype=dtype)


def save_component(
    component: nn.Module, folder: str | Path, *, dtype: torch.dtype | None = None, shard_bytes: int | None = None
) -> None:
    """Write a network as config.json and safetensors; an interrupted call leaves the old folder or none.

    Args:
        component: has its settings in `config`: those of the libraries, or a mapping of the arguments of its class.
        folder: its own folder, for example `model/unet`; an earlier one is replaced, another folder is not touched.
        dtype: floating point type in the file; None keeps that of the parameters.
        shard_bytes: split into files of at most this many bytes (a single larger tensor stays whole); None: one file.

    Raises:
        WeightsError: `folder` exists and holds something else than a network.
        OSError: it cannot be written.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not (folder / "config.json").is_file() and (folder.is_file() or any(folder.iterdir())):
        raise WeightsError(f"{folder}: exists and is not a saved network; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}-new-{uuid.uuid4().hex[:8]}")
    try:
        unfinished.mkdir()
        (unfinished / "config.json").write_text(_config_text(component), encoding="utf-8")
        _write_tensors(_state(component, dtype), unfinished, _stem(component), shard_bytes)
        replace_folder(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model folder.

    Raises:
        WeightsError: the file is missing or holds no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file; the model folder is not complete") from None
    except ValueError as error:  # broken JSON and broken text alike
        raise WeightsError(f"{path}: is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: must hold a JSON object, got {type(content).__name__}")
    return content


# Reading


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if indices:
        return _read_shards(folder, indices[0])
    files = sorted(folder.glob("*.safetensors"))
    usual = [file for file in files if file.stem in (_DIFFUSERS_NAME, _TRANSFORMERS_NAME)]
    if len(files) == 1 or len(usual) == 1:
        return read_safetensors((files if len(files) == 1 else usual)[0])
    if files:
        raise WeightsError(f"{folder}: holds {len(files)} safetensors files and no index; keep the one to use")
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if pickles:
        raise WeightsError(f"{folder}: {pickles[0]} is a pickle and is not read; convert it to safetensors first")
    raise WeightsError(f"{folder}: no .safetensors file; the model folder is not complete")


def _read_shards(folder: Path, index: Path) -> dict[str, Tensor]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise WeightsError(f"{index}: must have a weight_map from tensors to files")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise WeightsError(f"{index}: names {name!r}, which is no safetensors file of its folder")
        if not (folder / name).is_file():
            raise WeightsError(f"{folder / name}: no such file, though {index.name} lists it; get the folder again")
        tensors |= read_safetensors(folder / name)
    return tensors


# Writing


def _state(component: nn.Module, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Own, dense copies on the CPU, as the file format asks."""
    state = {}
    for key, tensor in component.state_dict().items():
        wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        state[key] = tensor.detach().to("cpu", wanted).contiguous()
    return state


def _stem(component: nn.Module) -> str:
    """The file name under which the library of the component looks for its weights."""
    return _TRANSFORMERS_NAME if getattr(component, "config_class", None) is not None else _DIFFUSERS_NAME


def _config_text(component: Any) -> str:
    config = component.config
    if hasattr(config, "to_json_string"):  # transformers
        return config.to_json_string()
    if hasattr(component, "to_json_string"):  # diffusers
        return component.to_json_string()
    if not isinstance(config, Mapping):
        raise ValueError(f"component.config must be a mapping, got {type(config).__name__}")
    return json.dumps({"_class_name": type(component).__name__, **config}, indent=2) + "\n"


def _write_tensors(state: dict[str, Tensor], folder: Path, stem: str, shard_bytes: int | None) -> None:
    from safetensors.torch import save_file

    shards = _split(state, shard_bytes)
    if len(shards) == 1:
        save_file(state, folder / f"{stem}.safetensors", metadata={"format": "pt"})
        return
    places: dict[str, str] = {}
    for number, keys in enumerate(shards, start=1):
        name = f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file({key: state[key] for key in keys}, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(keys, name)
    index = {"metadata": {"total_size": sum(t.nbytes for t in state.values())}, "weight_map": places}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _split(state: dict[str, Tensor], shard_bytes: int | None) -> list[list[str]]:
    """Tensor names in files, filled in order."""
    shards: list[list[str]] = [[]]
    room = shard_bytes
    for key, tensor in state.items():
        if room is not None and shard_bytes is not None:
            if tensor.nbytes > room and shards[-1]:
                shards.append([])
                room = shard_bytes
            room -= tensor.nbytes
        shards[-1].append(key)
    return shards

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

from zero123.files import named_when_full, replace_folder, save_tensors
from zero123.models.weights.checkpoint import read_checkpoint
from zero123.models.weights.errors import WeightsError
from zero123.models.weights.stored import StoredTensor
from zero123.models.weights.strict import Part, build_part, is_finite

_ARCHIVES = (".bin", ".ckpt", ".pt", ".pth")

_DIFFUSERS_NAME, _TRANSFORMERS_NAME = "diffusion_pytorch_model", "model"
_STEMS = (_DIFFUSERS_NAME, _TRANSFORMERS_NAME, "pytorch_model")


def load_component(
    folder: str | Path,
    cls: type[Any],
    name: str | None = None,
    *,
    dtype: torch.dtype | None = torch.float32,
    device: torch.device | str = "cpu",
) -> Any:
    """The network saved in `folder`, in evaluation mode; never asks the network (the other one) for anything.

    Args:
        folder: the folder of this one network, for example `model/unet`.
        cls: its class, see `build_component`.
        name: what to call it in messages; by default the name of the folder.
        dtype: floating point type of the parameters; None keeps that in the files.
        device: where the network shall be.

    Raises:
        WeightsError: something in the folder is missing, damaged or does not fit `cls`.
    """
    return build_part(cls, read_component(folder), name or Path(folder).name, dtype=dtype, device=device)


def read_component(folder: str | Path) -> Part:
    """Settings and tensors of the network saved in `folder`; its tensors are still in the files.

    Raises:
        WeightsError: something in the folder is missing or damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise WeightsError(f"{folder}: no such folder; a model folder needs one for each of its networks")
    return Part(read_json(folder / "config.json"), _read_tensors(folder))


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
        WeightsError: `folder` exists and holds something else than a network, or a tensor does not fit `dtype`.
        OSError: it cannot be written.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not (folder / "config.json").is_file() and (folder.is_file() or any(folder.iterdir())):
        raise WeightsError(f"{folder}: exists and is not a saved network; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}-new-{uuid.uuid4().hex[:8]}")
    try:
        with named_when_full(folder):
            unfinished.mkdir()
            (unfinished / "config.json").write_text(_config_text(component), encoding="utf-8")
            write_tensors(component.state_dict(), unfinished, _stem(component), dtype=dtype, shard_bytes=shard_bytes)
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


def _read_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Safetensors where there are any, else a torch archive; a file named for a precision only where no other is."""
    for suffixes in ((".safetensors",), _ARCHIVES):
        indices = [p for p in sorted(folder.glob("*.index*.json")) if p.name.split(".index")[0].endswith(suffixes)]
        if indices:
            return _read_shards(folder, indices[0], suffixes)
        files = sorted(file for file in folder.iterdir() if file.suffix in suffixes)
        usual = [file for file in files if file.stem in _STEMS]
        if len(files) == 1 or len(usual) == 1:
            return read_checkpoint((usual or files)[0])
        if files:
            raise WeightsError(f"{folder}: holds {len(files)} {suffixes[0]} files and no index; keep the one to use")
    raise WeightsError(f"{folder}: no .safetensors file; the model folder is not complete")


def _read_shards(folder: Path, index: Path, suffixes: tuple[str, ...]) -> dict[str, StoredTensor]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise WeightsError(f"{index}: must have a weight_map from tensors to files")
    tensors: dict[str, StoredTensor] = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name or not name.endswith(suffixes):
            raise WeightsError(f"{index}: names {name!r}, which is no {suffixes[0]} file of its folder")
        if not (folder / name).is_file():
            raise WeightsError(f"{folder / name}: no such file, though {index.name} lists it; get the folder again")
        tensors |= read_checkpoint(folder / name)
    return tensors


# Writing


def write_tensors(
    state: Mapping[str, Tensor],
    folder: Path,
    stem: str,
    *,
    dtype: torch.dtype | None = None,
    shard_bytes: int | None = None,
) -> None:
    """Write a state dict as `<stem>.safetensors`, or as shards with an index; one shard is in memory twice at most.

    Args:
        state: tensors by name, anywhere.
        folder: exists.
        stem: name of the file without its ending.
        dtype: floating point type in the file; None keeps that of the tensors.
        shard_bytes: split into files of at most this many bytes (a single larger tensor stays whole); None: one file.

    Raises:
        WeightsError: a tensor does not fit `dtype`, and would become infinite.
        OSError: a file cannot be written.
    """
    sizes = {
        key: t.numel() * (dtype or t.dtype if t.is_floating_point() else t.dtype).itemsize for key, t in state.items()
    }
    shards = _split(sizes, shard_bytes)
    places: dict[str, str] = {}
    for number, keys in enumerate(shards, start=1):
        name = f"{stem}{f'-{number:05d}-of-{len(shards):05d}' if len(shards) > 1 else ''}.safetensors"
        ready = {key: ready_tensor(key, state[key], dtype) for key in keys}
        save_tensors(ready, folder / name, {"format": "pt"})
        places |= dict.fromkeys(keys, name)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": places}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def ready_tensor(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """`tensor` as files want it: on the CPU, dense, of type `dtype` if it holds fractions, alone in its storage.

    Raises:
        WeightsError: numbers that are finite are not in `dtype`.
    """
    wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    ready = tensor.detach().to("cpu", wanted).contiguous()
    if wanted != tensor.dtype and not is_finite(ready):
        raise WeightsError(f"tensor {name} is too large for {wanted}; write the weights in another type")
    return ready if ready.untyped_storage().nbytes() == ready.nbytes else ready.clone()


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


def _split(sizes: Mapping[str, int], shard_bytes: int | None) -> list[list[str]]:
    """Tensor names in files, filled in order."""
    shards: list[list[str]] = [[]]
    room = shard_bytes
    for key, size in sizes.items():
        if room is not None and shard_bytes is not None:
            if size > room and shards[-1]:
                shards.append([])
                room = shard_bytes
            room -= size
        shards[-1].append(key)
    return shards

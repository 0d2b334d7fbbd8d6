"""Safetensors files: the library checks them, and every tensor is mapped by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from zero123.models.weights.errors import WeightsError
from zero123.models.weights.stored import MappedFile, StoredTensor

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_safetensors(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors of one `.safetensors` file by name, still in it, and the texts that its writer added.

    Raises:
        WeightsError: the file is truncated or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:  # proves that the offsets fill the file without overlap
            names = set(file.keys())
    except SafetensorError as error:
        raise WeightsError(f"{path}: is truncated or no safetensors file, get it again ({error})") from error
    start, header = _header(path)
    texts = header.pop("__metadata__", {})
    if header.keys() != names:
        raise WeightsError(f"{path}: is damaged, its table of contents can be read in two ways; get it again")
    if unknown := [name for name, entry in header.items() if entry["dtype"] not in _DTYPES]:
        raise WeightsError(f"{path}: tensor {unknown[0]} is of the unknown type {header[unknown[0]]['dtype']}")
    file = MappedFile(path)
    tensors = {
        name: file.tensor(start + entry["data_offsets"][0], _DTYPES[entry["dtype"]], tuple(entry["shape"]))
        for name, entry in header.items()
    }
    return tensors, texts


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Where the numbers begin, and what the header says."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return 8 + length, json.loads(file.read(length))

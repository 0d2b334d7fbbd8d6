"""Where the tensors of a torch archive lie: storages are entries of a zip file, tensors are views of storages."""

from __future__ import annotations

import zipfile
from typing import BinaryIO, NamedTuple

import torch

from zero123.models.weights.errors import WeightsError
from zero123.models.weights.stored import MappedFile, StoredTensor


class Storage(NamedTuple):
    """Numbers in the archive, not yet read; a tuple, so that no pickle can change it afterwards."""

    key: str
    dtype: torch.dtype


class TensorPlan(NamedTuple):
    """How a tensor lies in a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Storages:
    """The numbers in an archive, found by their keys; a plan that leaves its storage is an error, never a wild read."""

    def __init__(self, mapped: MappedFile, file: BinaryIO, entries: dict[str, zipfile.ZipInfo], folder: str) -> None:
        self._mapped, self._file, self._entries, self._folder = mapped, file, entries, folder

    def tensor(self, plan: TensorPlan, name: str) -> StoredTensor:
        """The tensor called `name` in messages."""
        path, dtype = self._mapped.path, plan.storage.dtype
        info = self._entries.get(self._folder + plan.storage.key)
        if info is None:
            raise WeightsError(f"{path}: is damaged, the numbers of tensor {name} are not in it; get it again")
        start = self._start(info)
        last = plan.offset + sum((n - 1) * step for n, step in zip(plan.shape, plan.stride, strict=False))
        fits = len(plan.shape) == len(plan.stride) and min((plan.offset, *plan.shape, *plan.stride)) >= 0
        fits = fits and start + info.file_size <= self._mapped.size
        if not fits or (0 not in plan.shape and last >= info.file_size // dtype.itemsize):
            raise WeightsError(f"{path}: is damaged, tensor {name} reaches beyond its numbers; get it again")
        offset = 0 if 0 in plan.shape else plan.offset * dtype.itemsize
        return self._mapped.tensor(start + offset, dtype, plan.shape, plan.stride)

    def _start(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of an entry begin: after its local header, whose two variable fields it states itself."""
        self._file.seek(info.header_offset + 26)
        lengths = self._file.read(4)
        return info.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")

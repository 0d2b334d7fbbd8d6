"""Tensors that still lie in their file: name, shape and type are known, the numbers are mapped when asked for."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from zero123.models.weights.errors import WeightsError

_TILE = 128 * 2**20
"""Bytes; tensors of one tile share a mapping while they live, since every mapping holds a file open."""


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor that is read when it is needed, and only then.

    Attributes:
        shape: its shape.
        dtype: its type in the file, or after the changes asked for with `then`.
    """

    shape: torch.Size
    dtype: torch.dtype
    _read: Callable[[], Tensor]

    @classmethod
    def of(cls, tensor: Tensor) -> StoredTensor:
        """A tensor that is in memory anyway."""
        return cls(tensor.shape, tensor.dtype, lambda: tensor)

    def read(self) -> Tensor:
        """The numbers; dropping the result gives its memory back.

        They are mapped from the file (a private copy on write), so that reading costs no memory beyond the pages
        touched. Two results of one file may share memory while both live.

        Raises:
            WeightsError: the file is gone or has become shorter.
        """
        return self._read()

    def then(self, change: Callable[[Tensor], Tensor]) -> StoredTensor:
        """This tensor with `change` applied after reading; shape and type are found by trying it on no memory."""
        outline = change(torch.empty(self.shape, dtype=self.dtype, device="meta"))
        return StoredTensor(outline.shape, outline.dtype, lambda: change(self._read()))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size once read, bytes."""
        return self.shape.numel() * self.dtype.itemsize

    @property
    def is_floating_point(self) -> bool:
        """Whether it holds fractions."""
        return self.dtype.is_floating_point


def as_stored(tensors: Mapping[str, StoredTensor | Tensor]) -> dict[str, StoredTensor]:
    """The same with tensors in memory wrapped."""
    return {key: StoredTensor.of(t) if isinstance(t, Tensor) else t for key, t in tensors.items()}


class MappedFile:
    """A file whose parts become tensors without being copied; it is open only while such tensors live.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self._tiles: WeakValueDictionary[tuple[int, int], mmap.mmap] = WeakValueDictionary()

    def tensor(
        self, start: int, dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...] | None = None
    ) -> StoredTensor:
        """The tensor whose first number lies at byte `start`.

        Args:
            start: place in the file, bytes.
            dtype: type of the numbers.
            shape: shape of the tensor.
            stride: steps in numbers, none negative; None where the numbers lie in row-major order.

        Raises:
            ValueError: the tensor would reach beyond the file.
        """
        size = torch.Size(shape)
        steps = tuple(torch.empty(size, device="meta").stride()) if stride is None else stride
        span = 0 if 0 in size else 1 + sum((n - 1) * step for n, step in zip(size, steps, strict=True))
        if start < 0 or start + span * dtype.itemsize > self.size:
            raise ValueError(f"a tensor of {span} numbers at byte {start} must lie within {self.size} bytes")
        return StoredTensor(size, dtype, lambda: self._map(start, span, dtype).as_strided(size, steps))

    def _map(self, start: int, count: int, dtype: torch.dtype) -> Tensor:
        """`count` numbers in a row."""
        if count == 0:
            return torch.empty(0, dtype=dtype)
        tile = self._tile(start // _TILE, (start + count * dtype.itemsize - 1) // _TILE)
        offset = start % _TILE
        if offset % dtype.itemsize == 0:
            return torch.frombuffer(tile, dtype=dtype, count=count, offset=offset)
        raw = torch.frombuffer(tile, dtype=torch.uint8, count=count * dtype.itemsize, offset=offset)
        return raw.clone().view(dtype)

    def _tile(self, first: int, last: int) -> mmap.mmap:
        """The mapping of tiles `first` to `last`, shared with the tensors alive that lie in the same."""
        tile = self._tiles.get((first, last))
        if tile is None:
            start, end = first * _TILE, min((last + 1) * _TILE, self.size)
            try:
                with self.path.open("rb") as file:
                    tile = mmap.mmap(file.fileno(), end - start, access=mmap.ACCESS_COPY, offset=start)
            except (OSError, ValueError) as error:
                raise WeightsError(f"{self.path}: cannot be read any more, was it changed? ({error})") from error
            self._tiles[first, last] = tile
        return tile

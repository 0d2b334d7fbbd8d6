"""Arrays written to disk row by row, so that they may be larger than memory; read by `np.load` like any other."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from zero123.files import named_when_full


class GrowingArray:
    """A `.npy` file to which rows are appended; whole once it is closed.

    Args:
        path: file to write.

    Raises:
        OSError: where it is opened, added to or closed, it cannot be written; of a full disk with its name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._row: tuple[tuple[int, ...], np.dtype] | None = None
        self._count = 0

    def append(self, rows: NDArray) -> None:
        """Add rows (N, ...), all of one shape and type."""
        if self._row is None:
            self._row = (rows.shape[1:], rows.dtype)
            self._write_header()
        if self._row != (rows.shape[1:], rows.dtype):
            raise ValueError(f"rows must be {self._row}, got {(rows.shape[1:], rows.dtype)}")
        with named_when_full(self._path):
            self._file.write(np.ascontiguousarray(rows).data)
        self._count += len(rows)

    def _write_header(self) -> None:
        assert self._row is not None
        shape, dtype = self._row
        # numpy leaves room in its headers for a first axis that grows
        description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(self._file, {**description, "shape": (self._count, *shape)})

    def __enter__(self) -> GrowingArray:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with named_when_full(self._path):
            try:
                if self._row is not None and kind is None:
                    self._file.seek(0)
                    self._write_header()
            finally:
                self._file.close()

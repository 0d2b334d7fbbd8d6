"""Checkpoint files read without running them: the pickle is only walked through, its tensors stay on disk.

A `.ckpt` is a zip archive: `data.pkl` describes objects, `data/<n>` holds the numbers. A pickle is a program, and the
usual reader obeys it. Here every class or function it names becomes either one of the few builders of tensors and plain
containers below, or an inert stand-in that can be called, filled and indexed without effect, so that the optimizer and
callback objects in Lightning checkpoints do no harm. Names of the standard library that no checkpoint needs
(`os.system`, `eval`) are not ignored but refused, since such a file was made to do damage.
"""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zero123.models.weights.archive import Storage, Storages, TensorPlan
from zero123.models.weights.errors import WeightsError
from zero123.models.weights.safetensors_file import read_safetensors
from zero123.models.weights.stored import MappedFile, StoredTensor

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

_BUILTINS = {
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "long",
    "object",
    "set",
}
_BUILTINS |= {"slice", "str", "tuple", "type", "unicode"}

_HARMLESS = {
    "_codecs": {"encode"},
    "argparse": {"Namespace"},
    "builtins": _BUILTINS,
    "__builtin__": _BUILTINS,
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "copy_reg": {"_reconstructor"},
    "copyreg": {"_reconstructor"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "functools": {"partial"},
    "pathlib": {"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "types": {"SimpleNamespace"},
    "typing": {"Any", "Dict", "List", "Optional", "Tuple", "Union"},
}
"""Names of the standard library met in honest checkpoints; they become stand-ins too, they are only not refused."""


@dataclass(frozen=True)
class CheckpointFile:
    """What a checkpoint file holds.

    Attributes:
        path: where it is.
        tensors: by name, still in the file.
        global_step: training steps, where the file says so.
        has_optimizer: whether states of an optimizer are in it, as in what a training program resumes from.
        has_state_dict: whether the tensors lie under `state_dict`, as Lightning has them, or on their own.
        note: what our own writers add: JSON of the settings that the layout has no place for.
    """

    path: Path
    tensors: dict[str, StoredTensor]
    global_step: int | None = None
    has_optimizer: bool = False
    has_state_dict: bool = False
    note: str | None = None


NOTE = "zero123"
"""Under which name our notes lie in files of other layouts."""


def read_checkpoint(path: str | Path) -> dict[str, StoredTensor]:
    """The tensors of a checkpoint by name, see `open_checkpoint`."""
    return open_checkpoint(path).tensors


def open_checkpoint(path: str | Path) -> CheckpointFile:
    """A checkpoint file with its tensors left where they are; nothing in the file is executed.

    Args:
        path: `.safetensors`, or what `torch.save` has written since torch 1.6 (`.ckpt`, `.pt`, `.bin`): a state dict,
            or a dict that has one under `state_dict`, as Lightning writes it.

    Raises:
        WeightsError: the file is missing, damaged, no checkpoint, without tensors, or made to run a program.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: " + ("is a folder, not a checkpoint file" if path.is_dir() else "no such file"))
    if path.suffix == ".safetensors":
        tensors, texts = read_safetensors(path)
        return CheckpointFile(path, tensors, note=texts.get(NOTE))
    with path.open("rb") as file:
        start = file.read(4)
    if start[:1] == b"\x80":
        raise WeightsError(f"{path}: is a bare pickle (as torch wrote before 1.6), never read; save it as safetensors")
    if start[:2] != b"PK":
        raise WeightsError(f"{path}: is not a checkpoint (neither a torch archive nor .safetensors)")
    try:
        return _read_archive(path)
    except (zipfile.BadZipFile, EOFError, OverflowError, MemoryError, RuntimeError) as error:
        raise WeightsError(
            f"{path}: is truncated or damaged, get it again ({error or type(error).__name__})"
        ) from error


# What the pickle may build


class _PlainDict(dict):
    """A dict that ignores the attributes a pickle gives to an `OrderedDict`."""

    def __setstate__(self, state: object) -> None:
        pass


class _Inert:
    """Stands for any other object: takes everything, does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> _Inert:
        return self

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        pass

    def extend(self, values: object) -> None:
        pass

    def add(self, value: object) -> None:
        pass


class _Reader(pickle.Unpickler):
    """Walks through a pickle; the two hooks below decide all it can reach."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")):
            return lambda *args: _plan(*args[:4])
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *rest: data
        if (module, name) == ("collections", "OrderedDict"):
            return lambda *args: _PlainDict(*args)
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return _DTYPES[name]
        top = module.split(".")[0]
        if (top in sys.stdlib_module_names or top in _HARMLESS) and name not in _HARMLESS.get(module, ()):
            raise _Refused(f"{module}.{name}")
        return type("Inert", (_Inert,), {})

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) >= 3 and pid[0] == "storage":
            return Storage(str(pid[2]), pid[1]) if isinstance(pid[1], torch.dtype) else _Inert()
        raise pickle.UnpicklingError("unknown kind of reference")


class _Refused(Exception):
    """The pickle names something that no checkpoint needs."""


def _plan(storage: object, offset: Any, shape: Any, stride: Any) -> object:
    if not isinstance(storage, Storage):
        return _Inert()
    return TensorPlan(storage, int(offset), tuple(int(n) for n in shape), tuple(int(n) for n in stride))


# From the archive to tensors


def _read_archive(path: Path) -> CheckpointFile:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise WeightsError(f"{path}: is not a checkpoint but some other zip archive")
        root = pickles[0].removesuffix("data.pkl")
        entries = {info.filename: info for info in archive.infolist()}
        if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
            raise WeightsError(f"{path}: is a compressed archive, which torch does not write; unpack and save it anew")
        if root + "byteorder" in entries and archive.read(root + "byteorder") != b"little":
            raise WeightsError(f"{path}: was written on a big-endian machine; convert it to safetensors there")
        content = _unpickle(archive.read(pickles[0]), path)
    top = content if isinstance(content, dict) else {}
    state = top.get("state_dict", top)
    plans = {k: v for k, v in state.items() if isinstance(v, TensorPlan)} if isinstance(state, dict) else {}
    if not plans:
        raise WeightsError(f"{path}: is a torch file without a state_dict of tensors")
    with path.open("rb") as file:
        storages = Storages(MappedFile(path), file, entries, f"{root}data/")
        tensors = {str(name): storages.tensor(plan, str(name)) for name, plan in plans.items()}
    step, note = top.get("global_step"), top.get(NOTE)
    return CheckpointFile(
        path,
        tensors,
        global_step=step if type(step) is int else None,
        has_optimizer=bool(top.get("optimizer_states")),
        has_state_dict=state is not top,
        note=note if isinstance(note, str) else None,
    )


def _unpickle(data: bytes, path: Path) -> object:
    try:
        return _Reader(io.BytesIO(data)).load()
    except _Refused as error:
        raise WeightsError(f"{path}: asks to run {error}, which no weights need: refused, nothing was run") from None
    except (
        pickle.UnpicklingError,
        EOFError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        KeyError,
        ImportError,
    ) as error:
        raise WeightsError(f"{path}: is damaged, its table of contents cannot be read; get it again") from error

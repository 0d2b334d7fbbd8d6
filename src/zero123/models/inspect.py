"""What a checkpoint file or model folder holds, told from names and shapes alone; no numbers are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zero123.models.stored_model import StoredModel, find_model, read_model
from zero123.models.weights.checkpoint import CheckpointFile, open_checkpoint
from zero123.models.weights.community import POSE_FOLDERS, is_community_folder
from zero123.models.weights.errors import WeightsError
from zero123.models.weights.names import EMA, PREFIXES, UNET, VAE
from zero123.models.weights.registry import readable_size
from zero123.models.weights.stored import StoredTensor
from zero123.models.weights.strict import Part, construct

RAW = "raw UNet beside its averages (EMA)"
TEXT = "CLIP's text side, unused"
TABLES = "schedule tables and counters"
TRAINING = "autoencoder's training leftovers"
OTHERS = "others, ignored"
REST = "optimizer states and the like"


@dataclass(frozen=True)
class Content:
    """Tensors of one purpose.

    Attributes:
        name: of the network, or what they are.
        tensors: how many.
        parameters: numbers in them.
        bytes: their size in the file.
        dtypes: types in them.
    """

    name: str
    tensors: int
    parameters: int
    bytes: int
    dtypes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What `inspect` finds.

    Attributes:
        path: file or folder.
        layout: how the weights are laid out.
        bytes: size on disk.
        step: training steps, where the file says so.
        name: what the model is called.
        licence: terms of the weights, as the model or, by the file's name, the registry says.
        pose_format: meaning of the fourth pose number; None: it takes no poses.
        parts: the networks.
        extras: what else costs room and is not needed to make views.
        has_ema: the UNet's running averages are there, and are what loads.
        has_optimizer: states of an optimizer are in it.
        missing: tensors of the networks that are not there.
        unknown: tensors in the networks' places that they do not have.
        misshapen: tensors of another shape, with both shapes.
        ignored: tensors in no network's place; they do no harm.
        bfloat16_bytes: memory of the model once loaded in bfloat16; None: it cannot be loaded.
        fault: why the layout cannot be made out; None if it can.
    """

    path: str
    layout: str
    bytes: int
    step: int | None
    name: str | None
    licence: str | None
    pose_format: str | None
    parts: tuple[Content, ...]
    extras: tuple[Content, ...]
    has_ema: bool
    has_optimizer: bool
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    misshapen: tuple[str, ...]
    ignored: tuple[str, ...]
    bfloat16_bytes: int | None
    fault: str | None

    @property
    def loads(self) -> bool:
        """Whether names and shapes are those of a view model; that its numbers are finite, only loading shows."""
        return self.bfloat16_bytes is not None and self.pose_format is not None

    def as_json(self) -> dict[str, Any]:
        """Everything, in plain containers."""
        return {**asdict(self), "loads": self.loads}

    def as_text(self) -> str:
        """Everything, for people; long lists of names are cut."""
        step = "" if self.step is None else f", step {self.step}"
        lines = [f"{self.path}: {self.layout}, {readable_size(self.bytes)}{step}"]
        poses = "takes no poses: a start for training" if self.pose_format is None else f"pose: {self.pose_format}"
        if self.fault is None:
            lines.append(f"model {self.name}; licence {self.licence}; {poses}")
        lines += [""] + _table("networks", self.parts) + (_table("beside them", self.extras) if self.extras else [])
        lines.append("")
        for what in ("missing", "unknown", "misshapen", "ignored"):
            names: tuple[str, ...] = getattr(self, what)
            lines += [f"{what}: {name}" for name in names[:10]]
            lines += [f"{what}: {len(names) - 10} more"] if len(names) > 10 else []
        if self.fault is not None:
            lines.append(f"cannot be loaded: {self.fault}")
        elif self.bfloat16_bytes is None:
            lines.append("cannot be loaded as it is, see above")
        else:
            lines.append(f"nothing is missing; loaded in bfloat16 it takes {readable_size(self.bfloat16_bytes)}")
        return "\n".join(lines)


def inspect(path: str | Path) -> Report:
    """Look into a checkpoint file or model folder, or what `load_model` knows by name.

    Raises:
        WeightsError: there is no such thing, it is damaged, or made to run a program.
    """
    place = find_model(path)
    try:
        found, fault = read_model(place), None
    except WeightsError as error:
        found, fault = None, str(error)
    if place.is_file():
        return _report(place, found, fault, **_file(open_checkpoint(place)))
    if found is None:
        raise WeightsError(fault)
    parts = tuple(_content(name, part.tensors.values()) for name, (_, part) in found.networks.items())
    return _report(place, found, fault, layout=_folder_layout(place), parts=parts)


def _report(place: Path, found: StoredModel | None, fault: str | None, **known: Any) -> Report:
    """What is known, compared with the networks it should fill."""
    files = [p for p in place.rglob("*") if p.is_file()] if place.is_dir() else [place]
    faults: dict[str, list[str]] = {"missing": [], "unknown": [], "misshapen": []}
    memory = 0
    for name, (cls, part) in found.networks.items() if found else ():
        for what, names in _compare(_outline(cls, part.config, f"{place}: {name}"), part).items():
            faults[what] += names
        memory += sum(_bytes(t, torch.bfloat16) for t in part.tensors.values())
    is_whole = found is not None and not any(faults.values())
    takes_poses = found is not None and not found.is_start
    plain = {"step": None, "extras": (), "has_ema": False, "has_optimizer": False, "ignored": ()}
    return Report(
        **{
            **plain,
            "path": str(place),
            "bytes": sum(p.stat().st_size for p in files),
            "name": found.settings.name if found else None,
            "licence": found.settings.licence if found else None,
            "pose_format": found.settings.pose_format if found and takes_poses else None,
            "bfloat16_bytes": memory if is_whole else None,
            "fault": fault,
            **{what: tuple(dict.fromkeys(names)) for what, names in faults.items()},
            **known,
        }
    )


def _folder_layout(folder: Path) -> str:
    if not is_community_folder(folder):
        return "model folder"
    return next(f"diffusers folder with {k.name}" for k in POSE_FOLDERS.values() if (folder / k.name).is_dir())


# Checkpoint files


def _file(file: CheckpointFile) -> dict[str, Any]:
    """What a file in the original's layout holds, by purpose."""
    has_ema = any(key.startswith(EMA) for key in file.tensors)
    groups: dict[str, dict[str, StoredTensor]] = {}
    for key, tensor in file.tensors.items():
        groups.setdefault(_purpose(key, has_ema), {})[key] = tensor
    contents = {name: _content(name, group.values()) for name, group in groups.items()}
    extras = [contents[name] for name in (RAW, TEXT, TABLES, TRAINING, OTHERS) if name in contents]
    if file.has_optimizer:
        rest = file.path.stat().st_size - sum(t.nbytes for t in file.tensors.values())
        extras.append(Content(REST, 0, 0, max(rest, 0), ()))
    kind = "Lightning checkpoint" if file.has_state_dict else "state dict"
    return {
        "layout": f"original layout, {'safetensors' if file.path.suffix == '.safetensors' else kind}",
        "step": file.global_step,
        "parts": tuple(contents[name] for name in PREFIXES if name in contents),
        "extras": tuple(extras),
        "has_ema": has_ema,
        "has_optimizer": file.has_optimizer,
        "ignored": tuple(groups.get(OTHERS, ())),
    }


def _purpose(key: str, has_ema: bool) -> str:
    """Which network a tensor belongs to, or why it is there."""
    if key.startswith(EMA):
        return "unet"
    if key.startswith(UNET) and has_ema:
        return RAW
    if key.startswith(VAE) and key.removeprefix(VAE).split(".")[0] not in (*_CODERS, *_QUANTS):
        return TRAINING
    for name, prefix in PREFIXES.items():
        if key.startswith(prefix):
            return name
    if key.startswith("cond_stage_model."):
        return TEXT
    return TABLES if "." not in key or key.startswith("model_ema.") else OTHERS


_CODERS, _QUANTS = ("encoder", "decoder"), ("quant_conv", "post_quant_conv")


# Shapes


def _outline(cls: type, config: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """The state dict of a network that takes no memory."""
    from accelerate import init_empty_weights

    try:
        with init_empty_weights(include_buffers=False):
            return construct(cls, dict(config)).state_dict()
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(f"{name}: config.json does not describe a {cls.__name__}: {why}") from error


def _compare(expected: Mapping[str, Tensor], part: Part) -> dict[str, list[str]]:
    """How the tensors differ from those a network has, under the names in the file."""
    named: Callable[[str], str] = part.named
    both = [(key, part.tensors[key].shape, tensor.shape) for key, tensor in expected.items() if key in part.tensors]
    return {
        "missing": [named(key) for key in expected if key not in part.tensors],
        "unknown": [named(key) for key in part.tensors if key not in expected],
        "misshapen": [
            f"{named(key)} must be {tuple(wanted)}, is {tuple(found)}" for key, found, wanted in both if found != wanted
        ],
    }


def _content(name: str, tensors: Iterable[StoredTensor]) -> Content:
    tensors = list(tensors)
    types = sorted({str(t.dtype).removeprefix("torch.") for t in tensors})
    return Content(name, len(tensors), sum(t.shape.numel() for t in tensors), sum(map(_bytes, tensors)), tuple(types))


def _bytes(tensor: StoredTensor, dtype: torch.dtype | None = None) -> int:
    kind = dtype if dtype is not None and tensor.dtype.is_floating_point else tensor.dtype
    return tensor.shape.numel() * kind.itemsize


def _table(title: str, contents: Iterable[Content]) -> list[str]:
    lines = [f"{title:38}{'tensors':>8}{'parameters':>15}{'size':>10}  types"]
    for c in contents:
        count, numbers = (f"{c.tensors:,}", f"{c.parameters:,}") if c.tensors else ("", "")
        lines.append(
            f"  {c.name:36}{count:>8}{numbers:>15}{readable_size(c.bytes):>10}  {', '.join(c.dtypes)}".rstrip()
        )
    return lines

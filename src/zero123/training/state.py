"""What a training run is at a step: weights, their average, optimiser; saved whole or not at all, resumed exactly."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from zero123.files import save_tensors
from zero123.training.checkpoints import by_loss, check, checkpoints, checksum, read_state
from zero123.training.sharding import own, shared_as, whole


class Ema:
    """Exponential moving average of a module's trained parameters.

    The decay grows with the number of updates n as min(decay, (1 + n) / (10 + n)), as Zero-1-to-3's does.

    Args:
        module: what is averaged.
        decay: its limit.
        names: of the parameters to average; None for all that are trained.
    """

    def __init__(self, module: nn.Module, decay: float, names: Collection[str] | None = None) -> None:
        self.decay = decay
        self.updates = 0
        trained = {k: p for k, p in module.named_parameters() if p.requires_grad and (names is None or k in names)}
        self.shadow = {k: p.detach().clone().float() for k, p in trained.items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take one step towards the module's parameters."""
        self.updates += 1
        share = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        parameters = dict(module.named_parameters())
        now = [own(parameters[name].detach()).float() for name in self.shadow]
        torch._foreach_lerp_([own(average) for average in self.shadow.values()], now, share)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Set the module's parameters to the average."""
        for name, parameter in module.named_parameters():
            if name in self.shadow:
                parameter.copy_(self.shadow[name])

    @contextmanager
    def inside(self, module: nn.Module) -> Iterator[None]:
        """The module has averaged parameters, and is in evaluation mode, while the block runs."""
        kept = {k: p.detach().clone() for k, p in module.named_parameters() if k in self.shadow}
        training = module.training
        self.copy_to(module)
        module.eval()
        try:
            yield
        finally:
            module.train(training)
            with torch.no_grad():
                for name, parameter in module.named_parameters():
                    if name in kept:
                        parameter.copy_(kept[name])


def save_state(
    folder: Path,
    step: int,
    module: nn.Module,
    ema: Ema,
    optimiser: torch.optim.Optimizer,
    keep: int,
    notes: dict[str, Any] | None = None,
    writes: bool = True,
    best: int = 0,
) -> None:
    """Write `folder/step-N`, then remove all but the newest `keep` and those with the `best` lowest validation losses.

    A checkpoint is written under a temporary name and renamed, so one that has its name is whole. `notes` are what
    else the loop wants to find again, by `load_notes`; JSON takes them; "validation" among them is the loss. Where
    parameters are sharded every process calls this, since each gives its shares, and one of them `writes`.

    Raises:
        OSError: it cannot be written, in one line; the checkpoints before it stand.
    """
    trained = {k: p for k, p in module.named_parameters() if p.requires_grad}
    groups: dict[str, Mapping[str, Tensor]] = {"weights": trained, "ema": ema.shadow, "optimiser": _flat(optimiser)}
    state = {"step": step, "ema_updates": ema.updates, "notes": notes or {}}
    final = folder / f"step-{step:08d}"
    if not writes:
        for tensors in groups.values():
            _on_the_cpu(tensors, keeps=False)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for half in folder.glob(".step-*"):  # of a run that was killed while it saved
            shutil.rmtree(half, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=".step-", dir=folder))
        try:
            _write(temporary, groups, state)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(temporary, final)
            _to_disk(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(
            f"cannot save {final}: {reason}; the checkpoints before it stand, the same command goes on from the newest"
        ) from error
    kept = {*checkpoints(folder)[-keep:], *by_loss(folder)[:best]}
    for path in checkpoints(folder):
        if path not in kept:
            shutil.rmtree(path)


def _write(folder: Path, groups: Mapping[str, Mapping[str, Tensor]], state: dict[str, Any]) -> None:
    sums = {}
    for name, tensors in groups.items():
        path = folder / f"{name}.safetensors"
        save_tensors(_on_the_cpu(tensors), path)
        sums[path.name] = checksum(path)
        _to_disk(path)
    (folder / "state.json").write_text(json.dumps({**state, "checksums": sums}), encoding="utf-8")
    _to_disk(folder / "state.json")


def _on_the_cpu(tensors: Mapping[str, Tensor], keeps: bool = True) -> dict[str, Tensor]:
    """Copies of whole tensors, one after another, so that a device needs room for one; all processes take part."""
    copies = {}
    for name, tensor in tensors.items():
        full = whole(tensor.detach())
        if keeps:
            copies[name] = full.cpu().clone(memory_format=torch.contiguous_format)
    return copies


def load_state(checkpoint: Path, module: nn.Module, ema: Ema, optimiser: torch.optim.Optimizer) -> int:
    """Set everything to what `save_state` wrote and return the step; every process of a run calls this.

    Raises:
        ValueError: the checkpoint belongs to another model.
    """
    parameters = {k: p for k, p in module.named_parameters() if p.requires_grad}
    state = read_state(checkpoint)
    _fill(checkpoint, "weights", parameters)
    _fill(checkpoint, "ema", ema.shadow)
    ema.updates = state["ema_updates"]
    _unflatten(optimiser, checkpoint / "optimiser.safetensors")
    return int(state["step"])


def best_weights(folder: Path) -> dict[str, Tensor]:
    """The trained parameters, averaged where there is an average, of the checkpoint with the lowest validation loss.

    Raises:
        ValueError: none in the folder has one, or it is damaged.
    """
    found = by_loss(folder)
    if not found:
        raise ValueError(f"{folder}: no checkpoint has a validation loss; train with validate_every and keep_best")
    check(found[0])
    return {**load_file(found[0] / "weights.safetensors"), **load_file(found[0] / "ema.safetensors")}


@torch.no_grad()
def _fill(checkpoint: Path, name: str, tensors: Mapping[str, Tensor]) -> None:
    with safe_open(checkpoint / f"{name}.safetensors", framework="pt") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118  not a dict
        if shapes != {key: tuple(tensor.shape) for key, tensor in tensors.items()}:
            raise ValueError(f"{checkpoint}: its {name} are those of another model; start in a new folder")
        for key, tensor in tensors.items():
            tensor.copy_(shared_as(file.get_tensor(key), tensor))


def _ordered_parameters(optimiser: torch.optim.Optimizer) -> Iterable[Tensor]:
    return (p for group in optimiser.param_groups for p in group["params"])


def _flat(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors by position of their parameter; safetensors hold no pickles."""
    flat = {}
    for index, parameter in enumerate(_ordered_parameters(optimiser)):
        for name, value in optimiser.state.get(parameter, {}).items():
            flat[f"{index}.{name}"] = torch.as_tensor(value)
    return flat


def _unflatten(optimiser: torch.optim.Optimizer, path: Path) -> None:
    by_position: dict[str, list[str]] = {}
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118  not a dict
            by_position.setdefault(key.split(".", 1)[0], []).append(key)
        for index, parameter in enumerate(_ordered_parameters(optimiser)):
            state = {}
            for key in sorted(by_position.get(str(index), [])):  # one order, since processes share values out together
                name, value = key.split(".", 1)[1], file.get_tensor(key)
                # AdamW counts its steps on the CPU
                state[name] = value if name == "step" else shared_as(value, parameter)
            optimiser.state[parameter] = state


def _to_disk(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

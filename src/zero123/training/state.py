"""What a training run is at a step: weights, their average, optimiser; saved whole or not at all, resumed exactly."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class Ema:
    """Exponential moving average of a module's trained parameters.

    The decay grows with the number of updates n as min(decay, (1 + n) / (10 + n)), as Zero-1-to-3's does.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow = {k: p.detach().clone().float() for k, p in module.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take one step towards the module's parameters."""
        self.updates += 1
        share = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        parameters = {k: p.detach().float() for k, p in module.named_parameters() if p.requires_grad}
        names = list(self.shadow)
        torch._foreach_lerp_([self.shadow[k] for k in names], [parameters[k] for k in names], share)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Set the module's parameters to the average."""
        for name, parameter in module.named_parameters():
            if name in self.shadow:
                parameter.copy_(self.shadow[name])


def save_state(
    folder: Path,
    step: int,
    module: nn.Module,
    ema: Ema,
    optimiser: torch.optim.Optimizer,
    keep: int,
    notes: dict[str, Any] | None = None,
) -> None:
    """Write `folder/step-N`, then remove all but the newest `keep`.

    A checkpoint is written under a temporary name and renamed, so one that has its name is whole. `notes` are what
    else the loop wants to find again, by `load_notes`; JSON takes them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for half in folder.glob(".step-*"):  # of a run that was killed while it saved
        shutil.rmtree(half, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=".step-", dir=folder))
    try:
        trained = {k: p.detach().contiguous() for k, p in module.named_parameters() if p.requires_grad}
        save_file(trained, temporary / "weights.safetensors")
        save_file({k: v.contiguous() for k, v in ema.shadow.items()}, temporary / "ema.safetensors")
        save_file(_flatten(optimiser), temporary / "optimiser.safetensors")
        state = {"step": step, "ema_updates": ema.updates, "notes": notes or {}}
        (temporary / "state.json").write_text(json.dumps(state), encoding="utf-8")
        for path in temporary.iterdir():
            _to_disk(path)
        final = folder / f"step-{step:08d}"
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints in a folder, oldest first."""
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def load_state(checkpoint: Path, module: nn.Module, ema: Ema, optimiser: torch.optim.Optimizer) -> int:
    """Set everything to what `save_state` wrote and return the step.

    Raises:
        ValueError: the checkpoint belongs to another model.
    """
    parameters = {k: p for k, p in module.named_parameters() if p.requires_grad}
    weights = load_file(checkpoint / "weights.safetensors")
    if {k: v.shape for k, v in weights.items()} != {k: p.shape for k, p in parameters.items()}:
        raise ValueError(f"{checkpoint}: its weights are those of another model; start in a new folder")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    state = _read(checkpoint)
    ema.shadow = {k: v.to(ema.shadow[k].device) for k, v in load_file(checkpoint / "ema.safetensors").items()}
    ema.updates = state["ema_updates"]
    _unflatten(optimiser, load_file(checkpoint / "optimiser.safetensors"))
    return int(state["step"])


def load_notes(checkpoint: Path) -> dict[str, Any]:
    """The notes `save_state` was given."""
    notes: dict[str, Any] = _read(checkpoint).get("notes", {})
    return notes


def _read(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    return state


def _ordered_parameters(optimiser: torch.optim.Optimizer) -> Iterable[Tensor]:
    return (p for group in optimiser.param_groups for p in group["params"])


def _flatten(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors by position of their parameter; safetensors hold no pickles."""
    flat = {}
    for index, parameter in enumerate(_ordered_parameters(optimiser)):
        for name, value in optimiser.state.get(parameter, {}).items():
            flat[f"{index}.{name}"] = torch.as_tensor(value).detach().clone().contiguous()
    return flat


def _unflatten(optimiser: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    by_position: dict[str, dict[str, Tensor]] = {}
    for key, value in flat.items():
        position, name = key.split(".", 1)
        by_position.setdefault(position, {})[name] = value
    for index, parameter in enumerate(_ordered_parameters(optimiser)):
        own = by_position.get(str(index), {})
        # AdamW counts its steps on the CPU
        optimiser.state[parameter] = {k: v if k == "step" else v.to(parameter.device) for k, v in own.items()}


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())

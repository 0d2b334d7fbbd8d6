"""`zero123 train --fit-memory`: batches that fit, chosen once and kept when the run goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zero123.cli.console import say

if TYPE_CHECKING:
    from zero123.data.pairs import Pairs
    from zero123.models.view_model import ViewModel
    from zero123.training.settings import TrainSettings


def split_before(out: Path, settings: TrainSettings) -> TrainSettings | None:
    """The settings split into batches as they were when the run in `out` was started; None of a new run."""
    from zero123.training.checkpoints import checkpoints

    if not checkpoints(out / "checkpoints"):
        return None
    try:
        stored = json.loads((out / "settings.json").read_text(encoding="utf-8"))
        split = {name: stored[name] for name in ("batch", "accumulate", "checkpointing")}
    except (OSError, ValueError, KeyError):
        return None
    same = split["batch"] * split["accumulate"] == settings.batch * settings.accumulate
    return replace(settings, **split) if same else None


def fitted(model: ViewModel, sampler: Pairs, settings: TrainSettings, gigabytes: float) -> TrainSettings:
    """The settings with batch, accumulation and checkpointing that fit, for all processes; what was chosen is said.

    Raises:
        ValueError: not even one pair fits; in one line.
    """
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast

    from zero123.training.fit_memory import fit_memory

    worker = PartialState()
    plan = fit_memory(model.to(worker.device), sampler, settings, int(gigabytes * 1e9), worker.device)
    if worker.is_main_process:
        say(plan.line())
    own = (plan.settings.batch, plan.settings.accumulate, int(plan.settings.checkpointing))
    batch, accumulate, checkpointing = broadcast(torch.tensor(own, device=worker.device)).tolist()
    return replace(settings, batch=batch, accumulate=accumulate, checkpointing=bool(checkpointing))

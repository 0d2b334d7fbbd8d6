"""Trains the tiny model in the processes torchrun starts; what to do is a list of jobs, as JSON, in the argument.

A job has the run's "folder", its "settings" beside `SETTINGS`, and "die": the process that ends by SIGKILL in step 5.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny_model import tiny_cache, tiny_view_model
from zero123.data.pairs import PairSampler
from zero123.models.lora import save_lora
from zero123.models.pretrained import save_model
from zero123.training.objective import Objective, ObjectiveSettings
from zero123.training.show import SampleSheet
from zero123.training.trainer import TrainSettings, train

SETTINGS = TrainSettings(
    steps=6,
    batch=2,
    learning_rate=1e-3,
    warmup=4,
    decay=2,
    precision="no",
    save_every=3,
    log_every=2,
    sample_every=0,
    objective=ObjectiveSettings(drop=0.2, source_weight=0.1, elevation_jitter=0.05),
)


def launch(*jobs, processes=2):
    """The jobs in processes of their own, under torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.run(
        [*command, __file__, json.dumps(jobs)], capture_output=True, text=True, env=environment, timeout=280
    )


class Dying:
    """A sampler that ends its process in step 5."""

    def __init__(self, sampler):
        self._sampler = sampler

    def batch(self, index, size):
        if index >= 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._sampler.batch(index, size)


@torch.no_grad()
def held_out_loss(model):
    """A loss with fixed noise, as validation's."""
    batch = PairSampler([tiny_cache(model, seed=7)], [1.0]).batch(0, 4)
    return float(Objective(model, SETTINGS.objective)(batch, torch.Generator().manual_seed(0))[0])


def run(folder, settings=None, die=None):
    """One job; the trained model is written beside the run's files."""
    torch.set_num_threads(1)
    settings = dict(settings or {})
    seed = int(os.environ.get("RANK", 0)) if settings.pop("differ", False) else 0
    model = tiny_view_model(seed, volume=settings.pop("volume", True))
    sampler = PairSampler([tiny_cache(model)], [1.0])
    pairs = Dying(sampler) if die is not None and int(os.environ.get("RANK", 0)) == die else sampler
    chosen = replace(SETTINGS, **settings)
    show = SampleSheet(sampler, 2, steps=2) if chosen.sample_every else None
    model = train(model, pairs, folder, chosen, show, validate=held_out_loss)
    if int(os.environ.get("RANK", 0)) == 0:
        if chosen.lora:
            save_lora(model, Path(folder) / "lora.safetensors")
        else:
            save_model(model, Path(folder) / "model")
    return model


if __name__ == "__main__":
    try:
        for job in json.loads(sys.argv[1]):
            run(**job)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)

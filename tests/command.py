"""`zero123 train` on the tiny model and views of noise: what tests of the command line share."""

import json
import os
import sys

import pytest
import torch
from safetensors.torch import load_file

from small_views import view_set
from tiny_model import SIZE, tiny_view_model
from zero123 import cli
from zero123.models.pretrained import save_model

MEASURED = ("seconds", "pairs_per_second", "share_of_peak", "memory_gb")

TINY = ["--preset", "original", "--batch", "2", "--set", "sample_every=0", "--set", "warmup=0", "--set", "log_every=1"]
TINY += ["--set", "learning_rate=1e-3", "--set", "validate_every=0", "--set", "keep_best=0", "--set", "save_every=2"]


def model_at(folder):
    """The tiny model, saved."""
    save_model(tiny_view_model(), folder)
    return folder


def views_at(folder, objects=6, views=4, seed=0):
    """View sets of noise, at the tiny model's size."""
    for index in range(objects):
        view_set(seed + index, views, SIZE).save(folder / f"object{index:02d}")
    return folder


def run(*arguments):
    """The exit code of the command line, run in this process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["zero123", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    AcceleratorState._reset_state(True)
    return ended.value.code or 0


def environment(**more):
    """Of a program that is to use one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **more}


def lines(folder):
    """Metrics without what is measured."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in found]


def same_bits(first, second, step):
    """Whether two runs' checkpoints of a step agree to the last bit."""
    for name in ("weights", "ema", "optimiser"):
        one, other = (
            load_file(f / "checkpoints" / f"step-{step:08d}" / f"{name}.safetensors") for f in (first, second)
        )
        if one.keys() != other.keys() or not all(torch.equal(one[key], other[key]) for key in one):
            return False
    return True

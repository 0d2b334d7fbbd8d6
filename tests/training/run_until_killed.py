"""Trains the tiny model in the folder given and dies by SIGKILL in the middle of step 5, after a checkpoint at 3."""

import os
import signal
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from distributed_run import SETTINGS

from tiny_model import tiny_cache, tiny_view_model
from zero123.data.pairs import PairSampler
from zero123.training.trainer import train


def _die_at_five(done, total, loss):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    torch.set_num_threads(1)
    model = tiny_view_model()
    train(model, PairSampler([tiny_cache(model)], [1.0]), sys.argv[1], SETTINGS, progress=_die_at_five)

"""A run killed in the middle goes on as if nothing had happened, to the last bit."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from run_until_killed import SETTINGS
from safetensors.torch import load_file

from tiny_model import tiny_cache, tiny_view_model
from zero123.data.pairs import PairSampler
from zero123.training.state import checkpoints
from zero123.training.trainer import train


def _run(folder):
    model = tiny_view_model()
    return train(model, PairSampler([tiny_cache(model)], [1.0]), folder, SETTINGS)


def _lines(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    straight, killed = tmp_path_factory.mktemp("straight"), tmp_path_factory.mktemp("killed")
    script = Path(__file__).with_name("run_until_killed.py")
    result = subprocess.run([sys.executable, str(script), str(killed)], capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert [p.name for p in checkpoints(killed / "checkpoints")] == ["step-00000003"]
    half = killed / "checkpoints" / ".step-abc"  # what a kill in the middle of saving leaves
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"half")
    return straight, _run(straight), killed, _run(killed)


def test_weights_averages_and_optimiser_are_bitwise_those_of_a_run_never_killed(runs):
    straight, model, killed, again = runs
    for name in ("weights", "ema", "optimiser"):
        path = Path("checkpoints") / "step-00000006" / f"{name}.safetensors"
        first, second = load_file(straight / path), load_file(killed / path)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
    pairs = zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_metrics_are_those_of_a_run_never_killed(runs):
    straight, _, killed, _ = runs
    assert _lines(killed) == _lines(straight)
    assert [line["step"] for line in _lines(straight)] == [2, 4, 6]  # line 4 holds a step from before the kill


def test_a_half_written_checkpoint_is_ignored_and_cleared_away(runs):
    _, _, killed, _ = runs
    assert sorted(p.name for p in (killed / "checkpoints").iterdir()) == ["step-00000003", "step-00000006"]


def test_a_finished_run_is_not_trained_further(runs):
    straight, model, *_ = runs
    before = (straight / "checkpoints" / "step-00000006" / "weights.safetensors").stat().st_mtime_ns
    again = _run(straight)
    assert (straight / "checkpoints" / "step-00000006" / "weights.safetensors").stat().st_mtime_ns == before
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))

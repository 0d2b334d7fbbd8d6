"""Metrics reach the JSON lines, the curves and the trackers; speed and arithmetic are what they say."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distributed_run import SETTINGS
from PIL import Image
from torch import nn

from tiny_model import tiny_cache, tiny_view_model
from zero123.data.pairs import PairSampler
from zero123.training import curves, hardware, tracking
from zero123.training.objective import Objective
from zero123.training.trainer import train


def _train(folder, **changes):
    model = tiny_view_model()
    sampler = PairSampler([tiny_cache(model)], [1.0])
    train(model, sampler, folder, replace(SETTINGS, **changes), validate=lambda model: 0.5)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_line_holds_all_there_is_to_know(tmp_path):
    lines = _train(tmp_path, validate_every=3)
    expected = {"step", "seconds", "lr", "diffusion", "elevation", "radius", "gradient", "skipped"}
    expected |= {"pairs_per_second", "share_of_peak", "memory_gb"}
    assert [line["step"] for line in lines] == [2, 3, 4, 6]
    assert lines[0].keys() == expected and lines[1].keys() == {"step", "seconds", "validation"}
    assert lines[3].keys() == expected | {"validation"}
    assert all(line["share_of_peak"] > 0 and 0.05 < line["memory_gb"] < 8 for line in (lines[0], lines[3]))


def test_speed_is_pairs_over_seconds_and_their_arithmetic_over_the_peak():
    speed = tracking.Speed(torch.device("cpu"), flops=2e9, peak=1e12)
    speed.add(30, 1.0)
    speed.add(30, 2.0)
    figures = speed.take()
    assert figures["pairs_per_second"] == 20 and figures["share_of_peak"] == pytest.approx(20 * 2e9 / 1e12)
    assert tracking.Speed(torch.device("cpu"), None, None).take()["share_of_peak"] is None


class _Product(nn.Module):
    """Stands for an objective: one product whose arithmetic is known."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 32, bias=False)
        self.model = SimpleNamespace(unet=SimpleNamespace(is_gradient_checkpointing=False))

    def forward(self, batch, generator):
        return self.layer(batch.latent).sum(), {}


def test_arithmetic_of_a_pass_is_counted_forward_and_backward():
    product = _Product()
    batch = type("Batch", (), {"latent": torch.ones(4, 16)})()
    assert hardware.pass_flops(product, batch) == 2 * (2 * 16 * 32)  # the input needs no gradient
    batch.latent.requires_grad_(True)
    assert hardware.pass_flops(product, batch) == 3 * (2 * 16 * 32)
    assert product.layer.weight.grad is None


def test_recomputed_activations_are_not_counted_twice():
    model = tiny_view_model().train()
    objective = Objective(model, SETTINGS.objective)
    batch = PairSampler([tiny_cache(model)], [1.0]).batch(0, 1)
    plain = hardware.pass_flops(objective, batch)
    model.unet.enable_gradient_checkpointing()
    assert hardware.pass_flops(objective, batch) == plain and model.unet.is_gradient_checkpointing


def test_every_gpu_of_the_table_is_found_before_a_shorter_name_hides_it(monkeypatch):
    for name, half, single in hardware.PEAKS:
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: f"NVIDIA {name} 80GB")
        assert hardware.peak_flops(torch.device("cuda"), "bf16") == half * 1e12
        assert hardware.peak_flops(torch.device("cuda"), "no") == single * 1e12
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Another")
    assert hardware.peak_flops(torch.device("cuda"), "bf16") is None


def test_the_peak_of_a_cpu_is_measured():
    assert 1e8 < hardware.peak_flops(torch.device("cpu"), "no") < 1e14


def test_memory_grows_with_what_is_held():
    before = hardware.peak_memory(torch.device("cpu"))
    held = torch.ones(30_000_000)
    assert hardware.peak_memory(torch.device("cpu")) >= before
    assert float(held.sum()) == 3e7 and before > 0.05


def test_ticks_are_round_and_inside():
    assert curves.ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert curves.ticks(0.13, 0.87) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert curves.ticks(-3, 3) == [-3, -2, -1, 0, 1, 2, 3]
    assert curves.ticks(0, 12_000) == [0, 2000, 4000, 6000, 8000, 10_000, 12_000]


def test_a_running_mean_keeps_straight_lines_and_where_things_happen():
    line = [(float(k), 2.0 + 0.5 * k) for k in range(100)]
    np.testing.assert_allclose(curves.running_mean(line)[5:-5], line[5:-5])
    step = [y for _, y in curves.running_mean([(float(k), float(k >= 50)) for k in range(100)], share=0.05)]
    assert step[44] == 0 and step[55] == 1 and step[49] + step[50] == pytest.approx(1)  # neither early nor late
    assert curves.running_mean([]) == []


def test_curves_go_down_where_the_loss_does(tmp_path):
    lines = [{"step": k, "diffusion": 10 ** (-k / 100), "lr": 1e-4} for k in range(1, 101)]
    curves.draw_curves(lines, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as drawn:
        picture = np.asarray(drawn.convert("RGB")).astype(int)
    assert picture.shape == (340, 1240, 3)
    strong = np.abs(picture[:, :620] - np.array(curves._COLOURS[0])).sum(-1) < 30
    columns = [np.nonzero(strong[:, x])[0].mean() for x in range(90, 590) if strong[:, x].any()]
    assert len(columns) > 400 and columns[-1] - columns[0] > 150  # a straight line on a logarithmic axis
    assert np.abs(np.diff(columns, 2)).max() < 6


def test_curves_that_cannot_be_drawn_are_told_and_end_nothing(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "curves.png")

    monkeypatch.setattr(tracking, "draw_curves", full)
    assert _train(tmp_path, steps=2)
    assert "no curves were drawn: [Errno 28] No space left on device: 'curves.png'" in caplog.text


def test_curves_of_odd_metrics_are_drawn_without_complaint(tmp_path):
    for lines in ([], [{"step": 1}], [{"step": 1}, {"step": 2}]):
        curves.draw_curves(lines, tmp_path / "none.png")
        assert not (tmp_path / "none.png").exists()
    lines = [{"step": 1, "diffusion": 0.0, "gradient": 5.0}, {"step": 2, "diffusion": float("inf"), "gradient": 5.0}]
    curves.draw_curves([*lines, {"step": 3, "diffusion": -1.0}], tmp_path / "odd.png")
    with Image.open(tmp_path / "odd.png") as picture:
        assert picture.size == (1240, 340)


@pytest.mark.parametrize(
    ("names", "kind", "says"),
    [
        (("mlflow",), ValueError, "track must be out of tensorboard, wandb, got 'mlflow'"),
        (("wandb",), ImportError, "zero123.track"),
    ],
)
def test_a_tracker_that_is_not_there_is_refused_before_the_start(monkeypatch, names, kind, says):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(kind, match=says):
        tracking.check_trackers(names)


TRACKED = """
import json, sys, torch
from dataclasses import replace
sys.path[:0] = json.loads(sys.argv[1])
from distributed_run import SETTINGS
from tiny_model import tiny_cache, tiny_view_model
from zero123.data.pairs import PairSampler
from zero123.training.trainer import train
torch.set_num_threads(1)
for steps in (4, 6):  # the second takes up the first
    model = tiny_view_model()
    settings = replace(SETTINGS, steps=steps, decay=0, track=(sys.argv[2],))
    train(model, PairSampler([tiny_cache(model)], [1.0]), sys.argv[3], settings)
"""


def _tracked(name, folder):
    """A run with a tracker in a process of its own, since trackers leave threads and warnings behind."""
    here = Path(__file__).parent
    environment = {**os.environ, "WANDB_SILENT": "true", "PYTHONWARNINGS": "ignore"}
    environment.pop("WANDB_MODE", None)
    command = [sys.executable, "-c", TRACKED, json.dumps([str(here), str(here.parent)]), name, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_is_told_every_line_once_also_after_a_resumption(tmp_path):
    _tracked("tensorboard", tmp_path)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(tmp_path / "zero123")).Reload()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    told = {event.step: event.value for event in found.Scalars("diffusion")}
    assert told == pytest.approx({line["step"]: line["diffusion"] for line in lines}, rel=1e-6)
    assert {"lr", "gradient", "pairs_per_second", "share_of_peak", "memory_gb"} <= set(found.Tags()["scalars"])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_weights_and_biases_writes_offline_runs_into_the_folder(tmp_path):
    _tracked("wandb", tmp_path)
    found = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(found) == 2 and all(path.stat().st_size > 1000 for path in found)


def test_the_meter_is_the_same_after_it_was_stored():
    meter = tracking.Meter()
    for value in (1.0, float("nan"), 3.0):
        meter.add({"skipped": torch.tensor(0.0), "loss": torch.tensor(value)})
    again = tracking.Meter(**json.loads(json.dumps(vars(meter))))
    assert again.take() == meter.take() == {"skipped": 0.0, "loss": 2.0}

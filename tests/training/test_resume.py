"""A run killed in the middle goes on as if nothing had happened, to the last bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from distributed_run import SETTINGS
from safetensors.torch import load_file

from tiny_model import tiny_cache, tiny_view_model
from zero123.data.pairs import PairSampler
from zero123.run_log import alone_in
from zero123.training import trainer
from zero123.training.checkpoints import checkpoints, newest_whole
from zero123.training.parallel import accelerator_for
from zero123.training.trainer import train

MEASURED = ("seconds", "pairs_per_second", "share_of_peak", "memory_gb")


def _run(folder, settings=SETTINGS, **options):
    model = tiny_view_model()
    return train(model, PairSampler([tiny_cache(model)], [1.0]), folder, settings, **options)


def _lines(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in lines]


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


def _same_end(first, second):
    for name in ("weights", "ema", "optimiser"):
        path = Path("checkpoints") / "step-00000006" / f"{name}.safetensors"
        ours, theirs = load_file(first / path), load_file(second / path)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert _lines(first) == _lines(second)


@pytest.mark.parametrize("sign", ["SIGTERM", "SIGUSR1"])
def test_a_run_asked_to_stop_saves_stops_and_goes_on_to_the_same_digits(runs, tmp_path, sign):
    straight, *_ = runs
    number, before = getattr(signal, sign), signal.getsignal(getattr(signal, sign))

    def ask(done, total, loss):
        if done == 4:
            os.kill(os.getpid(), number)

    with pytest.raises(InterruptedError, match="stopped as asked after step 5; the same command goes on from there"):
        _run(tmp_path, progress=ask)
    assert signal.getsignal(number) == before
    assert checkpoints(tmp_path / "checkpoints")[-1].name == "step-00000005"
    assert (tmp_path / "curves.png").is_file()
    _run(tmp_path)
    _same_end(tmp_path, straight)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1  # one bit of one weight
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["weights.safetensors", "ema.safetensors", "optimiser.safetensors", "state.json"])
@pytest.mark.parametrize("harm", [_cut, _flip, Path.unlink])
def test_a_damaged_checkpoint_is_said_and_the_one_before_it_taken(runs, tmp_path, caplog, name, harm):
    straight, *_ = runs
    folder = tmp_path / "checkpoints"
    shutil.copytree(straight / "checkpoints", folder)
    if (harm, name) == (_flip, "state.json"):
        pytest.skip("state.json holds the checksums and has none itself")
    harm(folder / "step-00000006" / name)
    assert newest_whole(folder) == folder / "step-00000003"
    (record,) = caplog.records
    assert "step-00000006" in record.getMessage() and "falling back to the one before it" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert sorted(p.name for p in folder.iterdir()) == ["damaged-step-00000006", "step-00000003"]


def test_from_the_one_before_the_damaged_one_the_run_ends_in_the_same_digits(runs, tmp_path):
    straight, *_ = runs
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    _flip(run / "checkpoints" / "step-00000006" / "weights.safetensors")
    _run(run)
    _same_end(run, straight)


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(runs, tmp_path):
    straight, *_ = runs
    shutil.copytree(straight / "checkpoints", tmp_path / "checkpoints")
    for path in checkpoints(tmp_path / "checkpoints"):
        _cut(path / "ema.safetensors")
    with pytest.raises(ValueError, match="all 2 checkpoints are damaged; start in a new folder"):
        newest_whole(tmp_path / "checkpoints")


def test_checkpoints_of_the_first_version_are_taken_up(runs, tmp_path):
    """They had neither checksums nor the number of batches in a step, and no notes at first."""
    straight, *_ = runs
    shutil.copytree(straight, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints" / "step-00000006")
    path = tmp_path / "checkpoints" / "step-00000003" / "state.json"
    state = json.loads(path.read_text())
    meter = {"meter": state["notes"]["meter"]}
    path.write_text(json.dumps({"step": 3, "ema_updates": state["ema_updates"], "notes": meter}))
    _run(tmp_path)
    _same_end(tmp_path, straight)


def test_two_runs_in_one_folder_are_refused_and_the_first_goes_on(tmp_path):
    def second(done, total, loss):
        if done == 1:
            with pytest.raises(ValueError, match=rf"{tmp_path}: process {os.getpid()} on .* is training here; wait"):
                _run(tmp_path)

    _run(tmp_path, replace(SETTINGS, steps=2), progress=second)
    assert [p.name for p in checkpoints(tmp_path / "checkpoints")] == ["step-00000002"]
    with alone_in(tmp_path):  # free again
        pass


def test_a_disk_that_fills_up_while_saving_loses_nothing(runs, tmp_path, monkeypatch):
    straight, *_ = runs
    from zero123.training import state

    def full(tensors, path):
        if "step-00000003" not in str(path) and (tmp_path / "checkpoints" / "step-00000003").is_dir():
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return save(tensors, path)

    save = state.save_tensors
    monkeypatch.setattr(state, "save_tensors", full)
    with pytest.raises(OSError, match=r"cannot save .*step-00000006: No space left on device; the checkpoints before"):
        _run(tmp_path)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]
    monkeypatch.setattr(state, "save_tensors", save)
    _run(tmp_path)
    _same_end(tmp_path, straight)


def test_a_disk_that_fills_up_while_logging_is_named(tmp_path):
    from zero123.run_log import RunLog

    log = RunLog(tmp_path, {})
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"cannot write .*metrics.jsonl: No space left on device"):
        log.write(1, loss=1.0)


def test_the_scale_of_float16_gradients_comes_back(tmp_path):
    """CPUs do not train in float16, so the scaler is put in place of none."""
    scales = []
    for grown in (7, 0):
        model = tiny_view_model()
        accelerator = accelerator_for(SETTINGS, tmp_path)
        run = trainer._Run(accelerator, model, SETTINGS, tmp_path, PairSampler([tiny_cache(model)], [1.0]))
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0 ** (9 + grown))
        if grown:
            accelerator.scaler.load_state_dict({**accelerator.scaler.state_dict(), "_growth_tracker": grown})
            run.begin(None, SETTINGS)
            run.done = 1
            run.save()
        else:
            run.begin(str(checkpoints(tmp_path / "checkpoints")[0]), SETTINGS)
        scales.append(accelerator.scaler.state_dict())
    assert scales[0] == scales[1] and scales[1]["scale"] == 2.0**16 and scales[1]["_growth_tracker"] == 7

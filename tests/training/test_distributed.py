"""Two processes make the steps one makes, with copied and with sharded parameters; one killed, nothing is lost."""

import json
import shutil

import distributed_run
import pytest
import torch
from accelerate import Accelerator
from distributed_run import launch
from safetensors.torch import load_file

from tiny_model import tiny_cache, tiny_view_model
from zero123.data.pairs import PairBatch, PairSampler
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.models.pretrained import load_model
from zero123.training.checkpoints import checkpoints
from zero123.training.objective import Draws, Objective
from zero123.training.resumption import plan, share_of
from zero123.training.trainer import TrainSettings

pytestmark = pytest.mark.slow

ONE_STEP = {"volume": False, "steps": 1, "clip": 1e9, "warmup": 0, "decay": 0}
MEASURED = ("seconds", "pairs_per_second", "share_of_peak", "memory_gb")


def lines(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in found]


def stored(folder, name, step=6):
    return load_file(folder / "checkpoints" / f"step-{step:08d}" / f"{name}.safetensors")


def same_bits(first, second, step=6):
    return all(
        torch.equal(a, b)
        for name in ("weights", "ema", "optimiser")
        for a, b in zip(stored(first, name, step).values(), stored(second, name, step).values(), strict=True)
    )


def gradient(folder):
    """The first step's gradient, which AdamW's first moment then holds times 0.1."""
    tensors = stored(folder, "optimiser", step=1)
    return torch.cat([tensors[k].flatten() for k in sorted(tensors) if k.endswith("exp_avg")]) / 0.1


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Every run the tests look at, in as few launches as will do."""
    folder = tmp_path_factory.mktemp("runs")
    more = {"sample_every": 3, "validate_every": 3}
    result = launch(
        {"folder": str(folder / "ddp-1"), "settings": ONE_STEP},
        {"folder": str(folder / "fsdp-1"), "settings": {**ONE_STEP, "sharded": True, "differ": True}},
        {"folder": str(folder / "ddp"), "settings": more},
        {"folder": str(folder / "fsdp"), "settings": {**more, "sharded": True}},
    )
    assert result.returncode == 0, result.stderr
    killed = launch({"folder": str(folder / "killed"), "settings": more, "die": 1})
    for name in ("as-one", "as-fsdp"):
        shutil.copytree(folder / "killed", folder / name)
    result = launch(
        {"folder": str(folder / "killed"), "settings": more},
        {"folder": str(folder / "as-fsdp"), "settings": {**more, "sharded": True}},
    )
    assert result.returncode == 0, result.stderr
    distributed_run.run(folder / "one-1", {**ONE_STEP, "accumulate": 2})
    distributed_run.run(folder / "as-one", dict(more))
    return folder, killed


def doubled_batch(model):
    """The gradient of the two processes' first batches as one batch, straight from autograd."""
    sampler, objective = PairSampler([tiny_cache(model)], [1.0]), Objective(model, distributed_run.SETTINGS.objective)
    halves = [sampler.batch(index, 2) for index in range(2)]
    draws = [objective.draw(half, torch.Generator().manual_seed(index)) for index, half in enumerate(halves)]

    def joined(kind, values):
        columns = zip(*(vars(v).values() for v in values), strict=True)
        return kind(*(None if column[0] is None else torch.cat(column) for column in columns))

    batch = PairBatch(
        torch.cat([half.photo for half in halves]),
        torch.cat([half.latent for half in halves]),
        joined(RelativePose, [half.relative for half in halves]),
        joined(OrbitPose, [half.source for half in halves]),
    )
    objective(batch, joined(Draws, draws))[0].backward()
    return [p.grad for p in model.parameters() if p.requires_grad]


def test_two_processes_have_the_gradient_of_the_doubled_batch(runs):
    folder, _ = runs
    model = tiny_view_model(volume=False).train()  # whose samples would be drawn for each batch anew
    pose = {id(p) for p in model.pose_conditioning.parameters()}
    gradients = doubled_batch(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    order = sorted(range(len(trained)), key=lambda i: id(trained[i]) in pose)  # the optimiser's: pose conditioning last
    by_position = {str(place): gradients[i] for place, i in enumerate(order)}
    for name in ("one-1", "ddp-1", "fsdp-1"):
        tensors = stored(folder / name, "optimiser", step=1)
        ours = {k.split(".")[0]: v / 0.1 for k, v in tensors.items() if k.endswith("exp_avg")}
        assert ours.keys() == by_position.keys()
        whole = torch.cat([g.flatten() for g in by_position.values()]).norm()
        for place, value in ours.items():
            assert float((value - by_position[place]).norm()) < 2e-6 * float(whole), (name, place)


def test_copied_sharded_and_accumulated_gradients_are_alike(runs):
    folder, _ = runs
    one = gradient(folder / "one-1")
    for name in ("ddp-1", "fsdp-1"):
        torch.testing.assert_close(gradient(folder / name), one, atol=1e-6 * float(one.norm()), rtol=0)


def test_sharded_training_is_copied_training_to_rounding(runs):
    folder, _ = runs
    for ours, theirs in zip(lines(folder / "fsdp"), lines(folder / "ddp"), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-4)
    assert [line["step"] for line in lines(folder / "ddp") if "validation" in line] == [3, 6]
    first, second = (load_model(folder / name / "model").state_dict() for name in ("ddp", "fsdp"))
    assert first.keys() == second.keys() and all(torch.allclose(first[k], second[k], atol=2e-3) for k in first)
    assert (folder / "fsdp" / "samples" / "step-00000006.png").is_file()


def test_a_killed_process_stops_the_run_with_a_clear_line(runs):
    _, killed = runs
    assert killed.returncode != 0
    said = [line for line in killed.stderr.splitlines() if line.startswith("error: ")]
    assert said == [
        "error: process 0 of 2 stopped training: another process of the run has died; nothing up to the newest "
        "checkpoint is lost, the same command goes on from there"
    ]


def test_after_a_kill_the_run_goes_on_to_the_same_digits(runs):
    folder, _ = runs
    assert same_bits(folder / "killed", folder / "ddp")
    assert lines(folder / "killed") == lines(folder / "ddp")


@pytest.mark.parametrize("name", ["as-one", "as-fsdp"])
def test_a_run_goes_on_with_fewer_processes_or_sharded_to_rounding(runs, name):
    folder, _ = runs
    for ours, theirs in zip(lines(folder / name), lines(folder / "ddp"), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-4)


def test_batches_that_cannot_be_shared_are_refused(runs, tmp_path):
    folder, _ = runs
    with pytest.raises(ValueError, match=r"takes 2 batches a step, which 3 processes cannot share .* out of 1, 2, or"):
        plan(folder / "ddp", TrainSettings(), 3)
    assert plan(folder / "ddp", TrainSettings(accumulate=1), 1)["share"] == 2
    assert plan(tmp_path, TrainSettings(accumulate=3), 5) == {"checkpoint": None, "share": 3, "lanes": 5}
    assert [share_of(8, n) for n in (1, 2, 4, 8)] == [8, 4, 2, 1]


def test_checkpoints_do_not_tell_how_they_were_made(runs):
    folder, _ = runs
    for name in ("weights", "ema", "optimiser"):
        first, second = stored(folder / "ddp", name), stored(folder / "fsdp", name)
        assert {k: v.shape for k, v in first.items()} == {k: v.shape for k, v in second.items()}
    assert len(checkpoints(folder / "fsdp" / "checkpoints")) == 2


def test_one_process_cannot_shard(tmp_path):
    Accelerator(cpu=True)
    with pytest.raises(ValueError, match="sharded=true needs several processes"):
        distributed_run.run(tmp_path, {"sharded": True})

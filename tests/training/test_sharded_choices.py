"""What a run may be asked for beside sharding gives, sharded, the gradients and weights it gives with copies."""

import json
from importlib.util import find_spec

import pytest
import torch
from distributed_run import launch
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

CHOICES = {
    "frozen encoders": {"freeze_encoders": True, "averaged": "unet"},
    "recomputed activations": {"checkpointing": True},
    "joint views": {"views": 2},
    "everything": {"freeze_encoders": True, "checkpointing": True, "views": 2, "accumulate": 2},
}
if find_spec("peft") is not None:
    CHOICES |= {"lora": {"lora": 2}, "lora and the rest": {"lora": 2, "checkpointing": True, "views": 2}}

SHORT = {"steps": 2, "clip": 1e9, "warmup": 0, "decay": 0, "save_every": 1, "log_every": 1, "sample_every": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two steps of each choice, copied and sharded, the sharded ones resumed after the first."""
    folder = tmp_path_factory.mktemp("choices")
    jobs = []
    for name, choice in CHOICES.items():
        for sharded in (False, True):
            own = {"folder": str(folder / f"{name}-{sharded}"), "settings": {**SHORT, **choice, "sharded": sharded}}
            halted = {**own, "settings": {**own["settings"], "steps": 1}}
            jobs += [json.loads(json.dumps(job)) for job in ((halted, own) if sharded else (own,))]
    result = launch(*jobs)
    assert result.returncode == 0, result.stderr
    return folder


def stored(folder, name, step):
    return load_file(folder / "checkpoints" / f"step-{step:08d}" / f"{name}.safetensors")


@pytest.mark.parametrize("name", CHOICES)
def test_gradients_are_those_of_copies(folder, name):
    copied, sharded = (stored(folder / f"{name}-{kind}", "optimiser", 1) for kind in (False, True))
    assert copied.keys() == sharded.keys()
    size = float(torch.stack([v.norm() for k, v in copied.items() if k.endswith("exp_avg")]).norm())
    assert size > 0
    for key, value in copied.items():
        torch.testing.assert_close(sharded[key], value, atol=1e-6 * max(size, 1), rtol=1e-4)


@pytest.mark.parametrize("name", CHOICES)
def test_a_resumed_sharded_run_has_the_losses_and_averages_of_copies(folder, name):
    lines = []
    for kind in (False, True):
        text = (folder / f"{name}-{kind}" / "metrics.jsonl").read_text()
        lines.append([json.loads(line) for line in text.splitlines()])
    for one, other in zip(*lines, strict=True):
        for key in ("step", "diffusion", "gradient"):
            assert other[key] == pytest.approx(one[key], rel=5e-4), key
    copied, sharded = (stored(folder / f"{name}-{kind}", "ema", 2) for kind in (False, True))
    assert copied.keys() == sharded.keys()
    assert all(torch.allclose(copied[key], sharded[key], atol=2.5e-3) for key in copied)  # two steps of 1e-3 at most


@pytest.mark.parametrize("name", CHOICES)
def test_what_a_sharded_run_leaves_is_whole(folder, name):
    result = "lora.safetensors" if "lora" in name else "model/unet/diffusion_pytorch_model.safetensors"
    copied, sharded = (load_file(folder / f"{name}-{kind}" / result) for kind in (False, True))
    assert {k: v.shape for k, v in copied.items()} == {k: v.shape for k, v in sharded.items()}
    assert all(torch.allclose(copied[key], sharded[key], atol=2.5e-3) for key in copied)
    assert (folder / f"{name}-True" / "samples" / "step-00000002.png").is_file()

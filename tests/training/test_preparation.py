"""What is frozen, averaged, recomputed and joined is what the settings say, whatever the model came with."""

import shutil
from dataclasses import replace

import pytest
import torch

from tiny_model import tiny_cache, tiny_view_model
from zero123.data.pairs import PairSampler
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.models.frustum import march
from zero123.presets import MINI_TRAINING, ORIGINAL_TRAINING
from zero123.training.eight_bit import AdamW8bit
from zero123.training.muon import Muon
from zero123.training.objective import Objective, ObjectiveSettings
from zero123.training.preparation import averaged_names, compile_networks, optimiser_of, prepare
from zero123.training.trainer import TrainSettings, train

PLAIN = TrainSettings(steps=4, batch=4, warmup=0, precision="no", save_every=2, log_every=2, sample_every=0)


def _trained(model):
    return {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad}


def test_the_original_trains_the_unet_and_the_pose_and_averages_the_unet():
    model = tiny_view_model().requires_grad_(True)  # nobody froze anything
    prepare(model, ORIGINAL_TRAINING)
    assert _trained(model) == {"unet", "pose_conditioning"}
    names = averaged_names(model, ORIGINAL_TRAINING)
    assert names == {f"unet.{name}" for name, _ in model.unet.named_parameters()}


def test_mini_trains_its_image_encoder_too():
    model = tiny_view_model()
    prepare(model, MINI_TRAINING)
    encoders = {"image_encoder", "place_reader", "feature_volume", "draft"}
    assert _trained(model) == {"unet", "pose_conditioning"} | encoders
    assert averaged_names(model, MINI_TRAINING) == {n for n, p in model.named_parameters() if p.requires_grad}


def test_nothing_moves_drafts_that_no_loss_holds_to_the_truth():
    model = tiny_view_model()
    prepare(model, replace(MINI_TRAINING, objective=ObjectiveSettings(source_weight=1.0)))
    assert _trained(model) == {"unet", "pose_conditioning", "image_encoder", "place_reader"}


def test_the_average_of_the_unet_alone_leaves_the_rest_as_trained(tmp_path):
    model = tiny_view_model()
    settings = replace(PLAIN, averaged="unet", ema=0.9999)
    train(model, PairSampler([tiny_cache(model)], [1.0]), tmp_path, settings)
    from safetensors.torch import load_file

    newest = sorted((tmp_path / "checkpoints").iterdir())[-1]
    weights, average = load_file(newest / "weights.safetensors"), load_file(newest / "ema.safetensors")
    assert average and all(name.startswith("unet.") for name in average)
    final = dict(model.named_parameters())
    for name, value in weights.items():
        assert torch.equal(final[name].contiguous(), average.get(name, value))


def _gradients(settings):
    model = tiny_view_model().train()
    prepare(model, settings)
    batch = PairSampler([tiny_cache(model)], [1.0]).batch(0, 4)
    loss, _ = Objective(model, ObjectiveSettings())(batch, torch.Generator().manual_seed(0))
    loss.backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def test_recomputed_activations_change_no_gradient():
    plain, recomputed = _gradients(PLAIN), _gradients(replace(PLAIN, checkpointing=True))
    assert plain.keys() == recomputed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-5, atol=1e-7)


def test_preparing_again_changes_only_what_differs():
    model = tiny_view_model()
    prepare(model, replace(PLAIN, checkpointing=True, views=2))
    assert model.unet.is_gradient_checkpointing
    prepare(model, PLAIN)
    assert not model.unet.is_gradient_checkpointing
    fresh = {name: type(p) for name, p in tiny_view_model().unet.attn_processors.items()}
    assert {name: type(p) for name, p in model.unet.attn_processors.items()} == fresh


@pytest.mark.parametrize(("kind", "made"), [("adamw", torch.optim.AdamW), ("adamw_8bit", AdamW8bit), ("muon", Muon)])
def test_the_optimiser_is_the_one_asked_for_in_two_groups(kind, made):
    model = tiny_view_model()
    optimiser = optimiser_of(model, replace(PLAIN, optimiser=kind, pose_rate=10.0))
    assert isinstance(optimiser, made)
    assert [g["lr"] for g in optimiser.param_groups] == [1e-4, pytest.approx(1e-3)]
    assert optimiser.param_groups[0]["weight_decay"] == 0.01


def test_runs_with_every_modern_choice_go_on_exactly(tmp_path):
    choices = {"optimiser": "adamw_8bit", "power_averages": True, "checkpointing": True, "views": 2}
    objective = ObjectiveSettings(times="logit_normal", drop=0.1)
    settings = replace(PLAIN, **choices, objective=objective)

    class Sets(PairSampler):
        """Two views of the same photo, next to each other."""

        def batch(self, step, size):
            batch = super().batch(step, size)
            batch.photo[1::2] = batch.photo[::2]
            return batch

    def run(folder, steps):
        model = tiny_view_model()
        sampler = Sets([tiny_cache(model)], [1.0])
        return train(model, sampler, folder, replace(settings, steps=steps))

    straight = run(tmp_path / "straight", 4)
    run(tmp_path / "halted", 2)
    resumed = run(tmp_path / "halted", 4)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))
    from zero123.training.averages import averaged

    first, second = (averaged(tmp_path / name / "averages", 0.1) for name in ("straight", "halted"))
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_a_machine_that_cannot_compile_is_told_so(monkeypatch):
    monkeypatch.setenv("CXX", "")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"^compiling needs a C\+\+ compiler"):
        compile_networks(tiny_view_model())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.thorough
def test_what_is_compiled_sees_the_same():
    torch.manual_seed(0)
    source, moves = OrbitPose(*torch.rand(3, 4).add(1).unbind()), RelativePose(*torch.rand(3, 4).mul(0.3).unbind())
    values = torch.rand(2, 4, 8, 8, 7)
    given = values, source, moves, 8, 6, False
    for plain, compiled in zip(march(*given), torch.compile(march)(*given), strict=True):
        torch.testing.assert_close(compiled, plain, atol=1e-5, rtol=1e-4)

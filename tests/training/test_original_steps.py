"""Four optimiser steps of ours are the original's: losses, rates, gradients, weights and their average."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator

from deterministic import agree, golden, normal, parameter_name, photo, tiny_state, training_moves
from zero123.data.pairs import PairBatch
from zero123.geometry.orbit import RADIUS, OrbitPose
from zero123.models.pretrained import load_model
from zero123.presets import ORIGINAL_TRAINING
from zero123.training import trainer
from zero123.training.objective import Draws, Objective
from zero123.training.preparation import averaged_names, optimiser_of, prepare, suit_cpu
from zero123.training.state import Ema

SETTINGS = replace(ORIGINAL_TRAINING, batch=4)
DROPOUT = torch.tensor([0.02, 0.07, 0.12, 0.5])
STEPS = torch.tensor([10, 300, 600, 990])


@torch.no_grad()
def pairs(model, index):
    """The original's batch of a step; the targets' latents are drawn with the noise it drew."""
    targets = torch.cat([photo(0.3 * j + index, 64) for j in range(4)])
    posterior = model.autoencoder.network.encode(targets * 2 - 1).latent_dist
    latent = posterior.mean + posterior.std * normal(f"tiny_post_{index}", (4, 4, 8, 8))
    zero = torch.zeros(4)
    return PairBatch(
        photo=torch.cat([photo(2.0 + 0.3 * j + index, 64) for j in range(4)]),
        latent=latent * model.autoencoder.scale,
        relative=training_moves(range(4)),
        source=OrbitPose(zero, zero, zero + RADIUS),
    )


def draws(objective, index):
    return Draws(STEPS, normal(f"tiny_eps_{index}", (4, 4, 8, 8)), objective.drop_mask(DROPOUT), torch.zeros(4))


def start(folder):
    """The tiny released model, of which nothing is frozen."""
    torch.save({"state_dict": tiny_state()}, folder / "tiny.ckpt")
    model = load_model(folder / "tiny.ckpt")
    model.settings = replace(model.settings, image_size=64)
    return model.requires_grad_(True).train()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Ours from start to end, by the preset and through the trainer's own parts."""
    model = start(tmp_path_factory.mktemp("original"))
    suit_cpu(model)
    prepare(model, SETTINGS)
    accelerator = Accelerator(mixed_precision="no", cpu=True)
    optimiser = optimiser_of(model, SETTINGS)
    objective, optimiser = accelerator.prepare(Objective(model, SETTINGS.objective), optimiser)
    ema, reports, rates = Ema(model, SETTINGS.ema, averaged_names(model, SETTINGS)), [], []
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    sampler = SimpleNamespace(batch=lambda index, size: pairs(model, index))
    for index in range(4):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Objective, "draw", lambda self, batch, generator, index=index: draws(self, index))
            reports.append(trainer._step(index, accelerator, objective, optimiser, sampler, SETTINGS))
        rates.append([group["lr"] for group in optimiser.param_groups])
        ema.update(model)
    return SimpleNamespace(
        reports=reports, rates=rates, ema=ema, before=before, after=dict(model.named_parameters()), model=model
    )


def test_losses_and_gradients_of_four_steps_are_the_originals(run):
    theirs = golden("tiny_train")
    losses, norms = ([float(r[name]) for r in run.reports] for name in ("diffusion", "gradient"))
    agree("tiny_train", "losses of 4 steps", losses, theirs["losses_f64"], 1e-5, relative=True)
    agree("tiny_train", "gradient norms of 4 steps", norms, theirs["grad_norms_f64"], 1e-4, relative=True)


def test_learning_rates_of_four_steps_are_the_originals(run):
    agree("tiny_train", "learning rates of 4 steps", run.rates, golden("tiny_train")["lrs_f64"], 1e-9, relative=True)


@pytest.mark.parametrize("key", [str(name) for name in golden("tiny_train")["names"][:4]])
def test_weights_after_four_steps_are_the_originals(run, key):
    theirs, stored, name = golden("tiny_train"), key.replace(".", "__"), parameter_name(key)
    first, last = (values[name].flatten()[:64] for values in (run.before, run.after))
    agree("tiny_train", f"weights at the start, {key}", first, theirs[f"initial__{stored}"], 0)
    moved = theirs[f"final__{stored}"] - theirs[f"initial__{stored}"]
    assert moved.abs().max() > 0
    agree("tiny_train", f"weights after 4 steps, {key}", last, theirs[f"final__{stored}"], 3e-7)
    # steps of AdamW are as long as the rate, however short the gradient
    assert ((last - first) - moved).abs().max() <= 0.05 * moved.abs().max() + 3e-8


def test_the_average_after_four_steps_is_the_originals(run):
    theirs = golden("tiny_train")
    assert run.ema.updates == theirs["ema_num_updates"]
    ours = run.ema.shadow[parameter_name("model.diffusion_model.out.2.weight")].flatten()[:64]
    agree("tiny_train", "average of out.2.weight", ours, theirs["final__model_ema__diffusion_modelout2weight"], 3e-7)


def test_encoders_stay_as_they_are(run):
    frozen = [name for name in run.before if name.startswith(("autoencoder.", "image_encoder."))]
    assert frozen and all(torch.equal(run.before[name], run.after[name]) for name in frozen)
    assert {name.partition(".")[0] for name in run.ema.shadow} == {"unet"}


def test_what_one_token_cannot_teach_only_decays(run):
    """With one token attention is 1 whatever query and key are; AdamW still shrinks both, as the original's did."""
    shrunk = math.prod(1 - rates[0] * SETTINGS.weight_decay for rates in run.rates)
    names = [n for n in run.before if ".attn2.to_q.weight" in n or ".attn2.to_k.weight" in n]
    for name in names:
        torch.testing.assert_close(run.after[name], run.before[name] * shrunk, rtol=2e-7, atol=0)
    assert len(names) == 32


def test_what_is_given_takes_the_place_of_what_is_drawn(run):
    objective, batch = Objective(run.model, SETTINGS.objective), pairs(run.model, 0)
    with torch.no_grad():
        drawn = objective(batch, torch.Generator().manual_seed(5))[0]
        given = objective(batch, objective.draw(batch, torch.Generator().manual_seed(5)))[0]
    assert torch.equal(drawn, given)

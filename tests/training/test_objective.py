"""What is dropped for guidance, how often, and what the loss is made of."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from tiny_model import blobs, tiny_cache, tiny_view_model
from zero123.data.pairs import PairSampler
from zero123.training.objective import Objective, ObjectiveSettings, unlikelihood


@pytest.fixture(scope="module")
def model():
    return tiny_view_model()


def _batch(model, size=4):
    return PairSampler([tiny_cache(model)], [1.0]).batch(0, size)


def test_dropout_follows_the_originals_table(model):
    uniform = torch.tensor([0.0, 0.02, 0.049, 0.05, 0.07, 0.099, 0.1, 0.12, 0.149, 0.15, 0.5, 0.999])
    mask = Objective(model, ObjectiveSettings()).drop_mask(uniform)
    assert mask[:, 0].tolist() == [True] * 6 + [False] * 6  # tokens
    assert mask[:, 1].tolist() == [False] * 3 + [True] * 6 + [False] * 3  # latent


def test_each_kind_of_dropout_takes_one_in_twenty(model):
    mask = Objective(model, ObjectiveSettings()).drop_mask(torch.arange(1000) / 1000 + 5e-4)
    tokens, latent = mask.unbind(1)
    assert [int(m.sum()) for m in (tokens & ~latent, tokens & latent, latent & ~tokens)] == [50, 50, 50]


def test_dropped_jointly_both_go_together(model):
    mask = Objective(model, ObjectiveSettings(drop_jointly=True)).drop_mask(torch.arange(1000) / 1000 + 5e-4)
    assert torch.equal(mask[:, 0], mask[:, 1]) and int(mask[:, 0].sum()) == 100


def test_what_is_dropped_is_zero_and_the_pose_stays(model):
    batch = _batch(model)
    drop = torch.tensor([[False, False], [True, False], [True, True], [False, True]])
    with torch.no_grad():
        look = model.look(batch.photo, batch.source)
        full = model.join(look, batch.relative)
        some = model.join(look, batch.relative, drop)
    for row, (no_tokens, no_latent) in enumerate(drop.tolist()):
        assert torch.equal(some.tokens[row], full.tokens[row] * (not no_tokens))
        assert torch.equal(some.latent[row], full.latent[row] * (not no_latent))
    assert torch.equal(some.rays, full.rays) and torch.equal(some.pose, full.pose)
    null = full.without_image()
    assert torch.equal(some.tokens[2], null.tokens[2]) and torch.equal(some.latent[2], null.latent[2])


def test_the_loss_is_the_same_for_the_same_generator_seed(model):
    batch, objective = _batch(model), Objective(model, ObjectiveSettings())
    with torch.no_grad():
        first, second, other = (objective(batch, torch.Generator().manual_seed(s))[0] for s in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)


@pytest.mark.parametrize("pictures", [True, False])
def test_places_are_read_of_inputs_and_of_targets_where_they_are_seen(model, pictures):
    batch = _batch(model)
    if pictures:
        batch = replace(batch, picture=blobs(len(batch.latent), seed=3))
    losses = []
    with torch.no_grad():
        for weight in (0.0, 2.0):
            objective = Objective(model, ObjectiveSettings(source_weight=weight))
            losses.append(objective(batch, torch.Generator().manual_seed(1)))
        seen = [(batch.photo, batch.source)] + [(batch.picture, batch.source.moved(batch.relative))] * pictures
        off = [(model.place(p).elevation - t.elevation, model.place(p).radius - t.radius) for p, t in seen]
    (plain, parts), (both, more) = losses
    high, far = map(torch.cat, zip(*off, strict=True))
    for error, name, beta in ((high, "elevation", 0.2), (far, "radius", 0.1)):
        small = error.abs() < beta
        expected = torch.where(small, error.square() / (2 * beta), error.abs() - beta / 2).mean()
        torch.testing.assert_close(more[name], expected)
    torch.testing.assert_close(both, plain + 2 * (more["elevation"] + more["radius"]))
    assert set(parts) == {"diffusion"} and torch.equal(parts["diffusion"], plain)


def test_the_frozen_codec_gets_no_gradient_and_everything_else_does(model):
    model = tiny_view_model()
    objective = Objective(model, ObjectiveSettings(source_weight=1.0))
    objective(_batch(model), torch.Generator().manual_seed(0))[0].backward()
    without = {n for n, p in model.named_parameters() if p.grad is None}
    idle = ("autoencoder.", "draft.")
    assert all(n.startswith(idle) or "class_embedding" in n or "post_layernorm" in n for n in without)
    assert any(n.startswith("autoencoder.") for n in without)


@pytest.mark.parametrize("spread", [1.0, 0.4])
def test_the_denoiser_learns_the_drafts_error_and_the_draft_the_picture(spread):
    """Of a network that knows that error, v = alpha * noise - beta * (x0 - mean) / spread, nothing is left to learn."""
    model = tiny_view_model()
    model.settings = replace(model.settings, draft_error=spread)
    batch = PairSampler([tiny_cache(model)], [1.0], pictures=True).batch(0, 4)
    objective = Objective(model, ObjectiveSettings(volume_weight=1.0, drop=0.0))
    draws = objective.draw(batch, torch.Generator().manual_seed(0))
    alpha = (1 / (1 + model.schedule.sigmas[draws.step] ** 2).sqrt()).reshape(-1, 1, 1, 1).float()

    def knows(x, step, condition):
        error = (batch.latent - condition.mean) / model.settings.draft_error
        return alpha * draws.noise - (1 - alpha**2).sqrt() * error

    model.network = knows
    total, parts = objective(batch, draws)
    assert parts["diffusion"] < 1e-10
    assert set(parts) == {"diffusion", "outline", "colour", "draft", "drawn_outline", "doubt"}
    views = parts["outline"] + parts["drawn_outline"] + 2 * (parts["colour"] + parts["draft"])
    torch.testing.assert_close(total, parts["diffusion"] + views + 0.3 * parts["doubt"])
    total.backward()
    assert model.draft.out.bias.grad.abs().sum() > 0
    assert model.feature_volume.network.conv_out.bias.grad.abs().sum() > 0


def test_doubt_is_most_likely_where_it_is_the_errors_own_deviation():
    """Minimum and value in closed form: s (log s + 1/2) at s = root mean square of the error, over all channels."""
    error = 0.2 * torch.randn(1, 3, 200, 200, generator=torch.Generator().manual_seed(0))
    deviation = error.square().mean().sqrt()
    doubt = torch.full((1, 1, 200, 200), 0.05, requires_grad=True)
    for factor, sign in ((0.9, -1), (1.1, 1)):
        (slope,) = torch.autograd.grad(unlikelihood(doubt + (factor * deviation - 0.05), error), doubt)
        assert slope.sum() * sign > 0
    there = unlikelihood(torch.full((1, 1, 200, 200), float(deviation)), error)
    assert float(there) == pytest.approx(float(deviation * (deviation.log() + 0.5)), abs=1e-5)


def test_what_drafts_doubt_does_not_bend_them():
    """The error that doubt is held to is the draft's as it is: no gradient goes through it to the picture."""
    model = tiny_view_model()
    batch = PairSampler([tiny_cache(model)], [1.0], pictures=True).batch(0, 4)
    objective = Objective(model, ObjectiveSettings(volume_weight=1.0, diffusion_weight=0.0))
    given, original = [], F.smooth_l1_loss

    def kept(picture, *rest, **how):
        picture.retain_grad()
        given.append(picture)
        return 0 * original(picture, *rest, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zero123.training.objective.F.smooth_l1_loss", kept)
        _, parts = objective(batch, torch.Generator().manual_seed(0))
        total, _ = objective(batch, torch.Generator().manual_seed(0))
    total.backward()
    assert "doubt" in parts and not given[-1].grad.any()
    assert model.draft.out.bias.grad[5] != 0

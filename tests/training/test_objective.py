"""What is dropped for guidance, how often, and what the loss is made of."""

import pytest
import torch

from tiny_model import tiny_cache, tiny_view_model
from zero123.data.pairs import PairSampler
from zero123.training.objective import Objective, ObjectiveSettings


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


@pytest.mark.parametrize("volume", [True, False])
def test_the_elevation_part_is_the_squared_error_of_what_is_read(volume):
    model = tiny_view_model(volume=volume)
    batch = _batch(model)
    losses = []
    with torch.no_grad():
        for weight in (0.0, 2.0):
            objective = Objective(model, ObjectiveSettings(source_weight=weight, told=0.0))
            losses.append(objective(batch, torch.Generator().manual_seed(1)))
        read = model.look(batch.photo).estimate
        errors = [
            (getattr(read, name) - getattr(batch.source, name)).square().mean() for name in ("elevation", "radius")
        ]
    (plain, parts), (both, more) = losses
    torch.testing.assert_close(both, plain + 2 * sum(errors))
    torch.testing.assert_close(torch.stack([more["elevation_rms"], more["radius_rms"]]), torch.stack(errors).sqrt())
    assert set(parts) == {"diffusion"} and torch.equal(parts["diffusion"], plain)


@pytest.mark.parametrize("volume", [True, False])
def test_what_a_volume_is_told_it_need_not_read(volume):
    model = tiny_view_model(volume=volume)
    objective = Objective(model, ObjectiveSettings(source_weight=2.0, told=1.0))
    with torch.no_grad():
        parts = objective(_batch(model), torch.Generator().manual_seed(1))[1]
    assert (float(parts["elevation_rms"]) == 0) == volume


def test_the_frozen_codec_gets_no_gradient_and_everything_else_does(model):
    model = tiny_view_model()
    objective = Objective(model, ObjectiveSettings(source_weight=1.0))
    objective(_batch(model), torch.Generator().manual_seed(0))[0].backward()
    without = {n for n, p in model.named_parameters() if p.grad is None}
    assert all(n.startswith("autoencoder.") or "class_embedding" in n or "post_layernorm" in n for n in without)
    assert any(n.startswith("autoencoder.") for n in without)

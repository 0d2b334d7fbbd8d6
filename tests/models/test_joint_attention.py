"""Views that share self-attention: one set of views is independent of another, and alike views stay alike."""

import pytest
import torch
from torch.nn import functional as F

from tiny_model import tiny_view_model
from zero123.diffusion.sampling import SamplingSettings
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.models.joint_attention import join_views, joined_views
from zero123.pipeline import NovelViews


@pytest.fixture(scope="module")
def model():
    return tiny_view_model()


def _inputs(model, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    condition = model.condition(
        torch.rand(1, 3, 32, 32, generator=generator),
        RelativePose.from_degrees([20.0 * k for k in range(count)], [0.0] * count),
        OrbitPose(torch.zeros(1), torch.zeros(1), torch.full((1,), 1.8)),
    )
    return torch.randn(count, *model.latent_shape, generator=generator), condition


@torch.no_grad()
def _answer(model, x, condition):
    return model(x, torch.tensor(1.5), condition)


def test_a_layer_attends_to_all_positions_of_all_views_of_its_set(model):
    name = next(n for n in model.unet.attn_processors if ".attn1." in n).removesuffix(".processor")
    layer = model.unet.get_submodule(name)
    hidden = torch.randn(6, 16, layer.to_q.in_features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), joined_views(model, 3):
        ours = layer(hidden)
        q, k, v = (
            proj(hidden).reshape(2, 48, layer.heads, -1).transpose(1, 2)
            for proj in (layer.to_q, layer.to_k, layer.to_v)
        )
        seen = F.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v
        expected = layer.to_out[0](seen.transpose(1, 2).reshape(6, 16, -1))
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_sets_do_not_see_each_other_and_views_of_a_set_do(model):
    x, condition = _inputs(model, 4)
    other = x.clone()
    other[3] += 1
    with joined_views(model, 2):
        before, after = _answer(model, x, condition), _answer(model, other, condition)
    torch.testing.assert_close(after[:2], before[:2], rtol=0, atol=1e-6)
    assert (after[2] - before[2]).abs().max() > 1e-4


def test_copies_of_one_view_are_drawn_as_it_would_be_alone(model):
    x, condition = _inputs(model, 1)
    alone = _answer(model, x, condition)
    three = condition.join(condition).join(condition)
    with joined_views(model, 3):
        together = _answer(model, x.expand(3, -1, -1, -1), three)
    torch.testing.assert_close(together, alone.expand(3, -1, -1, -1), rtol=1e-4, atol=1e-5)


def test_afterwards_everything_is_as_it_was(model):
    x, condition = _inputs(model, 2)
    before, processors = _answer(model, x, condition), dict(model.unet.attn_processors)
    with pytest.raises(RuntimeError), joined_views(model, 2):
        raise RuntimeError
    join_views(model, 2)
    join_views(model, 1)
    assert model.unet.attn_processors == processors
    assert torch.equal(_answer(model, x, condition), before)


def test_mistakes_are_named(model):
    x, condition = _inputs(model, 3)
    with pytest.raises(ValueError, match="views must be at least 1"):
        join_views(model, 0)
    with joined_views(model, 2), pytest.raises(ValueError, match="whole sets of 2 views, got 3 rows"):
        _answer(model, x, condition)
    with pytest.raises(ValueError, match="joint views are drawn one sample at a time"):
        SamplingSettings(joint=True, samples=2)


def test_views_may_be_drawn_jointly_and_the_model_may_ask_for_it(model):
    from dataclasses import replace

    from zero123.images.matting import Matte
    from zero123.images.photo import Photo

    pixels = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(2))
    rgba = torch.cat((pixels, torch.ones(1, 32, 32)))
    photo, moves = (
        Photo(rgba, Matte("alpha", 1.0, cropped=False), rgba[3:]),
        RelativePose.from_degrees([30, 60], [0, 0]),
    )
    views = NovelViews(model)
    plain = views(photo, moves, SamplingSettings(steps=2))
    joint = views(photo, moves, SamplingSettings(steps=2, joint=True))
    assert (plain - joint).abs().max() > 1e-4
    one_by_one = views(photo, moves, SamplingSettings(steps=2, joint=True, batch=1))
    torch.testing.assert_close(one_by_one, plain, rtol=0, atol=1e-4)
    own = model.settings
    try:
        model.settings = replace(own, joint=True)
        torch.testing.assert_close(views(photo, moves, SamplingSettings(steps=2)), joint)
        torch.testing.assert_close(views(photo, moves, SamplingSettings(steps=2, joint=False)), plain)
    finally:
        model.settings = own

"""Networks of a release put together otherwise: what the new settings say holds, is saved, and comes back."""

import json
from dataclasses import replace

import pytest
import torch

from deterministic import photo, tiny_state, training_moves
from tiny_model import tiny_view_model
from zero123.geometry.orbit import RADIUS, OrbitPose
from zero123.models.export import misfit
from zero123.models.pretrained import load_model, reconfigured, save_model


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "tiny.ckpt"
    torch.save({"state_dict": tiny_state()}, path)
    model = load_model(path)
    model.settings = replace(model.settings, image_size=64)
    return model


def _answer(model, pictures):
    zero = torch.zeros(2)
    condition = model.condition(pictures, training_moves(range(2)), OrbitPose(zero, zero, zero + RADIUS))
    x = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(x, torch.tensor(2.0), condition), condition


def test_a_release_may_look_at_a_grid_of_tokens(released):
    pictures = torch.cat((photo(0.0, 64), photo(1.0, 64)))
    with torch.no_grad():
        pooled, condition = _answer(released, pictures)
        grid = reconfigured(released, replace(released.settings, tokens="grid"))
        answer, many = _answer(grid, pictures)
        config = released.image_encoder.network.config
        assert many.tokens.shape[1] == (config.image_size // config.patch_size) ** 2 and many.added is None
        assert condition.tokens.shape[1] == 1
        assert (answer - pooled).abs().max() > 1e-4 and bool(answer.isfinite().all())
        again = reconfigured(grid, replace(grid.settings, tokens="pooled"))
        torch.testing.assert_close(_answer(again, pictures)[0], pooled)


@pytest.mark.parametrize(
    ("prediction", "schedule", "words"),
    [
        ("velocity", "zero_snr", {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}),
        ("flow", "flow", {"_class_name": "FlowMatchEulerDiscreteScheduler"}),
    ],
)
def test_schedule_and_prediction_are_saved_with_the_model(tmp_path, prediction, schedule, words):
    plain = tiny_view_model()
    model = reconfigured(plain, replace(plain.settings, prediction=prediction, schedule=schedule))
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.settings == model.settings
    assert torch.equal(again.schedule.alphas_cumprod, model.schedule.alphas_cumprod) and again.schedule.ends_in_noise
    config = json.loads((tmp_path / "model" / "scheduler" / "scheduler_config.json").read_text())
    assert words.items() <= config.items()
    index = json.loads((tmp_path / "model" / "model_index.json").read_text())
    assert index["scheduler"] == ["diffusers", config["_class_name"]]


@pytest.mark.parametrize(("prediction", "schedule"), [("velocity", "zero_snr"), ("flow", "flow")])
def test_a_model_whose_schedule_ends_in_noise_draws_pictures(prediction, schedule):
    from zero123.diffusion.sampling import SamplingSettings
    from zero123.geometry.orbit import RelativePose
    from zero123.images.matting import Matte
    from zero123.images.photo import Photo
    from zero123.pipeline import NovelViews

    plain = tiny_view_model()
    model = reconfigured(plain, replace(plain.settings, prediction=prediction, schedule=schedule))
    rgba = torch.cat((torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.ones(1, 32, 32)))
    for solver in ("dpmpp_2m", "euler", "ancestral"):
        made = NovelViews(model)(
            Photo(rgba, Matte("alpha", 1.0, cropped=False), rgba[3:]),
            RelativePose.from_degrees([30], [0]),
            SamplingSettings(steps=3, scale=2.0, solver=solver),
        )
        assert bool(made.isfinite().all()) and float(made.std()) > 0


def test_other_layouts_refuse_what_they_cannot_say():
    plain = tiny_view_model()
    flow = reconfigured(plain, replace(plain.settings, prediction="flow", schedule="flow"))
    assert misfit(flow) == "predicts flow" and misfit(plain) == "predicts velocity"

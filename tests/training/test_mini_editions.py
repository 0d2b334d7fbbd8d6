"""The editions of `mini`: sizes that are said, sizes that fit together, and a command line that trains either."""

import numpy as np
import pytest
import torch

from command import run
from small_views import view_set
from zero123.data.pairs import PairBatch
from zero123.geometry.orbit import OrbitPose
from zero123.models.patch_codec import PatchCodec
from zero123.models.pretrained import load_model
from zero123.models.weights import save_component
from zero123.presets import MINI_EDITIONS, MINI_LARGE_TRAINING, MINI_TRAINING, PRESETS, mini_codec, mini_model
from zero123.training.hardware import pass_flops
from zero123.training.objective import Objective


def _parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_every_edition_has_settings_of_training():
    assert MINI_EDITIONS.keys() <= PRESETS.keys()
    for name, sizes in MINI_EDITIONS.items():
        model = mini_model(mini_codec(name), name)
        assert (model.settings.name, model.settings.image_size) == (name, sizes.image_size)
        assert model.feature_volume.side == 2 * model.latent_shape[1]


@pytest.mark.parametrize(
    ("edition", "millions", "latent"), [("mini", 26.7, (48, 16, 16)), ("mini-large", 23.4, (32, 32, 32))]
)
def test_every_edition_is_as_large_as_is_said(edition, millions, latent):
    model = mini_model(mini_codec(edition), edition)
    assert _parameters(model) / 1e6 == pytest.approx(millions, abs=0.1) and model.latent_shape == latent


def _pairs(model, count=4):
    size, shape = model.settings.image_size, (count, *model.latent_shape)
    source, target = (OrbitPose(torch.rand(count), torch.full((count,), 0.2), torch.full((count,), 1.8)) for _ in "ab")
    pictures = torch.rand(2, count, 3, size, size)
    return PairBatch(
        pictures[0], torch.randn(shape), target.relative_to(source), source, picture=pictures[1], group=count
    )


def test_the_larger_edition_costs_what_is_said_of_it():
    model = mini_model(mini_codec("mini-large"), "mini-large").train()
    flops = pass_flops(Objective(model, MINI_LARGE_TRAINING.objective), _pairs(model))
    assert flops == pytest.approx(33e9, rel=0.03)


def test_both_editions_learn_the_same_way():
    assert MINI_LARGE_TRAINING.objective == MINI_TRAINING.objective
    assert MINI_LARGE_TRAINING.precision == "bf16" and MINI_LARGE_TRAINING.clip == MINI_TRAINING.clip


def test_a_codec_is_made_for_its_edition(tmp_path, capsys):
    for index in range(2):
        view_set(index, views=2, size=256).save(tmp_path / "views" / f"object{index}")
    assert run("codec", tmp_path / "views", "-o", tmp_path, "--preset", "mini-large", "--steps", 0) == 0
    codec = PatchCodec.from_pretrained(tmp_path / "vae")
    assert codec.config.latent_channels == 32 and float(codec.basis.abs().max()) > 0
    assert run("codec", tmp_path / "views", "-o", tmp_path, "--preset", "huge", "--steps", 0) == 2
    assert "preset must be one of mini, mini-large, got 'huge'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_line_trains_the_larger_edition(tmp_path):
    for index in range(2):
        view_set(index, views=3, size=256).save(tmp_path / "views" / f"object{index}")
    codec = mini_codec("mini-large")
    codec.fit(torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    save_component(codec, tmp_path / "vae")
    small = ["--preset", "mini-large", "--steps", 1, "--batch", 2, "--decay", 0, "--targets", 2]
    assert run("train", tmp_path / "views", "-o", tmp_path / "run", "--codec", tmp_path / "vae", *small) == 0
    model = load_model(tmp_path / "run" / "model")
    assert model.settings.name == "mini-large" and model.latent_shape == (32, 32, 32)
    assert np.load(tmp_path / "run" / "cache" / "views" / "latents.npy", mmap_mode="r").shape == (6, 2, 32, 32, 32)

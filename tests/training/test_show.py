"""Sample sheets hold input, truth and one picture for each guidance; the model is left as it was."""

import torch

from tiny_model import SIZE, tiny_cache, tiny_view_model
from zero123.data.pairs import PairSampler
from zero123.images import io
from zero123.models.joint_attention import join_views
from zero123.training.show import SampleSheet


def _sheet(tmp_path, model, **options):
    pairs = PairSampler([tiny_cache(model)], [1.0])
    SampleSheet(pairs, 2, steps=3, **options)(model, 7, tmp_path)
    return io.load(tmp_path / "step-00000007.png")


def test_each_guidance_has_its_column(tmp_path):
    model = tiny_view_model()
    one, two = (_sheet(tmp_path / str(len(s)), model, scales=s) for s in ((1.0,), (1.0, 3.0)))
    assert abs(one.shape[2] / 6 - two.shape[2] / 8) < SIZE / 4
    assert two.shape[2] > one.shape[2]


def test_the_originals_samples_are_drawn_with_renewed_noise(tmp_path):
    model = tiny_view_model()
    ours, theirs = (_sheet(tmp_path / str(o), model, original=o) for o in (False, True))
    assert ours.shape == theirs.shape and (ours - theirs).abs().max() > 0.05


def test_a_model_trained_on_sets_of_views_shows_each_alone_and_stays_joined(tmp_path):
    model = tiny_view_model()
    alone = _sheet(tmp_path / "alone", model)
    join_views(model, 2)
    joined = dict(model.unet.attn_processors)
    assert torch.equal(_sheet(tmp_path / "joined", model), alone)
    assert model.unet.attn_processors == joined


def test_processes_that_only_help_write_nothing(tmp_path):
    model = tiny_view_model()
    SampleSheet(PairSampler([tiny_cache(model)], [1.0]), 1, steps=2)(model, 7, None)
    assert not list(tmp_path.iterdir())

"""Experiments that the project's choices rest on can be run again: each trains, judges and leaves its figures."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from small_views import view_set
from tiny_model import SIZE, tiny_view_model
from zero123 import presets
from zero123.data.view_cache import ViewCache
from zero123.models.pretrained import save_model

RUNS = Path(__file__).parents[1] / "runs"
SMALL_EDITION = presets.MiniEdition(
    latent_channels=8, width=64, vision_layers=1, volume_depth=8, volume_channels=(32, 64), unet_channels=(32, 64)
)


@pytest.fixture
def scripts(monkeypatch):
    """The folder of the scripts on the path, and batches of 4."""
    monkeypatch.syspath_prepend(str(RUNS))
    for name in ("ablations", "equal_compute"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    small = replace(presets.MINI_TRAINING, batch=4)
    monkeypatch.setattr(presets, "MINI_TRAINING", small)
    return monkeypatch


@pytest.fixture
def views(tmp_path):
    """Views to train on and to judge by, and a start."""
    for part in ("train", "validation"):
        for index in range(2):
            view_set(index, size=SIZE).save(tmp_path / part / f"object{index}")
    save_model(tiny_view_model(), tmp_path / "start")
    return tmp_path


def _equal(views, kind, *variants):
    import equal_compute

    folders = [f"--{part}={views / part}" for part in ("train", "validation", "start")]
    equal_compute.main([kind, *variants, *folders, f"--out={views / 'out'}", "--seconds=0.01", "--targets=4"])
    return [json.loads((views / "out" / f"{name}.json").read_text()) for name in variants]


def test_ablations_train_and_judge_a_variant_and_keep_it(scripts, views):
    import ablations

    model = tiny_view_model()
    for part in ("train", "validation"):
        ViewCache.build(views / part, views / "cache" / part, model.autoencoder.encode)
    line = f"--start {views / 'start'} --views train=1 --cache {views / 'cache'} --validation validation"
    line += f" --validation-views {views / 'validation'} -o {views / 'out'} --steps 2 --targets 4 picture"
    scripts.setattr(sys, "argv", ["ablations.py", *line.split()])
    ablations.main()
    found = json.loads((views / "out" / "picture.json").read_text())
    assert set(found["x0"]) == {"draft", "999", "750", "500", "250"} and len(found["scores"]) == 3
    (views / "start" / "model_index.json").unlink()  # so it could not train again
    ablations.main()


def test_latents_of_other_shapes_are_denoised_and_judged(scripts, views):
    fine, coarse = _equal(views, "latents", "4x8", "8x16")
    for one in (fine, coarse):
        assert one["steps"] == 10 and 0 < one["draft_error"] < 5 and 0 <= one["scores"]["1 steps, 1"]["iou"] <= 1
    assert fine["codec_psnr"] != coarse["codec_psnr"]


def test_pictures_of_other_sizes_are_judged_at_both(scripts, views):
    import equal_compute

    scripts.setattr(equal_compute, "PICTURES", {"32": (32, 8)})
    scripts.setattr(equal_compute, "SMALL", 16)
    scripts.setitem(presets.MINI_EDITIONS, "mini", replace(SMALL_EDITION, image_size=32))
    (one,) = _equal(views, "pictures", "32")
    assert {"at 16", "at 32"} <= one.keys() and one["pairs"] == 40


def test_autoencoders_are_judged_at_edges_by_every_loss(scripts, views):
    import equal_compute

    scripts.setattr(equal_compute, "SMALL", SIZE)
    found = _equal(views, "edges", "components", *equal_compute.LOSSES)
    assert all(one["object"] > 0 and one["edges"] > 0 for one in found)

"""The checkpoint with the lowest validation loss is kept, and becomes a model on request."""

import json

import torch
from safetensors.torch import load_file

from command import TINY, lines, model_at, run, views_at
from zero123.models.pretrained import load_model
from zero123.training.validation import Validation


def test_the_best_checkpoint_becomes_a_model(tmp_path, capsys, monkeypatch):
    losses = iter([0.5, 0.1, 0.3, 0.2, 0.4, 0.6])
    monkeypatch.setattr(Validation, "__call__", lambda self, model: next(losses))
    tiny, views = model_at(tmp_path / "tiny"), views_at(tmp_path / "views", objects=3)
    (views / "valid_paths.json").write_text(json.dumps([f"object{k:02d}" for k in range(3)]))  # the last is held out
    command = ["train", views, "-o", tmp_path / "run", "--finetune-from", tiny, *TINY, "--steps", 6]
    command += ["--set", "save_every=100", "--set", "validate_every=1", "--set", "keep_best=1", "--set", "ema=0"]
    assert run(*command) == 0
    assert [line["validation"] for line in lines(tmp_path / "run")] == [0.5, 0.1, 0.3, 0.2, 0.4, 0.6]
    kept = {int(path.name[-8:]): path for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert sorted(kept) == [2, 6]  # the best, and the last

    assert run("average", tmp_path / "run", "-o", tmp_path / "best", "--best") == 0
    made, final = (dict(load_model(tmp_path / name).named_parameters()) for name in ("best", "run/model"))
    average = load_file(kept[2] / "ema.safetensors")
    assert all(torch.equal(made[name].contiguous(), value) for name, value in average.items())
    assert any(not torch.equal(final[name], made[name]) for name in average)

    assert run("train", views, "-o", tmp_path / "other", "--finetune-from", tiny, *TINY, "--steps", 1) == 0
    capsys.readouterr()
    assert run("average", tmp_path / "other", "-o", tmp_path / "none", "--best") == 2
    error = capsys.readouterr().err
    assert "no checkpoint has a validation loss; train with validate_every and keep_best" in error
    assert error.count("\n") == 1

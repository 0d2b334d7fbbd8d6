"""Weight averages follow the original's; checkpoints are whole, few, and refuse another model."""

import numpy as np
import pytest
import torch
from torch import nn

from deterministic import GOLDEN, agree, normal
from zero123.training.checkpoints import by_loss, checkpoints, load_notes
from zero123.training.state import Ema, load_state, save_state


def test_the_average_equals_the_originals():
    golden = np.load(GOLDEN / "ema.npz")
    layer = nn.Linear(4, 3)

    def fill(index):
        with torch.no_grad():
            layer.weight.copy_(normal(f"ema_w{index}", (3, 4)))
            layer.bias.copy_(normal(f"ema_b{index}", (3,)))

    fill(0)
    ema = Ema(layer, 0.9999)
    for index in range(12):
        fill(index + 1)
        ema.update(layer)
        for name in ("weight", "bias"):
            agree("ema", f"average, {name} after update {index + 1}", ema.shadow[name], golden[name][index], 1e-6)
    ema.copy_to(layer)
    assert torch.equal(layer.weight, ema.shadow["weight"])


def test_the_average_holds_trained_parameters_only():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    assert list(Ema(layer, 0.9).shadow) == ["weight"]


def _trained(seed=0, width=3):
    torch.manual_seed(seed)
    layer = nn.Linear(4, width)
    optimiser = torch.optim.AdamW(layer.parameters(), 0.1)
    ema = Ema(layer, 0.9)
    for _ in range(3):
        layer(torch.randn(5, 4)).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        ema.update(layer)
    return layer, ema, optimiser


def test_everything_comes_back(tmp_path):
    layer, ema, optimiser = _trained()
    save_state(tmp_path, 3, layer, ema, optimiser, keep=2)
    other, other_ema, other_optimiser = _trained(seed=1)
    assert load_state(checkpoints(tmp_path)[-1], other, other_ema, other_optimiser) == 3
    assert torch.equal(layer.weight, other.weight) and other_ema.updates == ema.updates
    assert torch.equal(ema.shadow["bias"], other_ema.shadow["bias"])
    for mine, theirs in zip(optimiser.state.values(), other_optimiser.state.values(), strict=True):
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_the_newest_are_kept(tmp_path):
    state = _trained()
    for step in (5, 10, 100_000):
        save_state(tmp_path, step, *state, keep=2)
    assert [p.name for p in checkpoints(tmp_path)] == ["step-00000010", "step-00100000"]


def test_the_best_are_kept_beside_the_newest(tmp_path):
    state = _trained()
    losses = [0.5, 0.2, 0.4, None, 0.3, float("nan"), 0.9, 0.8]
    for step, loss in enumerate(losses, 1):
        save_state(tmp_path, step, *state, keep=2, best=2, notes={"validation": loss})
    assert [p.name[-1] for p in checkpoints(tmp_path)] == ["2", "5", "7", "8"]
    assert [p.name[-1] for p in by_loss(tmp_path)] == ["2", "5", "8", "7"]
    (tmp_path / "step-00000005" / "state.json").write_text("{half")
    save_state(tmp_path, 9, *state, keep=2, best=2, notes={"validation": 0.25})
    assert [p.name[-1] for p in checkpoints(tmp_path)] == ["2", "8", "9"]  # one that cannot be read is no best


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("zero123.training.state._to_disk", lambda path: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_state(tmp_path, 1, *_trained(), keep=2)
    assert list(tmp_path.iterdir()) == []


def test_another_models_checkpoint_is_refused(tmp_path):
    save_state(tmp_path, 1, *_trained(), keep=2)
    with pytest.raises(ValueError, match="its weights are those of another model"):
        load_state(checkpoints(tmp_path)[-1], *_trained(width=5))


def test_a_folder_that_is_not_there_holds_no_checkpoints(tmp_path):
    assert checkpoints(tmp_path / "none") == []


def test_notes_come_back_and_older_checkpoints_have_none(tmp_path):
    save_state(tmp_path, 1, *_trained(), keep=2, notes={"meter": {"bad": 3}})
    (path,) = checkpoints(tmp_path)
    assert load_notes(path) == {"meter": {"bad": 3}}
    (path / "state.json").write_text('{"step": 1, "ema_updates": 3}')
    assert load_notes(path) == {} and load_state(path, *_trained()) == 1

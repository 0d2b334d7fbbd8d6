"""Moments in 8 bits: the codes are those of the paper, small numbers survive, training arrives where AdamW does."""

import pytest
import torch
from torch import nn

from zero123.training.checkpoints import checkpoints
from zero123.training.eight_bit import AdamW8bit, code, quantised, restored
from zero123.training.state import Ema, load_state, save_state


@pytest.mark.parametrize("signed", [True, False])
def test_the_codes_are_256_rising_numbers_up_to_one(signed):
    table = code(signed)
    assert len(table) == 256 and (table.diff() > 0).all() and table[-1] == 1 and (table == 0).any()
    assert bool((table < 0).any()) == signed and table.abs().min() == 0


@pytest.mark.parametrize("signed", [True, False])
def test_codes_come_back_and_everything_else_goes_to_the_nearest(signed):
    table = code(signed)
    codes, scale = quantised(table, signed)
    assert torch.equal(restored(codes, scale, signed, table.shape), table) and scale.tolist() == [1.0]
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0)) * (2 if signed else 1) - (1 if signed else 0)
    codes, scale = quantised(values, signed)
    back = restored(codes, scale, signed, values.shape)
    for block in range(4):
        part = slice(256 * block, 256 * block + 256)
        nearest = (values[part, None] / scale[block] - table).abs().amin(1) * scale[block]
        torch.testing.assert_close((back[part] - values[part]).abs(), nearest, rtol=1e-4, atol=1e-7)


def test_numbers_of_all_sizes_keep_their_size():
    values = 10.0 ** torch.linspace(-5, 0, 256)
    codes, scale = quantised(values, False)
    assert ((restored(codes, scale, False, values.shape) / values - 1).abs() < 0.3).all()


def test_one_step_is_adamws():
    both = []
    for kind in (torch.optim.AdamW, AdamW8bit):
        weight = nn.Parameter(torch.linspace(-1, 1, 8192).reshape(64, 128))
        weight.grad = torch.sin(torch.arange(8192.0)).reshape(64, 128)
        kind([weight], lr=0.1, weight_decay=0.3).step()
        both.append(weight.detach())
    torch.testing.assert_close(*both)  # moments are used before they are rounded


def _trained(kind, steps=200, between=None):
    torch.manual_seed(0)
    layer, target, data = nn.Linear(128, 64), torch.randn(64, 128), torch.randn(256, 128)
    optimiser = kind(layer.parameters(), lr=0.02)
    for step in range(steps):
        (layer(data) - data @ target.T).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        if between is not None:
            layer, optimiser = between(step, layer, optimiser)
    return layer, optimiser, float((layer(data) - data @ target.T).square().mean().detach())


def test_training_arrives_where_adamw_does():
    plain, small = _trained(torch.optim.AdamW), _trained(AdamW8bit)
    assert small[2] < 1.25 * plain[2] < 0.01 * 128  # 128 at the start


def test_a_moment_takes_a_byte_and_a_64th():
    layer, optimiser, _ = _trained(AdamW8bit, steps=1)
    state = optimiser.state[layer.weight]
    assert sum(v.nbytes for k, v in state.items() if k != "step") == 2 * (8192 + 4 * 8192 // 256)
    assert set(optimiser.state[layer.bias]) == {"step", "first", "root"}


def test_a_checkpoint_holds_it_exactly(tmp_path):
    def reload(step, layer, optimiser):
        if step != 4:
            return layer, optimiser
        save_state(tmp_path, 5, layer, Ema(layer, 0.9), optimiser, keep=1)
        torch.manual_seed(9)
        other = nn.Linear(128, 64)
        again = AdamW8bit(other.parameters(), lr=0.02)
        load_state(checkpoints(tmp_path)[-1], other, Ema(other, 0.9), again)
        return other, again

    straight, resumed = _trained(AdamW8bit, 10)[0], _trained(AdamW8bit, 10, reload)[0]
    assert torch.equal(straight.weight, resumed.weight) and torch.equal(straight.bias, resumed.bias)

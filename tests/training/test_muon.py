"""Muon: orthogonal steps for matrices, AdamW's for the rest."""

import pytest
import torch
from torch import nn

from zero123.training.checkpoints import checkpoints
from zero123.training.muon import Muon, orthogonal
from zero123.training.state import Ema, load_state, save_state


@pytest.mark.parametrize("shape", [(48, 48), (16, 200), (200, 16)])
def test_directions_stay_and_all_weigh_alike(shape):
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(shape[0], min(shape), generator=generator))[0]
    right = torch.linalg.qr(torch.randn(shape[1], min(shape), generator=generator))[0]
    matrix = left @ torch.diag(torch.logspace(0, -1.5, min(shape))) @ right.T
    turned = orthogonal(matrix)
    sizes = torch.linalg.svdvals(turned)
    assert sizes.min() > 0.6 and sizes.max() < 1.3  # of 1 and .03 before
    back = left.T @ turned @ right  # the nearest orthogonal matrix, exactly, would make it the identity
    assert (back - torch.diag(back.diagonal())).abs().max() < 0.05


def test_a_convolution_is_the_matrix_of_its_outputs():
    gradient = torch.randn(12, 5, 3, 3, generator=torch.Generator().manual_seed(1))
    moved = []
    for shape in ((12, 5, 3, 3), (12, 45)):
        weight = nn.Parameter(torch.zeros(shape))
        weight.grad = gradient.reshape(shape).clone()
        Muon([weight], lr=0.5).step()
        moved.append(weight.detach().flatten(1))
    assert torch.equal(*moved) and moved[0].abs().max() > 0


def test_a_step_is_as_large_as_one_of_adamw_whatever_the_gradient():
    for size in (1e-6, 1.0, 1e4):
        weight = nn.Parameter(torch.zeros(64, 96))
        weight.grad = size * torch.randn(64, 96, generator=torch.Generator().manual_seed(2))
        Muon([weight], lr=1.0, weight_decay=0.0).step()
        assert weight.detach().square().mean().sqrt() == pytest.approx(0.2, rel=0.3)


def test_what_is_no_matrix_moves_as_adamw_moves_it():
    both = []
    for kind in (torch.optim.AdamW, Muon):
        bias = nn.Parameter(torch.linspace(-1, 1, 64))
        optimiser = kind([bias], lr=0.1, weight_decay=0.3)
        for step in range(5):
            bias.grad = torch.sin(torch.arange(64.0) * (step + 1))
            optimiser.step()
        both.append(bias.detach())
    torch.testing.assert_close(*both)


def test_a_checkpoint_holds_it_exactly(tmp_path):
    def trained(reload):
        torch.manual_seed(0)
        layer, data = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 3, 3)), torch.randn(4, 3, 9, 9)
        optimiser = Muon(layer.parameters(), lr=0.02)
        for step in range(6):
            optimiser.zero_grad()
            (layer(data) - 1).square().mean().backward()
            optimiser.step()
            if reload and step == 2:
                save_state(tmp_path, 3, layer, Ema(layer, 0.9), optimiser, keep=1)
                layer = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 3, 3))
                optimiser = Muon(layer.parameters(), lr=0.02)
                load_state(checkpoints(tmp_path)[-1], layer, Ema(layer, 0.9), optimiser)
        return list(layer.parameters())

    assert all(torch.equal(a, b) for a, b in zip(trained(False), trained(True), strict=True))

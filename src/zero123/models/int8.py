"""Weights kept in 8 bits and multiplied out when they are used: half the memory of bfloat16, for small machines."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from zero123.models.weights import place_tensor

_SMALL = 1024
"""Weights with fewer numbers stay as they are: they weigh nothing, and the first and last layers are among them."""


class _Multiplied(nn.Module):
    """Whole numbers times the step of their output channel."""

    def __init__(self, step: Tensor) -> None:
        super().__init__()
        self.register_buffer("step", step)
        self.step: Tensor

    def forward(self, whole: Tensor) -> Tensor:
        """The weight, in the type of the step."""
        return whole.to(self.step.dtype) * self.step


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers (O, ...) int8 in [-127, 127] and a step for each output channel (O, 1, ...), whose product is near.

    Symmetric rounding to nearest: no weight is off by more than half its channel's step.
    """
    largest = weight.float().abs().amax(dim=tuple(range(1, weight.ndim)), keepdim=True)
    step = torch.where(largest > 0, largest / 127, 1.0).to(weight.dtype)
    # by the rounded step that will multiply, so that its rounding does not add up
    whole = (weight.float() / step.float()).round().clamp(-127, 127).to(torch.int8)
    return whole, step


def place_int8(network: nn.Module, key: str, tensor: Tensor) -> None:
    """Put a tensor into a network that is being loaded, in 8 bits if it is a large weight of the UNet or the encoder.

    The autoencoder stays as it is: it is small, and its errors are seen.
    """
    from diffusers import UNet2DConditionModel
    from transformers import CLIPVisionModelWithProjection

    owner_name, _, leaf = key.rpartition(".")
    owner = network.get_submodule(owner_name)
    known = isinstance(network, UNet2DConditionModel | CLIPVisionModelWithProjection)
    if not known or leaf != "weight" or not isinstance(owner, nn.Linear | nn.Conv2d) or tensor.numel() < _SMALL:
        place_tensor(network, key, tensor)
        return
    whole, step = quantise(tensor)
    owner.weight = nn.Parameter(whole, requires_grad=False)
    parametrize.register_parametrization(owner, "weight", _Multiplied(step), unsafe=True)  # the type changes


def is_int8(network: nn.Module) -> bool:
    """Whether weights of the network are kept in 8 bits."""
    return any(isinstance(module, _Multiplied) for module in network.modules())

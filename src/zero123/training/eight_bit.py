"""AdamW whose two moments are kept in 8 bits: 2 bytes a parameter in place of 8, on every device."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from zero123.training.by_parameter import ByParameter

_BLOCK = 256
"""Numbers that share a scale."""

_SMALL = 4096
"""Parameters with fewer numbers keep their moments in float32: they weigh nothing."""


@lru_cache
def code(signed: bool) -> Tensor:
    """The numbers that 8 bits stand for, 256 of them, rising, within [-1, 1], or [0, 1] if not `signed`.

    Dynamic tree quantisation (Section 2.1 of Dettmers et al., 2022, arXiv:2110.02861): a power of ten from 1e-7 (1e-8
    where no bit is spent on the sign) to 1 and a linear fraction of what bits are left, so that small numbers
    keep their size and large ones their digits.
    """
    values = [0.0, 1.0]
    powers = 7
    for power in range(powers):
        count = 2 ** (power if signed else power + 1)
        edges = torch.linspace(0.1, 1, count + 1, dtype=torch.float64)
        middles = ((edges[1:] + edges[:-1]) / 2 * 10.0 ** (power - powers + 1)).tolist()
        values += middles + ([-v for v in middles] if signed else [])
    return torch.tensor(sorted(values), dtype=torch.float64).float()


def quantised(values: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Nearest codes (N,) uint8 of numbers (any shape, N in all) and the scale of each block of 256, (N / 256,)."""
    table = code(signed).to(values.device)
    flat = values.float().flatten()
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % _BLOCK)).reshape(-1, _BLOCK)
    scale = blocks.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny)
    middles = (table[1:] + table[:-1]) / 2
    codes = torch.bucketize(blocks / scale[:, None], middles).to(torch.uint8)
    return codes.flatten()[: len(flat)].clone(), scale


def restored(codes: Tensor, scale: Tensor, signed: bool, shape: torch.Size) -> Tensor:
    """The numbers that codes and scales stand for, float32, of `shape`."""
    table = code(signed).to(codes.device)
    values = table[codes.int()]
    return (values * scale.repeat_interleave(_BLOCK)[: len(values)]).reshape(shape)


class AdamW8bit(ByParameter):
    """AdamW (Loshchilov and Hutter, 2019, arXiv:1711.05101) with block-wise 8-bit moments.

    Dettmers et al., 2022 (arXiv:2110.02861). Unlike theirs, the root of the second moment is kept, not the moment: its
    range is half as wide, so that no gradient which is small beside its neighbours' is divided by nothing. The state
    holds plain tensors, so a checkpoint holds it exactly.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        betas: decay of the two moments.
        eps: added to the root of the second.
        weight_decay: decoupled from the gradient.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        step = state["step"] = state.get("step", torch.zeros(())) + 1
        slow, slower = group["betas"]
        first = self._read(state, "first", True, parameter).lerp(gradient.float(), 1 - slow)
        root = self._read(state, "root", False, parameter)
        root = (root.square() * slower).addcmul_(gradient.float(), gradient.float(), value=1 - slower).sqrt_()
        self._write(state, "first", True, first)
        self._write(state, "root", False, root)
        count = float(step)
        spread = root / (1 - slower**count) ** 0.5 + group["eps"]
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.sub_((group["lr"] / (1 - slow**count) * first / spread).to(parameter.dtype))

    @staticmethod
    def _read(state: dict[str, Tensor], name: str, signed: bool, parameter: Tensor) -> Tensor:
        if name in state:
            return state[name]
        if f"{name}_codes" not in state:
            return torch.zeros_like(parameter, dtype=torch.float32)
        return restored(state[f"{name}_codes"], state[f"{name}_scale"], signed, parameter.shape)

    @staticmethod
    def _write(state: dict[str, Tensor], name: str, signed: bool, moment: Tensor) -> None:
        if moment.numel() < _SMALL:
            state[name] = moment
        else:
            state[f"{name}_codes"], state[f"{name}_scale"] = quantised(moment, signed)

"""Muon: steps whose matrices turn every direction alike, for networks that shall learn from few steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from zero123.training.by_parameter import ByParameter

_POLYNOMIAL = (3.4445, -4.7750, 2.0315)
"""Of Jordan et al.: five rounds of a X + b (XX')X + c (XX')(XX')X bring every singular value near 1."""

_SIZE = 0.2
"""Root mean square of an AdamW step over its learning rate, so that one rate does for both (Liu et al., 2025)."""


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """About the orthogonal matrix nearest to a matrix, both (m, n), by Newton and Schulz's iteration, in bfloat16.

    Singular values come out between about 0.7 and 1.2, whatever they were, but for those that were next to nothing.
    Jordan et al., 2024, "Muon: an optimizer for hidden layers in neural networks".
    """
    a, b, c = _POLYNOMIAL
    wide = matrix.bfloat16()
    tall = wide.shape[0] > wide.shape[1]
    wide = wide.mT if tall else wide
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(rounds):
        square = wide @ wide.mT
        wide = torch.addmm(wide, torch.addmm(square, square, square, beta=b, alpha=c), wide, beta=a)
    return (wide.mT if tall else wide).to(matrix.dtype)


class Muon(ByParameter):
    """Muon for matrices and convolutions, AdamW for all that is no matrix: biases, scales of norms.

    A matrix moves along its gradient's momentum made orthogonal, so that directions which the gradient seldom shows
    are learned as fast as those it always shows. Jordan et al., 2024; the size of a step and the decay of weights as
    Liu et al., 2025 (arXiv:2502.16982, equation 4). A convolution is the matrix of its outputs by all it reads. The
    learning rate is the one that AdamW would take.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        momentum: decay of the gradients' average, of matrices.
        betas: decay of the two moments, of the others.
        eps: added to the root of the second.
        weight_decay: decoupled from the gradient.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        way = self._turned if parameter.ndim >= 2 else self._scaled
        parameter.sub_(group["lr"] * way(parameter, gradient, group).to(parameter.dtype))

    def _turned(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        state, keep = self.state[parameter], group["momentum"]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter, dtype=torch.float32)
        average = state["momentum"].lerp_(gradient.float(), 1 - keep)
        matrix = gradient.float().lerp(average, keep).flatten(1)  # Nesterov's look ahead
        turned = orthogonal(matrix) * (_SIZE * max(matrix.shape) ** 0.5)
        return turned.reshape(parameter.shape)

    def _scaled(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        state, (slow, slower) = self.state[parameter], group["betas"]
        if "step" not in state:
            zeros = torch.zeros_like(parameter, dtype=torch.float32)
            state.update(step=torch.zeros(()), first=zeros, second=zeros.clone())
        state["step"] += 1
        first = state["first"].lerp_(gradient.float(), 1 - slow)
        second = state["second"].mul_(slower).addcmul_(gradient.float(), gradient.float(), value=1 - slower)
        count = float(state["step"])
        spread = (second / (1 - slower**count)).sqrt_() + group["eps"]
        return first / (1 - slow**count) / spread

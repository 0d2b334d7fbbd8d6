"""A field that is being made, as plain tensors: what is saved while it grows, so that it can go on to the last bit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_OPTIMISER = "optimiser."


def packed(
    parts: nn.Module, optimiser: torch.optim.Optimizer, generator: torch.Generator, done: int
) -> dict[str, Tensor]:
    """Tensors by name, on the CPU.

    Args:
        parts: everything that is learnt or remembered.
        optimiser: of its parameters.
        generator: of all randomness.
        done: steps.
    """
    state = {f"parts.{name}": value.detach().cpu() for name, value in parts.state_dict().items()}
    for index, kept in optimiser.state_dict()["state"].items():
        state |= {f"{_OPTIMISER}{index}.{name}": torch.as_tensor(value).cpu() for name, value in kept.items()}
    return state | {"generator": generator.get_state(), "done": torch.tensor(done)}


def restored(
    state: dict[str, Tensor], parts: nn.Module, optimiser: torch.optim.Optimizer, generator: torch.Generator
) -> int:
    """Bring everything back to what `packed` gave; the steps done.

    Raises:
        ValueError: the tensors are of something else.
    """
    own = {name.removeprefix("parts."): value for name, value in state.items() if name.startswith("parts.")}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        if name.startswith(_OPTIMISER):
            index, _, kept = name.removeprefix(_OPTIMISER).partition(".")
            moments.setdefault(int(index), {})[kept] = value
    try:
        parts.load_state_dict(own)
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
        generator.set_state(state["generator"])
        return int(state["done"])
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"the saved state is of another field ({str(error).splitlines()[0]})") from error

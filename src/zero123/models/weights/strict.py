"""Builds a network around tensors, and names the tensor that is missing, unknown, misshapen or not finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zero123.models.weights.errors import WeightsError
from zero123.models.weights.stored import StoredTensor, as_stored

Place = Callable[[nn.Module, str, Tensor], None]
"""Puts a tensor that is ready (type, device) into a network, under its name in the state dict."""


@dataclass(frozen=True)
class Part:
    """One network in a file.

    Attributes:
        config: the settings its library class takes.
        tensors: its state dict under the library's names.
        named: what a tensor with a library's name is called in the file.
    """

    config: dict[str, Any]
    tensors: dict[str, StoredTensor]
    named: Callable[[str], str] = str


def place_tensor(network: nn.Module, key: str, tensor: Tensor) -> None:
    """Make `tensor` the parameter or buffer called `key`, without a copy."""
    owner_name, _, leaf = key.rpartition(".")
    owner = network.get_submodule(owner_name)
    if leaf in owner._parameters:
        wanted = owner._parameters[leaf]
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=wanted is not None and wanted.requires_grad)
    else:
        owner._buffers[leaf] = tensor


def build_component(
    cls: type,
    config: Mapping[str, Any],
    tensors: Mapping[str, StoredTensor | Tensor],
    name: str,
    *,
    dtype: torch.dtype | None = torch.float32,
    device: torch.device | str = "cpu",
    place: Place = place_tensor,
    named: Callable[[str], str] = str,
) -> nn.Module:
    """A network of class `cls` that holds exactly the given tensors, in evaluation mode.

    The network is laid out without memory, so nothing is initialised at random. Tensors come one at a time: read, cast,
    checked, moved, placed, dropped; so that loading takes the memory of the network and of its largest tensor. On the
    CPU, a tensor that has the right type already is not copied but stays mapped.

    Args:
        cls: a diffusers class, a transformers class, or a module whose keyword arguments are `config`.
        config: what `config.json` of a model folder holds.
        tensors: the state dict.
        name: what to call the network in messages, for example "unet".
        dtype: floating point type of the parameters; None keeps the types in the file.
        device: where the network shall be.
        place: how a tensor gets into the network.
        named: what to call a tensor in messages: its name in the file that the person has.

    Raises:
        WeightsError: the settings do not fit the class, or the tensors do not fit the network.
    """
    from accelerate import init_empty_weights

    try:
        with init_empty_weights(include_buffers=False):
            network = construct(cls, dict(config))
    except Exception as error:
        raise WeightsError(f"{name}: config.json does not describe a {cls.__name__}: {_one_line(error)}") from error
    stored = as_stored(tensors)
    expected = network.state_dict()
    _check_names_and_shapes(expected, stored, name, named)
    for key in expected:
        tensor = stored[key].read()
        if dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        if not is_finite(tensor):
            raise WeightsError(f"{name}: tensor {named(key)} holds values that are not finite in {tensor.dtype}")
        place(network, key, tensor.to(device))
        del tensor
    return network.to(device).eval()


def build_part(
    cls: type,
    part: Part,
    name: str,
    *,
    dtype: torch.dtype | None = torch.float32,
    device: torch.device | str = "cpu",
    place: Place = place_tensor,
) -> Any:
    """The network of a `Part`, see `build_component`."""
    return build_component(
        cls, part.config, part.tensors, name, dtype=dtype, device=device, place=place, named=part.named
    )


def is_finite(tensor: Tensor) -> bool:
    """Whether no number is infinite or none."""
    if not tensor.is_floating_point() or not tensor.numel() or tensor.is_meta:
        return True
    # one fast pass over the type itself; a sum that overflows, though no number does, is looked at again
    return bool(tensor.sum().isfinite()) or all(bool(end.isfinite()) for end in tensor.aminmax())


def construct(cls: type[Any], config: dict[str, Any]) -> nn.Module:
    """The three ways in which libraries make a network from its settings."""
    if hasattr(cls, "from_config"):
        return cls.from_config(config)
    if getattr(cls, "config_class", None) is not None:
        return cls(cls.config_class.from_dict(config))
    return cls(**{key: value for key, value in config.items() if not key.startswith("_")})


def _check_names_and_shapes(
    expected: Mapping[str, Tensor], tensors: Mapping[str, StoredTensor], name: str, named: Callable[[str], str]
) -> None:
    if missing := [named(key) for key in expected if key not in tensors]:
        raise WeightsError(f"{name}: missing {_listed(missing)}")
    if extra := [named(key) for key in tensors if key not in expected]:
        raise WeightsError(f"{name}: unknown {_listed(extra)}")
    for key, parameter in expected.items():
        tensor = tensors[key]
        if tensor.shape != parameter.shape:
            raise WeightsError(
                f"{name}: tensor {named(key)} must have shape {tuple(parameter.shape)}, got {tuple(tensor.shape)}"
            )
        if tensor.is_floating_point != parameter.is_floating_point():
            raise WeightsError(f"{name}: tensor {named(key)} must hold {parameter.dtype}, got {tensor.dtype}")


def _listed(keys: list[str]) -> str:
    keys = list(dict.fromkeys(keys))
    shown, rest = keys[:3], len(keys) - 3
    return ("tensor " if len(shown) == 1 else "tensors ") + ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

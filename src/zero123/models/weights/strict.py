"""Builds a network around tensors, and names the tensor that is missing, unknown, misshapen or not finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zero123.models.weights.errors import WeightsError


def build_component(
    cls: type,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    name: str,
    *,
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """A network of class `cls` that holds exactly the given tensors, in evaluation mode.

    The network is laid out without memory and takes the tensors as they are, so nothing is initialised at random, and
    tensors that lie in a mapped file and already have the right type are not copied.

    Args:
        cls: a diffusers class, a transformers class, or a module whose keyword arguments are `config`.
        config: what `config.json` of a model folder holds.
        tensors: the state dict.
        name: what to call the network in messages, for example "unet".
        dtype: floating point type of the parameters.

    Raises:
        WeightsError: the settings do not fit the class, or the tensors do not fit the network.
    """
    from accelerate import init_empty_weights

    try:
        with init_empty_weights(include_buffers=False):
            network = _construct(cls, dict(config))
    except Exception as error:
        raise WeightsError(f"{name}: config.json does not describe a {cls.__name__}: {_one_line(error)}") from error
    _check_names_and_shapes(network, tensors, name)
    network.load_state_dict({key: _cast(tensor, dtype) for key, tensor in tensors.items()}, strict=True, assign=True)
    _check_finite(network, name)
    return network.eval()


def _construct(cls: type[Any], config: dict[str, Any]) -> nn.Module:
    """The three ways in which libraries make a network from its settings."""
    if hasattr(cls, "from_config"):
        return cls.from_config(config)
    if getattr(cls, "config_class", None) is not None:
        return cls(cls.config_class.from_dict(config))
    return cls(**{key: value for key, value in config.items() if not key.startswith("_")})


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _check_names_and_shapes(network: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    expected = network.state_dict()
    if missing := [key for key in expected if key not in tensors]:
        raise WeightsError(f"{name}: missing {_listed(missing)}")
    if extra := [key for key in tensors if key not in expected]:
        raise WeightsError(f"{name}: unknown {_listed(extra)}")
    for key, parameter in expected.items():
        tensor = tensors[key]
        if tensor.shape != parameter.shape:
            raise WeightsError(
                f"{name}: tensor {key} must have shape {tuple(parameter.shape)}, got {tuple(tensor.shape)}"
            )
        if tensor.is_floating_point() != parameter.is_floating_point():
            raise WeightsError(f"{name}: tensor {key} must hold {parameter.dtype}, got {tensor.dtype}")


def _check_finite(network: nn.Module, name: str) -> None:
    """After the cast, so that a weight too large for the type asked for is found as well."""
    for key, tensor in network.state_dict().items():
        if tensor.is_floating_point() and tensor.numel() and not all(end.isfinite() for end in tensor.aminmax()):
            raise WeightsError(f"{name}: tensor {key} holds values that are not finite in {tensor.dtype}")


def _listed(keys: list[str]) -> str:
    shown, rest = keys[:3], len(keys) - 3
    return ("tensor " if len(shown) == 1 else "tensors ") + ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

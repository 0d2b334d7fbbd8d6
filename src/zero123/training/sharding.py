"""Parameters, gradients and moments shared out among the processes, in place of a copy for each (FSDP)."""

from __future__ import annotations

import copy
import re

import torch
from torch import Tensor, nn

from zero123.models.view_model import ViewModel


def shard(model: ViewModel, device: torch.device) -> ViewModel:
    """Share the trained parts' parameters out among the processes, layer by layer, by torch's `fully_shard`.

    FSDP, Zhao et al., 2023 (arXiv:2304.11277). Frozen parts stay whole everywhere.

    Returns:
        The same model without its trained values, for `gathered` to fill when training is over.
    """
    from torch.distributed.device_mesh import init_device_mesh

    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise ValueError(f"sharded=true needs torch 2.6 or newer, this is {torch.__version__}") from error
    for tensor in (*model.parameters(), *model.buffers()):
        torch.distributed.broadcast(tensor.data, src=0)  # as DDP does: all start from the first one's
    frozen = {id(t): t for t in (*model.parameters(), *model.buffers()) if not t.requires_grad}
    empty = {id(p): nn.Parameter(torch.empty_like(p, device="meta")) for p in model.parameters() if p.requires_grad}
    hollow = copy.deepcopy(model, {**frozen, **empty})
    for network in model.children():  # channels-last weights cannot be shared out
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # of tensors of four dimensions
    for name, processor in model.unet.attn_processors.items():
        if ".attn2." in name and hasattr(processor, "library"):  # constants of one token cannot be made of shards
            model.unet.get_submodule(name.removesuffix(".processor")).set_processor(processor.library)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    layers = [m for name, m in model.unet.named_modules() if re.search(r"\.(resnets|attentions)\.\d+$", name)]
    parts = [model.unet, model.image_encoder, model.pose_conditioning, model.place_reader, model.feature_volume]
    for part in (*layers, *parts):
        if part is not None and any(p.requires_grad for p in part.parameters()):
            part.register_forward_hook(_not_a_view)
            fully_shard(part, mesh=mesh, reshard_after_forward=True)
    return hollow


def _not_a_view(module: nn.Module, given: object, result: object) -> object:
    """What a sharded module returns must not be a view, or its backward pass could be missed."""
    return result.clone() if isinstance(result, Tensor) and result._is_view() else result


def gathered(hollow: ViewModel, model: ViewModel) -> ViewModel:
    """`hollow`, which `shard` left, with the values of the sharded model; all processes take part."""
    hollow.load_state_dict({name: whole(value) for name, value in model.state_dict().items()}, assign=True)
    return hollow


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which each process has a share; all processes take part."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def own(tensor: Tensor) -> Tensor:
    """This process's share of a tensor, not a copy."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def shared_as(full: Tensor, like: Tensor) -> Tensor:
    """`full` on the device of `like` and shared out like it; every process has all of `full`."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    full = full.to(like.device)
    if not isinstance(like, DTensor) or full.shape != like.shape:
        return full
    return distribute_tensor(full, like.device_mesh, like.placements)

"""A model made ready to be trained as its settings say: what is frozen, adapted, recomputed and averaged."""

from __future__ import annotations

import torch
from torch import nn

from zero123.machine import make_sure_it_compiles
from zero123.models.joint_attention import join_views
from zero123.models.lora import add_lora, lora_tensors
from zero123.models.view_model import ViewModel
from zero123.training.settings import TrainSettings


def prepare(model: ViewModel, settings: TrainSettings) -> None:
    """Freeze what is not trained, add low-rank updates, recompute activations, join the views' attention; in place.

    A model that was prepared before is only changed in what differs.

    Raises:
        ValueError: a package that is needed is missing; in one line.
    """
    model.autoencoder.requires_grad_(False)
    frozen: list[nn.Module | None] = [model.image_encoder, model.feature_volume] if settings.freeze_encoders else []
    if model.draft is not None and not settings.objective.volume_weight:  # no loss would hold drafts to the truth
        frozen += [model.draft, model.feature_volume]
    if not settings.objective.diffusion_weight:  # nothing reaches them
        frozen += [model.unet, model.pose_conditioning]
        frozen += [] if settings.objective.volume_weight else [model.image_encoder, model.feature_volume]
    if not settings.objective.source_weight:
        frozen += [model.place_reader]
    for part in frozen:
        if part is not None:
            part.requires_grad_(False)
    if settings.lora and not lora_tensors(model):
        add_lora(model, settings.lora)
    volume = model.feature_volume
    for network in (model.unet,) if volume is None else (model.unet, volume.network):
        if settings.checkpointing:
            network.enable_gradient_checkpointing()
        else:
            network.disable_gradient_checkpointing()
    join_views(model, settings.views)


def suit_cpu(model: ViewModel) -> None:
    """Plain attention and channels-last convolutions: on CPUs the backward of fused attention in bfloat16 is slower."""
    from diffusers.models.attention_processor import AttnProcessor

    model.unet.set_attn_processor(AttnProcessor())
    model.unet.to(memory_format=torch.channels_last)
    model.image_encoder.network.set_attn_implementation("eager")
    if model.feature_volume is not None:
        model.feature_volume.network.set_attn_processor(AttnProcessor())
        model.feature_volume.network.to(memory_format=torch.channels_last)
    if model.draft is not None:
        model.draft.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub leaves it out


def compile_networks(model: ViewModel) -> None:
    """Let `torch.compile` fuse what training spends its time in; the first steps then take minutes.

    Raises:
        ValueError: a program or package it needs is missing.
    """
    make_sure_it_compiles(model.device)
    model.unet.compile()
    if model.feature_volume is not None:
        model.feature_volume.network.compile()
        model.feature_volume.march = torch.compile(model.feature_volume.march)
    if model.draft is not None:
        model.draft.compile()


def averaged_names(model: ViewModel, settings: TrainSettings) -> set[str]:
    """Names of the parameters whose average is kept."""
    start = "unet." if settings.averaged == "unet" else ""
    return {name for name, p in model.named_parameters() if p.requires_grad and name.startswith(start)}


def optimiser_of(model: ViewModel, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW or Muon in two groups, the pose conditioning's rate being `pose_rate` times the other's."""
    from zero123.training.eight_bit import AdamW8bit
    from zero123.training.muon import Muon

    pose = [p for p in model.pose_conditioning.parameters() if p.requires_grad]
    ids = {id(p) for p in pose}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in ids]
    rates = ((rest, settings.learning_rate), (pose, settings.learning_rate * settings.pose_rate))
    groups = [{"params": p, "lr": rate, "base_rate": rate} for p, rate in rates if p]
    kinds = {"adamw": torch.optim.AdamW, "adamw_8bit": AdamW8bit, "muon": Muon}
    return kinds[settings.optimiser](groups, weight_decay=settings.weight_decay)

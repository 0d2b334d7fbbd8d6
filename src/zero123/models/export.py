"""Models written for other programs: the original's checkpoint and its keys, and diffusers folders of the community.

threestudio, stable-dreamfusion and the original itself load the checkpoint; diffusers' community pipelines the folders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from zero123.files import atomic_path, save_tensors
from zero123.models.int8 import is_int8
from zero123.models.patch_codec import PatchCodec
from zero123.models.pretrained import model_folder, save_model, scheduler_config, write_json
from zero123.models.stored_model import NOTE_FILE
from zero123.models.view_model import ViewModel
from zero123.models.weights import (
    NOTE,
    POSE_FOLDERS,
    UNET,
    Part,
    PartName,
    WeightsError,
    ema_key,
    from_original,
    ready_tensor,
    save_component,
    to_original_state,
    write_tensors,
)

Layout = Literal["folder", "safetensors", "ckpt", "diffusers", "diffusers-clip-camera"]

LAYOUTS: tuple[Layout, ...] = get_args(Layout)
"""What `export_model` writes: our folder; the original's keys as safetensors or as a checkpoint; the folder that
diffusers' `pipeline_zero1to3` loads; the one that `Zero123Pipeline` of threestudio and DreamGaussian loads."""

_SHARD_BYTES = 8 * 2**30


def export_model(model: ViewModel, path: str | Path, layout: Layout, dtype: torch.dtype | None = None) -> None:
    """Write the model in a layout; whole or not at all. What the layout cannot say travels in a note beside it.

    Args:
        model: the model.
        path: the file, or the folder, to write; an earlier one of the same kind is replaced.
        layout: one of `LAYOUTS`.
        dtype: floating point type in the files; None keeps that of the parameters.

    Raises:
        ValueError: `layout` is unknown.
        WeightsError: the model has parts the layout has no place for, a tensor does not fit `dtype`, or `path` is
            something else that must not be overwritten.
        OSError: it cannot be written.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    path = Path(path)
    if layout == "folder":
        save_model(model, path, dtype)
        return
    if reason := misfit(model):
        raise WeightsError(
            f"{model.settings.name} {reason}, for which the layout {layout!r} has no place; use 'folder'"
        )
    if layout in POSE_FOLDERS:
        _write_community(model, path, layout, dtype)
    elif layout == "safetensors":
        _write_safetensors(model, path, dtype)
    else:
        _write_checkpoint(model, path, dtype)


def misfit(model: ViewModel) -> str | None:
    """Why the model is not one of Zero-1-to-3's architecture, as a predicate ("predicts velocity"); None if it is."""
    settings = model.settings
    reasons = {
        "keeps its weights in 8 bits": is_int8(model),
        f"predicts {settings.prediction}": settings.prediction != "noise",
        "looks at a grid of image tokens": settings.tokens != "pooled",
        "takes rays": settings.rays,
        "takes the input camera's pose": model.pose_conditioning.absolute or model.place_reader is not None,
        "has an autoencoder of its own": isinstance(model.autoencoder.network, PatchCodec),
        "scales the input picture's latents": settings.scale_condition,
        f"scales latents by {settings.latent_scale:g}": settings.latent_scale != 0.18215,
    }
    for reason, applies in reasons.items():
        if applies:
            return reason
    return None if _is_original_architecture(model) else "has networks of another architecture"


def original_state(model: ViewModel, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The model's tensors under the original's names, prefixes and noise schedule included, without averages.

    Args:
        model: one of Zero-1-to-3's architecture, see `misfit`.
        dtype: floating point type of the networks' tensors; None keeps that of the parameters.

    Raises:
        WeightsError: a tensor does not fit `dtype`.
    """
    state: dict[str, Tensor] = dict(schedule_tables())
    for part, tensors in _states(model).items():
        for key, tensor in to_original_state(part, tensors).items():
            state[key] = ready_tensor(key, tensor, dtype)
    return state


def schedule_tables() -> dict[str, Tensor]:
    """The twelve tables of the noise schedule that the original keeps in its checkpoints, (1000,) float32 each.

    Computed in float64 as the original does: Equations 4 to 7 of Ho et al., 2020 (arXiv:2006.11239).
    """
    betas = torch.linspace(0.00085**0.5, 0.0120**0.5, 1000, dtype=torch.float64).numpy() ** 2
    alphas = 1 - betas
    cumulative = np.cumprod(alphas)
    previous = np.append(1.0, cumulative[:-1])
    variance = betas * (1 - previous) / (1 - cumulative)
    tables = {
        "betas": betas,
        "alphas_cumprod": cumulative,
        "alphas_cumprod_prev": previous,
        "sqrt_alphas_cumprod": np.sqrt(cumulative),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - cumulative),
        "log_one_minus_alphas_cumprod": np.log(1 - cumulative),
        "sqrt_recip_alphas_cumprod": np.sqrt(1 / cumulative),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1 / cumulative - 1),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": betas * np.sqrt(previous) / (1 - cumulative),
        "posterior_mean_coef2": (1 - previous) * np.sqrt(alphas) / (1 - cumulative),
    }
    return {name: torch.from_numpy(table).float() for name, table in tables.items()}


def _states(model: ViewModel) -> dict[PartName, dict[str, Tensor]]:
    return {
        "unet": model.unet.state_dict(),
        "vae": model.autoencoder.network.state_dict(),
        "image_encoder": model.image_encoder.network.state_dict(),
        "pose_conditioning": model.pose_conditioning.state_dict(),
    }


def _is_original_architecture(model: ViewModel) -> bool:
    """Whether reading what would be written gives networks with the same settings and tensors."""
    states = _states(model)
    outlines = {
        part: {k: torch.empty_like(t, device="meta") for k, t in state.items()} for part, state in states.items()
    }
    try:
        parts = from_original(
            {k: t for part, state in outlines.items() for k, t in to_original_state(part, state).items()}
        )
    except WeightsError:
        return False
    networks: dict[PartName, tuple[Part, Any]] = {
        "unet": (parts.unet, model.unet),
        "vae": (parts.vae, model.autoencoder.network),
        "image_encoder": (parts.image_encoder, model.image_encoder.network),
    }
    for name, (part, network) in networks.items():
        config = network.config if isinstance(network.config, Mapping) else network.config.to_dict()
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}
        if any(plain.get(key) != value for key, value in part.config.items() if key != "sample_size"):
            return False
        if {k: t.shape for k, t in part.tensors.items()} != {k: t.shape for k, t in states[name].items()}:
            return False
    return True


def _note(model: ViewModel) -> dict[str, Any]:
    return {"settings": asdict(model.settings)}


def _write_safetensors(model: ViewModel, path: Path, dtype: torch.dtype | None) -> None:
    with atomic_path(path) as temporary:
        texts = {"format": "pt", NOTE: json.dumps(_note(model))}
        save_tensors(original_state(model, dtype), temporary, texts)


def _write_checkpoint(model: ViewModel, path: Path, dtype: torch.dtype | None) -> None:
    """The averages share the weights' storage: readers copy `model_ema.*` over the UNet, and the file stays small."""
    with atomic_path(path) as temporary:
        state = original_state(model, dtype)
        averages = {ema_key(k.removeprefix(UNET)): v for k, v in state.items() if k.startswith(UNET)}
        count = {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(0, dtype=torch.int32)}
        content = {"state_dict": {**state, **count, **averages}, "global_step": 0, NOTE: json.dumps(_note(model))}
        torch.save(content, temporary)


def _write_community(model: ViewModel, folder: Path, layout: Layout, dtype: torch.dtype | None) -> None:
    kind = POSE_FOLDERS[layout]
    networks = {"unet": model.unet, "vae": model.autoencoder.network, "image_encoder": model.image_encoder.network}
    with model_folder(folder) as unfinished:
        for part, network in networks.items():
            save_component(network, unfinished / part, dtype=dtype, shard_bytes=_SHARD_BYTES)
        for name, content in _community_texts(model, layout).items():
            write_json(unfinished / name, content)
        layer = {f"{kind.layer}.{leaf}": t for leaf, t in model.pose_conditioning.projection.state_dict().items()}
        write_tensors(layer, unfinished / kind.name, "diffusion_pytorch_model", dtype=dtype)


def _community_texts(model: ViewModel, layout: Layout) -> dict[str, dict[str, Any]]:
    """The files of settings by their place in the folder."""
    import diffusers

    kind, encoder = POSE_FOLDERS[layout], model.image_encoder.network.config
    index = {
        "_class_name": kind.pipeline,
        "_diffusers_version": diffusers.__version__,
        kind.name: [kind.library, kind.cls],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    return {
        "model_index.json": index,
        NOTE_FILE: _note(model),
        "scheduler/scheduler_config.json": scheduler_config(model),
        "feature_extractor/preprocessor_config.json": _preprocessor(encoder.image_size),
        f"{kind.name}/config.json": kind.config(model.pose_conditioning.config["token_width"], 4),
    }


def _preprocessor(size: int) -> dict[str, Any]:
    """CLIP's preprocessing, in the words of transformers' `CLIPImageProcessor`."""
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    return {
        "image_processor_type": "CLIPImageProcessor",
        "feature_extractor_type": "CLIPFeatureExtractor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(OPENAI_CLIP_MEAN),
        "image_std": list(OPENAI_CLIP_STD),
    }

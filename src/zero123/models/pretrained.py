"""A `ViewModel` from a folder, from the package, or from an original checkpoint; and back to a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zero123.diffusion.schedule import NoiseSchedule
from zero123.files import replace_folder
from zero123.models.autoencoder import Autoencoder
from zero123.models.image_encoder import ImageEncoder
from zero123.models.patch_codec import PatchCodec, is_patch_codec
from zero123.models.pose_conditioning import ElevationHead, PoseConditioning
from zero123.models.view_model import ViewModel, ViewModelSettings
from zero123.models.weights import (
    WeightsError,
    build_component,
    from_original,
    load_component,
    read_checkpoint,
    read_json,
    save_component,
)

SHIPPED = Path(__file__).resolve().parent.parent / "weights"
"""Models that came with the package, one folder each."""

_SHARD_BYTES = 16 * 2**20


def load_model(name: str | Path, dtype: torch.dtype = torch.float32) -> ViewModel:
    """A model in evaluation mode, on the CPU.

    Args:
        name: one that is shipped ("mini"), a model folder, or a checkpoint file with the original's keys.
        dtype: floating point type of the parameters.

    Raises:
        WeightsError: no such model, or something in it is missing, damaged or does not fit.
    """
    path = Path(name)
    if path.is_file():
        return _from_checkpoint(path, dtype)
    if path.is_dir():
        return _from_folder(path, dtype)
    if (SHIPPED / str(name)).is_dir() and str(name) == path.name:
        return _from_folder(SHIPPED / str(name), dtype)
    shipped = ", ".join(sorted(p.name for p in SHIPPED.iterdir() if p.is_dir())) if SHIPPED.is_dir() else "none"
    raise WeightsError(f"{name}: no such model; give a model folder, a checkpoint file, or a shipped model ({shipped})")


def save_model(model: ViewModel, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write the model as a folder in the diffusers layout, whole or not at all; an earlier model there is replaced.

    Args:
        model: the model.
        folder: receives model_index.json and a folder for each network.
        dtype: floating point type in the files; None keeps that of the parameters.

    Raises:
        WeightsError: `folder` holds something that is not a model.
        OSError: it cannot be written.
    """
    folder = Path(folder).absolute()
    if folder.exists() and (
        folder.is_file() or (any(folder.iterdir()) and not (folder / "model_index.json").is_file())
    ):
        raise WeightsError(f"{folder}: exists and is not a model folder; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for part, network in _networks(model).items():
            save_component(network, unfinished / part, dtype=dtype, shard_bytes=_SHARD_BYTES)
        scheduler = unfinished / "scheduler"
        scheduler.mkdir()
        (scheduler / "scheduler_config.json").write_text(
            json.dumps(_scheduler_config(model), indent=2), encoding="utf-8"
        )
        (unfinished / "model_index.json").write_text(json.dumps(_index(model), indent=2) + "\n", encoding="utf-8")
        unfinished.chmod(0o755)
        for extra in ("README.md", "ATTRIBUTION.md"):  # a model card outlives a new version of the weights
            if (folder / extra).is_file():
                shutil.copy2(folder / extra, unfinished / extra)
        replace_folder(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _networks(model: ViewModel) -> dict[str, nn.Module]:
    networks = {
        "unet": model.unet,
        "vae": model.autoencoder.network,
        "image_encoder": model.image_encoder.network,
        "pose_conditioning": model.pose_conditioning,
    }
    return networks if model.elevation_head is None else {**networks, "elevation_head": model.elevation_head}


def _index(model: ViewModel) -> dict[str, Any]:
    """model_index.json: which class each folder holds, and the settings of their cooperation."""
    classes = {part: [type(n).__module__.split(".")[0], type(n).__name__] for part, n in _networks(model).items()}
    scheduler = {"scheduler": ["diffusers", "DDIMScheduler"]}
    return {"_class_name": "NovelViews", **classes, **scheduler, "settings": asdict(model.settings)}


def _scheduler_config(model: ViewModel) -> dict[str, Any]:
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": len(model.schedule),
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": {"noise": "epsilon", "velocity": "v_prediction"}[model.settings.prediction],
    }


def _from_folder(folder: Path, dtype: torch.dtype) -> ViewModel:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPVisionModelWithProjection

    index = read_json(folder / "model_index.json")
    given = index.get("settings")
    if not isinstance(given, dict):
        raise WeightsError(f"{folder / 'model_index.json'}: has no settings; it was not written by zero123")
    known = {f.name for f in fields(ViewModelSettings)}
    if unknown := sorted(set(given) - known):
        raise WeightsError(f"{folder / 'model_index.json'}: unknown setting {unknown[0]!r}; made by a newer version?")
    try:
        settings = ViewModelSettings(**given)
    except ValueError as error:
        raise WeightsError(f"{folder / 'model_index.json'}: {error}") from error
    codec = PatchCodec if is_patch_codec(read_json(folder / "vae" / "config.json")) else AutoencoderKL
    parts = {"unet": UNet2DConditionModel, "vae": codec, "image_encoder": CLIPVisionModelWithProjection}
    loaded: dict[str, Any] = {k: load_component(folder / k, cls, k, dtype=dtype) for k, cls in parts.items()}
    pose = load_component(folder / "pose_conditioning", PoseConditioning, dtype=dtype)
    head = load_component(folder / "elevation_head", ElevationHead, dtype=dtype) if "elevation_head" in index else None
    return _assemble(loaded["unet"], loaded["vae"], loaded["image_encoder"], pose, head, settings)


def _from_checkpoint(path: Path, dtype: torch.dtype) -> ViewModel:
    """A file with the original's keys; spec of the layout in `weights/original_layout.py`."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPVisionModelWithProjection

    parts = from_original(read_checkpoint(path))
    unet = build_component(UNet2DConditionModel, parts.unet.config, parts.unet.tensors, "unet", dtype=dtype)
    vae = build_component(AutoencoderKL, parts.vae.config, parts.vae.tensors, "vae", dtype=dtype)
    encoder = build_component(
        CLIPVisionModelWithProjection,
        parts.image_encoder.config,
        parts.image_encoder.tensors,
        "image_encoder",
        dtype=dtype,
    )
    width = parts.pose_conditioning.config["out_features"]
    tensors = {f"projection.{k}": v for k, v in parts.pose_conditioning.tensors.items()}
    pose = build_component(PoseConditioning, {"token_width": width}, tensors, "pose_conditioning", dtype=dtype)
    size = 8 * int(parts.unet.config.get("sample_size") or 32)
    return _assemble(unet, vae, encoder, pose, None, ViewModelSettings(image_size=size, name=path.stem))


def _assemble(
    unet: nn.Module, vae: nn.Module, encoder: nn.Module, pose: Any, head: Any, settings: ViewModelSettings
) -> ViewModel:
    autoencoder = Autoencoder(vae, settings.latent_scale, settings.scale_condition)
    parts = autoencoder, ImageEncoder(encoder, settings.tokens), pose, head
    try:
        return ViewModel(unet, *parts, settings, NoiseSchedule.stable_diffusion()).eval()
    except ValueError as error:
        raise WeightsError(f"{settings.name}: the networks do not go together: {error}") from error

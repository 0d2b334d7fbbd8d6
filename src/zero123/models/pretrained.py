"""A `ViewModel` from a folder, from the package, or from an original checkpoint; and back to a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zero123.files import named_when_full, replace_folder
from zero123.models.autoencoder import Autoencoder
from zero123.models.feature_volume import FeatureVolume
from zero123.models.image_encoder import ImageEncoder
from zero123.models.int8 import is_int8
from zero123.models.lora import apply_lora
from zero123.models.pose_conditioning import PoseConditioning, PoseFormat
from zero123.models.stored_model import StoredModel, find_model, read_model
from zero123.models.view_model import ViewModel
from zero123.models.view_settings import ViewModelSettings
from zero123.models.weights import Part, Place, StoredTensor, WeightsError, build_part, place_tensor, save_component

_SHARD_BYTES = 16 * 2**20
_LARGE, _LARGE_SHARD_BYTES = 2**30, 4 * 2**30


def load_model(
    name: str | Path,
    dtype: torch.dtype | None = torch.float32,
    device: torch.device | str = "cpu",
    *,
    pose_format: PoseFormat | None = None,
    place: Place = place_tensor,
    lora: str | Path | None = None,
) -> ViewModel:
    """A model in evaluation mode; loading takes the memory of the model and of its largest tensor.

    Args:
        name: one that is shipped ("mini"), a release that was downloaded ("105000"), a model folder (ours or one of the
            community's for diffusers), or a checkpoint file with the original's keys (.ckpt or .safetensors).
        dtype: floating point type of the parameters; None keeps the types in the files.
        device: where the model shall be. On the CPU, tensors whose type is `dtype` already stay mapped from the file.
        pose_format: what the fourth pose number of the model is; None takes what the weights say, or, of files in the
            original's layout, "source_polar" for Stable-Zero123's (known by name) and "radius" for all others.
        place: puts a tensor into its network, see `build_component`.
        lora: file of low-rank updates to add to the UNet's weights, see `models.lora`.

    Raises:
        WeightsError: no such model, or something in it is missing, damaged or does not fit.
    """
    found = read_model(find_model(name))
    if found.is_start:
        raise WeightsError(
            f"{name}: is a start for training, not a view model: its UNet takes 4 channels and it knows no poses"
        )
    model = _build(found, dtype, device, pose_format, place)
    if lora is not None:
        apply_lora(model, lora)
    return model


def load_start(path: str | Path, dtype: torch.dtype | None = torch.float32) -> ViewModel:
    """A view model to train, made of Stable Diffusion's image-conditioned weights as the original starts from them.

    The UNet's first layer gets 4 more channels for the input picture, whose weights are zero, and the pose
    conditioning starts afresh, as the identity on the image token (spec: `--finetune_from`).

    Args:
        path: `sd-image-conditioned-v2` if downloaded, or a file of its layout. A view model is taken as it is.
        dtype: floating point type of the parameters; None keeps the types in the file.

    Raises:
        WeightsError: no such file, or something in it is missing, damaged or does not fit.
    """
    found = read_model(find_model(path))
    if found.is_start:
        _, unet = found.networks["unet"]
        config = {**unet.config, "in_channels": 2 * unet.config["in_channels"]}
        tensors = {**unet.tensors, "conv_in.weight": unet.tensors["conv_in.weight"].then(_widened)}
        pose = PoseConditioning(unet.config["cross_attention_dim"])
        fresh = Part(pose.config, {k: StoredTensor.of(t) for k, t in pose.state_dict().items()})
        networks = {
            **found.networks,
            "unet": (found.networks["unet"][0], replace(unet, config=config, tensors=tensors)),
            "pose_conditioning": (PoseConditioning, fresh),
        }
        found = replace(found, networks=networks, is_start=False)
    return _build(found, dtype, "cpu", None, place_tensor)


def reconfigured(model: ViewModel, settings: ViewModelSettings) -> ViewModel:
    """The same networks, not copies, working together by other settings: for training that changes what they mean.

    `tokens="grid"`, for one, lets cross-attention of a released model look at every patch of the picture.

    Raises:
        ValueError: the networks do not go with the settings.
    """
    for name, processor in model.unet.attn_processors.items():
        if hasattr(processor, "library"):  # constants of a single token, or joint views
            model.unet.get_submodule(name.removesuffix(".processor")).set_processor(processor.library)
    autoencoder = Autoencoder(model.autoencoder.network, settings.latent_scale, settings.scale_condition)
    encoder = ImageEncoder(model.image_encoder.network, settings.tokens)
    parts = autoencoder, encoder, model.pose_conditioning, model.place_reader
    return ViewModel(model.unet, *parts, settings, feature_volume=model.feature_volume, draft=model.draft)


def _widened(kernel: Tensor) -> Tensor:
    """The kernel with as many input channels again, which count for nothing."""
    return torch.cat((kernel, torch.zeros_like(kernel)), dim=1)


def save_model(model: ViewModel, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write the model as a folder in the diffusers layout, whole or not at all; an earlier model there is replaced.

    Args:
        model: the model.
        folder: receives model_index.json and a folder for each network.
        dtype: floating point type in the files; None keeps that of the parameters.

    Raises:
        WeightsError: `folder` holds something that is not a model, a tensor does not fit `dtype`, or the weights are
            kept in 8 bits.
        OSError: it cannot be written.
    """
    if is_int8(model):
        raise WeightsError("weights kept in 8 bits are for running, not for writing; load the model without int8")
    with model_folder(folder) as unfinished:
        for part, network in _networks(model).items():
            save_component(network, unfinished / part, dtype=dtype, shard_bytes=shard_bytes(model))
        write_json(unfinished / "scheduler" / "scheduler_config.json", scheduler_config(model))
        write_json(unfinished / "model_index.json", _index(model))


@contextmanager
def model_folder(folder: str | Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` on success and vanishes on failure; a model that was there is replaced.

    Raises:
        WeightsError: `folder` holds something that is not a model.
        OSError: it cannot be written; of a full disk with the name of `folder`.
    """
    folder = Path(folder).absolute()
    if folder.exists() and (
        folder.is_file() or (any(folder.iterdir()) and not (folder / "model_index.json").is_file())
    ):
        raise WeightsError(f"{folder}: exists and is not a model folder; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with named_when_full(folder):
            yield unfinished
            unfinished.chmod(0o755)
            for extra in ("README.md", "ATTRIBUTION.md"):  # a model card outlives a new version of the weights
                if (folder / extra).is_file():
                    shutil.copy2(folder / extra, unfinished / extra)
            replace_folder(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """A file of settings in a model folder."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def shard_bytes(model: ViewModel) -> int:
    """A small model comes in pieces that a repository takes, a large one in few."""
    size = sum(parameter.nbytes for parameter in model.parameters())
    return _SHARD_BYTES if size < _LARGE else _LARGE_SHARD_BYTES


def _networks(model: ViewModel) -> dict[str, nn.Module]:
    networks: dict[str, nn.Module] = {
        "unet": model.unet,
        "vae": model.autoencoder.network,
        "image_encoder": model.image_encoder.network,
        "pose_conditioning": model.pose_conditioning,
    }
    optional = {
        "place_reader": model.place_reader,
        "feature_volume": None if model.feature_volume is None else model.feature_volume.network,
        "draft": model.draft,
    }
    return networks | {name: network for name, network in optional.items() if network is not None}


def _index(model: ViewModel) -> dict[str, Any]:
    """model_index.json: which class each folder holds, and the settings of their cooperation."""
    classes = {part: [type(n).__module__.split(".")[0], type(n).__name__] for part, n in _networks(model).items()}
    scheduler = {"scheduler": ["diffusers", scheduler_config(model)["_class_name"]]}
    return {"_class_name": "NovelViews", **classes, **scheduler, "settings": asdict(model.settings)}


def scheduler_config(model: ViewModel) -> dict[str, Any]:
    """The noise schedule in the words of diffusers' `DDIMScheduler`, or of its scheduler of rectified flows."""
    if model.settings.schedule == "flow":
        return {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": len(model.schedule)}
    config = {
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
    if model.settings.schedule == "zero_snr":
        config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return config


def _build(
    found: StoredModel,
    dtype: torch.dtype | None,
    device: torch.device | str,
    pose_format: PoseFormat | None,
    place: Place,
) -> ViewModel:
    settings = found.settings if pose_format is None else replace(found.settings, pose_format=pose_format)
    made = {
        name: build_part(cls, part, name, dtype=dtype, device=device, place=place)
        for name, (cls, part) in found.networks.items()
    }
    autoencoder = Autoencoder(made["vae"], settings.latent_scale, settings.scale_condition)
    encoder = ImageEncoder(made["image_encoder"], settings.tokens)
    parts = autoencoder, encoder, made["pose_conditioning"], made.get("place_reader")
    try:
        volume = FeatureVolume(made["feature_volume"], settings.volume_depth) if "feature_volume" in made else None
        return ViewModel(made["unet"], *parts, settings, feature_volume=volume, draft=made.get("draft")).eval()
    except ValueError as error:
        raise WeightsError(f"{settings.name}: the networks do not go together: {error}") from error

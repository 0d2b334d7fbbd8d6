"""A model as it lies on disk: which networks and settings there are, with every tensor still in its file."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from zero123.models.patch_codec import PatchCodec, is_patch_codec
from zero123.models.place_reader import PlaceReader
from zero123.models.pose_conditioning import PoseConditioning
from zero123.models.view_model import ViewModelSettings
from zero123.models.weights import (
    CheckpointFile,
    Part,
    WeightsError,
    from_original,
    is_community_folder,
    open_checkpoint,
    predicts,
    read_community_folder,
    read_component,
    read_json,
)
from zero123.models.weights.registry import RELEASES, local_path, release_of

SHIPPED = Path(__file__).resolve().parent.parent / "weights"
"""Models that came with the package, one folder each."""

NOTE_FILE = "zero123.json"
"""Our settings in a folder of another layout."""


@dataclass(frozen=True)
class StoredModel:
    """A model still in its files.

    Attributes:
        networks: class and content of each network, by the names of their folders.
        settings: how they work together.
        is_start: whether it is not a view model but a start for training one, see `load_start`.
    """

    networks: dict[str, tuple[type, Part]]
    settings: ViewModelSettings
    is_start: bool = False


def find_model(name: str | Path) -> Path:
    """The file or folder of the model called `name`, see `load_model`; nothing is fetched.

    Raises:
        WeightsError: there is none on this machine.
    """
    path = Path(name)
    if path.exists():
        return path
    if (SHIPPED / str(name)).is_dir() and str(name) == path.name:
        return SHIPPED / str(name)
    if str(name) in (releases := [release.name for release in RELEASES]):
        return local_path(str(name))
    shipped = ", ".join(sorted(p.name for p in SHIPPED.iterdir() if p.is_dir())) if SHIPPED.is_dir() else "none"
    raise WeightsError(
        f"{name}: no such model; give a model folder, a checkpoint file, a shipped model ({shipped}) "
        f"or a release ({', '.join(releases)})"
    )


def read_model(path: Path) -> StoredModel:
    """The model in a file or folder, in any of the layouts that are read; no tensor is.

    Raises:
        WeightsError: it is missing, damaged or no model.
    """
    if path.is_file():
        return _read_original(open_checkpoint(path))
    if is_community_folder(path):
        return _read_community(path)
    return _read_folder(path)


def _read_folder(folder: Path) -> StoredModel:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPVisionModelWithProjection

    index = read_json(folder / "model_index.json")
    given = index.get("settings")
    if not isinstance(given, dict):
        raise WeightsError(f"{folder / 'model_index.json'}: has no settings; it was not written by zero123")
    settings = _settings(given, folder / "model_index.json")
    codec = PatchCodec if is_patch_codec(read_json(folder / "vae" / "config.json")) else AutoencoderKL
    classes: dict[str, type] = {
        "unet": UNet2DConditionModel,
        "vae": codec,
        "image_encoder": CLIPVisionModelWithProjection,
        "pose_conditioning": PoseConditioning,
    }
    for part, cls in (("place_reader", PlaceReader), ("feature_volume", UNet2DConditionModel)):
        if part in index:
            classes[part] = cls
    return StoredModel({part: (cls, read_component(folder / part)) for part, cls in classes.items()}, settings)


def _read_community(folder: Path) -> StoredModel:
    note = folder / NOTE_FILE
    settings = _default_settings(folder)
    if note.is_file():
        settings = _settings(read_json(note).get("settings"), note)
    elif (word := predicts(folder)) != "epsilon":
        if word != "v_prediction":
            raise WeightsError(f"{folder}: predicts {word!r}, which is neither noise nor velocity")
        settings = replace(settings, prediction="velocity")
    return StoredModel(_with_classes(read_community_folder(folder)), settings)


def _read_original(file: CheckpointFile) -> StoredModel:
    """A file with the original's keys; the layout is told in `weights/original_layout.py`."""
    try:
        parts = from_original(file.tensors)
    except WeightsError as error:
        raise WeightsError(f"{file.path}: {error}") from error
    networks = {"unet": parts.unet, "vae": parts.vae, "image_encoder": parts.image_encoder}
    if parts.pose_conditioning is not None:
        pose = parts.pose_conditioning
        tensors = {f"projection.{k}": v for k, v in pose.tensors.items()}
        networks["pose_conditioning"] = Part({"token_width": pose.config["out_features"]}, tensors, pose.named)
    settings = _default_settings(file.path)
    if file.note is not None:
        settings = _settings(_json_object(file.note, file.path).get("settings"), file.path)
    return StoredModel(_with_classes(networks), settings, is_start=parts.pose_conditioning is None)


def _with_classes(parts: dict[str, Part]) -> dict[str, tuple[type, Part]]:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPVisionModelWithProjection

    classes: dict[str, type] = {
        "unet": UNet2DConditionModel,
        "vae": AutoencoderKL,
        "image_encoder": CLIPVisionModelWithProjection,
        "pose_conditioning": PoseConditioning,
    }
    return {name: (classes[name], part) for name, part in parts.items()}


def _json_object(text: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise WeightsError(f"{path}: its note of zero123's settings is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: its note of zero123's settings must be a JSON object")
    return content


def _settings(given: Any, where: Path) -> ViewModelSettings:
    if not isinstance(given, dict):
        raise WeightsError(f"{where}: has no settings; it was not written by zero123")
    known = {f.name for f in fields(ViewModelSettings)}
    if unknown := sorted(set(given) - known):
        raise WeightsError(f"{where}: unknown setting {unknown[0]!r}; made by a newer version?")
    try:
        return ViewModelSettings(**given)
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{where}: {error}") from error


def _default_settings(path: Path) -> ViewModelSettings:
    """Settings of weights that bring none: those of the release whose name the file or folder has."""
    settings = ViewModelSettings(name=path.stem if path.is_file() else path.name)
    if "stable-zero123" in path.name.replace("_", "-"):
        settings = replace(settings, pose_format="source_polar")
    release = release_of(path)
    if release is not None:
        settings = replace(settings, licence=release.licence.name, pose_format=release.pose_format)
    return settings

"""Diffusers folders of Zero-1-to-3 that others have made: their names for the same networks, read and written.

Two are about. One has the pose layer in `cc_projection` (diffusers' community pipeline `pipeline_zero1to3`), the other
in `clip_camera_projection` (the folders behind threestudio's and DreamGaussian's `Zero123Pipeline`). What a folder
says about classes is not believed and code in it is not run: the networks are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zero123.models.weights.errors import WeightsError
from zero123.models.weights.folder import read_component, read_json
from zero123.models.weights.strict import Part


@dataclass(frozen=True)
class PoseFolder:
    """How one of the two families keeps the pose layer.

    Attributes:
        name: of the folder.
        layer: of the Linear in it.
        library: module that holds the class, as model_index.json says it.
        cls: the class.
        pipeline: class of the whole.
        widths: names of its settings: what it takes, and what it gives or, where `takes_pose`, what it adds.
        takes_pose: whether the two settings are image embedding and pose numbers, not input and output.
    """

    name: str
    layer: str
    library: str
    cls: str
    pipeline: str
    widths: tuple[str, str]
    takes_pose: bool

    def config(self, width: int, pose_width: int) -> dict[str, int | str]:
        """config.json of the layer that joins an embedding of `width` numbers and a pose of `pose_width`."""
        values = (width, pose_width) if self.takes_pose else (width + pose_width, width)
        return {"_class_name": self.cls, **dict(zip(self.widths, values, strict=True))}


POSE_FOLDERS = {
    "diffusers": PoseFolder(
        "cc_projection",
        "projection",
        "pipeline_zero1to3",
        "CCProjection",
        "Zero1to3StableDiffusionPipeline",
        ("in_channel", "out_channel"),
        False,
    ),
    "diffusers-clip-camera": PoseFolder(
        "clip_camera_projection",
        "proj",
        "zero123",
        "CLIPCameraProjection",
        "Zero123Pipeline",
        ("embedding_dim", "additional_embeddings"),
        True,
    ),
}
"""By the name of the layout."""

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names in the autoencoder before diffusers 0.17."""


def is_community_folder(folder: Path) -> bool:
    """Whether there are a UNet and a pose layer under one of the known names."""
    return (folder / "unet").is_dir() and any((folder / kind.name).is_dir() for kind in POSE_FOLDERS.values())


def read_community_folder(folder: Path) -> dict[str, Part]:
    """The networks "unet", "vae", "image_encoder" and "pose_conditioning" (as our `PoseConditioning` names them).

    Raises:
        WeightsError: a network is missing or damaged, or the pose layer is not one Linear.
    """
    kind = next(kind for kind in POSE_FOLDERS.values() if (folder / kind.name).is_dir())
    encoder = read_component(folder / "image_encoder")
    positions = "vision_model.embeddings.position_ids"  # once saved with the weights: 0, 1, 2, ...
    return {
        "unet": read_component(folder / "unet"),
        "vae": _modern_vae(read_component(folder / "vae")),
        "image_encoder": Part(encoder.config, {k: t for k, t in encoder.tensors.items() if k != positions}),
        "pose_conditioning": _pose_part(folder / kind.name),
    }


def predicts(folder: Path) -> str:
    """What the UNet of the folder predicts, in diffusers' word; "epsilon" where the folder does not say."""
    config = folder / "scheduler" / "scheduler_config.json"
    return str(read_json(config).get("prediction_type", "epsilon")) if config.is_file() else "epsilon"


def _pose_part(folder: Path) -> Part:
    """One Linear under whatever name; its shapes say everything."""
    tensors = read_component(folder).tensors
    found = {key.rpartition(".")[2]: key for key in tensors}
    if sorted(found) != ["bias", "weight"] or len(tensors) != 2:
        raise WeightsError(f"{folder}: must hold weight and bias of one layer, holds {', '.join(sorted(tensors))}")
    weight = tensors[found["weight"]]
    if weight.ndim != 2 or weight.shape[1] - weight.shape[0] != 4:
        raise WeightsError(f"{folder}: the layer must take 4 numbers more than it gives, has {tuple(weight.shape)}")
    names = {f"projection.{leaf}": key for leaf, key in found.items()}
    return Part({"token_width": weight.shape[0]}, {k: tensors[v] for k, v in names.items()}, names.__getitem__)


def _modern_vae(part: Part) -> Part:
    names = {_modern(key): key for key in part.tensors}
    return Part(part.config, {new: part.tensors[old] for new, old in names.items()}, lambda key: names.get(key, key))


def _modern(key: str) -> str:
    module, _, leaf = key.rpartition(".")
    block, _, layer = module.rpartition(".")
    return f"{block}.{_OLD_ATTENTION[layer]}.{leaf}" if ".attentions." in key and layer in _OLD_ATTENTION else key

"""Weights in and out of files: released checkpoints and model folders, read without ever running a pickle."""

from zero123.models.weights.checkpoint import NOTE, CheckpointFile, open_checkpoint, read_checkpoint
from zero123.models.weights.community import (
    POSE_FOLDERS,
    PoseFolder,
    is_community_folder,
    predicts,
    read_community_folder,
)
from zero123.models.weights.errors import WeightsError
from zero123.models.weights.folder import (
    load_component,
    read_component,
    read_json,
    ready_tensor,
    save_component,
    write_tensors,
)
from zero123.models.weights.names import UNET, PartName, ema_key
from zero123.models.weights.original_layout import OriginalParts, from_original, to_original_state
from zero123.models.weights.stored import StoredTensor
from zero123.models.weights.strict import Part, Place, build_component, build_part, place_tensor

__all__ = [
    "NOTE",
    "POSE_FOLDERS",
    "UNET",
    "CheckpointFile",
    "OriginalParts",
    "Part",
    "PartName",
    "Place",
    "PoseFolder",
    "StoredTensor",
    "WeightsError",
    "build_component",
    "build_part",
    "ema_key",
    "from_original",
    "is_community_folder",
    "load_component",
    "open_checkpoint",
    "place_tensor",
    "predicts",
    "read_checkpoint",
    "read_community_folder",
    "read_component",
    "read_json",
    "ready_tensor",
    "save_component",
    "to_original_state",
    "write_tensors",
]

"""Weights in and out of files: released checkpoints and model folders, read without ever running a pickle."""

from zero123.models.weights.checkpoint import read_checkpoint
from zero123.models.weights.errors import WeightsError
from zero123.models.weights.folder import load_component, read_json, save_component
from zero123.models.weights.original_layout import OriginalParts, Part, from_original
from zero123.models.weights.strict import build_component

__all__ = [
    "OriginalParts",
    "Part",
    "WeightsError",
    "build_component",
    "from_original",
    "load_component",
    "read_checkpoint",
    "read_json",
    "save_component",
]

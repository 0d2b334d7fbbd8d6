"""The checkpoints in a run's folder: which there are, which are whole, and which did best."""

from __future__ import annotations

import json
import logging
import math
import shutil
import zlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

_TENSORS = ("weights", "ema", "optimiser")


class DamagedCheckpoint(ValueError):
    """A checkpoint that is not what was written, said in one line."""


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in a folder, oldest first."""
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def losses(folder: Path) -> dict[Path, float]:
    """The validation loss of each checkpoint in a folder that has one, oldest first."""
    found = {}
    for path in checkpoints(folder):
        try:
            loss = load_notes(path).get("validation")
        except (OSError, ValueError):  # a damaged one has none; whoever loads it says so
            continue
        if loss is not None and math.isfinite(loss):
            found[path] = float(loss)
    return found


def by_loss(folder: Path) -> list[Path]:
    """Checkpoints with a validation loss, lowest first; of equals the older."""
    found = losses(folder)
    return sorted(found, key=found.__getitem__)


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint that is what was written; None in a new folder.

    Damaged ones are said in the log and renamed `damaged-step-N`.

    Raises:
        ValueError: there are some, all of them damaged.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        try:
            check(path)
        except DamagedCheckpoint as error:
            logging.getLogger(__name__).warning("%s; falling back to the one before it", error)
            aside = path.with_name(f"damaged-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            continue
        return path
    if found:
        raise ValueError(f"{folder}: all {len(found)} checkpoints are damaged; start in a new folder")
    return None


def check(checkpoint: Path) -> None:
    """Read a checkpoint through and compare it with what was written.

    Those of version 0.1.0 have no checksums; of them only that they are complete can be told.

    Raises:
        DamagedCheckpoint: it is something else.
    """
    try:
        state = read_state(checkpoint)
        sums = state.get("checksums", dict.fromkeys(f"{name}.safetensors" for name in _TENSORS))
        for name, expected in sums.items():
            with safe_open(checkpoint / name, framework="pt"):
                pass
            if expected is not None and checksum(checkpoint / name) != expected:
                raise DamagedCheckpoint(f"{checkpoint / name} is damaged: its checksum is another")
        int(state["step"]), int(state["ema_updates"])
    except (OSError, KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise DamagedCheckpoint(f"{checkpoint} is damaged: {error}") from error


def load_notes(checkpoint: Path) -> dict[str, Any]:
    """The notes `save_state` was given."""
    notes: dict[str, Any] = read_state(checkpoint).get("notes", {})
    return notes


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What `state.json` of a checkpoint holds."""
    state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    return state


def checksum(path: Path) -> int:
    """CRC-32, which finds damage; nobody here is to be kept from tampering."""
    total = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            total = zlib.crc32(block, total)
    return total

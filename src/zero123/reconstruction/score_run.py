"""Runs a field that a score makes: metrics, a preview on disk, and a state from which a stopped run goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zero123.files import atomic_path, save_tensors
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.images import io
from zero123.images.sheets import contact_sheet
from zero123.meshes.mesh import Mesh
from zero123.run_log import RunLog, alone_in

Progress = Callable[[int, int], None]

STATE, PREVIEW = "state.safetensors", "preview.png"
"""Files in the run's folder; the state is there only while the run is not done."""


class Growing(Protocol):
    """A field that is being made.

    Attributes:
        done: steps.
        source: pose of the photo's camera, (1,).
    """

    done: int
    source: OrbitPose

    def step(self) -> dict[str, float]:
        """One step; what the terms of the loss were."""
        ...

    def looks(self, poses: OrbitPose, /) -> tuple[Tensor, Tensor]:
        """Pictures (V, 3, S, S) in [0, 1] and depths (V, h, w), world units, from poses (V,), on the CPU."""
        ...

    def mesh(self, faces: int, /) -> Mesh:
        """Its surface, with vertex colours."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on."""
        ...

    def restore(self, state: dict[str, Tensor], /) -> None:
        """Go on from what `state` gave."""
        ...


@dataclass(frozen=True)
class Keeping:
    """What a run writes, and how often.

    Attributes:
        save_seconds: between two states on disk.
        preview_seconds: between two previews.
        share: of the time that may go into states and previews together; where they are dear they come less often.
    """

    save_seconds: float = 60.0
    preview_seconds: float = 15.0
    share: float = 0.05


def unfinished(folder: Path) -> bool:
    """Whether a run in `folder` was stopped before its end."""
    return (folder / STATE).is_file()


def run(
    growing: Growing,
    steps: int,
    folder: Path,
    photo: Tensor,
    settings: Any,
    progress: Progress | None = None,
    keeping: Keeping | None = None,
) -> None:
    """Take a field to its last step, from where a stopped run in the same folder left it.

    Args:
        growing: the field at its start.
        steps: in all.
        folder: of the run: `settings.json`, `metrics.jsonl`, `preview.png`, and the state until it is done.
        photo: the input on white, (3, S, S), for the preview.
        settings: dataclass or dict, written down.
        progress: told steps done, and in all.
        keeping: None for the defaults.

    Raises:
        ValueError: the state is damaged or of another field, or a loss is not finite.
        OSError: another run is in the folder, or it cannot be written.
    """
    keeping = keeping or Keeping()
    with alone_in(folder, "reconstructing"):
        if unfinished(folder):
            growing.restore(_read(folder / STATE))
        log = RunLog(folder, settings, growing.done)
        save = _Timed(keeping.save_seconds, keeping.share / 2, lambda: _write(folder / STATE, growing))
        show = _Timed(keeping.preview_seconds, keeping.share / 2, lambda: preview(growing, photo, folder / PREVIEW))
        try:
            while growing.done < steps:
                terms = growing.step()
                if wrong := [name for name, value in terms.items() if not math.isfinite(value)]:
                    forget(folder)  # a state before this would lead here again
                    raise ValueError(
                        f"the loss {wrong[0]} is no longer a number at step {growing.done}: lower the learning rate or "
                        f"its weight; the last preview is {folder / PREVIEW}"
                    )
                if growing.done % max(1, steps // 1000) == 0:
                    log.write(growing.done, **terms)
                if progress:
                    progress(growing.done, steps)
                save.due()
                show.due()
        except (KeyboardInterrupt, MemoryError, torch.OutOfMemoryError):
            _write(folder / STATE, growing)
            raise
        preview(growing, photo, folder / PREVIEW)


def forget(folder: Path) -> None:
    """The run is done and its mesh is written: the state is not needed any more."""
    (folder / STATE).unlink(missing_ok=True)


def preview(growing: Growing, photo: Tensor, path: Path) -> None:
    """The photo, the field from the photo's camera and from three others, and their depths below, near dark."""
    turns = RelativePose.from_degrees([0.0, 90.0, 180.0, -90.0], [0.0])
    pictures, depths = growing.looks(growing.source.to("cpu").moved(turns))
    size = pictures.shape[-2:]
    near, far = depths.amin(), depths[depths < depths.amax()].max() if (depths < depths.amax()).any() else depths.amax()
    grey = ((depths - near) / (far - near).clamp(min=1e-6)).clamp(0, 1)[:, None].expand(-1, 3, -1, -1)
    below = torch.nn.functional.interpolate(grey, size, mode="nearest")
    first = torch.nn.functional.interpolate(photo[None].cpu().float(), size, mode="area")
    io.save(path, contact_sheet(torch.cat((first, pictures, torch.ones_like(first), below)), 5))


class _Timed:
    """An act that comes due after some seconds, later if it takes long."""

    def __init__(self, seconds: float, share: float, act: Callable[[], None]) -> None:
        self._seconds, self._share, self._act = seconds, share, act
        self._next = time.monotonic() + seconds

    def due(self) -> None:
        """Act if it is time."""
        start = time.monotonic()
        if start < self._next:
            return
        self._act()
        now = time.monotonic()
        self._next = now + max(self._seconds, (now - start) / self._share)


def _write(path: Path, growing: Growing) -> None:
    with atomic_path(path) as temporary:
        save_tensors({name: value.contiguous() for name, value in growing.state().items()}, temporary)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); remove it to start afresh") from error

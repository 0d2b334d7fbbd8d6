"""Tensors made from their names, so that our networks can be filled with the very weights the original was run with.

The rule is that of the goldens: a name seeds a generator, its normal numbers are scaled by what the tensor is for.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from zero123.geometry.orbit import RelativePose
from zero123.models.weights.names import PREFIXES, to_library

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Agreement:
    """How far one quantity is from the original's, and how far it may be: a row of `benchmarks/parity.py`'s table."""

    golden: str
    quantity: str
    error: float
    gate: float
    relative: bool


AGREEMENTS = []


def agree(golden, quantity, ours, theirs, gate, relative=False):
    """Assert that nowhere the difference is over `gate` (relative: times the largest magnitude), and note it."""
    ours, theirs = (torch.as_tensor(v, dtype=torch.float64).detach() for v in (ours, theirs))
    assert ours.shape == theirs.shape, f"{golden} {quantity}: {tuple(ours.shape)}, not {tuple(theirs.shape)}"
    scale = float(theirs.abs().max()) or 1.0 if relative else 1.0
    error = float((ours - theirs).abs().max()) / scale
    AGREEMENTS.append(Agreement(golden, quantity, error, gate, relative))
    assert error <= gate, f"{golden} {quantity}: off by {error:.3g}, gate {gate:g}"


def golden(name):
    """The arrays of a golden file, as tensors where they hold numbers."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {k: v if v.dtype.kind in "SU" else torch.from_numpy(v) for k, v in file.items()}


def seed(name):
    """The first eight bytes of the name's SHA-256, little end first."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def normal(name, shape):
    """Standard normal numbers that belong to `name`, float32 tensor of `shape`."""
    count = int(np.prod(shape, dtype=np.int64))
    numbers = np.random.Generator(np.random.PCG64(seed(name))).standard_normal(count, dtype=np.float32)
    return torch.from_numpy(numbers).reshape(tuple(shape))


def uniform(name, shape):
    """Uniform numbers in [0, 1) that belong to `name`, float64 array of `shape`."""
    return np.random.Generator(np.random.PCG64(seed(name))).random(int(np.prod(shape))).reshape(shape)


def weight(name, shape):
    """A parameter: matrices and kernels by fan-in, norm weights near one, everything else near zero."""
    z = normal(name, shape)
    if z.ndim >= 2:
        fan_in = np.prod(shape[1:], dtype=np.int64)
        return z.mul_(float(np.float32(1 / np.sqrt(float(fan_in)))))
    z.mul_(float(np.float32(0.02)))
    return z.add_(1) if z.ndim == 1 and name.endswith(".weight") else z


def disc_image(size=256, phase=0.0):
    """A textured disc on white, (3, size, size) in [-1, 1]."""
    centre = (np.arange(size) + 0.5) / size
    u, v = centre[None, :], centre[:, None]
    inside = np.sqrt((u - 0.5) ** 2 + (v - 0.5) ** 2) < 0.35
    waves = [
        0.6 * np.sin(2 * np.pi * ((k + 1) * u + 0.5 * k * v) + phase) * np.cos(2 * np.pi * (k + 2) * v)
        for k in range(3)
    ]
    return torch.from_numpy(np.where(inside, np.stack(waves), 1.0).astype(np.float32))


def rgba_picture(name, height, width, hard):
    """An ellipse of coloured waves and grain with a hard or soft edge, (4, height, width) of whole 8-bit levels."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = np.stack([0.5 + 0.5 * np.sin(2 * np.pi * (x * (k + 1) / width + y / height)) for k in range(3)], -1)
    rgb = np.floor(waves * 200 + uniform(name, (height, width, 3)) * 55)
    r = np.sqrt(((y - 0.55 * height) / (0.30 * height)) ** 2 + ((x - 0.45 * width) / (0.20 * width)) ** 2)
    alpha = np.floor(255 * ((r < 1) if hard else np.clip((1.15 - r) / 0.3, 0, 1)))
    return torch.from_numpy(np.concatenate([rgb, alpha[..., None]], -1)).permute(2, 0, 1)


def training_moves(rows):
    """The moves of the training goldens, whose pose vectors are [0.1 i, sin 0.7 i, cos 0.7 i, 0.1 i - 0.2]."""
    rows = torch.as_tensor(rows, dtype=torch.float32)
    return RelativePose(0.7 * rows, -0.1 * rows, 0.1 * rows - 0.2)


def photo(phase, size=256):
    """The disc as our models take it, (1, 3, size, size) in [0, 1]."""
    return (disc_image(size, phase)[None] + 1) / 2


def manifest(name="manifest_tiny.json"):
    """Names and shapes of a checkpoint in the original's layout."""
    tensors = json.loads((GOLDEN / name).read_text())["tensors"]
    return {entry["key"]: tuple(entry["shape"]) for entry in tensors}


def tiny_state():
    """The tiny model as a checkpoint's state dict, without the schedule tables; averages equal the weights."""
    shapes = manifest()
    state = {
        key: weight(key, shape) for key, shape in shapes.items() if "." in key and not key.startswith("model_ema.")
    }
    dotless = {"model_ema." + key.removeprefix("model.").replace(".", ""): value for key, value in state.items()}
    return state | {key: dotless[key] for key in shapes if key in dotless}


def parameter_name(key):
    """What our model calls the tensor that the original calls `key`."""
    part = next(part for part, prefix in PREFIXES.items() if key.startswith(prefix))
    inside = {"vae": "autoencoder.network", "image_encoder": "image_encoder.network"}
    inside["pose_conditioning"] = "pose_conditioning.projection"
    return f"{inside.get(part, part)}.{to_library(part, key.removeprefix(PREFIXES[part]))}"

"""Tensors made from their names, so that our networks can be filled with the very weights the original was run with.

The rule is that of the goldens: a name seeds a generator, its normal numbers are scaled by what the tensor is for.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden"


def seed(name):
    """The first eight bytes of the name's SHA-256, little end first."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def normal(name, shape):
    """Standard normal numbers that belong to `name`, float32 tensor of `shape`."""
    count = int(np.prod(shape, dtype=np.int64))
    numbers = np.random.Generator(np.random.PCG64(seed(name))).standard_normal(count, dtype=np.float32)
    return torch.from_numpy(numbers).reshape(tuple(shape))


def weight(name, shape):
    """A parameter: matrices and kernels by fan-in, norm weights near one, everything else near zero."""
    z = normal(name, shape)
    if z.ndim >= 2:
        fan_in = np.prod(shape[1:], dtype=np.int64)
        return z * float(np.float32(1 / np.sqrt(float(fan_in))))
    small = z * float(np.float32(0.02))
    return small + 1 if z.ndim == 1 and name.endswith(".weight") else small


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

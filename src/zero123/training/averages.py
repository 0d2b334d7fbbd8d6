"""Averages over any span of a run, made after it: two averages by a power of time, snapshots, and their mixture."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor, nn

from zero123.files import atomic_path, save_tensors

LENGTHS = (0.05, 0.10)
"""Widths of the two averages that are kept, as shares of the time trained; those of Karras et al."""

_SNAPSHOT = re.compile(r"^(\d+)-([\d.]+)\.safetensors$")


def exponent(length: float) -> float:
    """The power gamma of time whose profile t^gamma has standard deviation `length`, as a share of the time trained.

    length^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)): Section 3.1 of Karras et al., 2024 (arXiv:2312.02696); gamma
    is the largest real root of that cubic.

    Raises:
        ValueError: `length` lies outside (0, 0.28], where no such power is.
    """
    if not 0 < length <= 0.28:
        raise ValueError(f"length of an average must be over 0 and at most 0.28 of the time trained, got {length}")
    inverse = length**-2
    roots = np.roots([1, 7, 16 - inverse, 12 - inverse])
    return float(roots.real.max())


def product(end_a: float, gamma_a: float, end_b: float, gamma_b: float) -> float:
    """Integral over time of two profiles p(t) = (gamma + 1) t^gamma / end^(gamma + 1) on [0, end].

    Appendix C of Karras et al., 2024 (arXiv:2312.02696), for profiles of any ends.
    """
    if end_a > end_b:
        end_a, gamma_a, end_b, gamma_b = end_b, gamma_b, end_a, gamma_a
    scale = (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1)
    return scale * math.exp(gamma_b * math.log(end_a) - (gamma_b + 1) * math.log(end_b))


def mixture(snapshots: Sequence[tuple[float, float]], end: float, gamma: float) -> NDArray[np.float64]:
    """Weights of snapshots, (end, gamma) each, whose sum of profiles is nearest to the profile (`end`, `gamma`).

    Least squares: Section 3.2 of Karras et al., 2024 (arXiv:2312.02696).
    """
    gram = np.array([[product(*a, *b) for b in snapshots] for a in snapshots])
    right = np.array([product(*a, end, gamma) for a in snapshots])
    # neighbouring snapshots are nearly alike: each is measured by its own length before the system is solved
    root = np.sqrt(np.diag(gram))
    solved = np.linalg.lstsq(gram / np.outer(root, root), right / root, rcond=1e-12)[0]
    return solved / root


class PowerAverages:
    """The two running averages of a module's trained parameters, weights growing as a power of time.

    At step t each moves towards the parameters by 1 - (1 - 1/t)^(gamma + 1): Section 3.1 of Karras et al., 2024
    (arXiv:2312.02696). The first step sets them.

    Args:
        module: whose trained parameters are averaged, in float32.
        names: of which parameters; None takes all that are trained.
    """

    def __init__(self, module: nn.Module, names: set[str] | None = None) -> None:
        self._names = [k for k, p in module.named_parameters() if (p.requires_grad if names is None else k in names)]
        parameters = dict(module.named_parameters())
        self.values = {length: {k: parameters[k].detach().clone().float() for k in self._names} for length in LENGTHS}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the parameters after step `step`, counted from 1."""
        parameters = dict(module.named_parameters())
        now = [parameters[k].detach().float() for k in self._names]
        for length, values in self.values.items():
            share = 1 - (1 - 1 / step) ** (exponent(length) + 1)
            torch._foreach_lerp_([values[k] for k in self._names], now, share)

    def save(self, folder: Path, step: int) -> None:
        """Write a snapshot of both; `restore` takes it up and `averaged` mixes them."""
        for length, values in self.values.items():
            with atomic_path(folder / f"{step:08d}-{length:g}.safetensors") as temporary:
                save_tensors({k: v.contiguous() for k, v in values.items()}, temporary)

    def restore(self, folder: Path, step: int) -> None:
        """Go on from the snapshot of `step`; later ones, which an interrupted run left behind, are removed.

        Raises:
            ValueError: there is none, or it belongs to another model.
        """
        for length, values in self.values.items():
            path = folder / f"{step:08d}-{length:g}.safetensors"
            if not path.is_file():
                raise ValueError(f"{path}: is missing; the run cannot go on with power_averages, start a new folder")
            stored = _load(path)
            if stored.keys() != values.keys():
                raise ValueError(f"{path}: belongs to another model; start in a new folder")
            for name, value in values.items():
                value.copy_(stored[name])
        for snapshot_step, _, path in snapshots(folder):
            if snapshot_step > step:
                path.unlink()


def snapshots(folder: Path) -> list[tuple[int, float, Path]]:
    """Step, length and file of each snapshot in a folder, oldest first."""
    found = ((_SNAPSHOT.match(p.name), p) for p in sorted(folder.glob("*.safetensors")))
    return [(int(m[1]), float(m[2]), p) for m, p in found if m]


def averaged(folder: Path, length: float, step: int | None = None) -> dict[str, Tensor]:
    """The parameters averaged over `length` of the time trained, float32, made of a run's snapshots.

    Args:
        folder: of snapshots.
        length: standard deviation of the average's profile, as a share of the time trained, over 0 to 0.28.
        step: when training would have ended; None for the last snapshot.

    Raises:
        ValueError: there are no snapshots up to `step`, or the length cannot be had.
    """
    found = [s for s in snapshots(folder) if step is None or s[0] <= step]
    if not found:
        raise ValueError(f"{folder}: holds no snapshots; train with power_averages=true")
    end = step or found[-1][0]
    profiles = [(float(at), exponent(kept)) for at, kept, _ in found]
    weights = mixture(profiles, float(end), exponent(length))
    total: dict[str, Tensor] = {}
    for weight, (_, _, path) in zip(weights, found, strict=True):
        for name, value in _load(path).items():
            total[name] = total[name].add_(value, alpha=float(weight)) if name in total else value * float(weight)
    return total


def _load(path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

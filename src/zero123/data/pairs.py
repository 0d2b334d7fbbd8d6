"""Training pairs from cached views: two views of one object, the same pairs for the same seed and step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zero123.data.view_set import ViewSet, ViewSetError
from zero123.files import atomic_path
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.images.alpha import composite

_ARRAYS = ("images", "latents", "poses", "first")


@dataclass(frozen=True)
class ViewCache:
    """Every view of a folder of view sets, encoded once; arrays stay on disk and are mapped.

    Attributes:
        images: pictures on white, (N, 3, H, W) uint8.
        latents: of each picture and of its mirror image, (N, 2, C, h, w) float16.
        poses: azimuth, elevation (radians) and radius, (N, 3) float32.
        first: index of each object's first view, and N at the end, (objects + 1,) int64.
    """

    images: NDArray[np.uint8]
    latents: NDArray[np.float16]
    poses: NDArray[np.float32]
    first: NDArray[np.int64]

    @classmethod
    def open(cls, folder: str | Path) -> ViewCache:
        """Map the arrays of a folder that `build` filled."""
        folder = Path(folder)
        if not (folder / "first.npy").is_file():
            raise ViewSetError(f"{folder}: not a cache of views; build it first")
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS))

    @classmethod
    def build(cls, views: str | Path, folder: str | Path, encode: Callable[[Tensor], Tensor]) -> ViewCache:
        """Read every view set below `views`, encode pictures (B, 3, H, W) in [0, 1], write arrays to `folder`."""
        sets = sorted(p for p in Path(views).iterdir() if p.is_dir() and not p.name.startswith("."))
        if not sets:
            raise ViewSetError(f"{views}: holds no view sets")
        images: list[NDArray[np.uint8]] = []
        latents, poses, first = [], [], [0]
        for path in sets:
            view_set = ViewSet.load(path)
            if len(view_set) < 2:
                raise ViewSetError(f"{path}: holds one view; a pair needs two")
            if images and view_set.images.shape[-2:] != images[0].shape[-2:]:
                raise ViewSetError(f"{path}: differs in size from {sets[0].name}; render all objects at one size")
            white = composite(view_set.images, torch.ones(3))
            images.append((white * 255).round().to(torch.uint8).numpy())
            with torch.no_grad():
                both = torch.stack((encode(white), encode(white.flip(-1))), dim=1)
            latents.append(both.to(torch.float16).numpy())
            pose = view_set.camera.orbit()
            poses.append(torch.stack((pose.azimuth, pose.elevation, pose.radius), dim=-1).float().numpy())
            first.append(first[-1] + len(view_set))
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "first.npy").unlink(missing_ok=True)  # written last: its presence says that the others are whole
        for name, parts in (("images", images), ("latents", latents), ("poses", poses)):
            np.save(folder / f"{name}.npy", np.concatenate(parts))
        with atomic_path(folder / "first.npy") as temporary:
            np.save(temporary, np.asarray(first, np.int64))
        return cls.open(folder)


@dataclass(frozen=True)
class PairBatch:
    """Inputs and targets.

    Attributes:
        photo: input pictures, (B, 3, H, W) in [0, 1].
        latent: latents of the targets, (B, C, h, w).
        relative: moves from input to target, (B,).
        source: poses of the inputs, (B,).
    """

    photo: Tensor
    latent: Tensor
    relative: RelativePose
    source: OrbitPose


class PairSampler:
    """Draws pairs from several caches; stateless, so that a resumed run goes on exactly.

    Args:
        caches: one per kind of object.
        weights: how often each kind is drawn; an object of a kind is as likely as any other.
        seed: decides everything together with the step.
        mirror: half of the pairs are seen in a mirror, which doubles the data for nothing.
        near: targets at an angle a from the input, seen from the object, are drawn with weight exp(-a / near), radians;
            what the input shows is learned from near views first. None draws all alike.
        same: share of pairs whose target is the input itself.
    """

    def __init__(
        self,
        caches: Sequence[ViewCache],
        weights: Sequence[float],
        seed: int = 0,
        mirror: bool = True,
        near: float | None = None,
        same: float = 0.0,
    ) -> None:
        if near is not None and not near > 0:
            raise ValueError(f"near must be an angle over 0, got {near}")
        if not 0 <= same <= 1:
            raise ValueError(f"same must be in 0 to 1, got {same}")
        if len(caches) != len(weights) or not caches:
            raise ValueError(f"weights must be one per cache, got {len(weights)} for {len(caches)}")
        if not (np.isfinite(weights).all() and min(weights) >= 0 and sum(weights) > 0):
            raise ValueError(f"weights must be numbers from 0 up, not all 0, got {list(weights)}")
        self._caches = list(caches)
        self._share = np.asarray(weights, np.float64) / np.sum(weights)
        self._seed = seed
        self._mirror = mirror
        self._near = near
        self._same = same

    def batch(self, step: int, size: int) -> PairBatch:
        """The pairs of a step; input and target are two different views, but for the share `same`."""
        numbers = np.random.default_rng([self._seed, step])
        rows = [self._pair(numbers) for _ in range(size)]
        photo, latent, source, target = (np.stack(column) for column in zip(*rows, strict=True))
        from_pose, to_pose = (OrbitPose(*torch.from_numpy(p).unbind(-1)) for p in (source, target))
        return PairBatch(
            photo=torch.from_numpy(photo).float() / 255,
            latent=torch.from_numpy(latent).float(),
            relative=to_pose.relative_to(from_pose),
            source=from_pose,
        )

    def _pair(self, numbers: np.random.Generator) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        cache = self._caches[numbers.choice(len(self._caches), p=self._share)]
        item = numbers.integers(len(cache.first) - 1)
        start, end = cache.first[item], cache.first[item + 1]
        source, target = start + self._two_views(cache.poses[start:end], numbers)
        mirrored = int(self._mirror and numbers.random() < 0.5)
        photo = cache.images[source][..., ::-1] if mirrored else cache.images[source]
        sign = np.array([1 - 2 * mirrored, 1, 1], np.float32)  # a mirror turns counter-clockwise into clockwise
        return photo, cache.latents[target, mirrored], cache.poses[source] * sign, cache.poses[target] * sign

    def _two_views(self, poses: NDArray[np.float32], numbers: np.random.Generator) -> NDArray[np.int64]:
        """Input and target among the views of one object, whose poses are (V, 3)."""
        source, target = numbers.choice(len(poses), 2, replace=False)
        if self._near is not None:
            azimuth, elevation = poses[:, 0].astype(np.float64), poses[:, 1].astype(np.float64)
            flat, height = np.cos(elevation), np.sin(elevation)
            cosine = flat * flat[source] * np.cos(azimuth - azimuth[source]) + height * height[source]
            weight = np.exp(-np.arccos(np.clip(cosine, -1, 1)) / self._near)
            weight[source] = 0
            target = numbers.choice(len(poses), p=weight / weight.sum())
        if self._same and numbers.random() < self._same:
            target = source
        return np.array([source, target])

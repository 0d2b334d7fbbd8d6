"""Training pairs from cached views: two views of one object, the same pairs for the same seed and step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zero123.data.view_cache import ViewCache
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.machine import free_memory

_ROOM = 0.5
"""A GPU takes caches that fill at most so much of what it has to spare."""


@dataclass(frozen=True)
class Precomputed:
    """What the model's encoders would say of the inputs, where that was stored.

    Attributes:
        tokens: of the image encoder, (B, N, D), or None.
        latent: of the autoencoder, as the network is conditioned on it, (B, C, h, w), or None.
    """

    tokens: Tensor | None = None
    latent: Tensor | None = None

    def to(self, device: torch.device) -> Precomputed:
        """The same on another device."""
        return Precomputed(*(None if t is None else t.to(device) for t in (self.tokens, self.latent)))


@dataclass(frozen=True)
class PairBatch:
    """Inputs and targets.

    Attributes:
        photo: input pictures, (B, 3, H, W) in [0, 1]; (B, 3, 0, 0) where all that is made of them is precomputed.
        latent: latents of the targets, (B, C, h, w).
        relative: moves from input to target, (B,).
        source: poses of the inputs, (B,).
        precomputed: of the inputs.
        picture: of the targets, (B, 3, H, W) in [0, 1], where it was asked for.
        group: so many pairs in a row have the same input.
    """

    photo: Tensor
    latent: Tensor
    relative: RelativePose
    source: OrbitPose
    precomputed: Precomputed = field(default_factory=Precomputed)
    picture: Tensor | None = None
    group: int = 1


class Pairs(Protocol):
    """Gives the pairs of every step; stateless, so that a resumed run goes on exactly."""

    def batch(self, step: int, size: int) -> PairBatch:
        """`size` pairs; the same for the same step and size, in every process."""
        ...


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
        targets: pairs in a row with the same input, for which the encoders then work once; fewer in a batch that is not
            a multiple.
        pictures: batches also hold the targets' pictures.
        device: where batches are made; None for the processor. A GPU that has room takes the caches there once, and
            then makes tens of thousands of pairs a second, where the processor reads a few hundred.
    """

    def __init__(
        self,
        caches: Sequence[ViewCache],
        weights: Sequence[float],
        seed: int = 0,
        mirror: bool = True,
        near: float | None = None,
        same: float = 0.0,
        targets: int = 1,
        pictures: bool = False,
        device: torch.device | None = None,
    ) -> None:
        if near is not None and not near > 0:
            raise ValueError(f"near must be an angle over 0, got {near}")
        if not 0 <= same <= 1:
            raise ValueError(f"same must be in 0 to 1, got {same}")
        if targets < 1:
            raise ValueError(f"targets must be at least 1, got {targets}")
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
        self._targets = targets
        self._pictures = pictures
        self._begin = np.cumsum([0, *[len(cache.poses) for cache in caches]])[:-1]
        self._poses = np.concatenate([cache.poses for cache in caches])
        images = [cache.images for cache in caches]
        latents = [cache.latents.reshape(-1, *cache.latents.shape[2:]) for cache in caches]  # straight, mirrored, ...
        room = free_memory(device) if device is not None else None
        fits = room is not None and sum(array.nbytes for array in images + latents) <= _ROOM * room
        self._device = device or torch.device("cpu")
        self._images, self._latents = _Rows(images, self._device, fits), _Rows(latents, self._device, fits)

    def batch(self, step: int, size: int) -> PairBatch:
        """The pairs of a step; input and target are two different views, but for the share `same`."""
        numbers = np.random.default_rng([self._seed, step])
        group = math.gcd(size, self._targets)
        drawn = np.concatenate([self._drawn(numbers, group) for _ in range(size // group)])
        source, target, mirrored = drawn.T
        sign = np.stack((1 - 2 * mirrored, *[np.ones_like(mirrored)] * 2), axis=1).astype(np.float32)
        from_pose, to_pose = (
            OrbitPose(*torch.from_numpy(self._poses[rows] * sign).unbind(-1)) for rows in (source, target)
        )
        return PairBatch(
            photo=self._shown(source[::group], mirrored[::group]).repeat_interleave(group, dim=0),
            latent=self._latents.take(2 * target + mirrored).float(),
            relative=to_pose.relative_to(from_pose).to(self._device),
            source=from_pose.to(self._device),
            picture=self._shown(target, mirrored) if self._pictures else None,
            group=group,
        )

    def _shown(self, rows: NDArray[np.int64], mirrored: NDArray[np.int64]) -> Tensor:
        """Pictures, (N, 3, H, W) in [0, 1], some of them in a mirror."""
        levels = self._images.take(rows)
        turned = torch.from_numpy(mirrored == 1).to(self._device)[:, None, None, None]
        return torch.where(turned, levels.flip(-1), levels).float() / 255

    def _drawn(self, numbers: np.random.Generator, group: int) -> NDArray[np.int64]:
        """`group` pairs with one input, (group, 3): rows of input and target over all caches, and 1 for a mirror."""
        kind = numbers.choice(len(self._caches), p=self._share)
        cache = self._caches[kind]
        item = numbers.integers(len(cache.first) - 1)
        start, end = cache.first[item], cache.first[item + 1]
        source, targets = self._chosen(cache.poses[start:end], group, numbers)
        mirrored = int(self._mirror and numbers.random() < 0.5)  # which turns counter-clockwise into clockwise
        first = int(self._begin[kind] + start)
        return np.array([(first + source, first + target, mirrored) for target in targets], np.int64)

    def _chosen(self, poses: NDArray[np.float32], count: int, numbers: np.random.Generator) -> tuple[int, list[int]]:
        """An input and `count` targets among views of one object, whose poses are (V, 3); targets may come twice."""
        source = int(numbers.integers(len(poses)))
        weight = np.ones(len(poses))
        if self._near is not None:
            azimuth, elevation = poses[:, 0].astype(np.float64), poses[:, 1].astype(np.float64)
            flat, height = np.cos(elevation), np.sin(elevation)
            cosine = flat * flat[source] * np.cos(azimuth - azimuth[source]) + height * height[source]
            weight = np.exp(-np.arccos(np.clip(cosine, -1, 1)) / self._near)
        weight[source] = 0
        enough = np.count_nonzero(weight) >= count
        targets = numbers.choice(len(poses), count, replace=not enough, p=weight / weight.sum())
        same = numbers.random(count) < self._same
        return source, [source if s else int(t) for s, t in zip(same, targets, strict=True)]


class _Rows:
    """Rows of several arrays, one array after another.

    Args:
        arrays: of one type, with rows of one shape; may be mapped from disk.
        device: where rows are wanted.
        held: take all of them there at once.
    """

    def __init__(self, arrays: Sequence[NDArray], device: torch.device, held: bool) -> None:
        if len({(array.shape[1:], array.dtype) for array in arrays}) > 1:
            raise ValueError(f"caches must be of one size, got {[array.shape[1:] for array in arrays]}")
        self._arrays, self._device = arrays, device
        self._ends = np.cumsum([len(array) for array in arrays])
        self._held = self._all() if held else None

    def take(self, rows: NDArray[np.int64]) -> Tensor:
        """The rows of those numbers, (N, ...)."""
        if self._held is not None:
            return self._held[torch.from_numpy(np.ascontiguousarray(rows)).to(self._device)]
        found = np.empty((len(rows), *self._arrays[0].shape[1:]), self._arrays[0].dtype)
        place = np.searchsorted(self._ends, rows, side="right")
        for index, (array, end) in enumerate(zip(self._arrays, self._ends, strict=True)):
            mine = place == index
            found[mine] = array[rows[mine] - (end - len(array))]
        return torch.from_numpy(found).to(self._device)

    def _all(self, block: int = 2048) -> Tensor:
        parts = (a[start : start + block] for a in self._arrays for start in range(0, len(a), block))
        first = torch.from_numpy(np.array(self._arrays[0][:0]))
        held = torch.empty((int(self._ends[-1]), *first.shape[1:]), dtype=first.dtype, device=self._device)
        filled = 0
        for part in parts:
            held[filled : filled + len(part)] = torch.from_numpy(np.array(part))  # a copy, since maps are read-only
            filled += len(part)
        return held

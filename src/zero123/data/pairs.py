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

    def batch(self, step: int, size: int) -> PairBatch:
        """The pairs of a step; input and target are two different views, but for the share `same`."""
        numbers = np.random.default_rng([self._seed, step])
        group = math.gcd(size, self._targets)
        rows = [row for _ in range(size // group) for row in self._rows(numbers, group)]
        photo, picture, latent, source, target = (np.stack(column) for column in zip(*rows, strict=True))
        from_pose, to_pose = (OrbitPose(*torch.from_numpy(p).unbind(-1)) for p in (source, target))
        return PairBatch(
            photo=torch.from_numpy(photo).float() / 255,
            latent=torch.from_numpy(latent).float(),
            relative=to_pose.relative_to(from_pose),
            source=from_pose,
            picture=torch.from_numpy(picture).float() / 255 if self._pictures else None,
            group=group,
        )

    def _rows(self, numbers: np.random.Generator, group: int) -> list[tuple[NDArray, ...]]:
        """`group` pairs with one input: its picture, the target's picture and latents, and both poses."""
        cache = self._caches[numbers.choice(len(self._caches), p=self._share)]
        item = numbers.integers(len(cache.first) - 1)
        start, end = cache.first[item], cache.first[item + 1]
        source, targets = self._chosen(cache.poses[start:end], group, numbers)
        mirrored = int(self._mirror and numbers.random() < 0.5)
        sign = np.array([1 - 2 * mirrored, 1, 1], np.float32)  # a mirror turns counter-clockwise into clockwise

        def picture(row: int) -> NDArray:
            return cache.images[row][..., ::-1] if mirrored else cache.images[row]

        seen, pose = picture(start + source), cache.poses[start + source] * sign
        return [
            (
                seen,
                picture(start + target) if self._pictures else seen[:, :0],
                cache.latents[start + target, mirrored],
                pose,
                cache.poses[start + target] * sign,
            )
            for target in targets
        ]

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

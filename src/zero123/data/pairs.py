"""Training pairs from cached views: two views of one object, the same pairs for the same seed and step."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zero123.data.arrays import GrowingArray
from zero123.data.broken import SHARE, BrokenItems
from zero123.data.formats.detect import open_source
from zero123.data.pictures import Edges, OpaqueNotice, training_pictures
from zero123.data.sources import ABOUT, ObjectSource, check_made_of, identity
from zero123.data.view_set import ViewSetError
from zero123.files import atomic_path
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose, RelativePose

_ARRAYS = ("images", "latents", "poses", "first")


@dataclass(frozen=True)
class CacheSettings:
    """How views become arrays.

    Attributes:
        size: side of the pictures, pixels; None keeps the views'.
        edges: of objects on white.
        share: of broken objects, above which nothing is built.
        first_views: only so many views of each object; None for all.
        codec: what tells the autoencoder from others, for `open_for`; "" tells nothing.
    """

    size: int | None = None
    edges: Edges = "blended"
    share: float = SHARE
    first_views: int | None = None
    codec: str = ""

    def about(self, source: ObjectSource) -> dict[str, Any]:
        """What decides what is in a cache of these views, for JSON."""
        own = {"size": self.size, "edges": self.edges, "first_views": self.first_views, "codec": self.codec}
        return {**own, **identity(source)}


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
    def open_for(cls, views: str | Path, folder: str | Path, settings: CacheSettings) -> ViewCache:
        """Map the arrays of a folder that `build` filled with these views in this way.

        Raises:
            ViewSetError: they are others, or made otherwise; in one line that says what differs.
        """
        cache, now = cls.open(folder), settings.about(open_source(views, "training"))
        if (Path(folder) / ABOUT).is_file():
            check_made_of(Path(folder), now)
            return cache
        size = cache.images.shape[-1]  # all that can be told of a cache of version 0.1.0
        if settings.size not in (None, size):
            raise ViewSetError(f"{folder}: holds pictures of {size} pixels, not {settings.size}; remove it")
        return cache

    @classmethod
    def build(
        cls,
        views: str | Path,
        folder: str | Path,
        encode: Callable[[Tensor], Tensor],
        settings: CacheSettings | None = None,
    ) -> ViewCache:
        """Read every object for training below `views`, of any format, and write arrays to `folder`.

        Objects that are broken, have one view, or differ in size from the first are skipped; `skipped.json` beside the
        arrays names them.

        Args:
            views: folder that `open_source` knows.
            folder: receives the arrays; one cache is held in memory one object at a time.
            encode: pictures (B, 3, H, W) in [0, 1] to latents (B, C, h, w).
            settings: size, edges, and how much may be broken.

        Raises:
            ViewSetError: there are no objects, or too many are broken.
        """
        settings = settings or CacheSettings()
        source = open_source(views, "training")
        broken, notice = BrokenItems(len(source.names), settings.share), OpaqueNotice()
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        about = settings.about(source)
        (folder / "first.npy").unlink(missing_ok=True)  # written last: its presence says that the others are whole
        first, shape = [0], None
        with ExitStack() as stack:
            files = {n: stack.enter_context(GrowingArray(folder / f"{n}.npy")) for n in ("images", "latents", "poses")}
            for index, name in enumerate(source.names):
                try:
                    chosen = settings.first_views and range(min(source.views(index), settings.first_views))
                    view_set = source.load(index, chosen or None)
                    notice.look(view_set, str(views))
                    pictures = training_pictures(view_set, settings.size, settings.edges)
                    _check_use(pictures, shape, name)
                except ViewSetError as error:
                    broken.add(name, str(error))
                    continue
                shape = shape or (name, tuple(pictures.shape[1:]))
                for key, rows in _encoded(view_set.camera, pictures, encode).items():
                    files[key].append(rows)
                first.append(first[-1] + len(view_set))
        if len(first) == 1:
            raise ViewSetError(f"{views}: none of its objects can be used; {broken.line()}")
        with atomic_path(folder / "skipped.json") as temporary:
            temporary.write_text(json.dumps({"objects": broken.total, "skipped": dict(broken.reasons)}, indent=1))
        with atomic_path(folder / ABOUT) as temporary:
            temporary.write_text(json.dumps(about, indent=1) + "\n")
        with atomic_path(folder / "first.npy") as temporary:
            np.save(temporary, np.asarray(first, np.int64))
        return cls.open(folder)


def _check_use(pictures: Tensor, first: tuple[str, tuple[int, ...]] | None, name: str) -> None:
    if len(pictures) < 2:
        raise ViewSetError(f"{name}: holds one view; a pair needs two")
    if first is not None and tuple(pictures.shape[1:]) != first[1]:
        raise ViewSetError(f"{name}: differs in size from {first[0]}; render all objects at one size")


def _encoded(camera: Camera, pictures: Tensor, encode: Callable[[Tensor], Tensor]) -> dict[str, NDArray]:
    """The rows of one object's views, by the array they belong to."""
    with torch.no_grad():
        both = torch.stack((encode(pictures), encode(pictures.flip(-1))), dim=1)
    return {
        "images": (pictures * 255).round().to(torch.uint8).numpy(),
        "latents": both.to(torch.float16).cpu().numpy(),
        "poses": pose_rows(camera),
    }


def pose_rows(camera: Camera) -> NDArray[np.float32]:
    """Azimuth, elevation (radians) and radius of cameras, (V, 3)."""
    pose = camera.orbit()
    return torch.stack((pose.azimuth, pose.elevation, pose.radius), dim=-1).float().numpy()


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
    """

    photo: Tensor
    latent: Tensor
    relative: RelativePose
    source: OrbitPose
    precomputed: Precomputed = field(default_factory=Precomputed)


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

"""Training pairs straight from pictures on disk: any format, no cache, each object once an epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zero123.data.broken import SHARE, BrokenItems
from zero123.data.draws import ObjectDraws
from zero123.data.pairs import PairBatch
from zero123.data.pictures import Edges, OpaqueNotice, training_pictures
from zero123.data.sources import ObjectSource
from zero123.data.view_cache import pose_rows
from zero123.data.view_files import ViewLevels
from zero123.data.view_set import ViewSetError
from zero123.geometry.orbit import OrbitPose


@dataclass(frozen=True)
class PairSettings:
    """How pairs are drawn. The original's: edges "original", `first_views` 4 in its released settings, no mirror.

    Attributes:
        size: side of the pictures, pixels.
        edges: of objects on white.
        mirror: half of the pairs are seen in a mirror, which doubles the data for nothing.
        first_views: only so many views of each object are used; None for all.
        targets: targets in a row that share one input; must divide the batch.
        share: of broken objects, above which the run stops.
        seed: decides everything together with the step.
    """

    size: int = 256
    edges: Edges = "blended"
    mirror: bool = False
    first_views: int | None = None
    targets: int = 1
    share: float = SHARE
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("size", 1), ("first_views", 2), ("targets", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")


@dataclass(frozen=True)
class PictureRows:
    """Pictures of one input and its targets.

    Attributes:
        pictures: targets first, then the input, as the original draws them; (targets + 1, 3, size, size) in [0, 1].
        poses: azimuth, elevation (radians) and radius, (targets + 1, 3).
    """

    pictures: Tensor
    poses: Tensor


class SourcePairs:
    """Draws pairs from sources of pictures; stateless, so that a resumed run goes on exactly.

    Args:
        sources: where objects are.
        encode: target pictures (B, 3, size, size) in [0, 1] and a generator to latents (B, C, h, w); the generator
            belongs to the step, so that latents drawn from a posterior are the same after a resume.
        settings: how pairs are drawn.
        weights: one per source; None takes each object once an epoch. See `ObjectDraws`.
        threads: that decode the pictures of a batch side by side; 0 for none but the caller's.
    """

    def __init__(
        self,
        sources: Sequence[ObjectSource],
        encode: Callable[[Tensor, torch.Generator], Tensor],
        settings: PairSettings | None = None,
        weights: Sequence[float] | None = None,
        threads: int = 0,
    ) -> None:
        self.settings = settings or PairSettings()
        self._encode = encode
        self._draws: ObjectDraws[ObjectSource] = ObjectDraws(sources, weights, self.settings.seed, self.settings.share)
        self._notice = OpaqueNotice()
        self._pool = ThreadPoolExecutor(threads) if threads else None

    @property
    def broken(self) -> BrokenItems:
        """Objects skipped so far by this process."""
        return self._draws.broken

    def batch(self, step: int, size: int) -> PairBatch:
        """The pairs of a step, `size` of them; steps share no pair until all objects were seen."""
        return collate(
            self._rows(step, size), self._encode, torch.Generator().manual_seed(self.settings.seed * 1_000_003 + step)
        )

    def _rows(self, step: int, size: int) -> list[PictureRows]:
        if size % self.settings.targets:
            raise ValueError(f"size must be a multiple of targets, got {size} and {self.settings.targets}")
        groups = size // self.settings.targets
        numbers = range(step * groups, (step + 1) * groups)
        return list(map(self._row, numbers) if self._pool is None else self._pool.map(self._row, numbers))

    def _row(self, number: int) -> PictureRows:
        return self._draws.take(number, self._read)

    def _read(self, source: ObjectSource, index: int, numbers: np.random.Generator) -> PictureRows:
        chosen = choose_views(source.views(index), numbers, self.settings)
        views = source.load(index, chosen)
        self._notice.look(views, str(source.root))
        return picture_rows(views, numbers, self.settings)


def choose_views(count: int, numbers: np.random.Generator, settings: PairSettings) -> list[int]:
    """Distinct views of an object that has `count`: targets first, then the input (the original's `ObjaverseData`).

    Raises:
        ViewSetError: it has too few.
    """
    usable, wanted = min(count, settings.first_views or count), settings.targets + 1
    if usable < wanted:
        raise ViewSetError(f"has {usable} views to draw from, {wanted} are needed")
    return [int(view) for view in numbers.choice(usable, wanted, replace=False)]


def picture_rows(views: ViewLevels, numbers: np.random.Generator, settings: PairSettings) -> PictureRows:
    """Views already chosen as training sees them, in a mirror where the numbers say so."""
    pictures = training_pictures(views, settings.size, settings.edges)
    poses = torch.from_numpy(pose_rows(views.camera))
    if settings.mirror and numbers.random() < 0.5:
        pictures = pictures.flip(-1)
        poses = poses * torch.tensor([-1.0, 1.0, 1.0])  # a mirror turns counter-clockwise into clockwise
    return PictureRows(pictures, poses)


def collate(
    rows: Sequence[PictureRows], encode: Callable[[Tensor, torch.Generator], Tensor], generator: torch.Generator
) -> PairBatch:
    """Rows to a batch; the targets are encoded together."""
    pictures, poses = torch.stack([row.pictures for row in rows]), torch.stack([row.poses for row in rows])
    targets = pictures.shape[1] - 1
    photo = pictures[:, -1:].expand(-1, targets, -1, -1, -1).flatten(0, 1)
    source = OrbitPose(*poses[:, -1:].expand(-1, targets, -1).flatten(0, 1).unbind(-1))
    target = OrbitPose(*poses[:, :-1].flatten(0, 1).unbind(-1))
    with torch.no_grad():
        latent = encode(pictures[:, :-1].flatten(0, 1), generator)
    return PairBatch(photo.contiguous(), latent.float(), target.relative_to(source), source)

"""Latents and image tokens of views, made once and kept in shards: training then runs neither encoder."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zero123.data.broken import BrokenItems
from zero123.data.draws import ObjectDraws
from zero123.data.pairs import PairBatch, Precomputed
from zero123.data.pictures import Edges, training_pictures
from zero123.data.shards.index import INDEX, ShardIndex
from zero123.data.shards.reader import ShardedObjects
from zero123.data.shards.writer import ShardSettings, ShardWork, write_shards
from zero123.data.source_pairs import PairSettings, choose_views
from zero123.data.sources import ObjectSource, Part
from zero123.data.view_cache import pose_rows
from zero123.data.view_set import ViewSetError
from zero123.geometry.orbit import OrbitPose
from zero123.models.view_model import ViewModel


@dataclass(frozen=True)
class EncodeSettings:
    """What is stored of each view.

    Attributes:
        tokens: the image encoder's tokens; for models whose image encoder is not trained. Without them the pictures
            are stored, in 8 bits, since the encoder has to look at them.
        mirror: all of that for the mirror image too, so that training can mirror.
        edges: of objects on white.
        batch: views that pass the encoders together.
    """

    tokens: bool = True
    mirror: bool = False
    edges: Edges = "blended"
    batch: int = 16


def encode_to_shards(
    source: ObjectSource,
    model: ViewModel,
    out: Path,
    settings: EncodeSettings | None = None,
    shards: ShardSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ShardIndex, BrokenItems]:
    """Write shards of latents; resumable and skipping as `write_shards`.

    Of the autoencoder's posterior the mode is kept, as float16; the original draws a new sample at every step.

    Raises:
        ViewSetError: too many objects are broken.
        OSError: the folder cannot be written.
    """
    settings = settings or EncodeSettings()
    factor = 1.0 if model.autoencoder.scale_condition else 1 / model.autoencoder.scale
    about = {
        "model": model.settings.name,
        "autoencoder": fingerprint(model.autoencoder),
        "image_encoder": fingerprint(model.image_encoder) if settings.tokens else None,
        "size": model.settings.image_size,
        "edges": settings.edges,
        "mirror": settings.mirror,
        "tokens": settings.tokens,
        "condition_factor": factor,
    }
    produce = partial(_object_files, model=model, settings=settings)
    return write_shards(ShardWork(source, produce, "encoded", about), out, shards, progress)


@torch.no_grad()
def _object_files(source: ObjectSource, index: int, model: ViewModel, settings: EncodeSettings) -> dict[str, bytes]:
    views = source.load(index)
    pictures = training_pictures(views, model.settings.image_size, settings.edges)
    both = [pictures, pictures.flip(-1)] if settings.mirror else [pictures]
    latents = torch.stack([_in_batches(model.autoencoder.encode, p, model, settings.batch) for p in both], dim=1)
    files = {"latents.npy": _npy(latents.numpy().astype(np.float16)), "poses.npy": _npy(pose_rows(views.camera))}
    if settings.tokens:
        tokens = torch.stack([_in_batches(model.image_encoder, p, model, settings.batch) for p in both], dim=1)
        files["tokens.npy"] = _npy(tokens.numpy().astype(np.float16))
    else:
        levels = (pictures * 255).round().to(torch.uint8).numpy()
        files |= {f"picture-{view:03d}.npy": _npy(levels[view]) for view in range(len(levels))}
    return files


def _in_batches(network: Callable[[Tensor], Tensor], pictures: Tensor, model: ViewModel, size: int) -> Tensor:
    parts = [network(part.to(model.device, model.dtype)) for part in pictures.split(size)]
    return torch.cat(parts).float().cpu()


class EncodedObjects(ShardedObjects):
    """Latents, tokens and poses in shards.

    Args:
        root: the folder.
        part: which of the objects.

    Attributes:
        about: what the encoders were, as `encode_to_shards` notes it.
    """

    def __init__(self, root: Path, part: Part = "training") -> None:
        super().__init__(root, "encoded")
        self.about = self.index.about
        self._first = self.training if part == "validation" else 0
        self.names = self.names[self._first : self.training if part == "training" else None]
        if not self.names:
            raise ViewSetError(f"{root}: none of its objects is for {part}")

    def check_fits(self, model: ViewModel) -> None:
        """Refuse latents or tokens that other networks made.

        Raises:
            ViewSetError: they did.
        """
        for part in ("autoencoder", "image_encoder"):
            if self.about[part] and self.about[part] != fingerprint(getattr(model, part)):
                raise ViewSetError(
                    f"{self.root}: made by another {part} ({self.about['model']}) than the model's; encode again"
                )

    def views(self, index: int) -> int:
        """How many views an object has."""
        return super().views(self._first + index)

    def arrays(self, index: int, pictures: Sequence[int] = ()) -> dict[str, NDArray]:
        """The stored arrays of an object by their names without ending, and the pictures of those views.

        Raises:
            ViewSetError: they are damaged or missing.
        """
        wanted = {"latents.npy", "poses.npy", "tokens.npy", *(f"picture-{view:03d}.npy" for view in pictures)}
        files = self.read(self._first + index, frozenset(wanted))
        try:
            arrays = {name.removesuffix(".npy"): _array(files[name]) for name in wanted & files.keys()}
        except (ValueError, EOFError, OSError) as error:
            raise ViewSetError(f"{self.shard_of(self._first + index)}: {self.names[index]}: damaged array") from error
        for name in ("latents", "poses", *(("tokens",) if self.about["tokens"] else ())):
            if name not in arrays or not np.isfinite(arrays[name]).all():
                raise ViewSetError(
                    f"{self.shard_of(self._first + index)}: {self.names[index]}: {name} missing or not finite"
                )
        return arrays


class EncodedPairs:
    """Draws pairs from encoded shards; stateless, as `SourcePairs`, and each object once an epoch without weights.

    Args:
        objects: where latents are; all of one encoder.
        settings: how pairs are drawn; size and edges are those of the shards.
        weights: one per entry of `objects`, or None.

    Raises:
        ValueError: the shards are of different encoders, or a mirror is asked of shards without one.
    """

    def __init__(
        self,
        objects: Sequence[EncodedObjects],
        settings: PairSettings | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.settings = settings or PairSettings()
        first = objects[0].about
        for other in objects[1:]:
            if {**other.about, "mirror": 0} != {**first, "mirror": 0}:
                raise ValueError(f"{other.root}: encoded otherwise than {objects[0].root}: {other.about}, not {first}")
        if self.settings.mirror and not all(o.about["mirror"] for o in objects):
            raise ValueError(
                "mirror: these shards hold no mirrored views; train with --no-mirror, or encode with --mirror"
            )
        self._factor = float(first["condition_factor"])
        self._tokens = bool(first["tokens"])
        self._draws: ObjectDraws[EncodedObjects] = ObjectDraws(
            objects, weights, self.settings.seed, self.settings.share
        )

    @property
    def broken(self) -> BrokenItems:
        """Objects skipped so far by this process."""
        return self._draws.broken

    def batch(self, step: int, size: int) -> PairBatch:
        """The pairs of a step, `size` of them; what the encoders would say is in `precomputed`."""
        targets = self.settings.targets
        if size % targets:
            raise ValueError(f"size must be a multiple of targets, got {size} and {targets}")
        groups = size // targets
        rows = [self._draws.take(number, self._read) for number in range(step * groups, (step + 1) * groups)]
        column = {key: torch.from_numpy(np.stack([row[key] for row in rows])).float() for key in rows[0]}
        poses, latents = column["poses"], column["latents"]
        source = OrbitPose(*_repeated(poses[:, -1], targets).unbind(-1))
        target = OrbitPose(*poses[:, :-1].flatten(0, 1).unbind(-1))
        photo = _repeated(column["photo"] / 255, targets) if "photo" in column else torch.zeros(size, 3, 0, 0)
        tokens = _repeated(column["tokens"], targets) if self._tokens else None
        known = Precomputed(tokens, _repeated(latents[:, -1], targets) * self._factor)
        return PairBatch(photo, latents[:, :-1].flatten(0, 1), target.relative_to(source), source, known)

    def _read(self, objects: EncodedObjects, index: int, numbers: np.random.Generator) -> dict[str, NDArray]:
        chosen = choose_views(objects.views(index), numbers, self.settings)
        mirrored = int(self.settings.mirror and numbers.random() < 0.5)
        arrays = objects.arrays(index, () if self._tokens else chosen[-1:])
        sign = np.array([1 - 2 * mirrored, 1, 1], np.float32)
        row = {"poses": arrays["poses"][chosen] * sign, "latents": arrays["latents"][chosen, mirrored]}
        if self._tokens:
            return {**row, "tokens": arrays["tokens"][chosen[-1], mirrored]}
        photo = arrays.get(f"picture-{chosen[-1]:03d}")
        if photo is None:
            raise ViewSetError(f"{objects.names[index]}: holds neither tokens nor the picture of view {chosen[-1]}")
        return {**row, "photo": photo[..., ::-1] if mirrored else photo}


@torch.no_grad()
def with_photos(batch: PairBatch, model: ViewModel) -> PairBatch:
    """The batch as it is if it has input pictures; else with those that its latents decode to, for people to see."""
    if batch.photo.numel() or batch.precomputed.latent is None:
        return batch
    factor = 1.0 if model.autoencoder.scale_condition else model.autoencoder.scale
    latent = batch.precomputed.latent.to(model.device, model.dtype) * factor
    return replace(batch, photo=model.autoencoder.decode(latent).clamp(0, 1).cpu())


def holds_encoded(folder: Path) -> bool:
    """Whether a folder holds shards that `encode_to_shards` wrote."""
    return (folder / INDEX).is_file() and ShardIndex.load(folder).kind == "encoded"


def encoded_pairs(
    folders: Sequence[Path],
    model: ViewModel,
    settings: PairSettings,
    weights: Sequence[float] | None = None,
    part: Part = "training",
) -> EncodedPairs:
    """Pairs of encoded shards that belong to a model.

    Raises:
        ViewSetError: they are of other encoders, or other data is among them.
    """
    plain = [folder for folder in folders if not holds_encoded(folder)]
    if plain:
        raise ViewSetError(f"{plain[0]}: not encoded, as the other folders are; encode it too (`zero123 data encode`)")
    objects = [EncodedObjects(folder, part) for folder in folders]
    for one in objects:
        one.check_fits(model)
    return EncodedPairs(objects, settings, weights)


def fingerprint(module: nn.Module) -> str:
    """A hash of a network's weights, whatever their precision: each in float16, so that bfloat16 weights differ."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().to(torch.float16).contiguous().numpy().data)
    return digest.hexdigest()[:16]


def _repeated(rows: Tensor, targets: int) -> Tensor:
    return rows.repeat_interleave(targets, dim=0)


def _npy(array: NDArray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _array(data: bytes) -> NDArray:
    array: NDArray = np.load(io.BytesIO(data), allow_pickle=False)
    return array

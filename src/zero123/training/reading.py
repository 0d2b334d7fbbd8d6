"""Which views a run learns from, and how they are read: settings, and the pairs they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from zero123.data.broken import SHARE
from zero123.data.encoded import encoded_pairs, fingerprint, holds_encoded
from zero123.data.formats.detect import open_source
from zero123.data.pairs import Pairs
from zero123.data.shards.index import INDEX
from zero123.data.shards.stream import BUFFER, StreamedPairs
from zero123.data.source_pairs import PairSettings, SourcePairs
from zero123.data.sources import Part
from zero123.data.view_cache import CacheSettings, ViewCache
from zero123.data.view_set import ViewSetError
from zero123.models.view_model import ViewModel

Reading = Literal["random", "stream"]


@dataclass(frozen=True)
class ReadingSettings:
    """How views are read.

    Attributes:
        reading: "random" seeks each object, in any format; "stream" reads tar shards from front to end, each by one
            process an epoch, for disks that seek slowly and for mounted object stores. All bytes of an object are then
            read, also of views that are not drawn.
        buffer: with "stream", pairs each process holds back, from which the next is drawn; about 0.3 MB each at 512
            pixels.
        first_views: only so many views of each object are used; 0 for all. The original's configuration has 4 of 12.
        broken_share: the run stops, with their names, when more than this share of the objects is broken.
        threads: that decode pictures side by side; 0 for none but the one that makes batches.
    """

    reading: Reading = "random"
    buffer: int = BUFFER
    first_views: int = 0
    broken_share: float = SHARE
    threads: int = 4

    def __post_init__(self) -> None:
        if self.reading not in get_args(Reading):
            raise ValueError(f"reading must be one of {', '.join(get_args(Reading))}, got {self.reading!r}")
        if self.buffer < 1 or self.threads < 0:
            raise ValueError(f"buffer must be at least 1 and threads at least 0, got {self.buffer} and {self.threads}")
        if self.first_views < 0 or self.first_views == 1:
            raise ValueError(f"first_views must be at least 2, or 0 for all views, got {self.first_views}")
        if not 0 <= self.broken_share <= 1:
            raise ValueError(f"broken_share must be in 0 to 1, got {self.broken_share}")


def read_pairs(
    folders: Sequence[Path],
    weights: Sequence[float],
    model: ViewModel,
    settings: PairSettings,
    how: ReadingSettings | None = None,
    part: Part = "training",
) -> Pairs:
    """Pairs from pictures, whose latents are drawn from the autoencoder's posterior, as the original's are.

    Of folders that `zero123 data encode` wrote, the stored latents and tokens.

    Args:
        folders: of views, in any format.
        weights: how often each is drawn; if all are alike, each object comes once an epoch.
        model: whose autoencoder encodes.
        settings: how pairs are drawn.
        how: they are read.
        part: which of the objects; those for validation are always read at random.

    Raises:
        ValueError: a folder or weight cannot be used; in one line.
    """
    how = how or ReadingSettings()
    shares = weights if len(set(weights)) > 1 else None
    streamed = how.reading == "stream" and part == "training"
    if streamed:
        _check_stream(folders, shares)
    elif any(holds_encoded(folder) for folder in folders):
        return encoded_pairs(folders, model, settings, shares, part)
    encode = _encoder(model)
    if streamed:
        return StreamedPairs(folders, encode, settings, how.buffer, how.threads)
    return SourcePairs([open_source(folder, part) for folder in folders], encode, settings, shares, how.threads)


def _check_stream(folders: Sequence[Path], weights: Sequence[float] | None) -> None:
    for folder in folders:
        if not (folder / INDEX).is_file():
            raise ViewSetError(
                f"{folder}: reading=stream is for tar shards; make them with `zero123 data shard`, or leave it out"
            )
    if weights is not None:
        raise ValueError("reading=stream takes every object once an epoch: give folders without weights")


def _encoder(model: ViewModel) -> Callable[[Tensor, torch.Generator], Tensor]:
    codec = model.autoencoder

    def encode(pictures: Tensor, generator: torch.Generator) -> Tensor:
        return codec.encode(pictures.to(model.device, model.dtype), generator).float().cpu()

    return encode


def cache_places(folders: Sequence[Path], cache: Path) -> list[tuple[Path, Path]]:
    """Each folder of views and where in `cache` they are encoded to; folders of one name get places of their own."""
    names = [folder.name for folder in folders]
    return [
        (folder, cache / (folder.name if names.index(folder.name) == place else f"{folder.name}-{place}"))
        for place, folder in enumerate(folders)
    ]


def cache_settings(model: ViewModel, edges: str, how: ReadingSettings) -> CacheSettings:
    """How views are cached for a model."""
    return CacheSettings(
        model.settings.image_size,
        edges,  # type: ignore[arg-type]  # checked where they are drawn
        how.broken_share,
        how.first_views or None,
        fingerprint(model.autoencoder),
    )


def fill_caches(places: Sequence[tuple[Path, Path]], model: ViewModel, settings: CacheSettings) -> Iterator[Path]:
    """Encode the views that are not in their place yet; each folder is given before it is begun.

    Processes that call this together wait for the first, by a lock that dies with it: torch's own way of waiting gives
    up after ten minutes.

    Raises:
        ViewSetError: views cannot be used.
    """
    from filelock import FileLock

    for folder, place in places:
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / ".lock"):
            if not (place / "first.npy").is_file():
                yield folder
                with torch.no_grad():
                    ViewCache.build(folder, place, model.autoencoder.encode, settings)


def opened_caches(places: Sequence[tuple[Path, Path]], settings: CacheSettings) -> list[ViewCache]:
    """The caches in their places.

    Raises:
        ViewSetError: one holds something else; in one line that says what.
    """
    return [ViewCache.open_for(folder, place, settings) for folder, place in places]

"""What a training run starts from, as the person named it: settings, model and pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from zero123.cli.console import say

if TYPE_CHECKING:
    from zero123.cli.train_options import PairOptions, SettingsOptions
    from zero123.data.pairs import PairBatch, Pairs
    from zero123.data.sources import Part
    from zero123.models.view_model import ViewModel
    from zero123.training.settings import TrainSettings
    from zero123.training.show import SampleSheet
    from zero123.training.validation import Validation


def start_model(how: SettingsOptions, source: str | None, codec: Path | None, seed: int) -> ViewModel:
    """The model to train.

    Args:
        how: its preset, and what is changed of the model's settings.
        source: weights to start from; None starts an edition of `mini` afresh.
        codec: folder of the autoencoder that a fresh `mini` is built around.
        seed: of fresh weights.

    Raises:
        ValueError: something needed is not given, or cannot be used; in one line.
    """
    import torch

    from zero123.models.patch_codec import PatchCodec
    from zero123.models.pretrained import load_start, reconfigured
    from zero123.models.weights import load_component
    from zero123.presets import MINI_EDITIONS, mini_model
    from zero123.training.settings import changed

    torch.manual_seed(seed)
    if source is not None:
        model = load_start(source)
    elif how.preset not in MINI_EDITIONS:
        raise ValueError(
            f"the preset {how.preset} starts from weights: give --finetune-from sd-image-conditioned-v2, or any model"
        )
    elif codec is None:
        raise ValueError("mini is built around a codec: give --codec FOLDER (from `zero123 codec`), or --finetune-from")
    else:
        model = mini_model(load_component(codec, PatchCodec), how.preset)
    changes = how.model_changes
    return reconfigured(model, changed(model.settings, changes)) if changes else model


@dataclass(frozen=True)
class Chosen:
    """Which pairs a run learns from.

    Attributes:
        views: FOLDER or FOLDER=WEIGHT, each.
        near_deg: see `PairSampler`.
        same: likewise.
        targets: likewise.
        mirror: half of the pairs are seen in a mirror.
        edges: of objects on white, see `training_pictures`.
    """

    views: list[str]
    near_deg: float | None
    same: float
    targets: int
    mirror: bool
    edges: str

    @classmethod
    def of(cls, views: list[str], options: PairOptions, preset: str) -> Chosen:
        """The options, with the preset's mirror and edges where they are open.

        Raises:
            ValueError: a weight is not a number over 0.
        """
        original = preset == "original"
        mirror = not original if options.mirror is None else options.mirror
        edges = options.edges or ("original" if original else "blended")
        chosen = cls(views, options.near_deg, options.same, options.targets, mirror, edges)
        chosen.folders()
        return chosen

    def folders(self) -> list[tuple[Path, float]]:
        """Each folder and its weight.

        Raises:
            ValueError: a weight is not a number over 0.
        """
        return [weighted(text) for text in self.views]

    def encoded(self) -> bool:
        """Whether any folder was written by `zero123 data encode`."""
        from zero123.data.encoded import holds_encoded

        return any(holds_encoded(folder) for folder, _ in self.folders())


def cache_of(options: Chosen, settings: TrainSettings, asked: Path | None, usual: Path | None) -> Path | None:
    """The folder views are encoded into before the start: the one `asked` for, or the `usual` one where it can be.

    Raises:
        ValueError: a folder cannot be used, or options do not go together; in one line.
    """
    from zero123.data.formats.detect import open_source

    fitting = settings.views == 1 and settings.data.reading == "random" and not options.encoded()
    cache = asked or (usual if fitting else None)
    if asked is not None and settings.views > 1:
        raise ValueError("sets of views are drawn from pictures, not from a cache; leave out --cache")
    if asked is not None and settings.data.reading == "stream":
        raise ValueError("reading=stream reads shards at every step, not a cache; leave out one of the two")
    if cache is not None:
        for folder, _ in options.folders():
            open_source(folder, "training")
    return cache


def cached_pairs(options: Chosen, model: ViewModel, settings: TrainSettings, cache: Path) -> Pairs:
    """Pairs of views that are encoded once, on first use, into the folder `cache`: for small models.

    A GPU makes its own batches.

    Raises:
        ValueError: a folder or weight cannot be used, or options do not go together; in one line.
    """
    from accelerate import PartialState

    from zero123.data.pairs import PairSampler
    from zero123.machine import default_device
    from zero123.training.reading import cache_places, cache_settings, fill_caches, opened_caches

    folders, weights = zip(*options.folders(), strict=True)
    places, own = cache_places(folders, cache), cache_settings(model, options.edges, settings.data)
    for folder in fill_caches(places, model, own):
        say(f"encoding {folder}, once")
    caches = opened_caches(places, own)
    near = None if options.near_deg is None else math.radians(options.near_deg)
    device = PartialState(cpu=default_device() == "cpu").device
    return PairSampler(
        caches,
        weights,
        settings.seed,
        mirror=options.mirror,
        near=near,
        same=options.same,
        targets=options.targets,
        pictures=settings.objective.volume_weight > 0 or not settings.objective.diffusion_weight,
        device=device if device.type == "cuda" else None,
    )


def fresh_pairs(options: Chosen, model: ViewModel, settings: TrainSettings, part: Part = "training") -> Pairs:
    """Pairs read as `settings.data` says, or at random with `part` "validation".

    Raises:
        ValueError: a folder or weight cannot be used, or options do not go together; in one line.
    """
    from zero123.data.source_pairs import PairSettings
    from zero123.training.reading import read_pairs

    if options.near_deg is not None or options.same or options.targets > 1:
        raise ValueError(
            "--near-deg, --same and --targets are for cached pairs; give --cache FOLDER too, or leave them out"
        )
    folders, weights = zip(*options.folders(), strict=True)
    own = PairSettings(
        model.settings.image_size,
        options.edges,  # type: ignore[arg-type]  # checked where they are drawn
        options.mirror and part == "training",
        first_views=settings.data.first_views or None,
        targets=settings.views,
        share=settings.data.broken_share,
        seed=settings.seed,
    )
    return read_pairs(folders, weights, model, own, settings.data, part)


def weighted(text: str) -> tuple[Path, float]:
    """`FOLDER=0.5` to the folder and its weight; 1 where none is given."""
    folder, _, weight = text.partition("=")
    try:
        value = float(weight or 1)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{text}: expected FOLDER, or FOLDER=WEIGHT with a weight over 0")
    return Path(folder), value


def at_random(options: Chosen, model: ViewModel, settings: TrainSettings, sampler: Pairs) -> Pairs:
    """Pairs for looking at a few of them: the sampler, or others where it only gives them in order."""
    if settings.data.reading == "random":
        return sampler
    return fresh_pairs(options, model, replace(settings, data=replace(settings.data, reading="random")))


@dataclass(frozen=True)
class _OnProcessor:
    """Pairs that are drawn somewhere else, to be looked at."""

    pairs: Pairs

    def batch(self, step: int, size: int) -> PairBatch:
        import torch

        from zero123.training.parallel import on_device

        return on_device(self.pairs.batch(step, size), torch.device("cpu"))


def sheet(sampler: Pairs, settings: TrainSettings, original: bool) -> SampleSheet:
    """The pictures that are drawn on the way."""
    from zero123.training.show import SampleSheet

    count = max(settings.sample_count // settings.views, 1) * settings.views
    return SampleSheet(_OnProcessor(sampler), count, settings.sample_scales, settings.sample_steps, original)


def validation(options: Chosen, model: ViewModel, settings: TrainSettings) -> Validation | None:
    """The loss on the objects that are kept for it; None where none is wanted or the data keeps none."""
    from zero123.data.view_set import ViewSetError
    from zero123.training.validation import Validation

    if not settings.validate_every:
        return None
    try:
        pairs = fresh_pairs(replace(options, near_deg=None, same=0.0, targets=1), model, settings, "validation")
    except ViewSetError as error:
        say(f"no validation: {error}")
        return None
    return Validation(pairs, settings.objective, settings.views, settings.seed)


def written(model: ViewModel, settings: TrainSettings, out: Path, half: bool) -> Path:
    """The result of a run in its folder: a LoRA, or the whole model, in half precision if asked for."""
    import torch

    from zero123.models.joint_attention import join_views
    from zero123.models.lora import save_lora
    from zero123.models.pretrained import save_model

    if settings.lora:
        save_lora(model, out / "lora.safetensors")
        return out / "lora.safetensors"
    if settings.views > 1:
        join_views(model, 1)
        model.settings = replace(model.settings, joint=True)
    save_model(model, out / "model", torch.float16 if half else None)
    return out / "model"

"""What a given time of one core buys, by the size of pictures, the shape of latents and the loss of an autoencoder.

    python runs/equal_compute.py pictures 128 256 256-fine --train VIEWS --validation OTHERS -o OUT
    python runs/equal_compute.py latents 8x48 8x16 16x192 4x12 --start mini --train VIEWS --validation OTHERS -o OUT
    python runs/equal_compute.py edges components l2 l1 gradients edges --train VIEWS --validation OTHERS -o OUT

`pictures`: volume and draft of `mini`'s widths from nothing, on pictures of the views' own size; judged at it and at
128². `latents`: a fresh denoiser of the frozen start's drafts for codecs PATCHxCHANNELS of principal components; judged
by the views it gives in one step. `edges`: a convolutional autoencoder of 8x8 pixels to 16 channels; judged by the
object and by its sharp edges alone. Steps are as many as `--seconds` hold, measured first. Places are told. Every
variant leaves OUT/NAME.json; what is there already is not done again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from ablations import judged
from torch import Tensor, nn
from torch.nn import functional as F

from zero123 import presets
from zero123.data.pairs import PairSampler
from zero123.data.view_cache import CacheSettings, ViewCache
from zero123.data.view_set import ViewSet
from zero123.evaluation.metrics import all_metrics
from zero123.geometry.orbit import OrbitPose
from zero123.images.alpha import composite
from zero123.models.autoencoder import Autoencoder
from zero123.models.feature_volume import Projected, outlined
from zero123.models.patch_codec import PatchCodec
from zero123.models.pretrained import load_model
from zero123.models.view_model import ViewModel
from zero123.training.settings import TrainSettings
from zero123.training.trainer import train

TARGETS = 4
SMALL = 128
"""Side at which pictures of all sizes are compared."""

PICTURES = {"128": (128, 8), "256": (256, 16), "256-fine": (256, 8)}
"""Side of the pictures, and half of the pixels a cell of the volume: 32², 32² and 64² cells."""


class AnyShape(ViewModel):
    """A model whose latents need not be half as wide as its volume."""

    def _check_widths(self) -> None:
        pass


def object_views(folder: Path) -> Iterator[ViewSet]:
    """Every object below a folder."""
    yield from (ViewSet.load(one) for one in sorted(folder.iterdir()) if one.is_dir())


def cached(folder: Path, out: Path, size: int, codec: str, encode: Callable[[Tensor], Tensor]) -> ViewCache:
    """The views at a size, their latents by a codec."""
    settings = CacheSettings(size=size, codec=codec)
    where = out / "cache" / f"{size}-{codec}"
    if (where / "first.npy").is_file():
        return ViewCache.open_for(folder, where, settings)
    return ViewCache.build(folder, where, encode, settings)


def trained(model: ViewModel, pairs: PairSampler, settings: TrainSettings, seconds: float) -> dict[str, Any]:
    """Train for about so many seconds of one core; what it took."""
    with tempfile.TemporaryDirectory() as scratch:
        first, each = 4, 12
        times = []
        for count in (first, first + each):
            begun = time.process_time()
            sketch = replace(settings, steps=count, decay=0, learning_rate=1e-12, save_every=10**6)
            train(model, pairs, Path(scratch) / str(count), sketch)
            times.append(time.process_time() - begun)
        step = (times[1] - times[0]) / each
        steps = max(int(seconds / step), 10)
        settings = replace(settings, steps=steps, decay=steps // 3, warmup=min(40, steps // 4), save_every=10**6)
        begun = time.process_time()
        train(model, pairs, Path(scratch) / "run", settings)
    return {"steps": steps, "pairs": steps * settings.batch, "cpu_seconds": round(time.process_time() - begun, 1)}


def of_pictures(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Volume and draft from nothing, at a size of pictures."""
    size, patch_side = PICTURES[name]
    torch.manual_seed(0)
    with patch.dict(presets.MINI_EDITIONS, {name: replace(presets.MINI_EDITIONS["mini"], name=name, image_size=size)}):
        model = presets.mini_model(PatchCodec(patch_side, 48), name)
    blank = lambda pictures: pictures.new_zeros(len(pictures), 1, 1, 1)  # noqa: E731 - no latents are trained on
    cache = cached(given.train, given.out, size, "none", blank)
    pairs = PairSampler([cache], [1.0], 0, near=0.9, same=0.06, targets=TARGETS, pictures=True)
    objective = replace(presets.MINI_TRAINING.objective, diffusion_weight=0.0, source_weight=0.0)
    settings = replace(presets.MINI_TRAINING, optimiser="muon", ema=0.98, sample_every=0, objective=objective)
    took = trained(model, pairs, settings, given.seconds)
    return took | drafts_judged(model.eval(), given.validation, size)


@torch.no_grad()
def drafts_judged(model: ViewModel, views: Path, size: int) -> dict[str, dict[str, float]]:
    """Means over objects of the drafts' scores, at the views' own size and at 128²; view 0 is the input."""
    sums: dict[str, dict[str, float]] = {}
    objects = list(object_views(views))
    for one in objects:
        rgba = one.images
        white, poses = composite(rgba, torch.ones(3)), one.camera.orbit()
        photo = F.interpolate(white[:1], (size, size), mode="area")
        source = OrbitPose(*(t[:1].float() for t in (poses.azimuth, poses.elevation, poses.radius)))
        others = OrbitPose(*(t[1:].float() for t in (poses.azimuth, poses.elevation, poses.radius)))
        same = OrbitPose(*(t.expand(len(white) - 1) for t in (source.azimuth, source.elevation, source.radius)))
        _, seen = model.join_projected(model.look(photo, source), others.relative_to(same))
        assert seen is not None and seen.draft is not None and seen.outline is not None
        drawn = outlined(seen.draft.clamp(0, 1), seen.outline, 0.4)
        for side in {SMALL, white.shape[-1]}:
            shown, truth = at(drawn, side), at(white[1:], side)
            for key, score in all_metrics(shown, truth, at(rgba[1:, 3:], side) > 0.5).items():
                row = sums.setdefault(f"at {side}", {})
                row[key] = row.get(key, 0.0) + float(score.mean()) / len(objects)
    return sums


def at(pictures: Tensor, side: int) -> Tensor:
    """Pictures of another size: means of pixels downwards, cubics upwards."""
    if pictures.shape[-1] >= side:
        return F.interpolate(pictures, (side, side), mode="area")
    return F.interpolate(pictures, (side, side), mode="bicubic").clamp(0, 1)


def of_latents(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """A fresh denoiser of frozen drafts, in latents of another shape."""
    patch_side, channels = map(int, name.split("x"))
    start = load_model(given.start, dtype=torch.float32)
    size = start.settings.image_size
    codec, shown = PatchCodec(patch_side, channels), training_pictures(given.train, size)
    codec.fit(shown * 2 - 1)
    autoencoder = Autoencoder(codec.requires_grad_(False), 1.0, scale_condition=True)
    shrink = patch_side * start.feature_volume.side // size
    low = lambda seen: F.pixel_unshuffle(  # noqa: E731
        torch.cat((seen.opacity, seen.colour - 1, seen.features, seen.seen), dim=1), shrink
    )
    given_channels = 3 * channels + 6 + (5 + start.feature_volume.features) * shrink**2
    config = dict(start.unet.config) | {
        "sample_size": size // patch_side, "in_channels": given_channels, "out_channels": channels,
    }  # fmt: skip
    torch.manual_seed(0)
    with patch.object(Projected, "channels", low):
        model = with_latents(start, config, autoencoder, 1.0)
        pairs = PairSampler([cached(given.train, given.out, size, name, autoencoder.encode)], [1.0], 0, targets=TARGETS)
        model = with_latents(start, config, autoencoder, draft_error(model, pairs))
        objective = replace(presets.MINI_TRAINING.objective, volume_weight=0.0, source_weight=0.0)
        settings = replace(
            presets.MINI_TRAINING, optimiser="muon", ema=0.98, sample_every=0, freeze_encoders=True, objective=objective
        )
        for frozen in (model.feature_volume, model.draft, model.image_encoder):
            frozen.requires_grad_(False)
        took = trained(model, pairs, settings, given.seconds)
        codes = codec.psnr(torch.cat([shown_of(o) for o in object_views(given.validation)]) * 2 - 1)
        error = {"codec_psnr": codes, "draft_error": model.settings.draft_error}
        return took | error | {"scores": judged(model.eval(), given.validation, given.targets, [(1, 1.0)])}


def with_latents(start: ViewModel, unet: dict[str, Any], autoencoder: Autoencoder, error: float) -> ViewModel:
    """The start with other latents and a fresh denoiser of them."""
    fresh = type(start.unet).from_config(unet)
    parts = (fresh, autoencoder, start.image_encoder, start.pose_conditioning, start.place_reader)
    settings = replace(start.settings, draft_error=error)
    return AnyShape(*parts, settings, feature_volume=start.feature_volume, draft=start.draft)


@torch.no_grad()
def draft_error(model: ViewModel, pairs: PairSampler) -> float:
    """Root mean square of what drafts get wrong, in latents."""
    squares = []
    for number in range(8):
        batch = pairs.batch(number, 32)
        every = slice(None, None, batch.group)
        condition = model.join(model.look(batch.photo[every], batch.source[every]), batch.relative)
        assert condition.mean is not None
        squares.append(float((condition.mean - batch.latent).square().mean()))
    return (sum(squares) / len(squares)) ** 0.5


def shown_of(one: ViewSet, every: int = 4) -> Tensor:
    """Some of an object's pictures on white, (N, 3, H, W) in [0, 1]."""
    return composite(one.images[::every], torch.ones(3))


def training_pictures(folder: Path, size: int, count: int = 3000) -> Tensor:
    """Pictures of all objects, (N, 3, size, size) in [0, 1], a few of each."""
    pictures = torch.cat([at(shown_of(one), size) for one in object_views(folder)])
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0))
    return pictures[order[:count]]


def edge_autoencoder() -> nn.Module:
    """A convolutional autoencoder from 8x8 pixels each to 16 channels and back."""
    down: list[nn.Module] = [nn.Conv2d(3, 32, 3, padding=1)]
    for taken, wide in ((32, 64), (64, 128), (128, 128)):
        down += [nn.SiLU(), nn.Conv2d(taken, wide, 4, stride=2, padding=1)]
    up: list[nn.Module] = [nn.SiLU(), nn.Conv2d(128, 16, 1), nn.Conv2d(16, 128, 3, padding=1)]
    for taken, wide in ((128, 128), (128, 64), (64, 32)):
        up += [nn.SiLU(), nn.Conv2d(taken, 4 * wide, 3, padding=1), nn.PixelShuffle(2)]
    return nn.Sequential(*down, *up, nn.SiLU(), nn.Conv2d(32, 3, 3, padding=1))


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbours across and down."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def at_edges(x: Tensor, least: float = 0.25) -> Tensor:
    """Pixels within one of a step of colour of at least so much in some channel, (B, 1, H, W) bool."""
    across, down = (d.abs().amax(1, keepdim=True) > least for d in gradients(x))
    found = (F.pad(across, (0, 1)) | F.pad(down, (0, 0, 0, 1))).float()
    return F.max_pool2d(found, 3, stride=1, padding=1) > 0


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l2": lambda x, truth: (x - truth).square().mean(),
    "l1": lambda x, truth: (x - truth).abs().mean(),
    "gradients": lambda x, truth: (
        (x - truth).abs().mean()
        + sum((a - b).abs().mean() for a, b in zip(gradients(x), gradients(truth), strict=True))
    ),
    "edges": lambda x, truth: ((x - truth).abs() * (1 + 4 * at_edges(truth))).mean(),
}
"""Of a decoded picture and the true one; the last weighs sharp edges five times."""


def of_edges(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """An autoencoder by one loss, or principal components of as many channels."""
    torch.manual_seed(0)
    shown, took = training_pictures(given.train, SMALL), {}
    if name == "components":
        codec = PatchCodec(8, 16)
        codec.fit(shown * 2 - 1)
        coded = lambda x: (codec.decode(codec.encode(x * 2 - 1)) + 1) / 2  # noqa: E731
    else:
        network = edge_autoencoder()
        took = {"steps": fitted(network, shown, LOSSES[name], given.seconds)}
        coded = lambda x: 1 - network(1 - x)  # noqa: E731 - white is nothing
    held_out = torch.cat([at(shown_of(one), SMALL) for one in object_views(given.validation)])
    with torch.no_grad():
        decoded = torch.cat([coded(x) for x in held_out.split(32)]).clamp(0, 1)
    error = (decoded - held_out).square().mean(1, keepdim=True)
    inside = held_out.amin(1, keepdim=True) < 0.98
    dB = lambda mask: float(-10 * error[mask].mean().log10())  # noqa: E731
    return took | {"object": dB(inside), "edges": dB(at_edges(held_out))}


def fitted(network: nn.Module, shown: Tensor, loss: Callable[[Tensor, Tensor], Tensor], seconds: float) -> int:
    """Train for so many seconds of one core, the rate falling by their clock; steps done."""
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0)
    numbers, begun, steps = torch.Generator().manual_seed(0), time.process_time(), 0
    while (gone := (time.process_time() - begun) / seconds) < 1:
        optimiser.param_groups[0]["lr"] = 1e-3 * min(1.0, 2 * (1 - gone))
        truth = shown[torch.randint(len(shown), (16,), generator=numbers)]
        with torch.autocast("cpu", torch.bfloat16):
            decoded = network(1 - truth)
        loss(1 - decoded.float(), truth).backward()
        optimiser.step()
        optimiser.zero_grad()
        steps += 1
    return steps


KINDS = {"pictures": of_pictures, "latents": of_latents, "edges": of_edges}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and judge the variants named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("variants", nargs="+")
    parser.add_argument("--start", default="mini")
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument(
        "--targets", type=int, default=12, help="views of a validation object that latents are judged by"
    )
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.variants:
        file = given.out / f"{name}.json"
        if not file.is_file():
            result = KINDS[given.kind](name, given)
            file.write_text(json.dumps(result, indent=1))
            print(name, json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

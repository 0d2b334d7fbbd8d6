"""Pairs per second of each reader in one process, against what a training needs; and what encoding beforehand saves.

    python benchmarks/loading_data.py FOLDER [--objects 64] [--seconds 5] [--encoders]

FOLDER receives renders of procedural objects at 512x512, 12 views each, as `views_release` has them (a few are
rendered, their files are linked under as many names as asked for), and what is made of them: shards, shards of latents,
a cache.
Files lie in the page cache, so that the processor is measured and not the disk. --encoders also measures the released
weights' autoencoder, image encoder and UNet (random weights of their shapes) at 256x256: CPU seconds per pair that
shards of latents save at every step, beside those of the forward and backward pass that stay; it takes 10 GB and a
minute.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from zero123.data.encoded import EncodedObjects, EncodedPairs
from zero123.data.formats.detect import open_source
from zero123.data.pairs import PairSampler
from zero123.data.shards.stream import PairStream, StreamSettings
from zero123.data.shards.writer import ShardSettings, ShardWork, shard_views, write_shards
from zero123.data.source_pairs import PairSettings, SourcePairs
from zero123.data.view_cache import CacheSettings, ViewCache
from zero123.data.view_set import ViewSet

RENDERED, VIEWS, SIZE, BATCH = 4, 12, 512, 16
NEEDED = (
    (
        "original run: 1536 pairs a step, 105,000 steps in 7 days on 8 A100 (Liu et al., section 4)",
        105_000 * 1536 / 7 / 86400 / 8,
    ),
    ("860M UNet at 256² and 40 % of an H100's bf16 peak: 3 times 0.176 TFLOP a pair", 0.4 * 989 / (3 * 0.176)),
)


def render(folder: Path) -> None:
    """Views of a few procedural objects, as `NNN.png` and `NNN.npy`."""
    from zero123.data.procedural.generate import generate
    from zero123.data.render.embree import EmbreeRenderer
    from zero123.geometry.camera import Camera
    from zero123.geometry.paths import random_views

    for number in range(RENDERED):
        camera = Camera.from_orbit(random_views(VIEWS, torch.Generator().manual_seed(number)), hw=(SIZE, SIZE))
        renderer = EmbreeRenderer([generate(number)])
        images = torch.stack([renderer.render(camera[view]) for view in range(VIEWS)])
        ViewSet(images, camera).save(folder / f"{number:05d}")


def make(folder: Path, objects: int) -> None:
    """Everything that is read, unless it is there."""
    views = folder / "views"
    if not (views / "valid_paths.json").is_file():
        render(folder / "rendered")
        for number in range(objects):
            (views / f"{number:05d}").mkdir(parents=True, exist_ok=True)
            for path in (folder / "rendered" / f"{number % RENDERED:05d}").iterdir():
                os.link(path, views / f"{number:05d}" / path.name)
        names = [f"{number:05d}" for number in range(objects)]
        (views / "valid_paths.json").write_text(json.dumps(names))
    source = open_source(views)
    settings = ShardSettings(objects=16, verify=False)
    shard_views(source, folder / "shards", settings)
    write_shards(ShardWork(source, latents, "encoded", ABOUT), folder / "latents", settings)
    if not (folder / "cache" / "first.npy").is_file():
        few = folder / "rendered"
        ViewCache.build(few, folder / "cache", lambda p: torch.zeros(len(p), 4, 32, 32), CacheSettings(256))


ABOUT = {
    "model": "shapes of the released weights",
    "autoencoder": None,
    "image_encoder": None,
    "size": 256,
    "edges": "blended",
    "mirror": False,
    "tokens": True,
    "condition_factor": 1 / 0.18215,
}


def latents(source: object, index: int) -> dict[str, bytes]:
    """Random numbers of the released weights' shapes."""
    import io

    numbers, files = np.random.default_rng(index), {}
    for name, shape in (("latents", (VIEWS, 1, 4, 32, 32)), ("tokens", (VIEWS, 1, 1, 768)), ("poses", (VIEWS, 3))):
        file = io.BytesIO()
        np.save(file, numbers.standard_normal(shape).astype(np.float32 if name == "poses" else np.float16))
        files[f"{name}.npy"] = file.getvalue()
    return files


def readers(folder: Path) -> Iterator[tuple[str, Callable[[int], object]]]:
    """Name and batch-of-a-step of every reader."""

    def keep(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return pictures[:, :, ::8, ::8]

    def plain(kind: str, edges: str) -> Callable[[int], object]:
        settings = PairSettings(256, edges)  # type: ignore[arg-type]
        return partial(_batch, SourcePairs([open_source(folder / kind, "training")], keep, settings))

    yield "folders of 512² PNG, edges blended", plain("views", "blended")
    yield "folders of 512² PNG, the original's edges", plain("views", "original")
    yield "shards at random", plain("shards", "blended")
    stream = iter(PairStream(folder / "shards", BATCH, PairSettings(256), StreamSettings(buffer=64), keep))
    yield "shards front to end", lambda step: next(stream)
    yield "cache of 256² pictures and latents", partial(_batch, PairSampler([ViewCache.open(folder / "cache")], [1.0]))
    yield "shards of latents and tokens", partial(_batch, EncodedPairs([EncodedObjects(folder / "latents")]))


def _batch(pairs: PairSampler | SourcePairs | EncodedPairs, step: int) -> object:
    return pairs.batch(step, BATCH)


def rate(batch: Callable[[int], object], seconds: float) -> tuple[float, float]:
    """Pairs per second of the clock and of the processor, after a first batch."""
    batch(0)
    steps, begin, processor = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        steps += 1
        batch(steps)
    return (
        steps * BATCH / (time.perf_counter() - begin),
        steps * BATCH / (time.process_time() - processor),
    )


def encoders(pairs: int = 4) -> None:
    """CPU seconds per pair of what a step does with pictures and need not do with latents, and of what it must."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from zero123.models.autoencoder import Autoencoder
    from zero123.models.image_encoder import ImageEncoder

    channels = (128, 256, 512, 512)
    kl = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=channels,
        layers_per_block=2,
        latent_channels=4,
        sample_size=256,
    )
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        projection_dim=768,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=224,
        patch_size=14,
    )
    from torch.utils.flop_counter import FlopCounterMode

    pictures = torch.rand(pairs, 3, 256, 256)
    unet = UNet2DConditionModel(sample_size=32, in_channels=8, cross_attention_dim=768, attention_head_dim=8)

    def learn(given: torch.Tensor) -> None:
        latents, steps = torch.rand(len(given), 8, 32, 32), torch.zeros(len(given), dtype=torch.long)
        unet(latents, steps, torch.rand(len(given), 1, 768)).sample.square().mean().backward()

    print("\n| part, float32 | times a pair | CPU seconds a pair | TFLOP a pair |")
    print("|---|---:|---:|---:|")
    spent = []
    for name, network, times in (
        ("autoencoder", torch.no_grad()(Autoencoder(kl, 0.18215, False).encode), 2),
        ("image encoder", torch.no_grad()(ImageEncoder(CLIPVisionModelWithProjection(vision).eval(), "pooled")), 1),
        ("UNet, forward and backward", learn, 1),
    ):
        with FlopCounterMode(display=False) as counter:
            network(pictures[:1])
        flops = times * counter.get_total_flops() / 1e12
        begin = time.process_time()
        network(pictures)
        spent.append(times * (time.process_time() - begin) / pairs)
        print(f"| {name} | {times} | {spent[-1]:.2f} | {flops:.3f} |")
    print(f"\nlatents and tokens made once save {sum(spent[:2]) / sum(spent):.0%} of the CPU seconds of a step")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--objects", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--encoders", action="store_true", help="measure the full-size encoders too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    make(given.folder, given.objects)
    picture = next((given.folder / "rendered").rglob("*.png")).stat().st_size
    print(f"one process, one thread, batches of {BATCH}; first picture {picture / 1e3:.0f} kB\n")
    print(
        "| reader | pairs/s | pairs per CPU second | " + " | ".join(f"cores for need {k + 1}" for k in range(2)) + " |"
    )
    print("|---|---:|---:|---:|---:|")
    for name, batch in readers(given.folder):
        wall, processor = rate(batch, given.seconds)
        cores = " | ".join(f"{need / processor:.1f}" for _, need in NEEDED)
        print(f"| {name} | {wall:.0f} | {processor:.0f} | {cores} |")
    for number, (what, need) in enumerate(NEEDED, start=1):
        print(f"\nneed {number}, pairs per second and GPU: {need:.0f}; {what}")
    if given.encoders:
        encoders()


if __name__ == "__main__":
    main()

"""The verbs that make and judge models: codec, train, evaluate."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zero123.cli.console import bar, say
from zero123.cli.options import RunOptions, SamplingOptions, grouped

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zero123.data.pairs import ViewCache
    from zero123.models.view_model import ViewModel

Folder = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    for verb in (codec, train, evaluate):
        app.command()(grouped(verb))


def codec(
    views: Annotated[list[Path], typer.Argument(help="Folders of view sets.")],
    out: Folder,
    steps: Annotated[
        int, typer.Option(min=0, help="Steps of the residual decoder; 0 for the linear codec alone.")
    ] = 2000,
    continue_from: Annotated[
        Path | None, typer.Option(help="A codec folder; its basis, and so every latent, is kept.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same codec.")] = 0,
) -> None:
    """Fit and train the autoencoder of a small model, written to OUT/vae."""
    import numpy as np
    import torch

    from zero123.models.patch_codec import PatchCodec
    from zero123.models.weights import load_component, save_component
    from zero123.presets import mini_codec
    from zero123.training.codec import CodecSettings, codec_errors, train_codec

    torch.manual_seed(seed)
    images = np.concatenate([_all_images(folder) for folder in views])
    if continue_from is not None:
        network = load_component(continue_from, PatchCodec)
    else:
        network = mini_codec()
        chosen = np.random.default_rng(seed).choice(len(images), min(len(images), 3000), replace=False)
        network.fit(torch.from_numpy(images[np.sort(chosen)]).float() / 127.5 - 1)
    if steps:
        with bar(f"training on {len(images)} pictures") as update:
            network = train_codec(network, images, out, CodecSettings(steps=steps, seed=seed), update)
    errors = codec_errors(network, images[:: max(len(images) // 200, 1)])
    save_component(network, out / "vae")
    say(f"PSNR on the object: linear {errors['linear']:.1f} dB, with residual {errors['full']:.1f} dB; {out}/vae")


def train(
    views: Annotated[list[str], typer.Argument(help="Folders of view sets, each with its weight: FOLDER=0.5.")],
    out: Folder,
    codec: Annotated[Path, typer.Option(help="Codec folder, from `zero123 codec`.")],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps in all.")] = 12_000,
    decay: Annotated[int, typer.Option(min=0, help="Last steps, over which the learning rate falls to 0.")] = 3_000,
    batch: Annotated[int, typer.Option(min=1, help="Pairs per step.")] = 32,
    near_deg: Annotated[
        float | None, typer.Option(help="Prefer targets within about this angle of the input.", show_default=False)
    ] = None,
    same: Annotated[float, typer.Option(min=0, max=1, help="Share of pairs whose target is the input itself.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Same seed, same model.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder for encoded views. [default: OUT/cache]")] = None,
) -> None:
    """Train `mini`, from the newest checkpoint in OUT if there is one; the model is written to OUT/model.

    Under `torchrun`, or `accelerate launch`, all processes train together: BATCH is then the pairs of each.
    """
    import math
    from dataclasses import replace

    import torch
    from accelerate import PartialState

    from zero123.data.pairs import PairSampler
    from zero123.machine import default_device
    from zero123.models.patch_codec import PatchCodec
    from zero123.models.pretrained import save_model
    from zero123.models.weights import load_component
    from zero123.presets import MINI_TRAINING, mini_model
    from zero123.training.show import SampleSheet
    from zero123.training.trainer import train as run

    folders, weights = zip(*(_weighted(text) for text in views), strict=True)
    torch.manual_seed(seed)
    model = mini_model(load_component(codec, PatchCodec))
    worker = PartialState(cpu=default_device() == "cpu")
    with worker.main_process_first():
        caches = [_cached(model, folder, (cache or out / "cache") / folder.name) for folder in folders]
    near = None if near_deg is None else math.radians(near_deg)
    sampler = PairSampler(caches, weights, seed, near=near, same=same)
    settings = replace(MINI_TRAINING, steps=steps, decay=decay, batch=batch, seed=seed)
    with bar(f"training for {steps} steps", shown=worker.is_main_process) as update:
        run(model, sampler, out, settings, SampleSheet(sampler), lambda done, total, _: update(done, total))
    if worker.is_main_process:
        save_model(model, out / "model", torch.float16)
        say(f"{out}/model")


def evaluate(
    views: Annotated[Path, typer.Argument(help="Folder of view sets; view 0 of each is the input.")],
    out: Folder,
    targets: Annotated[int, typer.Option(min=1, help="Views made of each object: views 1 to this.")] = 8,
    known_source: Annotated[
        bool, typer.Option("--known-source", help="Tell the model where view 0 was taken from.")
    ] = False,
    pattern: Annotated[str, typer.Option(help="Which view sets, as a shell pattern.")] = "*",
    listed: Annotated[Path | None, typer.Option(help="File with one name of a view set per line.")] = None,
    *,
    run: RunOptions,
    sampling: SamplingOptions,
) -> None:
    """Score a model on view sets beside baselines; writes scores.json and a contact sheet."""
    from zero123.evaluation.benchmark import Protocol, table
    from zero123.evaluation.benchmark import evaluate as score

    folders = sorted(p for p in views.glob(pattern) if p.is_dir() and not p.name.startswith("."))
    if listed is not None:
        names = set(listed.read_text(encoding="utf-8").split())
        folders = [p for p in folders if p.name in names]
    if not folders:
        raise ValueError(f"{views}: holds no view sets that match")
    protocol = Protocol(targets, known_source, sampling.settings())
    with bar(f"{len(folders)} objects") as update:
        means = score(run.load(), folders, protocol, out, update)
    say(table(means))


def _all_images(folder: Path) -> NDArray[np.uint8]:
    """Every picture of the view sets below, on white, (N, 3, H, W)."""
    import numpy as np
    import torch

    from zero123.data.view_set import ViewSet
    from zero123.images.alpha import composite

    sets = [ViewSet.load(p) for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    if not sets:
        raise ValueError(f"{folder}: holds no view sets")
    white = [(composite(s.images, torch.ones(3)) * 255).round().to(torch.uint8).numpy() for s in sets]
    return np.concatenate(white)


def _weighted(text: str) -> tuple[Path, float]:
    """`FOLDER=0.5` to the folder and its weight; 1 where none is given."""
    folder, _, weight = text.partition("=")
    try:
        value = float(weight or 1)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{text}: expected FOLDER, or FOLDER=WEIGHT with a weight over 0")
    return Path(folder), value


def _cached(model: ViewModel, folder: Path, cache: Path) -> ViewCache:
    """The folder's views, encoded on first use."""
    import torch

    from zero123.data.pairs import ViewCache

    if (cache / "first.npy").is_file():
        return ViewCache.open(cache)
    with torch.no_grad(), bar(f"encoding {folder}"):
        return ViewCache.build(folder, cache, model.autoencoder.encode)

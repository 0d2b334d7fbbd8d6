"""The verbs that make models: codec, train, average."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zero123.cli.console import bar, say
from zero123.cli.options import grouped
from zero123.cli.train_options import PairOptions, SettingsOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


Folder = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    for verb in (codec, train, average):
        app.command()(grouped(verb))


def codec(
    views: Annotated[list[Path], typer.Argument(help="Folders of view sets.")],
    out: Folder,
    seed: Annotated[int, typer.Option(help="Which 3000 pictures it is fitted to.")] = 0,
    preset: Annotated[str, typer.Option(help="Which small model it is for: mini or mini-large.")] = "mini",
) -> None:
    """Fit the autoencoder of a small model, written to OUT/vae."""
    import numpy as np
    import torch

    from zero123.models.weights import save_component
    from zero123.presets import MINI_EDITIONS, mini_codec

    if preset not in MINI_EDITIONS:
        raise ValueError(f"preset must be one of {', '.join(MINI_EDITIONS)}, got {preset!r}")
    images = np.concatenate([_all_images(folder) for folder in views])
    network = mini_codec(preset)
    chosen = np.random.default_rng(seed).choice(len(images), min(len(images), 3000), replace=False)
    network.fit(torch.from_numpy(images[np.sort(chosen)]).float() / 127.5 - 1)
    seen = torch.from_numpy(images[:: max(len(images) // 200, 1)]).float() / 127.5 - 1
    save_component(network, out / "vae")
    say(f"PSNR on the object: {network.psnr(seen):.1f} dB; {out}/vae")


def train(
    views: Annotated[list[str], typer.Argument(help="Folders of views, each with its weight: FOLDER=0.5.")],
    out: Folder,
    finetune_from: Annotated[
        str | None, typer.Option(help="Weights to start from: sd-image-conditioned-v2, or any model.")
    ] = None,
    codec: Annotated[
        Path | None, typer.Option(help="Codec folder, from `zero123 codec`; needed by a new mini.")
    ] = None,
    fit_memory: Annotated[
        float | None, typer.Option(help="Gigabytes to stay within; the pairs per step stay the same.")
    ] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on although settings differ from the run in OUT.")
    ] = False,
    *,
    how: SettingsOptions,
    pairs: PairOptions,
) -> None:
    """Train, from the newest checkpoint in OUT if there is one; written to OUT/model, a LoRA to OUT/lora.safetensors.

    Under `torchrun`, or `accelerate launch`, all processes train together: BATCH is then the pairs of each.
    """
    from accelerate import PartialState

    from zero123.cli import begun, fitting, start
    from zero123.machine import default_device
    from zero123.presets import MINI_EDITIONS
    from zero123.training.parallel import check_launch, decided
    from zero123.training.trainer import train as run

    check_launch()
    settings, chosen = how.settings(), start.Chosen.of(views, pairs, how.preset)
    small = how.preset in MINI_EDITIONS
    kept = None if fit_memory is None else fitting.split_before(out, settings)
    settings = kept or settings
    now = begun.begun_with(how, finetune_from, chosen)
    begun.refuse_changes(out, settings, now, chosen, accept_changes)
    model = start.start_model(how, finetune_from, codec, settings.seed)
    worker = PartialState(cpu=default_device() == "cpu")
    cache = start.cache_of(chosen, settings, pairs.cache, out / "cache" if small else None)
    if cache is None:
        sampler = start.fresh_pairs(chosen, model, settings)
    else:
        sampler = start.cached_pairs(chosen, model, settings, cache)
    decided(worker, lambda: begun.note_start(out, begun.with_data(now, chosen)))
    looked_at = start.at_random(chosen, model, settings, sampler)
    if fit_memory is not None and kept is None:
        settings = fitting.fitted(model, looked_at, settings, fit_memory)
    validate = start.validation(chosen, model, settings)
    sheet = start.sheet(looked_at, settings, original=how.preset == "original")
    with bar(f"training for {settings.steps} steps", shown=worker.is_main_process) as update:
        report = lambda done, total, _: update(done, total)  # noqa: E731
        model = run(model, sampler, out, settings, sheet, report, validate)
    if worker.is_main_process:
        say(str(start.written(model, settings, out, half=small)))


def average(
    run: Annotated[Path, typer.Argument(help="Folder of a run trained with power_averages=true.")],
    out: Folder,
    length: Annotated[float, typer.Option(help="Span of the average, as a share of the time trained.")] = 0.1,
    step: Annotated[
        int | None, typer.Option(help="Step at which training would have ended. [default: the last]")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Take the kept checkpoint with the lowest validation loss, and its average.")
    ] = False,
) -> None:
    """Make the model whose weights are averaged over any span of a finished run; written to OUT."""
    from zero123.models.pretrained import load_model, save_model
    from zero123.training.averages import averaged
    from zero123.training.state import best_weights

    model = load_model(run / "model", None)
    values = best_weights(run / "checkpoints") if best else averaged(run / "averages", length, step)
    parameters = dict(model.named_parameters())
    if missing := sorted(set(values) - set(parameters)):
        raise ValueError(f"{run}: its averages hold {missing[0]}, which its model does not have")
    for name, value in values.items():
        parameters[name].data = value.to(parameters[name].dtype)
    save_model(model, out)
    say(str(out))


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

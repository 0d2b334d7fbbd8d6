"""Run a model over view sets with a fixed protocol: the first view in, the others out, scores beside the baselines'."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from zero123.data.view_set import ViewSet
from zero123.diffusion.sampling import SamplingSettings
from zero123.evaluation.baselines import BASELINES, baseline_views
from zero123.evaluation.metrics import all_metrics
from zero123.files import atomic_path
from zero123.images import io
from zero123.images.alpha import composite
from zero123.images.matting import Matte
from zero123.images.sheets import contact_sheet
from zero123.pipeline import NovelViews, Photo


@dataclass(frozen=True)
class Protocol:
    """What is asked of the model.

    Attributes:
        targets: views 1 to `targets` of each set are made from view 0, all at once, at the size the model works in.
        known_source: the model is told where view 0 was taken from, as all methods with absolute cameras are; else it
            estimates.
        sampling: how views are drawn.
    """

    targets: int = 8
    known_source: bool = False
    sampling: SamplingSettings = field(default_factory=SamplingSettings)


@dataclass(frozen=True)
class ObjectResult:
    """One object: its name, mean scores of the model and of each baseline, and the pictures behind them."""

    name: str
    scores: dict[str, dict[str, float]]
    pictures: Tensor
    """The input, then pairs of truth and model for the first targets, (1 + 2 T, 3, H, W)."""


def evaluate_object(views: NovelViews, view_set: ViewSet, name: str, protocol: Protocol) -> ObjectResult:
    """Scores of one object, each the mean over its targets."""
    size = views.model.settings.image_size
    if len(view_set) < 1 + protocol.targets or view_set.images.shape[-1] != size:
        shape = tuple(view_set.images.shape)
        raise ValueError(f"{name}: needs {1 + protocol.targets} views of {size}x{size} pixels, got {shape}")
    rgba = view_set.images[: 1 + protocol.targets]
    white, mask = composite(rgba, torch.ones(3)), rgba[:, 3:] > 0.5
    pose = view_set.camera.orbit()
    source, targets = pose[:1], pose[1 : 1 + protocol.targets]
    photo = Photo(rgba[0], Matte("alpha", float(rgba[0, 3].mean()), cropped=False), rgba[0, 3:])
    told = source if protocol.known_source else None
    made = views(photo, targets.relative_to(source), protocol.sampling, told)
    methods = {"model": made}
    methods |= {b: baseline_views(b, white[0], mask[0], mask[1:]) for b in BASELINES}
    scores = {m: _means(all_metrics(images, white[1:], mask[1:])) for m, images in methods.items()}
    shown = torch.stack((white[1:], made), dim=1).flatten(0, 1)
    return ObjectResult(name, scores, torch.cat((white[:1], shown)))


def evaluate(
    views: NovelViews,
    folders: Sequence[Path],
    protocol: Protocol,
    out: Path,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, float]]:
    """Mean scores over objects; writes `scores.json` and a contact sheet of 12 evenly chosen objects to `out`."""
    results = []
    for index, folder in enumerate(folders):
        results.append(evaluate_object(views, ViewSet.load(folder), folder.name, protocol))
        if progress is not None:
            progress(index + 1, len(folders))
    means = mean_scores(results)
    objects = {r.name: r.scores for r in results}
    text = json.dumps({"protocol": asdict(protocol), "mean": means, "objects": objects}, indent=1)
    with atomic_path(out / "scores.json") as temporary:
        temporary.write_text(text, encoding="utf-8")
    io.save(out / "sheet.png", sheet(results))
    return means


def mean_scores(results: Sequence[ObjectResult]) -> dict[str, dict[str, float]]:
    """Means over objects of each method's metrics."""
    first = results[0].scores
    return {m: {k: sum(r.scores[m][k] for r in results) / len(results) for k in first[m]} for m in first}


def sheet(results: Sequence[ObjectResult], rows: int = 12, targets: int = 4) -> Tensor:
    """A row per object: input, then truth beside the model's view; objects evenly chosen from the list."""
    rows, targets = min(rows, len(results)), min(targets, len(results[0].pictures) // 2)
    chosen = [results[(2 * k + 1) * len(results) // (2 * rows)] for k in range(rows)]
    pictures = torch.cat([r.pictures[: 1 + 2 * targets] for r in chosen])
    labels = (["input"] + ["truth", "ours"] * targets) * len(chosen)
    return contact_sheet(pictures, 1 + 2 * targets, labels)


def table(means: dict[str, dict[str, float]]) -> str:
    """The scores as a Markdown table."""
    lines = ["| method | PSNR | PSNR foreground | SSIM | silhouette IoU |", "|---|---|---|---|---|"]
    for method, s in means.items():
        lines.append(f"| {method} | {s['psnr']:.2f} | {s['psnr_foreground']:.2f} | {s['ssim']:.3f} | {s['iou']:.3f} |")
    return "\n".join(lines)


def _means(scores: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in scores.items()}

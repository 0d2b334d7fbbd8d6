"""The codec of a small model: its basis in closed form, then the residual that sharpens what it decodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from zero123.models.patch_codec import PatchCodec
from zero123.run_log import RunLog


@dataclass(frozen=True)
class CodecSettings:
    """How the residual decoder learns.

    Attributes:
        steps, batch, learning_rate: Adam with a cosine fall to 0.
        noise: standard deviation of noise on the latents, so that the decoder forgives a diffusion model's small
            errors.
        foreground: weight of the object's pixels; the background's is 1.
        edges: weight of the error of neighbouring pixels' differences, which keeps edges sharp.
        precision: accelerate's.
        seed: of everything.
    """

    steps: int = 2000
    batch: int = 16
    learning_rate: float = 1e-3
    noise: float = 0.05
    foreground: float = 4.0
    edges: float = 1.0
    precision: str = "bf16"
    seed: int = 0


def codec_loss(decoded: Tensor, truth: Tensor, settings: CodecSettings) -> Tensor:
    """Absolute error of colours and of edges, the object's pixels counting more; pictures (B, 3, H, W) in [-1, 1]."""
    weight = 1 + (settings.foreground - 1) * (truth.amin(1, keepdim=True) < 0.98).to(truth)
    loss = (weight * (decoded - truth).abs()).mean()
    for axis in (-1, -2):
        edges = (decoded.diff(dim=axis) - truth.diff(dim=axis)).abs()
        loss = loss + settings.edges * edges.mean()
    return loss


def train_codec(
    codec: PatchCodec,
    images: np.ndarray,
    folder: Path,
    settings: CodecSettings,
    progress: Callable[[int, int], None] | None = None,
) -> PatchCodec:
    """Train the residual decoder in place; basis and spread, and with them all latents, stay as they are.

    Args:
        codec: fitted already.
        images: pictures, (N, 3, H, W) uint8; may be mapped from disk.
        folder: receives settings and metrics.
        settings: how.
        progress: told steps done, and in all.
    """
    accelerator = Accelerator(mixed_precision=settings.precision)
    parameters = list(codec.residual.requires_grad_(True).parameters())
    optimiser = torch.optim.Adam(parameters, settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    codec, optimiser = accelerator.prepare(codec.train(), optimiser)
    log = RunLog(folder, settings)
    numbers = np.random.default_rng(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    total = 0.0
    for step in range(1, settings.steps + 1):
        rows = np.sort(numbers.choice(len(images), min(settings.batch, len(images)), replace=False))
        truth = torch.from_numpy(images[rows]).float().to(accelerator.device) / 127.5 - 1
        with accelerator.autocast():
            latents = codec.encode(truth)
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            loss = codec_loss(codec.decode(latents + settings.noise * noise).float(), truth, settings)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        total += float(loss.detach())
        if step % 50 == 0:
            log.write(step, loss=round(total / 50, 5))
            total = 0.0
        if progress is not None:
            progress(step, settings.steps)
    return accelerator.unwrap_model(codec).eval().requires_grad_(False)


@torch.no_grad()
def codec_errors(codec: PatchCodec, images: np.ndarray) -> dict[str, float]:
    """Mean PSNR in decibels over the object's pixels, by the linear part alone and with the residual."""
    truth = torch.from_numpy(np.asarray(images)).float() / 127.5 - 1
    latents = codec.encode(truth)
    mask = (truth.amin(1, keepdim=True) < 0.98).expand_as(truth)
    results = {}
    for name, decoded in (("linear", codec.decode_linear(latents)), ("full", codec.decode(latents))):
        error = F.mse_loss(decoded.clamp(-1, 1)[mask] / 2, truth[mask] / 2)
        results[name] = float(-10 * torch.log10(error))
    return results

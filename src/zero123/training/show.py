"""Pictures of how training goes: the same few pairs drawn again and again."""

from __future__ import annotations

from pathlib import Path

import torch

from zero123.data.pairs import PairSampler
from zero123.diffusion.sampling import SamplingSettings
from zero123.images import io
from zero123.images.matting import Matte
from zero123.images.sheets import contact_sheet
from zero123.models.view_model import ViewModel
from zero123.pipeline import NovelViews, Photo


class SampleSheet:
    """Draws fixed training pairs: input, truth as the autoencoder shows it, and the view of the model as it is.

    Args:
        sampler: where the pairs come from.
        count: number of pairs.
        scale: guidance; 1 shows what was learned without help.
    """

    def __init__(self, sampler: PairSampler, count: int = 8, scale: float = 1.0) -> None:
        self._batch = sampler.batch(2**31, count)  # a step no run reaches
        self._settings = SamplingSettings(steps=10, scale=scale)

    @torch.no_grad()
    def __call__(self, model: ViewModel, step: int, folder: Path) -> None:
        """Write `folder/step-N.png`."""
        batch, views = self._batch, NovelViews(model)
        truth = model.autoencoder.decode(batch.latent.to(model.device, model.dtype)).float().clamp(0, 1).cpu()
        rows = []
        for index in range(len(batch.photo)):
            one = slice(index, index + 1)
            rgba = torch.cat((batch.photo[index], torch.ones_like(batch.photo[index, :1])))
            photo = Photo(rgba, Matte("alpha", 1.0, cropped=False), rgba[3:])
            made = views(photo, batch.relative[one], self._settings, batch.source[one])
            rows += [batch.photo[index], truth[index], made[0]]
        labels = ["input", "truth", "model"] * len(batch.photo)
        io.save(folder / f"step-{step:08d}.png", contact_sheet(torch.stack(rows), 6, labels))

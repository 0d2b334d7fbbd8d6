"""Pictures of how training goes: the same few pairs drawn again and again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from zero123.data.encoded import with_photos
from zero123.data.pairs import Pairs
from zero123.diffusion.sampling import SamplingSettings
from zero123.images import io
from zero123.images.matting import Matte
from zero123.images.photo import Photo
from zero123.images.sheets import contact_sheet
from zero123.models.joint_attention import joined_views
from zero123.models.view_model import ViewModel
from zero123.pipeline import NovelViews


class SampleSheet:
    """Draws fixed training pairs: input, truth as the autoencoder shows it, and the view of the model as it is.

    Args:
        sampler: where the pairs come from.
        count: number of pairs.
        scales: guidance, a picture for each; 1 shows what was learned without help.
        steps: network evaluations of a picture.
        original: draw as the original's training did, by DDPM's steps (its DDIM with eta 1).
    """

    def __init__(
        self,
        sampler: Pairs,
        count: int = 8,
        scales: Sequence[float] = (1.0,),
        steps: int = 10,
        original: bool = False,
    ) -> None:
        self._batch = sampler.batch(2**31, count)  # a step no run reaches
        solver, spacing = ("ancestral", "original") if original else ("dpmpp_2m", None)
        self._settings = [
            SamplingSettings(steps=steps, scale=scale, solver=solver, spacing=spacing)  # type: ignore[arg-type]
            for scale in scales
        ]

    @torch.no_grad()
    def __call__(self, model: ViewModel, step: int, folder: Path | None) -> None:
        """Write `folder/step-N.png`; every view is drawn by itself, also where sets of views are trained on."""
        with joined_views(model, 1):
            self._write(model, step, folder)

    def _write(self, model: ViewModel, step: int, folder: Path | None) -> None:
        batch, views = with_photos(self._batch, model), NovelViews(model)
        truth = model.autoencoder.decode(batch.latent.to(model.device, model.dtype)).float().clamp(0, 1).cpu()
        rows = []
        for index in range(len(batch.photo)):
            one = slice(index, index + 1)
            rgba = torch.cat((batch.photo[index], torch.ones_like(batch.photo[index, :1])))
            photo = Photo(rgba, Matte("alpha", 1.0, cropped=False), rgba[3:])
            made = [views(photo, batch.relative[one], settings, batch.source[one])[0] for settings in self._settings]
            rows += [batch.photo[index], truth[index], *made]
        names = ["model" if s.scale == 1 else f"guided {s.scale:g}" for s in self._settings]
        labels = ["input", "truth", *names] * len(batch.photo)
        columns = 2 * (2 + len(names))
        if folder is not None:
            io.save(folder / f"step-{step:08d}.png", contact_sheet(torch.stack(rows), columns, labels))

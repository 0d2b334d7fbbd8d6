"""The loss on objects that are not trained on: the same pairs, steps and noise each time; only the model changes."""

from __future__ import annotations

from dataclasses import replace

import torch

from zero123.data.pairs import Pairs
from zero123.models.view_model import ViewModel
from zero123.training.objective import Objective, ObjectiveSettings
from zero123.training.parallel import on_device

_BATCHES, _BATCH = 8, 8


class Validation:
    """Measures the loss on held-out pairs with nothing dropped; the original's `val/loss_simple_ema`.

    Every pair is asked about at one step; the steps are spread evenly over the schedule.

    Args:
        pairs: of objects that are not trained on.
        settings: of the objective; only its weights count.
        views: pairs in a row that belong together.
        seed: of the noise.
    """

    def __init__(self, pairs: Pairs, settings: ObjectiveSettings, views: int = 1, seed: int = 0) -> None:
        self._pairs = pairs
        of_views = settings.diffusion_weight or settings.volume_weight  # else the reader of places is trained alone
        reading = 0.0 if of_views else settings.source_weight
        self._settings = replace(settings, drop=0.0, source_weight=reading, elevation_jitter=0.0)
        self._size = -(-_BATCH // views) * views
        self._seed = seed

    @torch.no_grad()
    def __call__(self, model: ViewModel) -> float:
        """Mean over 64 pairs, or a few more where sets of views are not a divisor of 8."""
        objective, losses = Objective(model, self._settings), []
        for index in range(_BATCHES):
            batch = on_device(self._pairs.batch(index, self._size), model.device)
            generator = torch.Generator().manual_seed(self._seed * 1_000_003 + index)
            places = (torch.arange(self._size) + (index + 0.5) / _BATCHES) / self._size
            step = (places * len(model.schedule)).long().to(model.device)
            loss, _ = objective(batch, replace(objective.draw(batch, generator), step=step))
            losses.append(float(loss))
        return sum(losses) / len(losses)

"""Looks at photos, of which the last is remembered."""

from __future__ import annotations

import hashlib
from typing import Any

from torch import Tensor

from zero123.diffusion.sampling import SamplingSettings
from zero123.geometry.orbit import OrbitPose
from zero123.models.condition import Look
from zero123.models.view_model import ViewModel


class Looker:
    """Looks at photos as a sampling asks for, once where the same is asked again.

    Whoever turns an object asks for view after view of one photo, and a reconstruction for views and for what is
    believed of them. A look does not depend on the view.

    Args:
        model: its encoders where they shall run.
    """

    def __init__(self, model: ViewModel) -> None:
        self.model = model
        self._last: tuple[Any, Look] | None = None

    def __call__(self, photo: Tensor, source: OrbitPose | None, settings: SamplingSettings) -> Look:
        """What is in photos (P, 3, H, W), see `ViewModel.look`; of a single one it is remembered."""
        asked = self._asked(photo, source, settings)
        if self._last is not None and self._last[0] == asked:
            return self._last[1]
        tilted, symmetry = settings.tilted_looks, settings.symmetry
        look = self.model.look(photo, source, again=True, tilted=tilted, symmetry=symmetry)
        self._last = (asked, look) if len(photo) == 1 else None  # of many it would take their memory
        return look

    def _asked(self, photo: Tensor, source: OrbitPose | None, settings: SamplingSettings) -> tuple[object, ...]:
        """What a look depends on: pixels, place, settings, and weights that were not written to or exchanged since."""
        pixels = hashlib.sha256(photo.float().cpu().numpy().tobytes()).digest()
        place = None if source is None else tuple(tuple(value.tolist()) for value in vars(source).values())
        weights = tuple((p.data_ptr(), p._version) for p in self.model.parameters())
        return pixels, place, settings.tilted_looks, settings.symmetry, weights

"""Models that stay loaded between tasks, a few at a time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zero123.batch.settings import ModelChoice

if TYPE_CHECKING:
    import torch

    from zero123.pipeline import NovelViews

_KEPT = 2
"""Models that stay loaded: two can be compared; a third takes the place of the one that was used longest ago."""


class LoadedModels:
    """Models by name, loaded when first asked for."""

    def __init__(self) -> None:
        self._kept: OrderedDict[ModelChoice, NovelViews] = OrderedDict()

    def __call__(
        self, name: str | Path | ModelChoice = "mini", device: str | None = None, dtype: str | torch.dtype | None = None
    ) -> NovelViews:
        """The model, loaded if it is not; never downloaded.

        Args:
            name: as for `NovelViews.from_pretrained`, or a choice with all its options.
            device: None takes a GPU where there is one.
            dtype: "float32", "bfloat16", "float16" or torch's own; None takes what the device is fast in.

        Raises:
            WeightsError: no such model here, or it is damaged.
            ValueError: no such device or number format.
        """
        choice = name if isinstance(name, ModelChoice) else ModelChoice(str(name))
        if device is not None:
            choice = replace(choice, device=str(device))
        if dtype is not None:
            choice = replace(choice, dtype=str(dtype).removeprefix("torch."))
        if choice not in self._kept:
            while len(self._kept) >= _KEPT:  # before the next is loaded: there may be memory for no more
                self._kept.popitem(last=False)
            self._kept[choice] = choice.load()
        self._kept.move_to_end(choice)
        return self._kept[choice]

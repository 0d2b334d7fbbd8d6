"""Fréchet distances of whole sets of pictures, method by method; features are taken object by object."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from zero123.evaluation.baselines import BASELINES, baseline_views
from zero123.evaluation.cases import Case
from zero123.evaluation.distribution import FeatureNet, frechet_distance
from zero123.evaluation.scoring import at_size
from zero123.evaluation.summary import ALL, MODEL

_TRUTH = "truth"
_BATCH = 32


class PictureSets:
    """Collects features of the truth, of a method's first samples and of the baselines.

    Args:
        networks: of the features; none, and nothing is done.
    """

    def __init__(self, networks: Sequence[FeatureNet]) -> None:
        self._networks = networks
        self._features: dict[tuple[str, str, str], list[Tensor]] = defaultdict(list)

    def add(self, case: Case, views: Tensor) -> None:
        """The pictures of an object, (T, K, 3, S, S); of several samples only the first counts."""
        if not self._networks:
            return
        truth = case.white[1:]
        sets = {_TRUTH: truth, MODEL: at_size(views[:, :1], truth.shape[-1])[:, 0]}
        sets |= {b: baseline_views(b, case.white[0], case.mask[0], case.mask[1:]) for b in BASELINES}
        for network in self._networks:
            for method, images in sets.items():
                found = torch.cat([network(part) for part in images.split(_BATCH)])
                self._features[case.kind or ALL, network.name, method].append(found)

    def distances(self) -> dict[str, dict[str, dict[str, float]]]:
        """By kind, method and name of the distance; of sets of two pictures or more."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for (kind, network, method), parts in self._features.items():
            truth = torch.cat(self._features[kind, network, _TRUTH])
            if method != _TRUTH and len(truth) > 1:
                found.setdefault(kind, {}).setdefault(method, {})[network] = frechet_distance(torch.cat(parts), truth)
        return found

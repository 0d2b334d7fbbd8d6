"""Settings of a field of colours made by a view model's score."""

from __future__ import annotations

import math
from dataclasses import dataclass

from zero123.geometry.orbit import RADIUS
from zero123.reconstruction.score_gradient import WEIGHTS, WeightName


@dataclass(frozen=True)
class SdsSettings:
    """How a field of colours is made by the score.

    What is turned from coarse to fine over time, and which losses there are, is what the field settled on for view-
    conditioned denoisers: noise from much to little, renders from small to large, levels of the grid one by one.

    Attributes:
        steps: of the optimiser.
        learning_rate: Adam's.
        scale: guidance; 0 takes what suits the model.
        weight: of noise levels, see `score_gradient.WEIGHTS`.
        noise_free: the score without the part that noise has in it (NFSD, see `score_gradient.noise_free_gradient`).
        inversion: steps in which the noise is found that a render could have come from (SDI, see
            `score_gradient.inverted_noise`); 0 draws noise at random.
        score_weight: of the score beside the losses below.
        noise_first, noise_last: lowest and highest noise drawn at the start and after annealing, shares of the
            schedule's steps, in [0, 1].
        anneal_until: share of the steps over which the first becomes the last; 0 is at once.
        sides: of the renders, pixels, one a stage.
        views: random views a step, one a stage.
        milestones: shares of the steps at which the next stage begins, one fewer.
        levels, table, coarsest, finest: of the hash grid, see `HashEncoding`.
        first_levels: levels that are read at the start.
        levels_until: share of the steps after which all are.
        half_side: of the field's box, world units.
        blob: see `HashField`.
        cells: along each side of the occupancy grid.
        emptiest: optical thickness of a march step below which a cell counts as empty.
        look_every: steps between looks of the occupancy grid at the field.
        input_weight: of the squared error of the input view's colours, in [0, 1].
        mask_weight: of that of its opacity.
        sparsity: see `fields.regularizers.sparsity`.
        opaque: of `opacity_entropy`; grows from 0 over all steps.
        orientation: see `fields.regularizers.orientation`.
        normal_smoothness: of the difference of normals a voxel apart, where light stops.
        normal_samples: points at which normals are taken in a step, at most.
        elevations_deg: lowest and highest random camera, degrees.
        radius: nearest and farthest, world units.
        input_radius: distance of the input camera.
        seed: of the field's start, cameras, steps and noise.
    """

    steps: int = 400
    learning_rate: float = 0.01
    scale: float = 0.0
    weight: WeightName = "sds"
    noise_free: bool = False
    inversion: int = 0
    score_weight: float = 0.1
    noise_first: tuple[float, float] = (0.4, 0.85)
    noise_last: tuple[float, float] = (0.2, 0.5)
    anneal_until: float = 0.33
    sides: tuple[int, ...] = (48, 64)
    views: tuple[int, ...] = (3, 2)
    milestones: tuple[float, ...] = (0.5,)
    levels: int = 8
    table: int = 2**15
    coarsest: int = 8
    finest: int = 128
    first_levels: int = 4
    levels_until: float = 0.5
    half_side: float = 0.8
    blob: float = 5.0
    cells: int = 32
    emptiest: float = 0.01
    look_every: int = 8
    input_weight: float = 1000.0
    mask_weight: float = 100.0
    sparsity: float = 0.5
    opaque: float = 0.5
    orientation: float = 1.0
    normal_smoothness: float = 1.0
    normal_samples: int = 2048
    elevations_deg: tuple[float, float] = (-10.0, 80.0)
    radius: tuple[float, float] = (RADIUS, RADIUS)
    input_radius: float = RADIUS
    seed: int = 0

    def __post_init__(self) -> None:
        if self.weight not in WEIGHTS:
            raise ValueError(f"weight must be one of {', '.join(WEIGHTS)}, got {self.weight!r}")
        for name in ("steps", "look_every", "normal_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "half_side", "input_radius", "emptiest"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be over 0 and finite, got {getattr(self, name)}")
        for name in ("scale", "score_weight", "input_weight", "mask_weight", "sparsity", "opaque", "orientation"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        if self.inversion < 0 or (self.inversion and self.noise_free):
            raise ValueError(f"inversion must be at least 0, and 0 with noise_free, got {self.inversion}")
        self._check_stages()
        for name, least, most in (
            ("noise_first", 0.0, 1.0),
            ("noise_last", 0.0, 1.0),
            ("elevations_deg", -90.0, 90.0),
            ("radius", 1e-3, 1e3),
        ):
            pair = getattr(self, name)
            if len(pair) != 2 or not least <= pair[0] <= pair[1] <= most:
                raise ValueError(f"{name} must be two numbers that do not fall, in {least:g} to {most:g}, got {pair}")

    def _check_stages(self) -> None:
        stages = (len(self.sides), len(self.views), len(self.milestones) + 1)
        if (
            len(set(stages)) > 1
            or min(*self.sides, *self.views) < 1
            or list(self.milestones) != sorted(self.milestones)
        ):
            raise ValueError(
                "sides, views and milestones must be one a stage, one a stage and one fewer that rise, got "
                f"{self.sides}, {self.views} and {self.milestones}"
            )
        if not 1 <= self.first_levels <= self.levels:
            raise ValueError(f"first_levels must be from 1 to {self.levels}, got {self.first_levels}")

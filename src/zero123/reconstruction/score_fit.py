"""A field made by a denoiser's score: SJC's loop, in latent space, as Zero-1-to-3's 3D reconstruction runs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zero123.diffusion.guidance import Guided, Pair
from zero123.fields.regularizers import depth_smoothness, emptiness, emptiness_growth
from zero123.fields.rendering import March, Rendered, render
from zero123.fields.voxels import VoxelField
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.geometry.paths import cube_normalised
from zero123.models.condition import Look
from zero123.models.view_model import ViewModel
from zero123.reconstruction.score_gradient import Weight, score_gradient, sjc_weight

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ScoreFitSettings:
    """How a field is made by the score. The defaults are the original's documented command, `presets.SJC_ORIGINAL`.

    Attributes:
        steps: of the optimiser.
        learning_rate: Adamax's, for density, colour and gain.
        scale: guidance.
        grid: voxels along each side of the field.
        half_side: of the field's box, world units.
        density_shift: added before softplus; -1 starts from a fog that fills the box.
        march_step: distance between samples over a voxel's side.
        weight_threshold: samples that weigh less have no colour.
        reduce_variance: see `score_gradient`.
        input_weight: of the squared error, in [-1, 1], of the input view's decoded render; 0 leaves the input out.
        depth_smoothness: of neighbouring depths, a tenth of it in the input view.
        smooth_from: share of the steps from which random views are smoothed.
        near_weight: of the difference of a view and one from beside it, in features and depth.
        near_distance: how far beside, world units.
        emptiness_weight, emptiness_scale, emptiness_growth: see `fields.regularizers.emptiness`.
        noise_steps: lowest and highest step of the schedule that is drawn.
        radius: nearest and farthest random camera, world units.
        heights: lowest and highest random camera over the ground, world units.
        input_radius: distance of the input camera.
        seed: of the field's start, cameras, steps and noise.
    """

    steps: int = 10_000
    learning_rate: float = 0.05
    scale: float = 100.0
    grid: int = 100
    half_side: float = 1.0
    density_shift: float = -1.0
    march_step: float = 0.5
    weight_threshold: float = 1e-4
    reduce_variance: bool = True
    input_weight: float = 10_000.0
    depth_smoothness: float = 10_000.0
    smooth_from: float = 0.5
    near_weight: float = 10_000.0
    near_distance: float = 0.05
    emptiness_weight: float = 0.0
    emptiness_scale: float = 10.0
    emptiness_growth: float = 20.0
    noise_steps: tuple[int, int] = (10, 969)
    radius: tuple[float, float] = (1.8, 2.2)
    heights: tuple[float, float] = (-0.5, 2.2)
    input_radius: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "grid"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "half_side", "march_step", "input_radius"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be over 0 and finite, got {getattr(self, name)}")
        low, high = self.noise_steps
        if not 0 <= low <= high:
            raise ValueError(f"noise_steps must be 0 <= low <= high, got {self.noise_steps}")


@dataclass(frozen=True)
class View:
    """A field as a camera sees it, in the denoiser's space.

    Attributes:
        latent: (1, C, h, w).
        depth: (h, w), world units.
        weights: of the samples, (h w, K).
    """

    latent: Tensor
    depth: Tensor
    weights: Tensor


class ScoreFit:
    """A field being made: SJC (Wang et al., 2022, arXiv:2212.00774) with a view-conditioned denoiser.

    Section 3.3 and appendix D of Liu et al., 2023 (arXiv:2303.11328), and its code.

    Args:
        model: the denoiser, frozen.
        photo: the input on white, (1, 3, S, S) in [0, 1].
        elevation: of the camera that took it, radians; its azimuth is 0.
        settings: how.
        weight: of noise levels; SJC's is 1.
    """

    def __init__(
        self, model: ViewModel, photo: Tensor, elevation: float, settings: ScoreFitSettings, weight: Weight = sjc_weight
    ) -> None:
        self.settings, self.weight = settings, weight
        self._model, self._device = model.requires_grad_(False), model.device
        self._photo = photo.to(self._device, torch.float32)
        place = torch.tensor([elevation], device=self._device)
        self.source = OrbitPose(torch.zeros_like(place), place, torch.full_like(place, settings.input_radius))
        self._generator = torch.Generator().manual_seed(settings.seed)
        channels, self._height, self._width = model.latent_shape
        self.field = self._fresh_field(channels)
        self._optimiser = torch.optim.Adamax(self.field.parameters(), lr=settings.learning_rate)
        self._march = March(settings.march_step * self.field.voxel, settings.weight_threshold)
        with torch.no_grad():
            self._look: Look = model.look(photo.to(self._device, model.dtype), self.source)
            white = model.autoencoder.encode(torch.ones_like(photo).to(self._device, model.dtype)).float()
        self._background = white[0].flatten(1).T
        self._guided = Guided(model, settings.scale)
        self.done = 0

    def _fresh_field(self, channels: int) -> VoxelField:
        settings = self.settings
        side = (settings.half_side,) * 3
        box = (tuple(-s for s in side), side)
        field = VoxelField((settings.grid,) * 3, channels, box, settings.density_shift, squash=False)  # type: ignore[arg-type]
        with torch.no_grad():
            field.colour.normal_(generator=self._generator)
        return field.to(self._device)

    def view(self, pose: OrbitPose) -> View:
        """The field from a pose, (1,)."""
        hw = (self._height, self._width)
        origins, directions = Camera.from_orbit(pose[0], hw=hw).rays()
        seen: Rendered = render(self.field, origins, directions, self._background, self._march)
        return View(seen.colour.T.unflatten(1, hw)[None], seen.depth.unflatten(0, hw), seen.weights)

    def random_pose(self) -> OrbitPose:
        """Where a random camera stands, (1,): uniform in a cube, moved to a random radius, if high enough."""
        low, high = self.settings.heights
        while True:
            pose = cube_normalised(1, self._generator, self.settings.radius)
            if low < float(pose.point()[0, 2]) < high:
                return pose.to(self._device)

    def beside(self, pose: OrbitPose) -> OrbitPose:
        """A pose next to another, (1,), a fixed distance away in a random direction."""
        aside = torch.randn(1, 3, generator=self._generator).to(self._device)
        return OrbitPose.from_point(pose.point() + self.settings.near_distance * nn.functional.normalize(aside, dim=-1))

    def gradient(self, view: View, pose: OrbitPose) -> Tensor:
        """Of the score with respect to a view's latents, (1, C, h, w), at a random noise level."""
        model, (low, high) = self._model, self.settings.noise_steps
        step = torch.randint(low, min(high, len(model.schedule) - 1) + 1, (), generator=self._generator)
        sigma = model.schedule.sigmas[step].to(view.latent)
        noise = torch.randn(view.latent.shape, generator=self._generator).to(view.latent)
        with torch.no_grad():
            condition = model.join(self._look, pose.relative_to(self.source))
        pair = Pair(condition, condition.without_image())
        return score_gradient(
            self._guided, view.latent.detach(), sigma, pair, noise, self.weight, self.settings.reduce_variance
        )

    def losses(self) -> dict[str, Tensor]:
        """The terms of one step, each to be added up and gone down along."""
        settings = self.settings
        terms: dict[str, Tensor] = {}
        if settings.input_weight:
            terms |= self._input_losses()
        pose = self.random_pose()
        view = self.view(pose)
        if settings.near_weight:
            near = self.view(self.beside(pose))
            apart = (near.latent - view.latent).abs().mean() + (near.depth - view.depth).abs().mean()
            terms["near"] = settings.near_weight * apart
        terms["score"] = (self.gradient(view, pose) * view.latent).sum()
        if settings.emptiness_weight:
            growth = emptiness_growth(self.done, settings.steps, settings.emptiness_growth)
            terms["emptiness"] = settings.emptiness_weight * growth * emptiness(view.weights, settings.emptiness_scale)
        if self.done >= settings.smooth_from * settings.steps:
            terms["smooth"] = settings.depth_smoothness * depth_smoothness(view.depth)
        return terms

    def _input_losses(self) -> dict[str, Tensor]:
        view = self.view(self.source)
        shown = self._model.autoencoder.decode(view.latent.to(self._model.dtype))
        error = (2 * (shown - self._photo)).square().mean()  # in [-1, 1], as the weight is meant
        return {
            "input": self.settings.input_weight * error,
            "input_smooth": 0.1 * self.settings.depth_smoothness * depth_smoothness(view.depth),
        }

    def step(self) -> dict[str, float]:
        """One step of the optimiser; what its terms were."""
        terms = self.losses()
        self._optimiser.zero_grad(set_to_none=True)
        torch.stack([term.float() for term in terms.values()]).sum().backward()
        self._optimiser.step()
        self.done += 1
        return {name: float(term.detach()) for name, term in terms.items()}

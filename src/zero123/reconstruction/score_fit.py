"""A field made by a denoiser's score: SJC's loop, in latent space, as Zero-1-to-3's 3D reconstruction runs it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zero123.fields.background import DirectionTexture
from zero123.fields.regularizers import depth_smoothness, emptiness, emptiness_growth
from zero123.fields.rendering import March, render
from zero123.fields.voxels import VoxelField
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.geometry.paths import cube_normalised, evenly_spread
from zero123.meshes.mesh import Mesh
from zero123.meshes.texture import project_colours
from zero123.models.view_model import ViewModel
from zero123.reconstruction.score_gradient import WEIGHTS, WeightName
from zero123.reconstruction.score_mesh import coloured_by_pictures, solid_surface
from zero123.reconstruction.score_state import packed, restored
from zero123.reconstruction.teacher import Teacher


@dataclass(frozen=True)
class ScoreFitSettings:
    """How a field of latents is made by the score. The defaults are the original's documented command.

    Attributes:
        steps: of the optimiser.
        learning_rate: Adamax's, for density, colour and gain.
        accumulate: views whose gradients are added up in a step; the original's `grad_accum`.
        scale: guidance; 0 takes what suits the model.
        weight: of noise levels, see `score_gradient.WEIGHTS`.
        grid: voxels along each side of the field.
        half_side: of the field's box, world units.
        density_shift: added before softplus; -1 starts from a fog that fills the box.
        march_step: distance between samples over a voxel's side.
        weight_threshold: samples that weigh less have no colour.
        learnt_background: what lies behind is learnt, 4x4 colours by direction; else it is the autoencoder's white.
        background_rate: Adamax's, for that.
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
        field_of_view_deg: of all cameras; the original has 49.1, and the pictures models learned from 49.13.
        seed: of the field's start, cameras, steps and noise.
    """

    steps: int = 10_000
    learning_rate: float = 0.05
    accumulate: int = 1
    scale: float = 100.0
    weight: WeightName = "sjc"
    grid: int = 100
    half_side: float = 1.0
    density_shift: float = -1.0
    march_step: float = 0.5
    weight_threshold: float = 1e-4
    learnt_background: bool = False
    background_rate: float = 1e-4
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
    field_of_view_deg: float = 49.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.weight not in WEIGHTS:
            raise ValueError(f"weight must be one of {', '.join(WEIGHTS)}, got {self.weight!r}")
        for name in ("steps", "grid", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "half_side", "march_step", "input_radius", "near_distance", "background_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be over 0 and finite, got {getattr(self, name)}")
        for name in ("scale", "input_weight", "depth_smoothness", "near_weight", "emptiness_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        low, high = self.noise_steps
        if not 0 <= low <= high:
            raise ValueError(f"noise_steps must be 0 <= low <= high, got {self.noise_steps}")
        near, far = self.radius
        lowest, highest = self.heights
        if not 0 < near <= far < math.inf or not -far < lowest < highest or lowest > near:
            raise ValueError(f"radius and heights must leave room for cameras, got {self.radius} and {self.heights}")
        if not 0 < self.field_of_view_deg < 180:
            raise ValueError(f"field_of_view_deg must be between 0 and 180, got {self.field_of_view_deg}")


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
        alpha: the object's in the photo, (S, S); where it is known, the mesh has the photo's own colours there.
    """

    def __init__(
        self, model: ViewModel, photo: Tensor, elevation: float, settings: ScoreFitSettings, alpha: Tensor | None = None
    ) -> None:
        self.settings, self.done, self._alpha = settings, 0, alpha
        source = OrbitPose(torch.zeros(1), torch.tensor([elevation]), torch.tensor([settings.input_radius]))
        weight = WEIGHTS[settings.weight]
        self.teacher = Teacher(model, photo, source, settings.scale, weight, settings.reduce_variance)
        self.source, self._device = self.teacher.source, model.device
        self._generator = torch.Generator().manual_seed(settings.seed)
        channels, *self._hw = model.latent_shape
        self.field = self._fresh_field(channels)
        groups = [{"params": list(self.field.parameters()), "lr": settings.learning_rate}]
        self._behind: DirectionTexture | None = None
        if settings.learnt_background:
            self._behind = DirectionTexture(channels, generator=self._generator).to(self._device)
            groups.append({"params": list(self._behind.parameters()), "lr": settings.background_rate})
        self._optimiser = torch.optim.Adamax(groups)
        self._march = March(settings.march_step * self.field.voxel, settings.weight_threshold)
        self._white = self.teacher.white().flatten(1).T

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
        origins, directions = self.camera(pose, self._hw)[0].rays()
        behind = self._white if self._behind is None else self._behind(directions)
        seen = render(self.field, origins, directions, behind, self._march)
        return View(seen.colour.T.unflatten(1, self._hw)[None], seen.depth.unflatten(0, self._hw), seen.weights)

    def camera(self, poses: OrbitPose, hw: Sequence[int]) -> Camera:
        """The cameras at poses, with that many pixels."""
        return Camera.from_orbit(poses, math.radians(self.settings.field_of_view_deg), (hw[0], hw[1]))

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
        sigma = self.teacher.levels(*self.settings.noise_steps, 1, self._generator)
        noise = torch.randn(view.latent.shape, generator=self._generator).to(view.latent)
        return self.teacher.gradient(view.latent, pose, sigma, noise)

    def losses(self) -> dict[str, Tensor]:
        """The terms of one view of a step, each to be added up and gone down along."""
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
        view, model = self.view(self.source), self.teacher.model
        shown = model.autoencoder.decode(view.latent.to(model.dtype))
        error = (2 * (shown - self.teacher.photo)).square().mean()  # in [-1, 1], as the weight is meant
        return {
            "input": self.settings.input_weight * error,
            "input_smooth": 0.1 * self.settings.depth_smoothness * depth_smoothness(view.depth),
        }

    def step(self) -> dict[str, float]:
        """One step of the optimiser; what the terms of its last view were."""
        self._optimiser.zero_grad(set_to_none=True)
        for _ in range(self.settings.accumulate):
            terms = self.losses()
            torch.stack([term.float() for term in terms.values()]).sum().backward()
        self._optimiser.step()
        self.done += 1
        return {name: float(term.detach()) for name, term in terms.items()}

    @torch.no_grad()
    def looks(self, poses: OrbitPose) -> tuple[Tensor, Tensor]:
        """Pictures (V, 3, S, S) in [0, 1] and depths (V, h, w), world units, from poses (V,), on the CPU."""
        views = [self.view(poses[k : k + 1].to(self._device)) for k in range(len(poses))]
        pictures = self.teacher.decoded(torch.cat([view.latent for view in views]))
        return pictures, torch.stack([view.depth for view in views]).cpu()

    def mesh(self, faces: int) -> Mesh:
        """The surface of the field, coloured by its decoded views; at most about `faces` triangles.

        Raises:
            ValueError: the field is empty.
        """
        poses = evenly_spread(_VIEWS_FOR_COLOUR, (-0.4, 1.3), self.settings.input_radius)
        bare = solid_surface(self.field, self._march, self.camera(poses.to(self._device), self._hw), faces)
        pictures, _ = self.looks(poses)
        mesh = coloured_by_pictures(bare, pictures, self.camera(poses, pictures.shape[-2:]))
        if self._alpha is None:
            return mesh
        rgba = torch.cat((self.teacher.photo[0].cpu(), self._alpha[None].cpu()))
        return project_colours(mesh, rgba, self.camera(self.source.to("cpu"), rgba.shape[-2:])[0])

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on to the last bit, on the CPU."""
        return packed(self._parts(), self._optimiser, self._generator, self.done)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave.

        Raises:
            ValueError: it is of another field.
        """
        self.done = restored(state, self._parts(), self._optimiser, self._generator)

    def _parts(self) -> nn.ModuleDict:
        parts: dict[str, nn.Module] = {"field": self.field}
        return nn.ModuleDict(parts if self._behind is None else {**parts, "behind": self._behind})


_VIEWS_FOR_COLOUR = 16

"""A field of colours made by a view model's score: SDS on renders that pass the model's own encoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from zero123.fields.hashgrid import HashEncoding, HashField
from zero123.fields.occupancy import OccupancyGrid
from zero123.fields.regularizers import opacity_entropy, orientation, sparsity
from zero123.fields.rendering import March, Rendered, render, render_picture
from zero123.fields.surface_colours import field_colours
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.geometry.paths import evenly_spread, random_views
from zero123.images.alpha import composite
from zero123.meshes.mesh import Mesh
from zero123.meshes.texture import project_colours
from zero123.models.view_model import ViewModel
from zero123.reconstruction.score_gradient import WEIGHTS
from zero123.reconstruction.score_mesh import solid_surface
from zero123.reconstruction.score_state import packed, restored
from zero123.reconstruction.sds_settings import SdsSettings
from zero123.reconstruction.teacher import Teacher


class SdsFit:
    """A hash-grid field being made: SDS (Poole et al., 2022, arXiv:2209.14988) with a view-conditioned denoiser.

    Args:
        model: the denoiser, frozen.
        photo: the input, straight alpha, (4, S, S), in [0, 1].
        elevation: of the camera that took it, radians; its azimuth is 0.
        settings: how.
    """

    def __init__(self, model: ViewModel, photo: Tensor, elevation: float, settings: SdsSettings) -> None:
        self.settings, self.done, self._device = settings, 0, model.device
        self._photo = photo.to(self._device, torch.float32)
        source = OrbitPose(torch.zeros(1), torch.tensor([elevation]), torch.tensor([settings.input_radius]))
        on_white = composite(self._photo[None], torch.ones(3))
        self.teacher = Teacher(
            model, on_white, source, settings.scale, WEIGHTS[settings.weight], noise_free=settings.noise_free
        )
        self.source = self.teacher.source
        self._generator = torch.Generator().manual_seed(settings.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            encoding = HashEncoding(settings.levels, 2, settings.table, settings.coarsest, settings.finest)
            self.field = HashField(encoding, 3, settings.half_side, blob=settings.blob).to(self._device)
        self._grid = OccupancyGrid(settings.cells).to(self._device)
        self._march = March(self.field.voxel, 1e-3)
        # Tables see few gradients each: small moments must not be divided by a large epsilon (section 4 of Müller
        # et al., 2022, arXiv:2201.05989).
        self._optimiser = torch.optim.Adam(
            self.field.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), eps=1e-15
        )

    @property
    def progress(self) -> float:
        """Share of the steps that are done, in [0, 1]."""
        return self.done / self.settings.steps

    def noise_steps(self) -> tuple[int, int]:
        """Lowest and highest step of the schedule that is drawn now: from much noise to little."""
        settings, last = self.settings, len(self.teacher.model.schedule) - 1
        way = min(self.progress / settings.anneal_until, 1) if settings.anneal_until else 1.0
        pairs = zip(settings.noise_first, settings.noise_last, strict=True)
        low, high = (round((first + (final - first) * way) * last) for first, final in pairs)
        return low, high

    def resolution(self) -> tuple[int, int]:
        """Side of the renders now, pixels, and how many views a step takes."""
        settings = self.settings
        stage = sum(self.progress >= milestone for milestone in settings.milestones)
        return settings.sides[stage], settings.views[stage]

    def render(self, pose: OrbitPose, side: int) -> tuple[Rendered, Tensor]:
        """The field from a pose, (1,), on white, and the directions of the rays, (side^2, 3)."""
        origins, directions = Camera.from_orbit(pose[0], hw=(side, side)).rays()
        offset = torch.rand(len(origins), generator=self._generator).to(origins)
        white = torch.ones(3, device=self._device)
        return render(self.field, origins, directions, white, self._march, None, self._cells(), offset), directions

    def _cells(self) -> Tensor:
        return self._grid.occupied(self.settings.emptiest, self._march.step)

    def step(self) -> dict[str, float]:
        """One step of the optimiser; what its terms were."""
        settings = self.settings
        shown = min(self.progress / settings.levels_until, 1) if settings.levels_until else 1.0
        self.field.levels = round(settings.first_levels + (settings.levels - settings.first_levels) * shown)
        if self.done % settings.look_every == 0:
            self._grid.look(self.field, self._generator)
        terms = self.losses()
        self._optimiser.zero_grad(set_to_none=True)
        torch.stack([term.float() for term in terms.values()]).sum().backward()
        self._optimiser.step()
        self.done += 1
        return {name: float(term.detach()) for name, term in terms.items()}

    def losses(self) -> dict[str, Tensor]:
        """The terms of one step, each to be added up and gone down along."""
        settings = self.settings
        side, count = self.resolution()
        poses = self.random_poses(count)
        seen = [self.render(poses[k : k + 1], side) for k in range(count)]
        pictures = torch.stack([one.colour.T.unflatten(1, (side, side)) for one, _ in seen])
        terms = {"score": settings.score_weight * self._score(pictures, poses)}
        photo, directions = self.render(self.source, side)
        terms |= self._input_losses(photo, side)
        seen.append((photo, directions))
        opacity = torch.cat([one.opacity for one, _ in seen])
        terms["sparse"] = settings.sparsity * sparsity(opacity)
        terms["opaque"] = settings.opaque * self.progress * opacity_entropy(opacity)
        if settings.orientation or settings.normal_smoothness:
            terms |= self._normal_losses(seen)
        return terms

    def random_poses(self, count: int) -> OrbitPose:
        """Where random cameras stand, (count,)."""
        settings = self.settings
        low, high = (math.radians(e) for e in settings.elevations_deg)
        return random_views(count, self._generator, (low, high), settings.radius).to(self._device)

    def _score(self, pictures: Tensor, poses: OrbitPose) -> Tensor:
        """A scalar whose gradient with respect to pictures (B, 3, H, W) is the score's, a mean over views."""
        model = self.teacher.model
        size = model.settings.image_size
        whole = functional.interpolate(pictures, (size, size), mode="bilinear", align_corners=False)
        latents = model.autoencoder.encode(whole.to(model.dtype)).float()
        sigma = self.teacher.levels(*self.noise_steps(), len(poses), self._generator)
        if self.settings.inversion:
            noise = self.teacher.inverted(latents, poses, sigma, self.settings.inversion)
        else:
            noise = torch.randn(latents.shape, generator=self._generator).to(latents)
        return (self.teacher.gradient(latents, poses, sigma, noise) * latents).sum() / len(poses)

    def _input_losses(self, seen: Rendered, side: int) -> dict[str, Tensor]:
        small = functional.interpolate(
            torch.cat((self.teacher.photo, self._photo[None, 3:]), 1), (side,) * 2, mode="area"
        )
        colour, alpha = small[0, :3].flatten(1).T, small[0, 3].flatten()
        return {
            "input": self.settings.input_weight * functional.mse_loss(seen.colour, colour),
            "mask": self.settings.mask_weight * functional.mse_loss(seen.opacity, alpha),
        }

    def _normal_losses(self, seen: list[tuple[Rendered, Tensor]]) -> dict[str, Tensor]:
        """Orientation, and smoothness of normals, at some of the samples that were seen."""
        settings = self.settings
        points = torch.cat([one.shown for one, _ in seen])
        along = torch.cat([directions[one.ray] for one, directions in seen])
        share = torch.cat([one.share for one, _ in seen])
        if not len(points):
            nothing = self.field.low.new_zeros(())
            return {"orientation": nothing, "smooth": nothing}
        rays = sum(len(directions) for _, directions in seen)
        few = torch.randint(len(points), (min(settings.normal_samples, len(points)),), generator=self._generator)
        few = few.to(points.device)
        normals = self.field.normals(points[few])
        scale = len(points) / len(few)
        aside = torch.randn(len(few), 3, generator=self._generator).to(points) * self.field.voxel
        rough = (share[few].detach() * (normals - self.field.normals(points[few] + aside)).abs().mean(-1)).sum() / rays
        return {
            "orientation": settings.orientation * scale * orientation(share[few], normals, along[few], rays),
            "smooth": settings.normal_smoothness * scale * rough,
        }

    @torch.no_grad()
    def looks(self, poses: OrbitPose) -> tuple[Tensor, Tensor]:
        """Pictures (V, 3, S, S) in [0, 1] and depths (V, S, S), world units, from poses (V,), on the CPU."""
        side = self.teacher.model.settings.image_size
        white, found = torch.ones(3, device=self._device), []
        for index in range(len(poses)):
            rays = Camera.from_orbit(poses[index].to(self._device), hw=(side, side)).rays()
            found.append(render_picture(self.field, *rays, white, self._march, self._cells()).T.cpu())
        stack = torch.stack(found).unflatten(2, (side, side))
        return stack[:, :3].clamp(0, 1), stack[:, 4]

    def mesh(self, faces: int) -> Mesh:
        """The surface of the field with its colours and the photo's; at most about `faces` triangles.

        Raises:
            ValueError: the field is empty.
        """
        self.field.levels = None
        poses = evenly_spread(12, (-0.4, 1.3), self.settings.input_radius).to(self._device)
        cameras = Camera.from_orbit(poses, hw=(64, 64))
        bare = solid_surface(self.field, self._march, cameras, faces, self._cells())
        mesh = bare.replace(vertex_colours=field_colours(self.field, bare.vertices, bare.vertex_normals()))
        return project_colours(mesh, self._photo.cpu(), Camera.from_orbit(self.source[0].to("cpu"), hw=self._hw))

    @property
    def _hw(self) -> tuple[int, int]:
        return self._photo.shape[-2], self._photo.shape[-1]

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
        return nn.ModuleDict({"field": self.field, "grid": self._grid})

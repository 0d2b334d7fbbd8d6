"""A view model as a teacher: told of a photo, it says how renders of the object should change."""

from __future__ import annotations

import torch
from torch import Tensor

from zero123.diffusion.guidance import Guided, Pair
from zero123.geometry.orbit import OrbitPose
from zero123.models.condition import Look
from zero123.models.view_model import ViewModel
from zero123.reconstruction.score_gradient import Weight, inverted_noise, noise_free_gradient, score_gradient


class Teacher:
    """A frozen model that has looked at one photo.

    Attributes:
        model: the denoiser.
        photo: the input on white, (1, 3, S, S) in [0, 1], float32.
        source: pose of the camera that took it, (1,).

    Args:
        model: as above; frozen from here on.
        photo: as above.
        source: as above.
        scale: guidance; 1 is off, 0 takes what suits the model.
        weight: of noise levels.
        reduce_variance: see `score_gradient`.
        noise_free: take `noise_free_gradient` in its place.
    """

    def __init__(
        self,
        model: ViewModel,
        photo: Tensor,
        source: OrbitPose,
        scale: float,
        weight: Weight,
        reduce_variance: bool = True,
        noise_free: bool = False,
    ) -> None:
        self.model = model.requires_grad_(False)
        self.photo = photo.to(model.device, torch.float32)
        self.source = source.to(model.device, torch.float32)
        self.weight, self.reduce_variance, self.noise_free = weight, reduce_variance, noise_free
        self.guided = Guided(model, scale or model.settings.scale)
        with torch.no_grad():
            self._look: Look = model.look(self.photo.to(model.dtype), self.source)

    def pair(self, poses: OrbitPose) -> Pair:
        """What the model is told of the views from poses, (B,), and of nothing in particular."""
        with torch.no_grad():
            condition = self.model.join(self._look, poses.relative_to(self.source))
        return Pair(condition, condition.without_image())

    def levels(self, low: int, high: int, count: int, generator: torch.Generator) -> Tensor:
        """Noise levels of random steps of the schedule from `low` to `high`, both included, (count,)."""
        schedule = self.model.schedule
        last = len(schedule) - (2 if schedule.ends_in_noise else 1)  # pure noise says nothing of a render
        steps = torch.randint(min(low, last), min(high, last) + 1, (count,), generator=generator)
        return self.model.noise_levels(schedule.sigmas[steps]).to(self.model.device, torch.float32)

    def gradient(self, latents: Tensor, poses: OrbitPose, sigma: Tensor, noise: Tensor) -> Tensor:
        """Of the score with respect to latents (B, C, h, w) of renders from poses (B,), to go down along.

        Args:
            latents: scaled as the model diffuses them.
            poses: of the cameras, in the photo's world.
            sigma: noise levels, (B,).
            noise: standard normal, as the latents.
        """
        pair = self.pair(poses)
        if self.noise_free:
            return noise_free_gradient(self.guided, latents.detach(), sigma, pair, noise, self.weight)
        return score_gradient(self.guided, latents.detach(), sigma, pair, noise, self.weight, self.reduce_variance)

    def inverted(self, latents: Tensor, poses: OrbitPose, sigma: Tensor, steps: int) -> Tensor:
        """Noise for `gradient` that depends on the latents alone; see `inverted_noise`."""
        condition = self.pair(poses).conditional
        return inverted_noise(self.model, latents.detach(), sigma, condition, steps)

    @torch.no_grad()
    def white(self) -> Tensor:
        """Latents of an empty picture, by the model's own autoencoder, (C, h, w), float32."""
        blank = torch.ones_like(self.photo).to(self.model.dtype)
        latents: Tensor = self.model.autoencoder.encode(blank)
        return latents[0].float()

    @torch.no_grad()
    def decoded(self, latents: Tensor) -> Tensor:
        """Pictures of latents, (B, 3, S, S), in [0, 1], float32, on the CPU, one at a time."""
        decode, dtype = self.model.autoencoder.decode, self.model.dtype
        return torch.cat([decode(one.to(dtype)).float().clamp(0, 1).cpu() for one in latents.split(1)])

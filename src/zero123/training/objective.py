"""One pass of training: a batch of pairs to a loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zero123.data.pairs import PairBatch
from zero123.diffusion.loss import Weighting, denoising_loss
from zero123.geometry.orbit import OrbitPose
from zero123.models.view_model import ViewModel


@dataclass(frozen=True)
class ObjectiveSettings:
    """What is minimised.

    Attributes:
        drop: u of the three kinds of dropout for guidance: tokens alone, both, latent alone, with probability u each.
        drop_jointly: tokens and latent are always dropped together, with probability 2u.
        weighting: of the noise levels.
        noise_power: steps are drawn as T * u ** noise_power, u uniform; below 1 the noisy ones, in which a view takes
            its shape from the condition, come more often.
        elevation_weight: of the elevation head's squared error, radians; 0 leaves the head untrained.
        elevation_jitter: standard deviation of the error put on the input elevation the model is told, radians, since
            in use it is an estimate.
    """

    drop: float = 0.05
    drop_jointly: bool = False
    weighting: Weighting = "uniform"
    noise_power: float = 1.0
    elevation_weight: float = 0.0
    elevation_jitter: float = 0.0


@dataclass(frozen=True)
class Draws:
    """All that is random in one pass.

    Attributes:
        step: steps into the schedule, (B,) int64.
        noise: standard normal, like the latents, (B, C, h, w).
        drop: which samples lose their tokens and their latent, (B, 2) bool.
        elevation_error: of the input elevation the model is told, radians, (B,).
    """

    step: Tensor
    noise: Tensor
    drop: Tensor
    elevation_error: Tensor


class Objective(nn.Module):
    """The training loss as a module, so that accelerate can wrap it for several devices.

    Section 3.2 of Liu et al., 2023 (arXiv:2303.11328); dropout for guidance as its code draws it: one uniform number
    r per sample, tokens dropped where r < 2u, latent where u <= r < 3u.
    """

    def __init__(self, model: ViewModel, settings: ObjectiveSettings) -> None:
        super().__init__()
        self.model = model
        self.settings = settings

    def forward(self, batch: PairBatch, chance: torch.Generator | Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss () and its parts; what is random comes from a generator (CPU), or is given."""
        model, settings = self.model, self.settings
        draws = chance if isinstance(chance, Draws) else self.draw(batch, chance)
        told = OrbitPose(batch.source.azimuth, batch.source.elevation + draws.elevation_error, batch.source.radius)

        tokens, latent = model.look(batch.photo)
        condition = model.join(tokens, latent, batch.relative, told, draws.drop)
        losses = denoising_loss(
            model.network,
            model.schedule,
            batch.latent,
            draws.noise,
            draws.step,
            condition,
            model.settings.prediction,
            settings.weighting,
        )
        loss = losses.mean()
        parts = {"diffusion": loss.detach()}
        if settings.elevation_weight and model.elevation_head is not None:
            guess = model.elevation_head(tokens).float()
            elevation = (guess - batch.source.elevation).square().mean()
            loss = loss + settings.elevation_weight * elevation
            parts["elevation_rms"] = elevation.detach().sqrt()
        return loss, parts

    def draw(self, batch: PairBatch, generator: torch.Generator) -> Draws:
        """Noise, steps and dropout of a batch, on its device."""
        settings, count, device = self.settings, len(batch.latent), batch.latent.device
        uniform = torch.rand(count, generator=generator, dtype=torch.float64) ** settings.noise_power
        step = (uniform * len(self.model.schedule)).long().to(device)
        noise = torch.randn(batch.latent.shape, generator=generator).to(device)
        drop = self.drop_mask(torch.rand(count, generator=generator)).to(device)
        error = torch.randn(count, generator=generator).to(device) * settings.elevation_jitter
        return Draws(step, noise, drop, error)

    def drop_mask(self, uniform: Tensor) -> Tensor:
        """Which samples lose their tokens and their latent, (B, 2) bool, from uniform numbers (B,)."""
        u = self.settings.drop
        if self.settings.drop_jointly:
            return (uniform < 2 * u)[:, None].expand(-1, 2)
        return torch.stack((uniform < 2 * u, (uniform >= u) & (uniform < 3 * u)), dim=1)

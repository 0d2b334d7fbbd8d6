"""One pass of training: a batch of pairs to a loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zero123.data.pairs import PairBatch
from zero123.diffusion.loss import Weighting, denoising_loss
from zero123.geometry.orbit import OrbitPose
from zero123.models.condition import Condition, Look
from zero123.models.feature_volume import Projected
from zero123.models.place_reader import PlaceReader
from zero123.models.view_model import ViewModel
from zero123.models.window import WHITE
from zero123.training.alterations import CHANCE, altered

Times = Literal["power", "logit_normal"]

_DOUBT = 0.3
"""Weight of what drafts say of their own error beside what the volume shows: they are to be right first."""


@dataclass(frozen=True)
class ObjectiveSettings:
    """What is minimised.

    Attributes:
        drop: u of the three kinds of dropout for guidance: tokens alone, both, latent alone, with probability u each.
        drop_jointly: tokens and latent are always dropped together, with probability 2u.
        weighting: of the noise levels.
        times: how the step is drawn: T * u ** noise_power with u uniform, or T * sigmoid(n) with n normal, the
            logit-normal times of rectified flow (Section 3.1 of Esser et al., 2024, arXiv:2403.03206).
        noise_power: below 1 the noisy steps, in which a view takes its shape from the condition, come more often.
        logit_mean, logit_spread: mean and standard deviation of n; TRELLIS takes 1 and 1, Esser et al. 0 and 1.
        source_weight: of the error of what the model reads of the places of pictures, inputs and targets: elevation,
            radians, and radius, world units; 0 for none. Alone, it trains the reader of places, hundreds of pictures a
            second.
        reframed: share of those pictures that are first framed as a person's picture is, see `training.alterations`.
        recoloured: share of them that are first given other colours.
        elevation_jitter: standard deviation of the error put on the elevation it is told, radians, since in use that is
            mostly an estimate.
        diffusion_weight: of the denoising loss; 0 trains the encoder and the volume behind the picture alone, at a
            fraction of the cost.
        volume_weight: of the error of what the volume shows the target, see `FeatureVolume`; for models that have one.
    """

    drop: float = 0.05
    drop_jointly: bool = False
    weighting: Weighting = "uniform"
    times: Times = "power"
    noise_power: float = 1.0
    logit_mean: float = 0.0
    logit_spread: float = 1.0
    source_weight: float = 0.0
    reframed: float = 0.0
    recoloured: float = 0.0
    elevation_jitter: float = 0.0
    diffusion_weight: float = 1.0
    volume_weight: float = 0.0

    def __post_init__(self) -> None:
        for name, kinds in (("weighting", Weighting), ("times", Times)):
            if getattr(self, name) not in get_args(kinds):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kinds))}, got {getattr(self, name)!r}")
        if not 0 <= self.drop <= 1 / 3:
            raise ValueError(f"drop must be in 0 to 1/3, got {self.drop}")
        for name in ("reframed", "recoloured"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0 to 1, got {getattr(self, name)}")
        for name in ("diffusion_weight", "volume_weight", "source_weight", "elevation_jitter"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        if not any((self.diffusion_weight, self.volume_weight, self.source_weight)):
            raise ValueError("one of diffusion_weight, volume_weight and source_weight must be over 0")
        for name in ("noise_power", "logit_spread"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be over 0 and finite, got {getattr(self, name)}")
        if not math.isfinite(self.logit_mean):
            raise ValueError(f"logit_mean must be finite, got {self.logit_mean}")


@dataclass(frozen=True)
class Draws:
    """All that is random in one pass.

    Attributes:
        step: steps into the schedule, (B,) int64.
        noise: standard normal, like the latents, (B, C, h, w).
        drop: which samples lose their tokens and their latent, (B, 2) bool.
        elevation_error: of the input elevation the volume's network is told, radians, (B,).
        altered: how each input and target is altered for the reader of places, (2B, CHANCE) in [0, 1), see
            `training.alterations`; None where nothing is.
    """

    step: Tensor
    noise: Tensor
    drop: Tensor
    elevation_error: Tensor
    altered: Tensor | None = None


class Objective(nn.Module):
    """The training loss as a module, so that accelerate can wrap it for several devices.

    Section 3.2 of Liu et al., 2023 (arXiv:2303.11328); dropout for guidance as its code draws it: one uniform number
    r per sample, tokens dropped where r < 2u, latent where u <= r < 3u.
    """

    def __init__(self, model: ViewModel, settings: ObjectiveSettings) -> None:
        super().__init__()
        if settings.weighting == "min_snr_5" and model.schedule.ends_in_noise:
            raise ValueError(
                f"weighting min_snr_5 gives the last step of the schedule {model.settings.schedule!r}, which holds no "
                "signal, no weight at all; take weighting=uniform"
            )
        self.model = model
        self.settings = settings

    def forward(self, batch: PairBatch, chance: torch.Generator | Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss () and its parts; what is random comes from a generator (CPU), or is given."""
        model, settings = self.model, self.settings
        draws = chance if isinstance(chance, Draws) else self.draw(batch, chance)
        losses: dict[str, tuple[float, Tensor]] = {}
        if settings.diffusion_weight or settings.volume_weight:
            losses |= self._views(batch, draws)
        if settings.source_weight and model.place_reader is not None:
            losses |= self._places(batch, model.place_reader, draws.altered)
        if not losses:
            raise ValueError(f"{model.settings.name} has nothing that these weights of the loss would train")
        total = torch.stack([weight * loss for weight, loss in losses.values()]).sum()
        parts = {name: loss.detach() for name, (_, loss) in losses.items()}
        return total, parts

    def _views(self, batch: PairBatch, draws: Draws) -> dict[str, tuple[float, Tensor]]:
        """Errors of the views: of the denoiser, and of what the volume shows."""
        every, settings = slice(None, None, batch.group), self.settings  # pairs in a row share their input
        source = batch.source[every]
        about = OrbitPose(source.azimuth, source.elevation + draws.elevation_error[every], source.radius)
        look = self._look(batch, source, about)
        condition, seen = self.model.join_projected(look, batch.relative, draws.drop)
        losses: dict[str, tuple[float, Tensor]] = {}
        if settings.diffusion_weight:
            losses["diffusion"] = settings.diffusion_weight, self._denoising(batch, draws, condition)
        if settings.volume_weight and seen is not None:
            losses |= self._volume(batch, seen)
        return losses

    def _places(self, batch: PairBatch, reader: PlaceReader, chance: Tensor | None) -> dict[str, tuple[float, Tensor]]:
        """Errors of what is read of inputs and targets, absolute but for small ones: some pictures do not tell.

        A reframed picture keeps its elevation; its distance shows no longer, and is not asked for.
        """
        every = slice(None, None, batch.group)
        pictures, truth = batch.photo[every], batch.source[every]
        if batch.picture is not None:
            pictures = torch.cat((pictures, batch.picture))
            truth = OrbitPose.cat([truth, batch.source.moved(batch.relative)])
        untouched = torch.ones(len(pictures), dtype=torch.bool, device=pictures.device)
        settings = self.settings
        if chance is not None:
            shares = settings.reframed, settings.recoloured, self.model.settings.foreground_fraction
            pictures, untouched = altered(pictures, chance[: len(pictures)], *shares)
        read, weight = reader(pictures), settings.source_weight
        high = F.smooth_l1_loss(read.elevation, truth.elevation, beta=0.2)
        far = F.smooth_l1_loss(read.radius, truth.radius, beta=0.1, reduction="none")
        return {
            "elevation": (weight, high),
            "radius": (weight, (far * untouched).sum() / untouched.sum().clamp(min=1)),
        }

    def _denoising(self, batch: PairBatch, draws: Draws, condition: Condition) -> Tensor:
        model = self.model
        return denoising_loss(
            model.network,
            model.schedule,
            batch.latent if condition.mean is None else (batch.latent - condition.mean) / model.settings.draft_error,
            draws.noise,
            draws.step,
            condition,
            model.settings.prediction,
            self.settings.weighting,
        ).mean()

    def _volume(self, batch: PairBatch, seen: Projected) -> dict[str, tuple[float, Tensor]]:
        """Errors of the outline and of the colours that the volume shows the targets, squared, and of their drafts."""
        if batch.picture is None:
            raise ValueError("volume_weight needs the targets' pictures: train on cached pairs (--cache)")
        truth = F.interpolate(batch.picture, seen.colour.shape[-2:], mode="area")
        inside = (batch.picture.amin(1, keepdim=True) < WHITE).to(truth)  # of a white object, what is in the shade
        outline = (seen.opacity - F.interpolate(inside, truth.shape[-2:], mode="area")).square().mean()
        weight = self.settings.volume_weight
        losses = {"outline": (weight, outline), "colour": (2 * weight, (seen.colour - truth).square().mean())}
        if seen.draft is not None and seen.outline is not None and seen.doubt is not None:
            # absolute but for small errors: a pixel that may be white is white or not, no veil
            losses["draft"] = 2 * weight, F.smooth_l1_loss(seen.draft, batch.picture, beta=0.1)
            losses["drawn_outline"] = weight, (seen.outline - inside).square().mean()
            losses["doubt"] = _DOUBT * weight, unlikelihood(seen.doubt, (seen.draft - batch.picture).detach())
        return losses

    def _look(self, batch: PairBatch, source: OrbitPose, told: OrbitPose) -> Look:
        """What is in the inputs; the encoders only work for what is not precomputed, and once for each input."""
        model, given, every = self.model, batch.precomputed, slice(None, None, batch.group)
        photo = batch.photo[every]
        tokens = model.image_encoder(photo) if given.tokens is None else given.tokens[every]
        latent = model.autoencoder.encode_condition(photo) if given.latent is None else given.latent[every]
        return model.looked(photo, tokens, latent, source, told)

    def draw(self, batch: PairBatch, generator: torch.Generator) -> Draws:
        """Noise, steps and dropout of a batch, on its device."""
        settings, count, device = self.settings, len(batch.latent), batch.latent.device
        step = (self._times(count, generator) * len(self.model.schedule)).long().to(device)
        drop = self.drop_mask(torch.rand(count, generator=generator)).to(device)
        error = torch.randn(count, generator=generator).to(device) * settings.elevation_jitter
        alter = settings.reframed or settings.recoloured
        chance = torch.rand(2 * count, CHANCE, generator=generator).to(device) if alter else None
        if device.type != "cpu":  # numbers by the million are drawn where they are used
            generator = torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
        noise = torch.randn(batch.latent.shape, generator=generator, device=device)
        return Draws(step, noise, drop, error, chance)

    def _times(self, count: int, generator: torch.Generator) -> Tensor:
        """Places in the schedule, (B,) float64 in [0, 1)."""
        settings = self.settings
        if settings.times == "power":
            return torch.rand(count, generator=generator, dtype=torch.float64) ** settings.noise_power
        normal = torch.randn(count, generator=generator, dtype=torch.float64)
        return torch.sigmoid(settings.logit_mean + settings.logit_spread * normal).clamp(max=1 - 1e-9)

    def drop_mask(self, uniform: Tensor) -> Tensor:
        """Which samples lose their tokens and their latent, (B, 2) bool, from uniform numbers (B,)."""
        u = self.settings.drop
        if self.settings.drop_jointly:
            return (uniform < 2 * u)[:, None].expand(-1, 2)
        return torch.stack((uniform < 2 * u, (uniform >= u) & (uniform < 3 * u)), dim=1)


def unlikelihood(doubt: Tensor, error: Tensor) -> Tensor:
    """Negative logarithm of the likelihood of errors under normal distributions, per channel, but for a constant; ().

    Least where `doubt` is the root mean square of the errors it is said of. Each pixel counts as much as it doubts, or
    errors where none was expected would outweigh all others (Seitzer et al., 2022, arXiv:2203.09168, beta of 1/2).

    Args:
        doubt: standard deviations, (V, 1, H, W).
        error: (V, 3, H, W).
    """
    each = doubt.log() + error.square().mean(1, keepdim=True) / (2 * doubt.square())
    return (doubt.detach() * each).mean()

"""Views drawn out of noise, those of several photos in the same network calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zero123.diffusion.guidance import Pair
from zero123.diffusion.sampling import SamplingSettings, draw
from zero123.geometry.orbit import RelativePose
from zero123.models.condition import Look
from zero123.models.feature_volume import Projected, outlined
from zero123.models.joint_attention import joined_views
from zero123.models.photo_detail import detailed
from zero123.models.running import Batches, decoding_in_tiles
from zero123.models.view_model import ViewModel

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Begun:
    """What N pictures begin from, where that is not noise alone.

    Attributes:
        latents: clean ones, (N, C, h, w).
        sigmas: falling noise levels that are walked, (n + 1,).
    """

    latents: Tensor
    sigmas: Tensor


@dataclass(frozen=True)
class Drawing:
    """N pictures to be drawn.

    Attributes:
        look: what the networks see in P photos.
        photo: which of them each picture is of, (N,), whole numbers.
        relative: moves from the photos' cameras, (N,).
        seeds: of each picture's noise, N.
        begin: what they begin from; None for noise alone.
    """

    look: Look
    photo: Tensor
    relative: RelativePose
    seeds: list[int]
    begin: Begun | None = None


@dataclass(frozen=True)
class Belief:
    """What a model says of V views beside their pictures.

    Attributes:
        opacity: how far they show the object, (V, S, S), in [0, 1], on the CPU; in between where the model is unsure,
            which its pictures do not say. The drafts' own outlines, or what the volume stops of the light.
        doubt: how wrong it expects the pictures to be, standard deviation, (V, S, S), on the CPU; None of models that
            draw no drafts.
        plane: about which the object is taken to be its own mirror image, counter-clockwise from the photo's camera,
            radians in [0, pi); None where it is not.
    """

    opacity: Tensor
    doubt: Tensor | None
    plane: float | None = None


def latents_of(
    model: ViewModel, wanted: Drawing, settings: SamplingSettings, batch: int, progress: Progress | None = None
) -> tuple[Tensor, list[Projected]]:
    """Latents of the pictures, (N, C, h, w), and what those see of the photos' volumes.

    Args:
        model: its UNet where it shall run.
        wanted: what is drawn; of joint views, all of one photo.
        settings: how; its seed and samples have been spread over `wanted` already.
        batch: pictures of a network call, unless the settings say so.
        progress: told network evaluations done, and in all.
    """
    own = model.settings
    scale = own.scale if settings.scale is None else settings.scale
    begin = None if wanted.begin is None else wanted.begin.latents
    if wanted.begin is None:
        walk = model.schedule.sampling_sigmas(settings.steps or own.steps, settings.spacing or own.spacing)
        sigmas = model.noise_levels(walk)
    else:
        sigmas = wanted.begin.sigmas
    batch = min(settings.batch or batch, len(wanted.seeds))
    starts = range(0, len(wanted.seeds), batch)
    total = (len(sigmas) - 1) * len(starts)
    drawn, projected = [], []
    for index, first in enumerate(starts):
        part = slice(first, first + batch)
        look = wanted.look if len(wanted.look) == 1 else wanted.look[wanted.photo[part]]
        condition, seen = model.join_projected(look, wanted.relative[part])
        projected += [] if seen is None else [seen]
        pair = Pair(condition, condition.without_image())
        start = torch.zeros(len(condition), *model.latent_shape, device=model.device)
        report = None if progress is None else _reporter(progress, index * (len(sigmas) - 1), total)
        with joined_views(model, len(condition) if joint(model, settings) else 1):
            known = None if begin is None else begin[part]
            drawn.append(draw(model, pair, sigmas, start, wanted.seeds[part], settings, scale, report, known))
    return torch.cat(drawn), projected


def pictures_of(
    model: ViewModel, latents: Tensor, projected: list[Projected], fitting: Batches, photo_detail: bool = True
) -> Tensor:
    """Views (N, 3, S, S) in [0, 1], float32, on the CPU; what latents cannot hold is the drafts'.

    Args:
        model: its autoencoder where it shall run.
        latents: from `latents_of`, as are `projected`.
        projected: of all pictures, or none.
        fitting: how many are decoded at once.
        photo_detail: they take the photo's detail, where the model does so.
    """
    images = _decoded(model, latents, fitting)
    drafts = [seen.draft for seen in projected if seen.draft is not None]
    if drafts:
        held = model.autoencoder.encode(torch.cat(drafts).to(model.dtype))
        images = images + torch.cat(drafts).cpu() - _decoded(model, held, fitting)
    if photo_detail and model.settings.photo_detail:
        parts = zip(images.split([len(seen.warped) for seen in projected]), projected, strict=True)
        images = torch.cat([detailed(part, seen, model.settings.photo_detail) for part, seen in parts])
    if model.settings.outline:
        opacity = torch.cat([seen.silhouette for seen in projected]).cpu()
        images = outlined(images, opacity, model.settings.outline)
    return images.clamp(0, 1)


def belief(model: ViewModel, look: Look, relative: RelativePose, batch: int) -> Belief:
    """What a model with a volume says of V views of one photo beside their pictures.

    Args:
        model: with a volume.
        look: what is seen in the photo.
        relative: moves, (V,).
        batch: views at a time.

    Raises:
        ValueError: the model has no volume.
    """
    if model.feature_volume is None or look.volume is None:
        raise ValueError("model must have a volume behind the photo, this one has none")
    opacity, doubt = [], []
    for moves in torch.arange(len(relative)).split(batch):
        seen = model.join_projected(look, relative[moves])[1]
        if seen is not None:
            opacity.append(seen.silhouette.cpu())
            doubt += [] if seen.doubt is None else [seen.doubt.cpu()]
    size = (model.settings.image_size,) * 2
    fine = F.interpolate(torch.cat(opacity), size, mode="bicubic")[:, 0].clamp(0, 1)
    return Belief(fine, torch.cat(doubt)[:, 0] if doubt else None, None if look.plane is None else float(look.plane[0]))


def _decoded(model: ViewModel, latents: Tensor, fitting: Batches) -> Tensor:
    """Pictures (N, 3, S, S), about [0, 1], on the CPU, a few at a time: the decoder takes the most memory."""
    with decoding_in_tiles(model, fitting.tiled):
        parts = latents.split(fitting.pictures)
        return torch.cat([model.autoencoder.decode(part.to(model.dtype)).float().cpu() for part in parts])


def joint(model: ViewModel, settings: SamplingSettings) -> bool:
    """Whether views look at each other while they are drawn."""
    return model.settings.joint and settings.samples == 1 if settings.joint is None else settings.joint


def _reporter(progress: Progress, before: int, total: int) -> Callable[[int, Tensor], None]:
    """A sampler's callback that reports evaluations of all calls."""
    return lambda index, _: progress(before + index + 1, total)

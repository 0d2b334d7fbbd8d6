"""What a view model sees in a photo, and what its UNet is told of the views it makes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from zero123.geometry.orbit import OrbitPose
from zero123.models.feature_volume import Volume


@dataclass(frozen=True)
class Condition:
    """What the UNet is told about the views it makes.

    Attributes:
        tokens: context of cross-attention, (B, N, D).
        latent: latents of the input picture, beside the noisy ones, (B, C, h, w).
        rays: ray map of the target, (B, 6, h, w), or None.
        projected: what the target sees of the input's volume, (B, K, h, w), or None.
        pose: pose numbers added to the step embedding, (B, P), or None.
        added: what cross-attention adds in its layers, where that is a constant, (B, 1, widths), or None.
        added_without: the same for no picture.
        mean: latents of the draft, whose error is denoised, (B, C, h, w), or None; guidance does not touch them.
    """

    tokens: Tensor
    latent: Tensor
    rays: Tensor | None = None
    projected: Tensor | None = None
    pose: Tensor | None = None
    added: Tensor | None = None
    added_without: Tensor | None = None
    mean: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: slice | Tensor) -> Condition:
        own: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen: dict[str, Any] = {k: None if v is None else v[index] for k, v in own.items()}
        return Condition(**chosen)

    def without_image(self) -> Condition:
        """The same poses of nothing in particular: the unconditional side of guidance."""
        tokens, latent = torch.zeros_like(self.tokens), torch.zeros_like(self.latent)
        projected = None if self.projected is None else torch.zeros_like(self.projected)
        return replace(self, tokens=tokens, latent=latent, projected=projected, added=self.added_without)

    def join(self, other: Condition) -> Condition:
        """Both conditions, one behind the other along the batch."""
        pairs: dict[str, Any] = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        joined: dict[str, Any] = {k: None if a is None else torch.cat((a, b)) for k, (a, b) in pairs.items()}
        return Condition(**joined)


@dataclass(frozen=True)
class SecondLook:
    """What a volume's network sees in P photos when it looks otherwise.

    Attributes:
        volume: see `FeatureVolume`; of the mirror images where `mirrored`.
        source: poses that the photos' cameras are taken to have, (P,).
        mirrored: it looked at their mirror images.
    """

    volume: Volume
    source: OrbitPose
    mirrored: bool = False

    def __getitem__(self, index: Tensor) -> SecondLook:
        """Of chosen photos, also several times, (P')."""
        return SecondLook(self.volume[index], self.source[index], self.mirrored)


@dataclass(frozen=True)
class Look:
    """What the networks see in P photos, made once however many views are drawn.

    Attributes:
        tokens: of the image encoder, (P, N, D).
        latent: as the network is conditioned on it, (P, C, h, w).
        source: poses of the photos' cameras, (P,); azimuth 0 where estimated.
        volume: see `FeatureVolume`, or None.
        again: further looks, of whose drafts the mean is taken.
        plane: azimuths of the upright planes about which the objects are taken to be symmetric, counter-clockwise from
            the photos' cameras, radians, (P,); None where they are not.
    """

    tokens: Tensor
    latent: Tensor
    source: OrbitPose
    volume: Volume | None = None
    again: tuple[SecondLook, ...] = ()
    plane: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: Tensor) -> Look:
        """Of chosen photos, also several times, (P')."""
        volume = None if self.volume is None else self.volume[index]
        again = tuple(second[index] for second in self.again)
        plane = None if self.plane is None else self.plane[index]
        return Look(self.tokens[index], self.latent[index], self.source[index], volume, again, plane)


def one_each(source: OrbitPose, tokens: Tensor) -> OrbitPose:
    """The pose of each photo, (P,), on the device of their tokens (P, N, D), in float32; one may stand for all.

    Raises:
        ValueError: neither one nor P.
    """
    if len(source) not in (1, len(tokens)):
        raise ValueError(f"source must be 1 or one for each of {len(tokens)} photos, got {len(source)}")
    source = source.to(tokens.device, torch.float32)
    return OrbitPose(*(v.expand(len(tokens)) for v in vars(source).values()))

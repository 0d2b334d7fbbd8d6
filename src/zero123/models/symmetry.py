"""Most things are their own mirror image about an upright plane: about which, and what it adds to what is believed."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.models.draft import Draft
from zero123.models.feature_volume import FeatureVolume, Projected, Volume

_RING = 36
"""Drafts all around by which a plane is found, to half of the angle between two of them."""
_LEAST = 0.045
"""Drafts that differ by this much, standard deviation, are as good as alike, however sure they are."""
_COARSE = 4
"""Pixels, a side, that are compared as one: edges are never in their exact place."""


@torch.no_grad()
def plane_of(network: FeatureVolume, draft: Draft, volume: Volume, source: OrbitPose) -> Tensor:
    """The upright plane through the origin about which what is believed of P objects is most nearly symmetric.

    Draft m(a) of the view at azimuth a, doubted by s(a), must be the mirror image of m(2 p - a) if p is the plane's
    azimuth. That which makes the mean squared difference over s(a)^2 + s(2 p - a)^2 smallest is taken; a photo that
    fixes few of its views fixes the plane by those. Symmetry of an object and its photograph: Thrun and Wegbreit, 2005,
    "Shape from symmetry".

    Args:
        network: that made the volume.
        draft: draws what is seen of it.
        volume: of P photos.
        source: poses of their cameras, (P,).

    Returns:
        Azimuths of the planes, counter-clockwise from the photos' cameras, radians in [0, pi), (P,).
    """
    around = torch.arange(_RING, device=volume.values.device) * (2 * math.pi / _RING)
    level = torch.zeros_like(around)
    ring = RelativePose(around, level, level)
    planes = []
    for photo in torch.arange(len(source), device=around.device)[:, None]:
        seen = network.look(volume[photo], source[photo.expand(_RING)], ring)
        picture, _, doubt = draft(seen)
        planes.append(int(_asymmetry(picture, doubt).argmin()) * math.pi / _RING)
    return torch.tensor(planes, device=around.device)


def _asymmetry(picture: Tensor, doubt: Tensor) -> Tensor:
    """How far drafts all around, (N, 3, H, W) doubted by (N, 1, H, W), are off their mirror images, by planes, (N,)."""
    count = len(picture)
    picture = F.avg_pool2d(picture, _COARSE)
    variance = F.avg_pool2d(doubt, _COARSE).square()
    turned, unsure = picture.flip(-1), variance.flip(-1)
    each = torch.arange(count, device=picture.device)
    found = []
    for twice in range(count):  # the plane's azimuth is half of it
        other = (twice - each) % count
        apart = (picture - turned[other]).square().mean(1, keepdim=True)
        found.append((apart / (variance + unsure[other] + _LEAST**2)).mean())
    return torch.stack(found)


def beyond(plane: Tensor, relative: RelativePose) -> RelativePose:
    """Moves (V,) to where the mirror images of views are seen, about planes (V,)."""
    return RelativePose(2 * plane - relative.azimuth, relative.elevation, relative.radius)


def with_twin(own: Projected, twin: Projected) -> Projected:
    """Drafts with those of the other side in a mirror, each pixel by how little it is doubted.

    Args:
        own: V views, with drafts.
        twin: what their mirror images' cameras see, see `beyond`.

    Returns:
        `own` with the mean, weighed by inverse variance, and a doubt that counts how far both differ: the deviation of
        the mixture.
    """
    assert own.draft is not None and own.outline is not None and own.doubt is not None
    assert twin.draft is not None and twin.outline is not None and twin.doubt is not None
    picture, outline, doubt = (t.flip(-1) for t in (twin.draft, twin.outline, twin.doubt))
    said, other = own.doubt.square(), doubt.square()
    weight = said / (said + other)
    draft = own.draft.lerp(picture, weight)
    apart = weight * (1 - weight) * (own.draft - picture).square().mean(1, keepdim=True)
    doubt = (said.lerp(other, weight) + apart).sqrt()
    return replace(own, draft=draft, outline=own.outline.lerp(outline, weight), doubt=doubt)

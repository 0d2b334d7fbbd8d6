"""What several looks at a photo, none of which is sure, say of a view together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.models.condition import Look, SecondLook
from zero123.models.draft import Draft
from zero123.models.feature_volume import FeatureVolume, Projected
from zero123.models.symmetry import beyond, with_twin


def second_looks(
    network: FeatureVolume, photo: Tensor, tokens: Tensor, source: OrbitPose, mirrored: OrbitPose, apart: float
) -> tuple[SecondLook, ...]:
    """Looks at P photos' mirror images, and at the photos as if taken from lower and from higher.

    Where a photo was taken from is read from it, with errors of several degrees, and what is behind its pixels depends
    on that; a network that learned from mirrored pairs is not quite the same in a mirror. Errors that looks do not
    share cancel in the mean of what they say.

    Args:
        network: makes the volumes.
        photo: (P, 3, H, W) in [0, 1].
        tokens: of the photos and then of their mirror images, (2P, N, T).
        source: poses of the photos' cameras, (P,).
        mirrored: poses of their mirror images' cameras, (P,).
        apart: how much lower and higher, radians; 0 for the mirror images alone.
    """
    plain, mirror = tokens.chunk(2)
    tilts = (-apart, apart) if apart else ()
    ways = [(OrbitPose(source.azimuth, source.elevation + by, source.radius), False) for by in tilts]
    ways.append((mirrored, True))
    pictures = torch.cat([photo.flip(-1) if turned else photo for _, turned in ways])
    told = torch.cat([mirror if turned else plain for _, turned in ways])
    volumes = network(pictures, told, OrbitPose.cat([place for place, _ in ways]))
    each = torch.arange(len(pictures), device=photo.device).chunk(len(ways))
    return tuple(SecondLook(volumes[rows], *way) for rows, way in zip(each, ways, strict=True))


def drafted(network: FeatureVolume, draft: Draft, look: Look, relative: RelativePose, each: Tensor) -> Projected:
    """What V targets see of the volume, and the mean of what all looks draft of it and of its mirror image.

    Args:
        network: that made the volumes.
        draft: draws what is seen of one.
        look: with a volume, at P photos.
        relative: moves, (V,).
        each: of which photo each target is, (V,), V / P in a row for each.
    """
    seen = _by_all_looks(network, draft, look, relative, each)
    if look.plane is None:
        return seen
    twin = _by_all_looks(network, draft, look, beyond(look.plane[each], relative), each)
    return with_twin(seen, twin)


def _by_all_looks(network: FeatureVolume, draft: Draft, look: Look, relative: RelativePose, each: Tensor) -> Projected:
    assert look.volume is not None
    seen = _one(network, draft, SecondLook(look.volume, look.source), relative, each)
    return _mean(seen, [_one(network, draft, second, relative, each) for second in look.again]) if look.again else seen


def _one(network: FeatureVolume, draft: Draft, look: SecondLook, relative: RelativePose, each: Tensor) -> Projected:
    """What one look says; of a mirror image the draft is turned back."""
    moves = RelativePose(-relative.azimuth, relative.elevation, relative.radius) if look.mirrored else relative
    seen = network.look(look.volume, look.source[each], moves)
    drawn = draft(seen)
    picture, outline, doubt = (t.flip(-1) for t in drawn) if look.mirrored else drawn
    return replace(seen, draft=picture, outline=outline, doubt=doubt)


def _mean(first: Projected, others: Sequence[Projected]) -> Projected:
    """The first with the mean of all drafts, and a doubt that counts how far they differ: the mixture's deviation."""
    every = [first, *others]
    pictures = torch.stack([_given(seen.draft) for seen in every])
    outline = torch.stack([_given(seen.outline) for seen in every]).mean(0)
    own = torch.stack([_given(seen.doubt) for seen in every]).square().mean(0)
    apart = pictures.var(0, correction=0).mean(1, keepdim=True)
    return replace(first, draft=pictures.mean(0), outline=outline, doubt=(own + apart).sqrt())


def _given(value: Tensor | None) -> Tensor:
    assert value is not None
    return value

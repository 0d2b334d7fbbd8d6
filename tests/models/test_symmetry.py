"""Planes of symmetry: found where an object has one, and what the far side adds to a view."""

import math
from dataclasses import replace

import pytest
import torch

from tiny_model import SIZE, blobs, tiny_view_model
from zero123.diffusion.sampling import SamplingSettings
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.images.matting import Matte
from zero123.images.photo import Photo
from zero123.models.feature_volume import Projected
from zero123.models.symmetry import _asymmetry, beyond, plane_of, with_twin
from zero123.pipeline import NovelViews

MOVES = RelativePose.from_degrees([40, -70, 0], [10, -20, 0])
PLACE = OrbitPose(torch.zeros(1), torch.tensor([0.4]), torch.tensor([1.8]))


def _model():
    return tiny_view_model().eval()


def _photo():
    rgba = torch.cat((blobs(1)[0], torch.ones(1, SIZE, SIZE)))
    return Photo(rgba, Matte("alpha", 1.0, cropped=False), rgba[3:])


def _dots(points, colours, source, moves):
    """Round dots as cameras see them, (V, 3, 64, 64): exact views of points in the world, (P, 3)."""
    camera = Camera.from_orbit(source[torch.zeros(len(moves), dtype=int)].moved(moves), hw=(64, 64))
    pictures = torch.ones(len(moves), 3, 64, 64)
    for view in range(len(moves)):
        pixels, depth = camera[view].project(points)
        apart = camera.pixel_centres()[..., None, :] - pixels
        near = torch.exp(-apart.square().sum(-1) / 8) / depth.square()  # what is nearer is larger
        pictures[view] -= torch.einsum("hwp,pc->chw", near, 1 - colours).clamp(0, 1)
    return pictures


@pytest.mark.parametrize("degrees", [0, 35, 90, 145])
def test_exact_views_of_a_symmetric_object_fix_its_plane(degrees):
    plane, generator = math.radians(degrees), torch.Generator().manual_seed(degrees)
    half, colours = torch.rand(6, 3, generator=generator) - 0.5, torch.rand(6, 3, generator=generator)
    normal = torch.tensor([-math.sin(plane), math.cos(plane), 0.0])
    other = half - 2 * (half @ normal)[:, None] * normal
    around = RelativePose(torch.arange(36) * 2 * math.pi / 36, torch.zeros(36), torch.zeros(36))
    views = _dots(torch.cat((half, other)), torch.cat((colours, colours)), PLACE, around)
    off = _asymmetry(views, torch.full((36, 1, 64, 64), 0.02))
    assert int(off.argmin()) * 5 == degrees
    assert float(off.min()) < 1e-6 < float(off.sort().values[1])


def test_what_is_doubted_does_not_decide_about_a_plane():
    """More views are symmetric about another plane than about the right one, but they are doubted."""
    picture = torch.rand(36, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    sure = {5 + away: 5 - away for away in range(1, 6)}  # twice the plane's azimuth is 10, here 24
    unsure = {11: 13, 25: 35, 26: 34, 27: 33, 28: 32, 29: 31, 5: 19}
    for view, other in (sure | unsure).items():
        picture[view] = picture[other].flip(-1)
    doubt = torch.full((36, 1, 64, 64), 1.0)
    assert int(_asymmetry(picture, doubt).argmin()) == 24
    doubt[[*sure.keys(), *sure.values()]] = 0.01
    assert int(_asymmetry(picture, doubt).argmin()) == 10


def test_each_photo_has_the_plane_that_is_found_behind_it_alone():
    model, photos = _model(), blobs(2)
    with torch.no_grad():
        look = model.look(photos, PLACE, again=True, symmetry="auto")
        alone = [model.look(photo[None], PLACE, again=True, symmetry="auto").plane for photo in photos]
    torch.testing.assert_close(look.plane, torch.cat(alone))
    assert bool(((look.plane >= 0) & (look.plane < math.pi)).all())
    torch.testing.assert_close(look[torch.tensor([1, 0])].plane, look.plane.flip(0))
    own = plane_of(model.feature_volume, model.draft, look.volume, look.source)
    torch.testing.assert_close(own, look.plane)


def test_a_mirror_moves_a_camera_as_it_moves_a_point():
    plane = torch.tensor([0.3, 1.2, 2.5])
    there = PLACE[torch.zeros(3, dtype=int)].moved(MOVES)
    mirrored = PLACE[torch.zeros(3, dtype=int)].moved(beyond(plane, MOVES))
    normal = torch.stack((-plane.sin(), plane.cos(), torch.zeros(3)), dim=-1)
    point = there.point()
    expected = point - 2 * (point * normal).sum(-1, keepdim=True) * normal
    torch.testing.assert_close(mirrored.point(), expected)


def _seen(value, doubt):
    full = torch.ones(2, 1, 8, 8)
    return Projected(
        full,
        full.expand(-1, 3, -1, -1),
        full,
        full,
        full,
        full.expand(-1, 3, -1, -1) * value,
        full * value,
        full * doubt,
    )


def test_drafts_weigh_by_their_inverse_variance():
    weights, values = torch.tensor([1 / 0.1**2, 1 / 0.3**2]), torch.tensor([0.8, 0.2])
    both = with_twin(_seen(0.8, 0.1), _seen(0.2, 0.3))
    mean = float((weights * values).sum() / weights.sum())
    torch.testing.assert_close(both.draft, torch.full_like(both.draft, mean))
    torch.testing.assert_close(both.outline, torch.full_like(both.outline, mean))
    second = (weights * (torch.tensor([0.1, 0.3]) ** 2 + values**2)).sum() / weights.sum()
    spread = float((second - mean**2).sqrt())  # of a mixture of two normal distributions
    torch.testing.assert_close(both.doubt, torch.full_like(both.doubt, spread))


def test_a_view_and_its_mirror_image_agree_once_both_know_of_each_other():
    """What is drawn at the far side is the mirror image of what is drawn here."""
    model = _model()
    with torch.no_grad():
        look = model.look(blobs(1), PLACE, again=True, symmetry="auto")
        here = model.join_projected(look, MOVES)[1]
        there = model.join_projected(look, beyond(look.plane, MOVES))[1]
        alone = model.join_projected(replace(look, plane=None), MOVES)[1]
    torch.testing.assert_close(there.draft.flip(-1), here.draft, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(there.doubt.flip(-1), here.doubt, rtol=1e-4, atol=1e-5)
    assert (alone.draft - here.draft).abs().max() > 1e-4
    torch.testing.assert_close(alone.features, here.features)  # what the denoiser knows is of the photo's own side


def test_views_and_belief_count_an_object_as_symmetric_where_they_are_told():
    views = NovelViews(_model())
    ways = [SamplingSettings(steps=1, scale=1, symmetry=way) for way in ("none", "auto", 70.0)]
    pictures = [views(_photo(), MOVES, way, PLACE) for way in ways]
    beliefs = [views.belief(_photo(), MOVES, PLACE, way) for way in ways]
    believed = [belief.opacity for belief in beliefs]
    assert beliefs[0].plane is None and beliefs[1].plane is not None
    assert beliefs[2].plane == pytest.approx(math.radians(70), abs=1e-6)
    torch.testing.assert_close(views(_photo(), MOVES, SamplingSettings(steps=1, scale=1), PLACE), pictures[0])
    for drawn in (pictures, believed):
        assert min((drawn[0] - other).abs().max() for other in drawn[1:]) > 1e-4


def test_a_plane_that_is_told_is_the_one_that_counts():
    """A camera that is told that it looks at the side of a thing shows the same from the other side, in a mirror."""
    model = _model()
    with torch.no_grad():
        look = model.look(blobs(1), PLACE, again=True, symmetry=-270.0)
        near = model.join_projected(look, RelativePose.from_degrees([20], [5], [0]))[1]
        far = model.join_projected(look, RelativePose.from_degrees([160], [5], [0]))[1]
    torch.testing.assert_close(look.plane, torch.tensor([math.pi / 2]))
    torch.testing.assert_close(near.draft, far.draft.flip(-1), rtol=1e-4, atol=1e-5)


def test_a_plane_is_refused_by_models_that_have_no_use_for_it():
    views = NovelViews(tiny_view_model(volume=False))
    with pytest.raises(ValueError, match=r"symmetry must be left out: .* has no use for it, got 30"):
        views(_photo(), MOVES, SamplingSettings(steps=1, symmetry=30.0))
    with pytest.raises(ValueError, match=r"symmetry must be left out: .* got auto"):
        views(_photo(), MOVES, SamplingSettings(steps=1, symmetry="auto"))
    for wrong in ("left", math.nan, 400.0, True):
        with pytest.raises(ValueError, match="symmetry must be"):
            SamplingSettings(symmetry=wrong)

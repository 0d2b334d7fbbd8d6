"""What is fine in a view is the photo's where both show the same surface, and what is coarse stays the view's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from tiny_model import SIZE, blobs, tiny_view_model
from zero123.diffusion.sampling import SamplingSettings
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.images.matting import Matte
from zero123.images.photo import Photo
from zero123.models.feature_volume import Projected
from zero123.models.photo_detail import blurred, detailed
from zero123.models.pretrained import load_model, reconfigured, save_model
from zero123.pipeline import NovelViews

S = 64
STRIPES = (0.5 + 0.3 * torch.sin(torch.arange(S) * 2 * torch.pi / 4)).expand(1, 3, S, S)
SLOPE = torch.linspace(0.2, 0.8, S)[:, None].expand(1, 3, S, S)


def _seen(warped, shown=1.0, cells=16):
    everywhere = torch.ones(1, 1, cells, cells)
    nothing = torch.zeros(1, 3, cells, cells)
    full = torch.ones(1, 1, S, S)
    return Projected(everywhere, nothing, nothing, shown * everywhere, warped, warped, full, full)


def test_fine_stripes_of_the_photo_come_into_a_view_that_keeps_its_own_slope():
    drawn = detailed(SLOPE, _seen(STRIPES), 1.0)
    inside = (slice(None), slice(None), slice(8, -8), slice(8, -8))  # the window reaches beyond the frame
    torch.testing.assert_close(drawn[inside], (SLOPE + STRIPES - 0.5)[inside], atol=0.02, rtol=0)
    half = detailed(SLOPE, _seen(STRIPES), 0.5)
    torch.testing.assert_close(half, (SLOPE + drawn) / 2)


def test_another_light_on_the_photo_changes_nothing():
    """A constant between photo and view is no detail, whatever the outline."""
    outline = blurred(torch.rand(1, 1, S, S, generator=torch.Generator().manual_seed(0)), 2.0)
    seen = replace(_seen(STRIPES - 0.1), outline=outline.clamp(min=0.3))
    drawn = 1 - (1 - STRIPES) * seen.outline
    torch.testing.assert_close(detailed(drawn, seen, 1.0), drawn, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("shown", "share"), [(0.0, 1.0), (0.5, 1.0), (1.0, 0.0)])
def test_a_view_of_what_the_photo_hides_stays_as_it_is(shown, share):
    torch.testing.assert_close(detailed(SLOPE, _seen(STRIPES, shown), share), SLOPE)


def test_beyond_the_outline_nothing_comes_in():
    seen = _seen(STRIPES)
    seen.outline[..., :32] = 0
    drawn = detailed(torch.ones(1, 3, S, S), seen, 1.0)
    assert (drawn[..., :32] == 1).all() and (drawn[..., 40:] - 1).abs().mean() > 0.1


@pytest.mark.parametrize("deviation", [0.8, 2.0, 4.0])
def test_the_blur_is_scipys(deviation):
    layers = torch.rand(2, 3, 20, 31, generator=torch.Generator().manual_seed(1))
    ours = blurred(layers, deviation)
    theirs = gaussian_filter(layers.numpy(), (0, 0, deviation, deviation), mode="constant", radius=round(3 * deviation))
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)


def test_views_of_a_model_that_says_so_have_it_and_others_refuse_the_setting(tmp_path):
    model = tiny_view_model()
    rgba = torch.cat((blobs(1)[0], torch.ones(1, SIZE, SIZE)))
    photo, place = (
        Photo(rgba, Matte("alpha", 1.0, cropped=False), rgba[3:]),
        OrbitPose(*torch.tensor([[0.0], [0.4], [1.8]])),
    )
    moves = RelativePose.from_degrees([0, 20, 170], [0, 5, 0])
    with_it = reconfigured(model, replace(model.settings, photo_detail=1.0)).eval()
    plain, detail = (NovelViews(each)(photo, moves, source=place) for each in (model.eval(), with_it))
    asked = NovelViews(with_it)(photo, moves, SamplingSettings(photo_detail=False), place)
    torch.testing.assert_close(asked, plain)  # on request, too
    assert (plain - detail).abs().max() > 1e-4
    assert plain.shape == detail.shape and detail.min() >= 0 and detail.max() <= 1
    save_model(with_it, tmp_path)
    assert load_model(tmp_path).settings.photo_detail == 1.0
    for wrong, settings in (
        (0.5, tiny_view_model(volume=False).settings),
        (1.5, model.settings),
        (-0.1, model.settings),
    ):
        with pytest.raises(ValueError, match="photo_detail must be"):
            replace(settings, photo_detail=wrong)

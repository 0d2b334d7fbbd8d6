"""Several looks at a photo: their drafts' mean, and a doubt that counts how far they differ."""

from dataclasses import replace

import pytest
import torch

from tiny_model import SIZE, blobs, tiny_view_model
from zero123.diffusion.sampling import SamplingSettings
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.images.matting import Matte
from zero123.images.photo import Photo
from zero123.models.pretrained import load_model, reconfigured, save_model
from zero123.models.second_looks import drafted
from zero123.pipeline import NovelViews

APART = 0.2
MOVES = RelativePose.from_degrees([40, -70, 0], [10, -20, 0])
PLACE = OrbitPose(torch.zeros(1), torch.tensor([0.4]), torch.tensor([1.8]))


def _model(apart=APART):
    model = tiny_view_model()
    return reconfigured(model, replace(model.settings, second_looks=apart)).eval()


def _drawn(model, photo, place, moves, again=False):
    with torch.no_grad():
        return model.join_projected(model.look(photo, place, again=again), moves)[1]


def _apart(by):
    return OrbitPose(PLACE.azimuth, PLACE.elevation + by, PLACE.radius)


def test_the_draft_is_the_mean_of_four_looks_of_which_one_is_in_a_mirror():
    model, photo = _model(), blobs(1)
    looks = [_drawn(model, photo, _apart(by), MOVES) for by in (0.0, -APART, APART)]
    turned = RelativePose(-MOVES.azimuth, MOVES.elevation, MOVES.radius)
    mirror = _drawn(model, photo.flip(-1), PLACE, turned)
    together = _drawn(model, photo, PLACE, MOVES, again=True)
    for part in ("draft", "outline"):
        every = [getattr(one, part) for one in looks] + [getattr(mirror, part).flip(-1)]
        torch.testing.assert_close(getattr(together, part), torch.stack(every).mean(0), rtol=1e-4, atol=1e-5)
        assert (every[1] - every[2]).abs().max() > 1e-4  # heights matter, so that there is something to average
    torch.testing.assert_close(together.features, looks[0].features)  # what the denoiser knows is one look's


def test_the_doubt_is_the_deviation_of_the_mixture():
    model, photo = _model(), blobs(1)
    looks = [_drawn(model, photo, _apart(by), MOVES) for by in (0.0, -APART, APART)]
    turned = RelativePose(-MOVES.azimuth, MOVES.elevation, MOVES.radius)
    mirror = _drawn(model, photo.flip(-1), PLACE, turned)
    pictures = torch.stack([one.draft for one in looks] + [mirror.draft.flip(-1)])
    own = torch.stack([one.doubt for one in looks] + [mirror.doubt.flip(-1)])
    generator = torch.Generator().manual_seed(0)
    which = torch.randint(4, (4000,), generator=generator)  # a look at random, then an error of its size
    drawn = pictures[which] + own[which] * torch.randn(4000, *pictures.shape[1:], generator=generator)
    spread = drawn.var(0).mean(1, keepdim=True).sqrt()
    together = _drawn(model, photo, PLACE, MOVES, again=True)
    torch.testing.assert_close(together.doubt, spread, rtol=0.06, atol=0)


def test_a_mirror_is_read_anew_where_nobody_told_the_place():
    model, photo = _model(), blobs(2)
    with torch.no_grad():
        look = model.look(photo, again=True)
        torch.testing.assert_close(look.again[2].source.elevation, model.place(photo.flip(-1)).elevation)
        told = model.look(photo, PLACE, again=True)
    assert [second.mirrored for second in look.again] == [False, False, True]
    torch.testing.assert_close(told.again[2].source.elevation, PLACE.elevation.expand(2))
    torch.testing.assert_close(told.again[0].source.elevation, PLACE.elevation.expand(2) - APART)


def test_photos_drawn_together_are_drawn_as_if_alone():
    model, photos = _model(), blobs(2)
    each = torch.tensor([1, 0, 1])
    with torch.no_grad():
        look = model.look(photos, again=True)
        together = drafted(model.feature_volume, model.draft, look[each], MOVES, torch.arange(3))
        for row, photo in enumerate(each):
            alone = model.look(photos[photo : photo + 1], again=True)
            one = drafted(model.feature_volume, model.draft, alone, MOVES[row : row + 1], torch.zeros(1, dtype=int))
            torch.testing.assert_close(together.draft[row], one.draft[0], rtol=1e-4, atol=1e-5)


def test_a_photo_is_looked_at_once_where_settings_name_no_second_looks_or_nobody_asks():
    photo = blobs(1)
    assert _model(0.0).look(photo, again=True).again == ()
    assert _model().look(photo).again == () and len(_model().look(photo, again=True).again) == 3


def test_looks_that_are_not_tilted_leave_the_photo_and_its_mirror_image():
    model, photo = _model(), blobs(1)
    with torch.no_grad():
        look = model.look(photo, PLACE, again=True, tilted=False)
        seen = model.join_projected(look, MOVES)[1]
    assert [second.mirrored for second in look.again] == [True]
    turned = RelativePose(-MOVES.azimuth, MOVES.elevation, MOVES.radius)
    pair = _drawn(model, photo, PLACE, MOVES).draft, _drawn(model, photo.flip(-1), PLACE, turned).draft.flip(-1)
    torch.testing.assert_close(seen.draft, (pair[0] + pair[1]) / 2, rtol=1e-4, atol=1e-5)
    views = NovelViews(model)
    photo = Photo(torch.cat((photo[0], torch.ones(1, SIZE, SIZE))), Matte("alpha", 1.0, cropped=False), photo[0, :1])
    all_looks, level = (views(photo, MOVES, SamplingSettings(tilted_looks=tilted), PLACE) for tilted in (True, False))
    assert (all_looks - level).abs().max() > 1e-4


def test_views_are_drawn_by_all_looks():
    rgba = torch.cat((blobs(1)[0], torch.ones(1, SIZE, SIZE)))
    photo = Photo(rgba, Matte("alpha", 1.0, cropped=False), rgba[3:])
    once, again = (NovelViews(_model(apart))(photo, MOVES, source=PLACE) for apart in (0.0, APART))
    believed = [NovelViews(_model(apart)).belief(photo, MOVES, PLACE) for apart in (0.0, APART)]
    assert (once - again).abs().max() > 1e-4
    assert believed[1].doubt.mean() > believed[0].doubt.mean()  # what looks do not agree on is doubted


def test_second_looks_are_kept_with_a_model_and_refused_where_there_is_no_volume(tmp_path):
    save_model(_model(), tmp_path)
    assert load_model(tmp_path).settings.second_looks == APART
    flat = tiny_view_model(volume=False).settings
    for wrong, settings in ((0.1, flat), (0.6, _model().settings), (-0.1, _model().settings)):
        with pytest.raises(ValueError, match="second_looks must be"):
            replace(settings, second_looks=wrong)

"""Refinement where no view saw: only there, and towards the object that the score knows."""

from dataclasses import replace

import pytest
import torch
from test_score_fit import ball
from test_sds_fit import Painter

from zero123.fields.voxels import VoxelField
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import RADIUS, OrbitPose
from zero123.geometry.paths import turntable
from zero123.reconstruction.preview import renders
from zero123.reconstruction.score_gradient import sds_weight
from zero123.reconstruction.teacher import Teacher
from zero123.reconstruction.unseen import UnseenSettings, asked_cameras, looked_at, refined, unseen

SETTINGS = UnseenSettings(steps=25, learning_rate=0.2, side=16, noise=(0.3, 0.7), cameras=10)


@pytest.fixture(scope="module")
def source():
    return OrbitPose.from_degrees([0.0], [20.0], [RADIUS])


def grey_ball():
    """The known ball's shape in grey."""
    field, known = VoxelField((24,) * 3, 3), ball()
    with torch.no_grad():
        field.density.copy_(known.density)
    return field


def above():
    return Camera.from_orbit(turntable(6, 1.0), hw=(32, 32))


def test_what_cameras_above_saw_is_the_upper_side_and_the_lower_one_is_free():
    field = grey_ball()
    seen = looked_at(field, above())
    free, height = unseen(field, seen), field.centres()[..., 2]
    assert not bool((free & seen).any())
    surface = ((field.centres().norm(dim=-1) - 0.4).abs() < 0.05) & (height.abs() > 0.36)
    assert bool(seen[surface & (height > 0)].all())
    assert bool(free[surface & (height < 0)].all())
    assert float(asked_cameras(field, free, SETTINGS).elevation.max()) < 0


def test_the_score_paints_what_no_view_saw_and_leaves_the_rest_to_the_last_bit(source):
    field, model = grey_ball(), Painter(source)
    teacher = Teacher(model, (model.picture(source) + 1) / 2, source, 1.0, sds_weight)
    before, pose, told = field.colour.detach().clone(), OrbitPose.from_degrees([40.0], [-85.0], [RADIUS]), []
    truth, camera = (model.picture(pose) + 1) / 2, Camera.from_orbit(pose, hw=(16, 16))
    error = lambda: (renders(field, camera) - truth)[..., 6:10, 6:10].square().mean()  # noqa: E731  # the pole
    first = error()
    free = refined(field, teacher, above(), SETTINGS, lambda *done: told.append(done))
    assert told[-1] == (25, 25)
    assert error() < 0.3 * first
    assert torch.equal(field.colour[0, :, ~free], before[0, :, ~free])
    assert not torch.equal(field.colour[0, :, free], before[0, :, free])


def test_nothing_is_changed_where_all_was_seen_or_no_steps_are_asked_for(source):
    field, model = grey_ball(), Painter(source)
    teacher = Teacher(model, (model.picture(source) + 1) / 2, source, 1.0, sds_weight)
    everywhere = OrbitPose.cat([turntable(4, elevation) for elevation in (-1.0, 0.0, 1.0)])
    before = field.colour.detach().clone()
    for cameras, settings in (
        (Camera.from_orbit(everywhere, hw=(24, 24)), SETTINGS),
        (above(), replace(SETTINGS, steps=0)),
    ):
        assert not bool(refined(field, teacher, cameras, settings).any())
    assert torch.equal(field.colour, before)


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="steps must be at least 0, got -1"):
        UnseenSettings(steps=-1)
    with pytest.raises(ValueError, match="noise must be two shares"):
        UnseenSettings(noise=(0.9, 0.2))

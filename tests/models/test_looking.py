"""Looks are remembered as long as nothing they depend on has changed."""

from dataclasses import replace

import pytest
import torch

from tiny_model import blobs, tiny_view_model
from zero123.diffusion.sampling import SamplingSettings
from zero123.geometry.orbit import OrbitPose
from zero123.models.looking import Looker
from zero123.models.pretrained import reconfigured

PLACE = OrbitPose(torch.zeros(1), torch.tensor([0.4]), torch.tensor([1.8]))
ASKED = SamplingSettings()


@pytest.fixture
def looker():
    model = tiny_view_model()
    return Looker(reconfigured(model, replace(model.settings, second_looks=0.1)).eval().requires_grad_(False))


def test_the_same_photo_is_looked_at_once(looker):
    photo = blobs(1)
    first = looker(photo, PLACE, ASKED)
    assert looker(photo.clone(), PLACE, replace(ASKED, seed=7, steps=3)) is first


def test_another_photo_place_or_way_of_looking_is_another_look(looker):
    photo = blobs(1)
    first = looker(photo, PLACE, ASKED)
    lower = OrbitPose(torch.zeros(1), torch.tensor([0.3]), torch.tensor([1.8]))
    untold = looker(photo, None, ASKED)
    assert untold is not first
    assert not torch.equal(looker(photo, lower, ASKED).volume.values, first.volume.values)
    assert len(looker(photo, PLACE, replace(ASKED, tilted_looks=False)).again) == 1
    assert not torch.equal(looker(photo.flip(-1), PLACE, ASKED).volume.values, first.volume.values)


def test_weights_that_were_trained_on_look_again(looker):
    photo = blobs(1)
    first = looker(photo, PLACE, ASKED)
    next(looker.model.feature_volume.parameters()).add_(0.1)
    assert not torch.equal(looker(photo, PLACE, ASKED).volume.values, first.volume.values)


def test_looks_at_many_photos_are_not_kept(looker):
    photos = blobs(2)
    assert looker(photos, PLACE, ASKED) is not looker(photos, PLACE, ASKED)

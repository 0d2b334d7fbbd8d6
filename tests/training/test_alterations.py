"""Pictures framed like a person's and in other colours, and the reader of places that learns from them."""

from dataclasses import replace

import pytest
import torch

from tiny_model import tiny_view_model
from zero123.data.pairs import PairBatch
from zero123.geometry.orbit import OrbitPose
from zero123.images.framing import Framing, frame
from zero123.training.alterations import CHANCE, altered, recoloured, reframed
from zero123.training.objective import Objective, ObjectiveSettings
from zero123.training.preparation import prepare
from zero123.training.settings import TrainSettings


def square(left, top, width, height, side=64):
    picture = torch.ones(1, 3, side, side)
    picture[..., top : top + height, left : left + width] = 0.2
    return picture


def box(picture):
    inside = picture[0].amin(0) < 0.6  # half of the way from the object to white
    rows, columns = inside.any(1).nonzero(), inside.any(0).nonzero()
    return int(columns[0]), int(rows[0]), len(columns), len(rows)


@pytest.mark.parametrize("given", [(0, 0, 16, 16), (40, 8, 20, 10), (4, 30, 8, 33), (0, 0, 64, 64)])
def test_the_object_is_centred_and_its_longest_side_is_what_was_asked_for(given):
    left, top, width, height = box(reframed(square(*given), 0.5, torch.full((1,), 0.5)))
    assert abs(max(width, height) - 32) <= 1
    assert abs(left + width / 2 - 32) <= 1 and abs(top + height / 2 - 32) <= 1
    assert abs(width / height - given[2] / given[3]) < 0.1


def test_it_is_what_a_persons_picture_is_framed_to():
    picture = square(10, 20, 24, 12)
    alpha = (picture[:, :1] < 0.9).float()
    framed = frame(torch.cat((picture, alpha), 1)[0], Framing(64, 0.6))
    on_white = framed[:3] * framed[3:] + 1 - framed[3:]
    assert (
        reframed(picture, 0.6, torch.full((1,), 0.5))[0] - on_white
    ).abs().mean() < 0.015  # an edge of half a pixel all round


def test_an_empty_picture_stays_empty_and_no_fraction_changes_nothing():
    white = torch.ones(1, 3, 32, 32)
    assert torch.equal(reframed(white, 0.6, torch.zeros(1)), white)
    picture = square(1, 2, 3, 4)
    assert reframed(picture, None, torch.zeros(1)) is picture


def test_recoloured_pictures_keep_their_outline_and_their_order_of_light():
    """Powers of colours in another order: white stays white, and what is lighter in all channels stays lighter."""
    pictures, chance = torch.rand(50, 3, 8, 8), torch.rand(50, 5, generator=torch.Generator().manual_seed(1))
    pictures[..., :3] = 1
    found = recoloured(pictures, chance)
    assert bool((found[..., :3] == 1).all()) and bool(((found >= 0) & (found <= 1)).all())
    orders = {tuple(torch.argsort(row).tolist()) for row in found[:, :, 4, 4] - pictures[:, :, 4, 4]}
    assert len(orders) == 6 and float((found - pictures)[..., 3:].abs().mean()) > 0.05
    darker = recoloured(pictures * 0.5, chance)
    assert bool((darker <= found).all())


def test_colours_that_are_not_changed_are_exchanged_alone():
    """In the middle of its range chance leaves every power at 1."""
    picture = torch.rand(1, 3, 4, 4) * 0.9 + 0.05
    for place, order in ((0.0, (0, 1, 2)), (0.99, (2, 1, 0))):
        found = recoloured(picture, torch.tensor([[place, 0.5, 0.5, 0.5, 0.5]]))
        torch.testing.assert_close(found, picture[:, list(order)])


def test_a_share_of_pictures_is_altered_and_the_others_are_left():
    pictures = torch.cat([square(4, 4, 20, 12)] * 400)
    found, kept = altered(pictures, torch.rand(400, CHANCE, generator=torch.Generator().manual_seed(0)), 0.5, 0.0, 0.6)
    assert 150 < int(kept.sum()) < 250
    assert torch.equal(found[kept], pictures[kept]) and float((found - pictures)[~kept].abs().mean()) > 0.01
    found, kept = altered(pictures, torch.rand(400, CHANCE, generator=torch.Generator().manual_seed(0)), 0.0, 0.25, 0.6)
    same = (found == pictures).flatten(1).all(1)
    assert bool(kept.all()) and 260 < int(same.sum()) < 340


def batch(count=4):
    some = torch.Generator().manual_seed(0)
    poses = OrbitPose(torch.zeros(count), torch.rand(count, generator=some), 1.5 + torch.rand(count, generator=some))
    pictures = torch.rand(count, 3, 32, 32, generator=some)
    return PairBatch(pictures, torch.zeros(count, 4, 4, 4), poses.relative_to(poses), poses, picture=pictures)


def alone(**changes):
    return ObjectiveSettings(diffusion_weight=0.0, source_weight=1.0, **changes)


def test_trained_alone_only_the_reader_learns():
    model = tiny_view_model()
    settings = TrainSettings(objective=alone(reframed=0.5, recoloured=0.5))
    prepare(model, settings)
    loss, parts = Objective(model, settings.objective)(batch(), torch.Generator().manual_seed(0))
    loss.backward()
    assert set(parts) == {"elevation", "radius"}
    learns = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert learns == {"place_reader"}


def test_a_reframed_picture_is_not_asked_for_its_distance():
    model = tiny_view_model()
    far = replace(batch(), source=OrbitPose(torch.zeros(4), torch.zeros(4), torch.full((4,), 50.0)))
    chance = torch.Generator().manual_seed(0)
    assert Objective(model, alone(reframed=1.0))(far, chance)[1]["radius"] == 0
    assert Objective(model, alone())(far, chance)[1]["radius"] > 1


def test_weights_that_train_nothing_are_refused():
    with pytest.raises(ValueError, match="one of diffusion_weight"):
        ObjectiveSettings(diffusion_weight=0.0)
    model = tiny_view_model()
    model.place_reader = None
    with pytest.raises(ValueError, match="nothing that these weights of the loss would train"):
        Objective(model, alone())(batch(), torch.Generator().manual_seed(0))

"""What the outlines of views agree on."""

from dataclasses import replace

import exact_scene
import pytest
import torch

from zero123.fields.voxels import cell_centres
from zero123.reconstruction.hull import (
    HullSettings,
    beside_outlines,
    displacement,
    overlap,
    silhouettes,
    trust,
    voted_hull,
)

SETTINGS = HullSettings(cells=40)


def test_silhouettes_of_pictures_on_white_are_the_true_ones():
    images = exact_scene.picture(exact_scene.ring())
    alpha, confidence = silhouettes(exact_scene.on_white(images))
    assert ((alpha > 0.5) == (images[:, 3] > 0.2)).float().mean() > 0.99
    assert (confidence == 1).all()
    assert torch.equal(silhouettes(images)[0], images[:, 3])


def test_white_enclosed_by_the_object_is_doubtful():
    image = torch.ones(1, 3, 20, 20)
    image[:, :, 4:16, 4:16] = 0.2
    image[:, :, 8:12, 8:12] = 1.0
    alpha, confidence = silhouettes(image)
    assert alpha[0, 10, 10] == 0
    assert confidence[0, 10, 10] < 0.5
    assert confidence[0, 0, 0] == 1


def test_the_hull_holds_the_object_and_little_else():
    camera = exact_scene.ring()
    hull = voted_hull(exact_scene.picture(camera)[:, 3], camera, SETTINGS)
    points = cell_centres(tuple(hull.votes.shape), hull.low, hull.high)
    truth = torch.from_numpy(exact_scene.inside(points.double().numpy()))
    kept = hull.votes > 0.95
    assert kept[truth].float().mean() > 0.95
    assert (kept & truth).sum() / (kept | truth).sum() > 0.7
    # The box is tight: the object fills most of its longest side.
    assert float((hull.high - hull.low).max()) < 1.4 * 0.79


def test_a_box_with_room_for_all_of_the_first_view_holds_what_the_others_do_not_show():
    camera = exact_scene.ring(size=64)
    alpha = exact_scene.picture(camera)[:, 3]
    alpha[0, 6:32, 31:33] = 1  # a rod that stands on the object in the first view alone
    without, with_room = (voted_hull(alpha, camera, replace(SETTINGS, first_whole=whole)) for whole in (False, True))
    assert with_room.high[2] > without.high[2] + 0.1
    pixels, _ = camera[0].project(with_room.high[None] * torch.tensor([[0.0, 0.0, 1.0]]))
    assert pixels[0, 1] < 7  # its top is in view


def test_a_displaced_view_is_found_and_measured():
    camera = exact_scene.ring(size=64)
    alpha = exact_scene.picture(camera)[:, 3]
    alpha[3] = alpha[3].roll((2, -3), (0, 1))
    hull = voted_hull(alpha, camera, SETTINGS)
    assert (hull.shifts[3] - torch.tensor([-3.0, 2.0])).abs().max() <= 1
    assert hull.shifts[[0, 1, 2, 5, 6]].abs().max() <= 1


def test_correlation_finds_displacements_exactly():
    blob = torch.zeros(1, 32, 40)
    blob[0, 10:18, 12:25] = 1
    moved = torch.cat([blob.roll((dy, dx), (1, 2)) for dx, dy in ((0, 0), (3, -2), (-4, 4))])
    assert displacement(moved, blob.expand(3, -1, -1), 4).tolist() == [[0, 0], [3, -2], [-4, 4]]


def test_overlap_of_masks_is_intersection_over_union():
    a, b = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)
    a[0, :2], b[0, 1:3] = 1, 1
    assert overlap(a, b).tolist() == [pytest.approx(1 / 3), 1.0]


def test_trust_falls_only_for_views_that_stand_out():
    weights = trust(torch.tensor([0.9, 0.1, 0.11, 0.09, 0.1, 0.5]))
    assert weights[0] == 1
    assert (weights[1:5] > 0.9).all()
    assert weights[5] < 0.01


def test_halo_puts_the_outline_of_a_soft_picture_where_half_of_its_contrast_is():
    distance = (torch.arange(64)[None] - 31.5).abs().expand(64, -1)
    fade = ((28 - distance) / 16).clamp(0, 1)  # full within 12 pixels, gone at 28: half at 20
    picture = (1 - 0.8 * fade).expand(1, 3, -1, -1)
    wide, right = (float((silhouettes(picture, halo)[0][0, 32] > 0.5).sum()) for halo in (0.0, 0.5))
    assert abs(right - 40) <= 2
    assert wide > 50


def test_what_is_beside_an_outline_is_a_band_of_its_width_inside_it():
    alpha = torch.zeros(1, 20, 20)
    alpha[0, 4:16, 4:16] = 1
    band = beside_outlines(alpha, 3)
    expected = alpha.clone()
    expected[0, 7:13, 7:13] = 0
    assert torch.equal(band, expected > 0)

"""A volume behind the picture: where rays meet it, what they see of it, and what reaches the network."""

import math

import pytest
import torch

from tiny_model import SIZE, WIDTH, blobs, tiny_volume_network
from zero123.geometry.camera import FIELD_OF_VIEW, Camera
from zero123.geometry.orbit import RADIUS, OrbitPose, RelativePose
from zero123.models.feature_volume import FeatureVolume, Volume, outlined, place_numbers
from zero123.models.frustum import HALF_DEPTH, gathered, target_samples

SOURCE = OrbitPose.from_degrees([0.0], [20.0], [1.8])
SOURCES = SOURCE[torch.zeros(4, dtype=torch.long)]
MOVES = RelativePose.from_degrees([0.0, 40.0, -120.0, 180.0], [0.0, 25.0, -30.0, 10.0], [0.0, 0.2, -0.2, 0.1])


def network(side=16, depth=8):
    torch.manual_seed(0)
    return FeatureVolume(tiny_volume_network(side, depth), depth)


def cells(side, depth, source=SOURCE):
    """Centres of a volume's cells in the world, (D, S, S, 3)."""
    camera = Camera.from_orbit(source[0], hw=(side, side))
    z = source.radius + HALF_DEPTH * ((torch.arange(depth) + 0.5) / depth * 2 - 1)
    across = (camera.pixel_centres() - side / 2) / camera.focal
    points = torch.cat((across, torch.ones(side, side, 1)), dim=-1) * z[:, None, None, None]
    return camera.position + points @ camera.world_from_camera[:3, :3].T


def ball(radius, side=48, depth=48, density=100.0):
    """A ball in the middle of the world, red, as a volume."""
    values = torch.zeros(1, depth, side, side, 7)
    edge = 2 * HALF_DEPTH / depth
    values[..., 0] = density * ((radius - cells(side, depth).norm(dim=-1)) / edge + 0.5).clamp(0, 1)
    values[..., 1] = 1.0
    volume = network(side, depth)
    return volume, Volume(values, volume._own_depth(values), torch.ones(1, 3, 96, 96))


def test_samples_lie_on_the_rays_of_the_target_camera():
    side = 5
    points, length = target_samples(SOURCES, MOVES, side, 7, jitter=False)
    z = points[..., 2] * HALF_DEPTH + SOURCES.radius[:, None, None]
    lens = math.tan(FIELD_OF_VIEW / 2)
    seen = torch.stack((points[..., 0] * lens * z, points[..., 1] * lens * z, z), dim=-1)
    for view in range(4):
        rigid = Camera.from_orbit(SOURCE[0]).world_from_camera
        world = seen[view].flatten(0, 1) @ rigid[:3, :3].T + rigid[:3, 3]
        target = Camera.from_orbit(SOURCE[0].moved(MOVES[view]), hw=(side, side))
        pixels, depth = target.project(world)
        expected = target.pixel_centres().reshape(-1, 1, 2).expand(-1, 7, -1).reshape(-1, 2)
        torch.testing.assert_close(pixels, expected, atol=1e-3, rtol=0)
        step = (depth.view(-1, 7)[:, 1:] - depth.view(-1, 7)[:, :-1]).mean(1)
        torch.testing.assert_close(step, torch.full_like(step, 2 * HALF_DEPTH / 7))
        apart = (world.view(-1, 7, 3)[:, 1] - world.view(-1, 7, 3)[:, 0]).norm(dim=-1)
        torch.testing.assert_close(apart, length[view], atol=1e-5, rtol=1e-5)


def test_jittered_samples_stay_in_their_piece_of_the_ray():
    middle, _ = target_samples(SOURCES, RelativePose.from_degrees([0.0] * 4, [0.0] * 4), 4, 6, jitter=False)
    drawn, _ = target_samples(SOURCES, RelativePose.from_degrees([0.0] * 4, [0.0] * 4), 4, 6, jitter=True)
    off = (drawn - middle)[..., 2] * 6 / 2
    assert off.abs().max() <= 0.5 + 1e-4 and off.std() == pytest.approx(12**-0.5, rel=0.15)


def test_a_field_that_is_linear_is_read_exactly():
    z, y, x = torch.meshgrid(*[(torch.arange(n) + 0.5) / n * 2 - 1 for n in (6, 5, 5)], indexing="ij")
    values = torch.stack((x, y, z), dim=-1)[None]
    points = torch.rand(2, 9, 4, 3) * 1.2 - 0.6
    found, inside = gathered(values, points, random=False)
    torch.testing.assert_close(found, points, atol=1e-5, rtol=0)
    assert inside.all()
    assert not gathered(values, points + torch.tensor([0.0, 0.0, 2.0]), random=False)[1].any()


def test_a_random_cell_is_the_interpolated_value_on_average():
    torch.manual_seed(0)
    values = torch.randn(2, 4, 4, 4, 2)
    points = (torch.rand(4, 3, 2, 3) * 1.4 - 0.7).repeat(1, 4000, 1, 1)
    drawn = gathered(values, points, random=True)[0].view(4, 4000, 3, 2, 2).mean(1)
    exact = gathered(values, points, random=False)[0].view(4, 4000, 3, 2, 2)[:, 0]
    torch.testing.assert_close(drawn, exact, atol=0.06, rtol=0)


def test_light_through_a_ball_of_mist_is_beer_and_lamberts():
    volume, behind = ball(0.4, density=2.0)
    with torch.no_grad():
        seen = volume.eval().look(behind, SOURCES, MOVES).opacity[:, 0]
    expected = 1 - math.exp(-2 * 0.4 * 2.0)
    torch.testing.assert_close(seen[:, 23:25, 23:25], torch.full((4, 2, 2), expected), atol=0.01, rtol=0)


def test_a_ball_is_a_disc_of_the_right_size_from_everywhere():
    volume, behind = ball(0.4)
    with torch.no_grad():
        seen = volume.eval().look(behind, SOURCES, MOVES)
        behind.values.requires_grad_()
        drawn = volume.train().look(behind, SOURCES, MOVES)
    torch.testing.assert_close(drawn.opacity.sum((1, 2, 3)), seen.opacity.sum((1, 2, 3)), rtol=0.02, atol=0)
    radius = SOURCE.radius + MOVES.radius
    half = 24 / math.tan(FIELD_OF_VIEW / 2)
    area = torch.pi * (half * (0.4 / radius).asin().tan()) ** 2  # whose edge is a cell wide
    torch.testing.assert_close(seen.opacity.sum((1, 2, 3)), area, rtol=0.16, atol=0)
    assert seen.opacity[:, 0, 24, 24].min() > 0.99 and seen.opacity[:, 0, 0].max() < 1e-4
    middle = seen.colour[:, :, 20:28, 20:28].mean((2, 3))
    torch.testing.assert_close(middle, torch.tensor([[1.0, 0.0, 0.0]]).expand(4, -1), atol=0.02, rtol=0)
    torch.testing.assert_close(seen.colour[:, :, 0], torch.ones(4, 3, 48))


def test_the_input_shows_its_own_view_and_not_the_back():
    volume, behind = ball(0.4)
    moves = RelativePose.from_degrees([0.0, 180.0], [0.0, -40.0])
    with torch.no_grad():
        seen = volume.eval().look(behind, SOURCES[:2], moves).seen[:, 0, 20:28, 20:28]
    assert seen[0].min() > 0.9 and seen[1].max() < 0.05


def test_an_unmoved_camera_sees_the_input_pixel_for_pixel():
    volume, behind = ball(0.5)
    photo = blobs(1, 96)
    behind = Volume(behind.values, behind.depth, photo)
    with torch.no_grad():
        seen = volume.eval().look(behind, SOURCE, RelativePose.from_degrees([0.0], [0.0]))
    inside = torch.nn.functional.interpolate(seen.opacity, scale_factor=2.0, mode="bilinear")[0, 0] > 0.9999
    assert inside.sum() > 500
    assert (seen.warped - photo)[0, :, inside].abs().max() < 1e-3


def test_empty_space_is_zero_in_every_channel():
    volume, behind = ball(0.01)
    with torch.no_grad():
        seen = volume.eval().look(behind, SOURCES, MOVES)
    assert seen.channels().shape == (4, volume.channels, 24, 24)
    assert seen.channels()[:, :, 0].abs().max() < 1e-5


def test_views_of_several_photos_are_those_of_each_alone():
    volume = network().eval()
    photo, tokens, sources = blobs(2), torch.randn(2, 16, WIDTH), OrbitPose(*torch.rand(3, 4).add(1).unbind())
    with torch.no_grad():
        both = volume.look(volume(photo, tokens, sources[::2]), sources, MOVES)
        for k in range(2):
            two = slice(2 * k, 2 * k + 2)
            alone = volume(photo[k : k + 1], tokens[k : k + 1], sources[2 * k : 2 * k + 1])
            one = volume.look(alone, sources[two], MOVES[two])
            for name, value in ((n, v) for n, v in vars(one).items() if v is not None):
                torch.testing.assert_close(getattr(both, name)[two], value, atol=1e-4, rtol=1e-3)


def test_it_learns_an_outline_from_pictures_of_it():
    """A few steps on views of one ball: gradients lead from what cameras see to the network."""
    volume = network().train()
    _, behind = ball(0.4)
    torch.manual_seed(0)
    photo, tokens = blobs(1, SIZE), torch.randn(1, 16, WIDTH)
    with torch.no_grad():
        truth = torch.nn.functional.interpolate(
            ball(0.4)[0].eval().look(behind, SOURCES, MOVES).opacity, (16, 16), mode="area"
        )
    optimiser = torch.optim.Adam(volume.parameters(), 5e-3)
    losses = []
    for _ in range(60):
        loss = (volume.look(volume(photo, tokens, SOURCE), SOURCES, MOVES).opacity - truth).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_what_is_told_of_the_place_changes_the_volume():
    volume = network().eval()
    photo, tokens = blobs(2), torch.randn(2, 16, WIDTH)
    places = [OrbitPose(torch.zeros(2), torch.tensor([0.3, high]), torch.tensor([1.7, 1.7])) for high in (0.3, 1.0)]
    with torch.no_grad():
        one, other = (volume(photo, tokens, place).values for place in places)
    torch.testing.assert_close(one[0], other[0])
    assert (one[1] - other[1]).abs().max() > 1e-3
    numbers = place_numbers(places[0])[0]
    torch.testing.assert_close(numbers, torch.tensor([0.3, math.sin(0.3), math.cos(0.3), 1.7 - RADIUS]))


def test_pictures_are_white_where_light_passes_and_stay_where_it_is_stopped():
    images = torch.rand(2, 3, 32, 32)
    opacity = torch.zeros(2, 1, 16, 16)
    opacity[0, :, :, 8:] = 1
    opacity[1] = 0.3
    shown = outlined(images, opacity, 0.3)
    torch.testing.assert_close(shown[0, :, :, 20:], images[0, :, :, 20:])
    assert torch.equal(shown[0, :, :, :12], torch.ones(3, 32, 12))
    torch.testing.assert_close(shown[1], 1 - (1 - images[1]) / 2 / 0.3**0.5)


def test_what_may_be_there_is_drawn_less_thin_than_its_mean():
    """Half of all views show a red object, the rest white: the mean is thinned by 0.5, what is drawn by its root."""
    mean = torch.tensor([0.9, 0.5, 0.5]).reshape(1, 3, 1, 1).expand(1, 3, 8, 8)
    shown = outlined(mean, torch.full((1, 1, 8, 8), 0.5), 0.4)
    torch.testing.assert_close(1 - shown, (1 - mean) / 0.5**0.5)

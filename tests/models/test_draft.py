"""Drafts: the input's own pixels where it shows what is seen, the volume's colours elsewhere, white outside."""

from dataclasses import replace

import pytest
import torch

from tiny_model import SIZE, blobs, tiny_view_model
from zero123.diffusion.sampling import SamplingSettings
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.models.draft import Draft
from zero123.models.feature_volume import Projected
from zero123.models.pretrained import reconfigured
from zero123.pipeline import NovelViews

SOURCE = OrbitPose.from_degrees([0.0], [20.0], [1.8])
MOVES = RelativePose.from_degrees([0.0, 40.0, -120.0], [0.0, 25.0, -30.0], [0.0, 0.2, -0.2])


def half_seen(shown):
    """A view of which the volume fills the left half, in one colour, and the input's pixels are another."""
    opacity = torch.zeros(1, 1, 16, 16)
    opacity[..., :8] = 1
    colour = 1 - opacity * (1 - torch.tensor([0.2, 0.4, 0.6]).reshape(1, 3, 1, 1))
    fine = torch.nn.functional.interpolate(opacity, scale_factor=2.0)
    warped = 1 - fine * (1 - blobs(1) * 0.5)
    return Projected(opacity, colour, torch.zeros(1, 3, 16, 16), opacity * shown, warped)


def test_a_fresh_draft_shows_the_inputs_pixels_where_they_are_seen_and_else_the_volume():
    draft = Draft(features=3, shrink=2, widths=(8, 16), fine=8)
    with torch.no_grad():
        shown, hidden = draft(half_seen(1.0))[0], draft(half_seen(0.0))[0]
    warped, left = half_seen(1.0).warped, slice(0, 13)
    volume = torch.tensor([0.2, 0.4, 0.6]).reshape(1, 3, 1, 1)
    assert (shown - warped)[..., left].abs().max() < 0.12 * (warped - volume)[..., left].abs().max() + 1e-3
    assert (hidden - volume)[..., left].abs().max() < 0.02
    for picture in (shown, hidden):
        assert (1 - picture)[..., 20:].abs().max() < 0.02


def test_a_draft_learns_what_to_trust():
    """The input is always wrong and the volume right, whatever they say of what is seen."""
    torch.manual_seed(0)
    draft, seen = Draft(features=3, shrink=2, widths=(8, 16), fine=8), half_seen(1.0)
    truth = torch.nn.functional.interpolate(seen.colour, scale_factor=2.0)
    optimiser, losses = torch.optim.Adam(draft.parameters(), 1e-2), []
    for _ in range(60):
        loss = (draft(seen)[0] - truth).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


def test_sizes_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="widths must be two multiples of 8 and fine one"):
        Draft(features=3, shrink=2, widths=(8, 12))
    model = tiny_view_model()
    parts = model.unet, model.autoencoder, model.image_encoder, model.pose_conditioning, model.place_reader
    with pytest.raises(ValueError, match="draft must go with a feature_volume of as many features"):
        type(model)(*parts, model.settings, feature_volume=model.feature_volume, draft=Draft(4, 2, (8, 16), 8))


@pytest.mark.parametrize("spread", [1.0, 0.4])
def test_a_denoiser_that_knows_the_drafts_error_gives_the_picture(spread):
    """v = alpha * noise - beta * (x0 - mean) / spread, at every level sigma / spread."""
    plain = tiny_view_model()
    model = reconfigured(plain, replace(plain.settings, draft_error=spread))
    photo, truth = blobs(1), torch.randn(3, *model.latent_shape)
    with torch.no_grad():
        condition = model.condition(photo, MOVES, SOURCE)
    noise = torch.randn_like(truth)
    for sigma in (torch.tensor(0.3), torch.tensor(7.0)):
        level = sigma / spread
        alpha = 1 / (1 + level**2).sqrt()
        velocity = alpha * noise - level * alpha * (truth - condition.mean) / spread
        model.network = lambda x, step, condition, velocity=velocity: velocity
        found = model(truth + sigma * noise, sigma, condition)
        torch.testing.assert_close(found, truth, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("spread", [1.0, 0.4])
def test_views_walk_through_the_steps_their_error_was_trained_at(spread):
    plain = tiny_view_model()
    model = reconfigured(plain, replace(plain.settings, draft_error=spread))
    walked, network = [], model.network
    model.network = lambda x, step, condition: walked.append(int(step.unique())) or network(x, step, condition)
    views = NovelViews(model)
    views(views.prepare(blobs(1)[0]), MOVES, SamplingSettings(steps=4, scale=1.0, spacing="trailing"))
    assert walked == [999, 749, 499, 249]


def test_guidance_leaves_the_draft_alone():
    model = tiny_view_model()
    with torch.no_grad():
        condition = model.condition(blobs(1), MOVES, SOURCE)
    without = condition.without_image()
    torch.testing.assert_close(without.mean, condition.mean)
    assert not without.projected.any() and condition.projected.any()
    assert len(condition.join(without).mean) == 6


def test_drafts_survive_saving(tmp_path):
    from zero123.models.pretrained import load_model, save_model

    model = tiny_view_model()
    with torch.no_grad():
        model.draft.out.bias.normal_()
        save_model(model, tmp_path / "model", torch.float32)
        again = load_model(tmp_path / "model")
        views = [m.join_projected(m.look(blobs(1), SOURCE), MOVES)[1].draft for m in (model, again)]
    assert views[0].shape == (3, 3, SIZE, SIZE)
    torch.testing.assert_close(*views)

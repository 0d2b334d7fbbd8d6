"""The validation loss depends on the model alone, and a schedule without signal refuses what would not train it."""

from dataclasses import replace

import pytest
import torch

from tiny_model import tiny_cache, tiny_view_model
from zero123.data.pairs import PairSampler
from zero123.models.pretrained import reconfigured
from zero123.training.objective import Objective, ObjectiveSettings
from zero123.training.validation import Validation


def test_the_same_model_has_the_same_loss_and_another_has_another():
    model = tiny_view_model()
    pairs = PairSampler([tiny_cache(model)], [1.0])
    measure = Validation(pairs, ObjectiveSettings(drop=0.3, source_weight=2.0))
    first, again = measure(model), measure(model)
    assert first == again > 0
    assert Validation(pairs, ObjectiveSettings())(model) == first  # nothing is dropped and no head counts
    assert measure(tiny_view_model(seed=1)) != first


def test_steps_are_spread_evenly_over_the_schedule(monkeypatch):
    model, seen = tiny_view_model(), []
    forward = Objective.forward
    monkeypatch.setattr(Objective, "forward", lambda self, b, d: (seen.append(d.step), forward(self, b, d))[1])
    Validation(PairSampler([tiny_cache(model)], [1.0]), ObjectiveSettings())(model)
    steps = torch.cat(seen).sort().values.double()
    torch.testing.assert_close(steps, (torch.arange(64).double() + 0.5) * 1000 / 64, rtol=0, atol=1.0)


@pytest.mark.parametrize("name", ["zero_snr", "flow"])
def test_a_weighting_that_leaves_the_last_step_untrained_is_refused(name):
    model = tiny_view_model()
    prediction = {"zero_snr": "velocity", "flow": "flow"}[name]
    model = reconfigured(model, replace(model.settings, prediction=prediction, schedule=name))
    with pytest.raises(ValueError, match="min_snr_5 gives the last step of the schedule"):
        Objective(model, ObjectiveSettings(weighting="min_snr_5"))
    loss, _ = Objective(model, ObjectiveSettings())(
        PairSampler([tiny_cache(model)], [1.0]).batch(0, 4), torch.Generator().manual_seed(0)
    )
    assert bool(loss.isfinite())


def test_logit_normal_times_have_their_mean_and_spread():
    settings = ObjectiveSettings(times="logit_normal", logit_mean=1.0, logit_spread=0.5)
    times = Objective(tiny_view_model(), settings)._times(20_000, torch.Generator().manual_seed(0))
    assert times.min() >= 0 and times.max() < 1
    logits = torch.logit(times)
    assert float(logits.mean()) == pytest.approx(1, abs=0.02) and float(logits.std()) == pytest.approx(0.5, abs=0.02)

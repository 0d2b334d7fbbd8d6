"""What is said to fit fits: memory grows in a line with the batch, and the pairs per step stay what they were."""

from dataclasses import replace

import pytest
import torch

from tiny_model import tiny_cache, tiny_view_model
from zero123.data.pairs import PairSampler
from zero123.training.fit_memory import Passes, _LiveBytes, _pass, fit_memory, fixed_bytes, largest_batch, measured
from zero123.training.preparation import prepare
from zero123.training.trainer import TrainSettings

SETTINGS = TrainSettings(steps=1000, batch=32, precision="no", warmup=0)


@pytest.fixture(scope="module")
def tiny():
    model = tiny_view_model()
    return model, PairSampler([tiny_cache(model)], [1.0])


def test_live_bytes_are_those_of_tensors_that_are_alive():
    with _LiveBytes() as counter:
        first = torch.zeros(1000)
        second = first + 1
        assert counter.now == 8000
        view = second.reshape(10, 100)[:5]
        assert counter.now == 8000
        del first, second
        assert counter.now == 4000
        del view
    assert (counter.now, counter.most) == (0, 8000)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_memory_foretold_from_two_small_passes_is_that_of_a_large_one(tiny, checkpointing):
    model, pairs = tiny
    settings = replace(SETTINGS, checkpointing=checkpointing)
    prepare(model, settings)
    passes = measured(model, pairs, settings, model.device)
    taken, _ = _pass(model, pairs, settings, model.device, 16)
    assert passes.bytes(16) == pytest.approx(taken, rel=0.05)


def test_recomputing_takes_less(tiny):
    model, pairs = tiny
    taken = []
    for checkpointing in (False, True):
        settings = replace(SETTINGS, checkpointing=checkpointing)
        prepare(model, settings)
        taken.append(_pass(model, pairs, settings, model.device, 8)[0])
    assert taken[1] < 0.7 * taken[0]
    assert all(p.grad is None for p in model.parameters())


def test_what_does_not_grow_is_weights_gradients_moments_and_averages(tiny):
    model, _ = tiny
    prepare(model, SETTINGS)
    weights = 4 * sum(t.numel() for t in (*model.parameters(), *model.buffers()))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert fixed_bytes(model, SETTINGS) == pytest.approx(weights + (4 + 8 + 4) * trained, rel=1e-3)
    small = fixed_bytes(model, replace(SETTINGS, optimiser="adamw_8bit"))
    assert fixed_bytes(model, SETTINGS) - small == pytest.approx((8 - 2 - 1 / 32) * trained, rel=1e-3)
    turned = fixed_bytes(model, replace(SETTINGS, optimiser="muon"))
    assert fixed_bytes(model, SETTINGS) - turned == pytest.approx(4 * trained, rel=1e-3)  # of matrices one moment


def test_the_largest_divisor_that_fits_is_taken():
    passes = Passes(base=0, each=100, seconds=0.1)
    sizes = [largest_batch(SETTINGS, 1000, passes, limit) for limit in (1000, 1300, 1800, 3500, 10_000)]
    assert sizes == [0, 1, 4, 16, 32]
    assert largest_batch(replace(SETTINGS, batch=24, views=4), 1000, passes, 2700) == 12


def test_the_plan_keeps_the_pairs_of_a_step_and_says_what_it_takes(tiny):
    model, pairs = tiny
    roomy = fit_memory(model, pairs, SETTINGS, 10**10)
    assert (roomy.settings.batch, roomy.settings.accumulate, roomy.settings.checkpointing) == (32, 1, False)
    tight = fit_memory(model, pairs, replace(SETTINGS, batch=16, accumulate=2), int(roomy.peak / 0.92 - 5e6))
    assert tight.settings.batch * tight.settings.accumulate == 32 and tight.settings.batch < 32
    assert tight.peak < roomy.peak and tight.limit > tight.peak
    assert replace(tight.settings, batch=16, accumulate=2, checkpointing=False) == replace(
        SETTINGS, batch=16, accumulate=2
    )
    assert replace(tight, seconds=36.0).line().endswith("36 s a step, about 10 hours for 1000 steps")
    assert replace(tight, seconds=0.6).line().endswith("0.6 s a step, about 10 minutes for 1000 steps")
    assert tight.seconds > 0


def test_what_can_never_fit_is_refused_in_one_line(tiny):
    model, pairs = tiny
    with pytest.raises(ValueError, match=r"0\.1 GB is too little, this run takes .* GB at least") as caught:
        fit_memory(model, pairs, SETTINGS, 10**8)
    assert "\n" not in str(caught.value)

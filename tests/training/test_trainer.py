"""The loop learns, keeps its schedule, clips, and survives or reports what is not a number."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from deterministic import GOLDEN, agree
from tiny_model import tiny_cache, tiny_view_model
from zero123.data.pairs import PairSampler
from zero123.training import trainer
from zero123.training.checkpoints import checkpoints, load_notes
from zero123.training.objective import Objective, ObjectiveSettings
from zero123.training.preparation import optimiser_of
from zero123.training.tracking import Meter
from zero123.training.trainer import NotFinite, TrainSettings, learning_rate_factor, train

PLAIN = TrainSettings(
    steps=2, batch=2, learning_rate=1e-3, warmup=0, precision="no", save_every=1, log_every=1, sample_every=0
)


def _sampler(model):
    return PairSampler([tiny_cache(model)], [1.0])


def _lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class _Poisoned:
    """Pairs whose latents are not numbers at some steps."""

    def __init__(self, sampler, bad):
        self._sampler, self._bad = sampler, bad

    def batch(self, step, size):
        batch = self._sampler.batch(step, size)
        return replace(batch, latent=batch.latent * float("nan")) if self._bad(step) else batch


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model = tiny_view_model()
    objective = ObjectiveSettings(drop_jointly=True, source_weight=1.0)
    settings = replace(
        PLAIN, steps=100, batch=8, learning_rate=4e-3, pose_rate=1.0, warmup=5, ema=0.9, save_every=100, log_every=10
    )
    settings = replace(settings, sample_every=100, objective=objective)
    shown = []
    seen = []
    train(model, _sampler(model), folder, settings, lambda m, s, f: shown.append((s, f)), lambda *p: seen.append(p))
    return folder, model, shown, seen


def test_the_loss_falls_on_two_objects(overfitted):
    folder, *_ = overfitted
    losses = [line["diffusion"] for line in _lines(folder)]
    assert losses[-1] < 0.75 * losses[0]


def test_reading_the_elevation_is_learned(overfitted):
    folder, *_ = overfitted
    errors = [line["elevation"] for line in _lines(folder)]
    assert errors[-1] < 0.6 * errors[0]


def test_progress_and_pictures_come_when_they_should(overfitted):
    folder, model, shown, seen = overfitted
    assert shown == [(100, folder / "samples")]
    assert [s[:2] for s in seen] == [(k + 1, 100) for k in range(100)]
    assert not model.training


def test_the_returned_model_has_averaged_weights(overfitted):
    folder, model, *_ = overfitted
    average = load_file(folder / "checkpoints" / "step-00000100" / "ema.safetensors")
    parameters = dict(model.named_parameters())
    assert all(torch.equal(parameters[k].contiguous(), v) for k, v in average.items())


def test_the_codec_is_not_trained(overfitted):
    _, model, *_ = overfitted
    fresh = tiny_view_model().autoencoder.state_dict()
    assert all(torch.equal(v, fresh[k]) for k, v in model.autoencoder.state_dict().items())


def test_warm_up_equals_the_originals():
    golden = np.load(GOLDEN / "lr_schedule.npz")
    settings = TrainSettings(steps=10**9)
    factors = [learning_rate_factor(int(n), settings) for n in golden["n"]]
    agree("lr_schedule", "factors", factors, golden["factor_f64"], 1e-9)


def test_the_rate_falls_to_nothing_along_half_a_cosine():
    settings = TrainSettings(steps=100, warmup=10, decay=40)
    factors = [learning_rate_factor(n, settings) for n in range(101)]
    assert factors[60] == 1 and factors[80] == pytest.approx(0.5) and factors[100] == 0
    assert all(a >= b for a, b in itertools.pairwise(factors[60:]))


def test_the_pose_conditioning_learns_ten_times_faster():
    model = tiny_view_model()
    rest, pose = optimiser_of(model, TrainSettings()).param_groups
    assert rest["lr"] == 1e-4 and pose["lr"] == pytest.approx(1e-3)
    assert {id(p) for p in pose["params"]} == {id(p) for p in model.pose_conditioning.parameters()}
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for g in (rest, pose) for p in g["params"]} == trained
    assert rest["betas"] == (0.9, 0.999) and rest["weight_decay"] == 0.01


def _change(model, settings, step=0):
    """How one step of plain gradient descent with rate 1 moves the parameters, and what it reports."""
    accelerator = Accelerator(mixed_precision="no", gradient_accumulation_steps=settings.accumulate)
    parameters = [p for p in model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in parameters]
    plain = torch.optim.SGD([{"params": parameters, "lr": 1.0, "base_rate": 1.0}])
    objective, optimiser = accelerator.prepare(Objective(model, settings.objective), plain)
    report = trainer._step(step, accelerator, objective, optimiser, _sampler(model), settings)
    change = torch.cat([(p.detach() - b).flatten() for p, b in zip(parameters, before, strict=True)])
    with torch.no_grad():
        for p, b in zip(parameters, before, strict=True):
            p.copy_(b)
    return change, report


def test_long_gradients_are_clipped_and_short_ones_are_not():
    model = tiny_view_model()
    free, report = _change(model, replace(PLAIN, clip=1e9))
    norm = float(report["gradient"])
    assert float(free.norm()) == pytest.approx(norm, rel=1e-3)
    clipped, report = _change(model, replace(PLAIN, clip=norm / 10))
    assert float(clipped.norm()) == pytest.approx(norm / 10, rel=1e-3)
    assert float(report["gradient"]) == pytest.approx(norm, rel=1e-5)


def test_accumulated_batches_give_the_mean_gradient():
    model = tiny_view_model()
    settings = replace(PLAIN, clip=1e9)
    (first, _), (second, _) = (_change(model, settings, step) for step in (0, 1))
    both, _ = _change(model, replace(settings, accumulate=2))
    torch.testing.assert_close(both, (first + second) / 2, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("save_every", [100, 2])
def test_checkpoints_with_the_lowest_validation_losses_are_kept_also_after_a_resumption(tmp_path, save_every):
    losses = {2: 0.5, 4: 0.1, 6: 0.3, 8: 0.4, 10: 0.2, 12: 0.6}
    seen = []

    def validate(model):
        seen.append(2 + 2 * len(seen))
        return losses[seen[-1]]

    settings = replace(PLAIN, validate_every=2, keep_best=2, save_every=save_every, log_every=100)
    for steps in (6, 12):
        model = tiny_view_model()
        train(model, _sampler(model), tmp_path, replace(settings, steps=steps), validate=validate)
    kept = {int(path.name[-2:]): load_notes(path)["validation"] for path in checkpoints(tmp_path / "checkpoints")}
    assert kept == {step: losses[step] for step in (4, 10, 12)}


def test_pictures_before_the_first_step_are_of_the_model_as_it_came_and_only_in_a_new_run(tmp_path):
    shown = []
    settings = replace(PLAIN, sample_every=2, sample_first=True)
    for steps in (2, 4):
        model = tiny_view_model()
        before = [p.clone() for p in model.parameters()]

        def show(model, step, folder, before=before):
            same = all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
            shown.append((step, same))

        train(model, _sampler(model), tmp_path, replace(settings, steps=steps), show)
    assert shown == [(0, True), (2, False), (4, False)]


def test_a_step_that_is_not_a_number_is_left_out(tmp_path):
    model = tiny_view_model()
    train(model, _Poisoned(_sampler(model), lambda step: step == 1), tmp_path, replace(PLAIN, log_every=2))
    first, second = (load_file(tmp_path / "checkpoints" / f"step-0000000{n}" / "weights.safetensors") for n in (1, 2))
    assert all(torch.equal(first[k], second[k]) for k in first)
    (line,) = _lines(tmp_path)
    assert line["skipped"] == 0.5 and line["diffusion"] > 0.1  # a mean over the steps that were numbers
    assert all(np.isfinite(value) for value in line.values())


def test_twenty_steps_that_are_not_numbers_end_the_run_and_keep_the_checkpoint(tmp_path):
    model = tiny_view_model()
    settings = replace(PLAIN, steps=50, batch=1, save_every=2)
    with pytest.raises(NotFinite, match="training diverged: 20 steps") as caught:
        train(model, _Poisoned(_sampler(model), lambda step: step >= 2), tmp_path, settings)
    assert "\n" not in str(caught.value)
    newest = sorted((tmp_path / "checkpoints").iterdir())[-1]
    assert all(bool(v.isfinite().all()) for v in load_file(newest / "weights.safetensors").values())


def test_a_gap_shorter_than_twenty_does_not_end_the_run(tmp_path):
    meter = Meter()
    bad = {"skipped": torch.tensor(1.0), "diffusion": torch.tensor(float("nan"))}
    good = {"skipped": torch.tensor(0.0), "diffusion": torch.tensor(2.0)}
    for _ in range(3):
        for parts in [bad] * 19 + [good]:
            meter.add(parts)
    assert meter.take() == {"skipped": 0.95, "diffusion": 2.0}

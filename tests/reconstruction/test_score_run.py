"""A field that grows: stopped anywhere it goes on to the last bit, and what it has grown to is on disk."""

import json
import math
from dataclasses import replace

import pytest
import torch

from tiny_model import SIZE, blobs, tiny_view_model
from zero123.images import io
from zero123.reconstruction.score_fit import ScoreFit, ScoreFitSettings
from zero123.reconstruction.score_run import PREVIEW, STATE, Keeping, forget, run, unfinished
from zero123.reconstruction.sds_fit import SdsFit
from zero123.reconstruction.sds_settings import SdsSettings

SJC = ScoreFitSettings(grid=12, steps=6, scale=2.0, learnt_background=True)
SDS = SdsSettings(
    steps=6, sides=(10, 12), views=(2, 1), levels=3, first_levels=2, table=2**8, coarsest=4, finest=12, cells=6
)


def started(settings):
    model, photo = tiny_view_model(), blobs(1)
    if isinstance(settings, ScoreFitSettings):
        return ScoreFit(model, photo, 0.3, settings)
    return SdsFit(model, torch.cat((photo[0], (photo[0].amin(0, keepdim=True) < 0.95).float())), 0.3, settings)


def tensors(growing):
    return {name: value for name, value in growing.state().items() if name.startswith(("parts", "generator"))}


@pytest.mark.parametrize("settings", [SJC, SDS], ids=["sjc", "sds"])
def test_a_run_stopped_by_a_person_goes_on_to_the_last_bit(tmp_path, settings):
    whole, photo = started(settings), blobs(1)[0]
    run(whole, settings.steps, tmp_path / "whole", photo, settings)

    def stop(done, _):
        if done == 3:
            raise KeyboardInterrupt

    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        run(started(settings), settings.steps, folder, photo, settings, stop)
    assert unfinished(folder)
    second = started(settings)
    run(second, settings.steps, folder, photo, settings)
    first, again = tensors(whole), tensors(second)
    assert first.keys() == again.keys() and all(torch.equal(first[name], again[name]) for name in first)
    lines = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines == [1, 2, 3, 4, 5, 6]
    assert io.load(folder / PREVIEW).shape[-1] == 5 * (SIZE + 8)


def test_states_and_previews_come_while_it_runs_and_the_state_goes_when_it_is_done(tmp_path):
    seen = []
    keeping = Keeping(save_seconds=0.0, preview_seconds=0.0, share=1.0)
    look = lambda done, _: seen.append((unfinished(tmp_path), (tmp_path / PREVIEW).is_file()))  # noqa: E731
    run(started(SJC), 3, tmp_path, blobs(1)[0], SJC, look, keeping)
    assert seen[0] == (False, False) and seen[-1] == (True, True)
    forget(tmp_path)
    assert not unfinished(tmp_path)


def test_a_damaged_state_and_one_of_another_field_are_refused(tmp_path):
    (tmp_path / STATE).write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="cannot be read"):
        run(started(SJC), 6, tmp_path, blobs(1)[0], SJC)
    with pytest.raises(ValueError, match="another field"):
        started(replace(SJC, grid=8)).restore(started(SJC).state())


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_no_state_to_return_to(tmp_path):
    class Lost(ScoreFit):
        def step(self):
            return {**super().step(), "score": math.nan if self.done == 2 else 0.0}

    lost = Lost(tiny_view_model(), blobs(1), 0.3, SJC)
    with pytest.raises(ValueError, match="the loss score is no longer a number at step 2"):
        run(lost, 6, tmp_path, blobs(1)[0], SJC, keeping=Keeping(0.0, 0.0, 1.0))
    assert not unfinished(tmp_path)


def test_gradients_of_several_views_add_up():
    fit = started(replace(SJC, accumulate=2, near_weight=0.0))
    assert fit.step().keys() == {"input", "input_smooth", "score"} and fit.done == 1
    assert fit.field.density.grad is not None

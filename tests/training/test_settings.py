"""Settings are changed by name and checked; a run remembers them, and what differs from before is said."""

import json
import math
from dataclasses import asdict, fields, replace

import pytest

from zero123.models.view_settings import ViewModelSettings
from zero123.presets import FINETUNE_TRAINING, MINI_TRAINING, ORIGINAL_TRAINING, PRESETS
from zero123.run_log import RunLog
from zero123.training.objective import ObjectiveSettings
from zero123.training.settings import TrainSettings, changed, differences, flat


def test_the_original_preset_has_the_originals_values():
    own = ORIGINAL_TRAINING
    assert (own.learning_rate, own.learning_rate * own.pose_rate) == (1e-4, pytest.approx(1e-3))
    assert (own.warmup, own.decay, own.ema, own.averaged) == (100, 0, 0.9999, "unet")
    assert (own.objective.drop, own.objective.drop_jointly, own.objective.weighting) == (0.05, False, "uniform")
    assert (own.batch * 8, own.accumulate, own.precision, own.clip) == (1536, 1, "no", math.inf)
    assert (own.save_every, own.sample_every, own.freeze_encoders, own.seed) == (5000, 500, True, 42)
    assert (own.sample_steps, own.sample_scales, own.sample_count) == (200, (1.0, 3.0), 32)
    assert (own.keep_best, own.validate_every, own.sample_first) == (3, 5000, True)
    assert (own.data.reading, own.data.first_views) == ("random", 0)  # the paper's 12 views, not its configuration's 4
    assert own.optimiser == "adamw" and own.weight_decay == 0.01 and not own.lora and not own.power_averages


def test_minis_preset_is_what_running_runs_were_started_with():
    assert (MINI_TRAINING.steps, MINI_TRAINING.decay, MINI_TRAINING.batch, MINI_TRAINING.seed) == (12_000, 3000, 32, 0)
    assert MINI_TRAINING.averaged == "trained" and not MINI_TRAINING.freeze_encoders
    assert set(PRESETS) == {"original", "mini", "mini-large", "finetune"} and FINETUNE_TRAINING.lora


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        ("learning_rate=5e-5", "learning_rate", 5e-5),
        ("steps=300_000", "steps", 300_000),
        ("clip=inf", "clip", math.inf),
        ("checkpointing=true", "checkpointing", True),
        ("power_averages=no", "power_averages", False),
        ("sample_scales=1.0, 3", "sample_scales", (1.0, 3.0)),
        ("track=tensorboard,wandb", "track", ("tensorboard", "wandb")),
        ("track=", "track", ()),
        ("optimiser=adamw_8bit", "optimiser", "adamw_8bit"),
        ("objective.drop=0.1", "objective.drop", 0.1),
        ("weighting=min_snr_5", "objective.weighting", "min_snr_5"),
        ("reading=stream", "data.reading", "stream"),
        ("data.first_views=4", "data.first_views", 4),
        ("broken_share=0.05", "data.broken_share", 0.05),
        ("times = logit_normal", "objective.times", "logit_normal"),
    ],
)
def test_any_setting_is_changed_by_name(change, name, value):
    after = flat(changed(TrainSettings(), [change]))
    assert after.pop(name) == value
    assert after.items() <= flat(TrainSettings()).items()


def test_what_only_goes_together_is_changed_together():
    flow = changed(ViewModelSettings(), ["prediction=flow", "schedule=flow"])
    assert (flow.prediction, flow.schedule) == ("flow", "flow")
    with pytest.raises(ValueError, match="flow goes with the schedule of that name"):
        changed(ViewModelSettings(), ["prediction=flow"])
    with pytest.raises(ValueError, match="a model on the schedule 'zero_snr' cannot predict the noise"):
        changed(ViewModelSettings(), ["schedule=zero_snr"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("learning_rat=1", "there is no setting 'learning_rat'; did you mean learning_rate?"),
        ("objective.dropp=1", "there is no setting 'objective.dropp'; did you mean objective.drop?"),
        ("learning_rate", "expected NAME=VALUE"),
        ("steps=1.5", "steps=1.5: must be a whole number"),
        ("learning_rate=nan", "learning_rate=nan: must be a number, got nan"),
        ("checkpointing=maybe", "must be true or false"),
        ("optimiser=lion", "optimiser must be one of adamw, adamw_8bit, muon, got 'lion'"),
        ("precision=int4", "precision must be one of no, bf16, fp16"),
        ("weighting=snr", "weighting must be one of uniform, min_snr_5"),
        ("batch=0", "batch must be at least 1"),
        ("ema=1.5", "ema must be in 0 to 1"),
        ("clip=0", "clip must be over 0"),
        ("drop=0.5", "drop must be in 0 to 1/3"),
        ("views=5", "batch must be a multiple of views"),
        ("seed=-1", "seed must be in 0 to"),
        ("learning_rate=inf", "learning_rate must be finite"),
        ("weight_decay=inf", "weight_decay must be finite"),
        ("steps=1e5", "steps=1e5: must be a whole number, got '1e5'"),
        ("sample_scales=a,b", "sample_scales=a,b: must be a number, got 'a'"),
        ("sample_scales=", "sample_scales must name a guidance"),
        ("keep_best=3", "keep_best=3 needs a validation loss: set validate_every"),
        ("source_weight=-1", "source_weight must be at least 0 and finite"),
        ("noise_power=inf", "noise_power must be over 0 and finite"),
        ("logit_mean=inf", "logit_mean must be finite"),
        ("reading=tape", "reading must be one of random, stream, got 'tape'"),
        ("first_views=1", "first_views must be at least 2, or 0 for all views"),
        ("broken_share=1.5", "broken_share must be in 0 to 1"),
        ("threads=-1", "buffer must be at least 1 and threads at least 0"),
        ("data=4", "there is no setting 'data'"),
        ("=4", "there is no setting ''"),
    ],
)
def test_mistakes_are_named_in_one_line(change, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")) as caught:
        changed(TrainSettings(), [change])
    assert "\n" not in str(caught.value)


def test_what_cannot_be_combined_is_refused():
    for other in ({"optimiser": "adamw_8bit"}, {"optimiser": "muon"}, {"power_averages": True}):
        with pytest.raises(ValueError, match="sharded=true goes with"):
            TrainSettings(sharded=True, **other)
    for other in ({"sharded": True}, {"checkpointing": True}):
        with pytest.raises(ValueError, match="compile=true goes with sharded=false and checkpointing=false"):
            TrainSettings(compile=True, **other)
    with pytest.raises(ValueError, match="leave it out with lora"):
        TrainSettings(lora=4, power_averages=True)


def test_a_run_remembers_its_settings_and_says_what_differs(tmp_path):
    assert differences(tmp_path, MINI_TRAINING) == []  # a new run
    RunLog(tmp_path, asdict(ORIGINAL_TRAINING))
    assert differences(tmp_path, ORIGINAL_TRAINING) == []
    harmless = ["log_every=7", "steps=300000", "keep_best=1", "sample_first=false", "broken_share=0.5", "threads=0"]
    assert differences(tmp_path, changed(ORIGINAL_TRAINING, harmless)) == []
    other = changed(ORIGINAL_TRAINING, ["learning_rate=5e-5", "drop=0.1", "reading=stream", *harmless])
    assert differences(tmp_path, other) == [
        "learning_rate: 0.0001 -> 5e-05",
        "objective.drop: 0.05 -> 0.1",
        "data.reading: random -> stream",
    ]


def test_another_number_of_steps_matters_where_the_rate_falls_at_the_end(tmp_path):
    RunLog(tmp_path, asdict(MINI_TRAINING))
    assert differences(tmp_path, replace(MINI_TRAINING, steps=24_000)) == ["steps: 12000 -> 24000"]


def test_a_run_of_an_older_version_goes_on(tmp_path):
    old = (
        "steps",
        "batch",
        "accumulate",
        "learning_rate",
        "pose_rate",
        "warmup",
        "decay",
        "weight_decay",
        "ema",
        "clip",
    )
    old += ("precision", "save_every", "log_every", "sample_every", "seed")
    stored = {f.name: getattr(MINI_TRAINING, f.name) for f in fields(MINI_TRAINING) if f.name in old}
    parts = ("drop", "drop_jointly", "weighting", "noise_power", "source_weight", "elevation_jitter")
    stored["objective"] = {name: getattr(MINI_TRAINING.objective, name) for name in parts}
    (tmp_path / "settings.json").write_text(json.dumps(stored))
    assert differences(tmp_path, replace(MINI_TRAINING, objective=ObjectiveSettings(**stored["objective"]))) == []


def test_damaged_settings_are_named(tmp_path):
    for text in ("{half", "[]"):
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(ValueError, match=r"settings.json: cannot be read .*remove it"):
            differences(tmp_path, MINI_TRAINING)

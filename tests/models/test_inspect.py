"""A look into weights tells what is there, what is missing and what it costs, and is never fooled into running it."""

import functools
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from deterministic import manifest, tiny_state
from tiny_model import tiny_view_model
from zero123.models.inspect import OTHERS, RAW, REST, TABLES, TEXT, TRAINING, inspect
from zero123.models.pretrained import load_model, save_model
from zero123.models.weights import WeightsError

NETWORKS = ["unet", "vae", "image_encoder", "pose_conditioning"]
CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"


@functools.cache
def state():
    return tiny_state()


def raw_state():
    """The same without averages."""
    return {key: value for key, value in state().items() if not key.startswith("model_ema.")}


def names(contents):
    return [content.name for content in contents]


def numbers(prefix):
    return sum(torch.Size(shape).numel() for key, shape in manifest().items() if key.startswith(prefix))


@pytest.fixture
def checkpoint(tmp_path):
    """What a training run of the original leaves: averages, an optimizer, and things no network needs."""
    first = torch.nn.Parameter(torch.zeros(1000))
    optimizer = torch.optim.AdamW([first])
    first.grad = torch.ones(1000)
    optimizer.step()
    extras = {
        "betas": torch.zeros(1000),
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(3, dtype=torch.int32),
        "first_stage_model.loss.logvar": torch.zeros(()),
        "elsewhere.weight": torch.zeros(3),
    }
    path = tmp_path / "105000.ckpt"
    own = {
        key: value.clone() for key, value in state().items()
    }  # averages and weights are one in memory, never in files
    content = {"state_dict": own | extras, "global_step": 105_000, "optimizer_states": [optimizer.state_dict()]}
    torch.save(content, path)
    return path


def test_a_training_checkpoint_is_told_apart_by_purpose(checkpoint):
    report = inspect(checkpoint)
    assert (report.layout, report.step) == ("original layout, Lightning checkpoint", 105_000)
    assert (report.has_ema, report.has_optimizer, report.fault, report.loads) == (True, True, None, True)
    assert (report.licence, report.pose_format) == ("MIT", "radius")
    assert report.bytes == checkpoint.stat().st_size
    assert names(report.parts) == NETWORKS
    prefixes = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.model.visual.", "cc_projection.")
    assert [part.parameters for part in report.parts] == [numbers(prefix) for prefix in prefixes]
    extras = {content.name: content for content in report.extras}
    assert list(extras) == [RAW, TEXT, TABLES, TRAINING, OTHERS, REST]
    assert extras[RAW].bytes == report.parts[0].bytes == 4 * report.parts[0].parameters
    assert extras[TABLES].tensors == 3
    assert extras[TEXT].parameters == numbers("cond_stage_model.") - report.parts[2].parameters
    assert extras[REST].bytes > 8000  # two moments of a thousand numbers
    assert report.ignored == ("elsewhere.weight",)
    assert not report.missing + report.unknown + report.misshapen


def test_the_memory_it_tells_is_what_the_loaded_model_takes(checkpoint):
    model = load_model(checkpoint, torch.bfloat16)
    assert inspect(checkpoint).bfloat16_bytes == sum(p.nbytes for p in model.parameters())


def test_the_text_is_for_people(checkpoint):
    text = inspect(checkpoint).as_text()
    assert "105000.ckpt: original layout, Lightning checkpoint, " in text
    assert ", step 105000" in text and "licence MIT" in text and "pose: radius" in text
    assert "nothing is missing; loaded in bfloat16 it takes" in text
    lines = [line for line in text.splitlines() if line.startswith("  ")]
    assert len(lines) == 10 and all(line[38:].split()[0][0].isdigit() for line in lines)
    assert json.loads(json.dumps(inspect(checkpoint).as_json()))["loads"] is True


def test_a_stripped_file_of_half_precision_is_told(tmp_path):
    path = tmp_path / "stable_zero123.safetensors"
    save_file({key: value.half() for key, value in raw_state().items()}, path)
    report = inspect(path)
    assert report.layout == "original layout, safetensors"
    assert {part.dtypes for part in report.parts} == {("float16",)}
    assert (report.has_ema, report.has_optimizer, names(report.extras)) == (False, False, [TEXT])
    assert report.pose_format == "source_polar"
    assert report.loads


def broken(kind):
    """Weights with one fault, and what must be said of it."""
    changed = dict(raw_state())
    if kind == "missing":
        del changed["model.diffusion_model.out.2.bias"]
        return changed, "model.diffusion_model.out.2.bias"
    if kind == "unknown":
        changed["first_stage_model.decoder.extra.weight"] = torch.zeros(3)
        return changed, "first_stage_model.decoder.extra.weight"
    changed["cond_stage_model.model.visual.ln_pre.bias"] = torch.zeros(7)
    return changed, "cond_stage_model.model.visual.ln_pre.bias must be (64,), is (7,)"


@pytest.mark.parametrize("kind", ["missing", "unknown", "misshapen"])
def test_faults_are_named_as_the_file_names_them(tmp_path, kind):
    changed, expected = broken(kind)
    save_file(changed, tmp_path / "a.safetensors")
    report = inspect(tmp_path / "a.safetensors")
    faults = {what: getattr(report, what) for what in ("missing", "unknown", "misshapen")}
    assert faults.pop(kind) == (expected,)
    assert not any(faults.values())
    assert (report.loads, report.bfloat16_bytes) == (False, None)
    assert f"{kind}: {expected}" in report.as_text() and "cannot be loaded as it is" in report.as_text()
    with pytest.raises(WeightsError, match=kind.replace("misshapen", "must have shape")):
        load_model(tmp_path / "a.safetensors")


def test_many_faults_are_counted_in_the_text_and_named_in_the_json(tmp_path):
    less = {key: value for key, value in raw_state().items() if ".out_layers.0." not in key}
    save_file(less, tmp_path / "a.safetensors")
    report = inspect(tmp_path / "a.safetensors")
    assert len(report.missing) == len(raw_state()) - len(less) > 11
    assert f"missing: {len(report.missing) - 10} more" in report.as_text()
    assert len(report.as_json()["missing"]) == len(report.missing)


def test_a_file_that_lacks_a_network_is_still_described(tmp_path):
    save_file(
        {key: value for key, value in raw_state().items() if not key.startswith("first_stage_model.")},
        tmp_path / "a.safetensors",
    )
    report = inspect(tmp_path / "a.safetensors")
    assert names(report.parts) == ["unet", "image_encoder", "pose_conditioning"]
    assert "first_stage_model." in report.fault and not report.loads
    assert "cannot be loaded: " in report.as_text()


def test_a_start_for_training_is_told_from_a_view_model(tmp_path):
    start = {key: value for key, value in raw_state().items() if not key.startswith("cc_projection.")}
    start[CONV_IN] = start[CONV_IN][:, :4].clone()
    save_file(start, tmp_path / "a.safetensors")
    report = inspect(tmp_path / "a.safetensors")
    assert (report.pose_format, report.loads, report.fault) == (None, False, None)
    assert "a start for training" in report.as_text()
    assert not report.missing


def test_a_model_folder_is_described_by_its_own_words(tmp_path):
    model = tiny_view_model()
    save_model(model, tmp_path / "m", torch.float16)
    report = inspect(tmp_path / "m")
    assert (report.layout, report.name, report.licence, report.step) == ("model folder", "tiny", "none", None)
    assert names(report.parts) == [*NETWORKS, "place_reader", "feature_volume"]
    assert sum(part.parameters for part in report.parts) == sum(t.numel() for t in model.state_dict().values())
    assert {part.dtypes for part in report.parts} == {("float16",)}
    assert report.loads and report.bytes == sum(p.stat().st_size for p in (tmp_path / "m").rglob("*") if p.is_file())
    weights = next((tmp_path / "m" / "unet").glob("*.safetensors"))
    content = load_file(weights)
    del content["conv_in.bias"]
    save_file(content, weights)
    assert inspect(tmp_path / "m").missing == ("conv_in.bias",)
    shutil.rmtree(tmp_path / "m" / "vae")
    with pytest.raises(WeightsError, match="vae"):
        inspect(tmp_path / "m")


def test_a_folder_whose_settings_make_no_sense_is_refused(tmp_path):
    save_model(tiny_view_model(), tmp_path / "m")
    config = tmp_path / "m" / "unet" / "config.json"
    config.write_text(config.read_text().replace('"CrossAttnDownBlock2D"', '"NoSuchBlock"'))
    with pytest.raises(WeightsError, match=r"m: unet: config.json does not describe a UNet2DConditionModel: .*NoSuch"):
        inspect(tmp_path / "m")


class Evil:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


def test_hostile_and_damaged_files_are_refused(tmp_path):
    torch.save({"state_dict": {"a": Evil(tmp_path / "owned")}}, tmp_path / "evil.ckpt")
    with pytest.raises(WeightsError, match="refused, nothing was run"):
        inspect(tmp_path / "evil.ckpt")
    assert not (tmp_path / "owned").exists()
    torch.save({"state_dict": raw_state()}, tmp_path / "cut.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "cut.ckpt").read_bytes()[:100_000])
    for name, message in (("cut.ckpt", "truncated or damaged"), ("nobody", "no such model")):
        with pytest.raises(WeightsError, match=message):
            inspect(tmp_path / name)


def test_tensors_of_something_else_are_described_not_loaded(tmp_path):
    save_file({"encoder.weight": torch.zeros(2, 3)}, tmp_path / "a.safetensors")
    report = inspect(tmp_path / "a.safetensors")
    assert report.parts == () and report.ignored == ("encoder.weight",)
    assert "no Zero-1-to-3 weights" in report.fault

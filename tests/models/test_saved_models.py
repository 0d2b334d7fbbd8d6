"""A model that is saved comes back exactly; a folder that is broken is refused in one line that names the thing."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file

import zero123.models.pretrained as pretrained
from command import model_at
from deterministic import tiny_state
from tiny_model import tiny_view_model
from zero123.models.pretrained import load_model, save_model
from zero123.models.weights import WeightsError

SHARD = 8192


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return model_at(tmp_path_factory.mktemp("saved") / "tiny")


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that may be broken."""
    return shutil.copytree(saved, tmp_path / "model")


def same(one, other):
    assert one.settings == other.settings
    expected, found = one.state_dict(), other.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_small_model_comes_back_exactly(saved):
    again = load_model(saved)
    same(tiny_view_model(), again)
    assert not again.training
    assert not any(p.is_meta for p in (*again.parameters(), *again.buffers()))


def test_a_released_model_comes_back_exactly_and_the_library_reads_it(tmp_path):
    torch.save({"state_dict": tiny_state()}, tmp_path / "tiny.ckpt")
    model = load_model(tmp_path / "tiny.ckpt")
    save_model(model, tmp_path / "saved")
    same(model, load_model(tmp_path / "saved"))
    for part, cls, ours in (("unet", UNet2DConditionModel, model.unet), ("vae", AutoencoderKL, model.autoencoder)):
        theirs = cls.from_pretrained(tmp_path / "saved" / part, local_files_only=True).state_dict()
        ours = getattr(ours, "network", ours).state_dict()
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[key], value) for key, value in ours.items())
    table = DDIMScheduler.from_pretrained(tmp_path / "saved" / "scheduler").alphas_cumprod
    torch.testing.assert_close(table.double(), model.schedule.alphas_cumprod, atol=1e-6, rtol=0)


def test_shards_come_back_and_the_library_reads_them(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "_SHARD_BYTES", SHARD)
    model = tiny_view_model()
    save_model(model, tmp_path / "model")
    assert len(list((tmp_path / "model" / "unet").glob("*-of-*.safetensors"))) > 2
    same(model, load_model(tmp_path / "model"))
    theirs = UNet2DConditionModel.from_pretrained(tmp_path / "model" / "unet", local_files_only=True).state_dict()
    assert all(torch.equal(theirs[key], value) for key, value in model.unet.state_dict().items())


def test_half_precision_in_the_files_is_half_the_size_and_loads_as_asked(saved, tmp_path):
    save_model(tiny_view_model(), tmp_path / "half", torch.float16)
    size = sum(len(v) for k, v in files(tmp_path / "half").items() if k.endswith(".safetensors"))
    assert size < 0.6 * sum(len(v) for k, v in files(saved).items() if k.endswith(".safetensors"))
    assert load_model(tmp_path / "half").dtype == torch.float32
    assert load_model(tmp_path / "half", torch.float16).dtype == torch.float16


def test_a_new_version_replaces_the_old_one_and_keeps_its_card(folder):
    (folder / "README.md").write_text("card")
    (folder / "unet" / "stray.txt").write_text("old")
    other = tiny_view_model(seed=1)
    save_model(other, folder)
    same(other, load_model(folder))
    assert (folder / "README.md").read_text() == "card"
    assert not (folder / "unet" / "stray.txt").exists()
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_another_folder_is_never_overwritten(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name in ("thesis", "file"):
        with pytest.raises(WeightsError, match="exists and is not a model folder"):
            save_model(tiny_view_model(), tmp_path / name)
    assert files(tmp_path) == {"file": b"precious", "thesis/chapter.txt": b"precious"}


@pytest.mark.parametrize("moment", ["save_component", "_index", "replace_folder"])
def test_an_interrupted_save_leaves_the_old_model(folder, monkeypatch, moment):
    before = files(folder.parent)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrained, moment, interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_model(tiny_view_model(seed=1), folder)
    assert files(folder.parent) == before
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_a_save_that_cannot_be_put_in_its_place_puts_the_old_model_back(folder, monkeypatch):
    before, rename = files(folder.parent), Path.rename

    def fails(self, target):
        if Path(target) == folder and "-old-" not in self.name:
            raise OSError("the disk is gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="the disk is gone"):
        save_model(tiny_view_model(seed=1), folder)
    assert files(folder.parent) == before


# Broken models


def weights(folder, part="unet"):
    return next((folder / part).glob("*.safetensors"))


def change(folder, function, part="unet"):
    state = load_file(weights(folder, part))
    function(state)
    save_file(state, weights(folder, part), metadata={"format": "pt"})


def put(key, value):
    return lambda state: state.__setitem__(key, value)


def index(folder, **values):
    content = json.loads((folder / "model_index.json").read_text())
    content["settings"] |= values
    (folder / "model_index.json").write_text(json.dumps(content))


BROKEN = {
    "missing tensor conv_in.weight": lambda f: change(f, lambda s: s.pop("conv_in.weight")),
    r"tensor conv_in.bias must have shape \(16,\), got \(17,\)": lambda f: change(
        f, put("conv_in.bias", torch.zeros(17))
    ),
    "tensor conv_in.bias holds values that are not finite": lambda f: change(
        f, put("conv_in.bias", torch.full((16,), float("nan")))
    ),
    "vae: missing tensor basis": lambda f: change(f, lambda s: s.pop("basis"), "vae"),
    "pose_conditioning: missing tensor": lambda f: change(f, lambda s: s.pop("projection.bias"), "pose_conditioning"),
    "unet: no such folder": lambda f: shutil.rmtree(f / "unet"),
    "vae/config.json: no such file": lambda f: shutil.rmtree(f / "vae"),
    "image_encoder: no such folder": lambda f: shutil.rmtree(f / "image_encoder"),
    "feature_volume: no such folder": lambda f: shutil.rmtree(f / "feature_volume"),
    "place_reader: no such folder": lambda f: shutil.rmtree(f / "place_reader"),
    "model_index.json: no such file": lambda f: (f / "model_index.json").unlink(),
    "model_index.json: is not valid JSON": lambda f: (f / "model_index.json").write_text("{"),
    "has no settings": lambda f: (f / "model_index.json").write_text("{}"),
    "unknown setting 'colour'": lambda f: index(f, colour=1),
    "prediction must be one of noise, velocity, flow, got 'x0'": lambda f: index(f, prediction="x0"),
    "image_size must be a whole number from 1 to 4096, got '32'": lambda f: index(f, image_size="32"),
    "do not go together: unet must take 56 channels, takes 62": lambda f: index(f, rays=False),
    "truncated or no safetensors": lambda f: weights(f).write_bytes(weights(f).read_bytes()[:1000]),
    "bin: is not a checkpoint": lambda f: weights(f).rename(f / "unet" / "diffusion_pytorch_model.bin"),
    "config.json does not describe": lambda f: (f / "unet" / "config.json").write_text('{"layers_per_block": "many"}'),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_folder_is_named_in_one_line(folder, message):
    BROKEN[message](folder)
    with pytest.raises(WeightsError, match=message) as error:
        load_model(folder)
    assert "\n" not in str(error.value).strip()


def test_a_checkpoint_with_a_missing_tensor_is_named(tmp_path):
    state = tiny_state()
    del state["model.diffusion_model.out.2.bias"]
    state = {k: v for k, v in state.items() if not k.startswith("model_ema")}
    torch.save({"state_dict": state}, tmp_path / "tiny.ckpt")
    with pytest.raises(WeightsError, match=r"unet: missing tensor model\.diffusion_model\.out\.2\.bias"):
        load_model(tmp_path / "tiny.ckpt")


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def test_a_malicious_checkpoint_is_refused_and_never_run(tmp_path):
    mark = tmp_path / "owned"
    torch.save({"state_dict": {"a": Evil(f"touch {mark}")}}, tmp_path / "evil.ckpt")
    with pytest.raises(WeightsError, match="refused, nothing was run"):
        load_model(tmp_path / "evil.ckpt")
    assert not mark.exists()


def test_what_is_no_model_at_all_is_said_to_be_none(tmp_path):
    (tmp_path / "notes.txt").write_text("no model here")
    with pytest.raises(WeightsError, match="is not a checkpoint"):
        load_model(tmp_path / "notes.txt")
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(WeightsError, match="some other zip archive"):
        load_model(tmp_path / "a.ckpt")
    with pytest.raises(WeightsError, match="no such model; give a model folder"):
        load_model(tmp_path / "missing")
    with pytest.raises(WeightsError, match="no such model"):
        load_model("../weights")

"""The fine-tuning example runs as it is written, with the smallest model; `train` says what is wrong in one line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import trimesh
from safetensors.torch import load_file

from command import run
from tiny_model import blobs, tiny_view_model
from zero123.images import io
from zero123.models.pretrained import load_model, save_model

SCRIPT = Path(__file__).parents[1] / "examples" / "4_finetune.sh"
TINY = "--set precision=no --set warmup=0 --set learning_rate=1e-2 --set ema=0.5 --batch 2"
TINY += " --set save_every=2 --set log_every=2"


def _embree():
    pytest.importorskip("embreex", reason="embreex is not installed (extra: data)")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny_view_model(), folder)
    return folder


@pytest.fixture(scope="module")
def meshes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("meshes")
    for index, mesh in enumerate((trimesh.creation.box((1, 0.5, 0.3)), trimesh.creation.icosphere(2))):
        mesh.visual.vertex_colors = [200 * index, 120, 40, 255]
        mesh.export(folder / f"object-{index}.glb")
    return folder


@pytest.fixture(scope="module")
def views(tmp_path_factory, meshes):
    _embree()
    out = tmp_path_factory.mktemp("views")
    assert run("data", "render", meshes, "-o", out, "--views", 4, "--size", 32) == 0
    return out


@pytest.mark.slow
def test_the_example_runs_from_meshes_to_views(tmp_path, tiny, meshes):
    _embree()
    pytest.importorskip("peft", reason="peft is not installed (extra: lora)")
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    io.save(tmp_path / "picture.png", blobs(1)[0])
    environment = {
        **os.environ,
        "ZERO123": f"{sys.executable} -m zero123",
        "MODEL": str(tiny),
        "WORK": str(tmp_path / "work"),
        "RENDER": "--size 32",
        "TRAIN": f"--steps 4 --decay 0 {TINY} --set sample_every=4 --set sample_count=2",
    }
    run = subprocess.run(
        [bash, str(SCRIPT), str(meshes), str(tmp_path / "picture.png")], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    lora = load_file(tmp_path / "work" / "run" / "lora.safetensors")
    assert lora and all(".lora_A." in name or ".lora_B." in name for name in lora)
    before, after = (io.load(tmp_path / "work" / name / "views" / "000.png") for name in ("before", "after"))
    assert before.shape == after.shape and (before - after).abs().max() > 0.02
    assert (tmp_path / "work" / "run" / "samples" / "step-00000004.png").is_file()


def test_a_whole_model_is_trained_in_the_original_way_and_goes_on(tmp_path, tiny, views, capsys):
    command = [
        "train",
        views,
        "-o",
        tmp_path,
        "--preset",
        "original",
        "--finetune-from",
        tiny,
        "--steps",
        2,
        "--batch",
        2,
    ]
    command += ["--set", "save_every=1", "--set", "sample_every=0", "--set", "log_every=1", "--set", "warmup=0"]
    assert run(*command) == 0
    output = capsys.readouterr().out
    assert f"{tmp_path}/model" in output and "no validation: " in output and "is for validation" in output
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert (settings["averaged"], settings["precision"], settings["clip"]) == ("unet", "no", float("inf"))
    start, after = tiny_view_model(), load_model(tmp_path / "model")
    for part, same in (("image_encoder", True), ("autoencoder", True), ("unet", False), ("pose_conditioning", False)):
        pairs = zip(getattr(start, part).parameters(), getattr(after, part).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == same, part

    assert run(*command, "--set", "learning_rate=5e-5") == 2
    error = capsys.readouterr().err
    assert "learning_rate: 0.0001 -> 5e-05" in error and "--accept-changes" in error and error.count("\n") == 1
    assert run(*command, "--set", "steps=3", "--no-mirror", "--edges", "blended") == 2
    assert "pairs.edges: original -> blended" in capsys.readouterr().err
    assert run(*command, "--set", "learning_rate=5e-5", "--set", "steps=3", "--accept-changes") == 0
    assert "settings changed: learning_rate: 0.0001 -> 5e-05" in capsys.readouterr().out
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 3


def test_modern_choices_are_given_by_name_and_the_model_remembers_them(tmp_path, tiny, views, capsys):
    command = [
        "train",
        views,
        "-o",
        tmp_path,
        "--preset",
        "finetune",
        "--finetune-from",
        tiny,
        "--steps",
        2,
        "--batch",
        4,
    ]
    command += ["--set", "lora=0", "--set", "decay=0", "--set", "precision=no", "--set", "save_every=1"]
    command += ["--set", "power_averages=true", "--set", "optimiser=adamw_8bit", "--set", "views=2"]
    command += ["--set", "sample_every=2", "--set", "sample_count=2", "--set", "times=logit_normal"]
    command += ["--set", "model.prediction=flow", "--set", "model.schedule=flow", "--fit-memory", 2]
    assert run(*command) == 0
    assert "pairs at once" in capsys.readouterr().out
    assert run(*command) == 0  # it goes on, with the batch that was chosen
    assert "pairs at once" not in capsys.readouterr().out
    model = load_model(tmp_path / "model")
    assert (model.settings.prediction, model.settings.schedule, model.settings.joint) == ("flow", "flow", True)
    assert run("average", tmp_path, "-o", tmp_path / "averaged", "--length", 0.2) == 0
    assert load_model(tmp_path / "averaged").settings == model.settings
    assert run("average", tmp_path, "-o", tmp_path / "other", "--length", 0.5) == 2
    assert "length of an average must be over 0 and at most 0.28" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "best"], "preset must be one of original, mini, mini-large, finetune, got 'best'"),
        (["--preset", "original"], "give --finetune-from sd-image-conditioned-v2, or any model"),
        ([], "give --codec FOLDER"),
        (["--set", "learning_rat=1"], "there is no setting 'learning_rat'; did you mean learning_rate?"),
        (["--set", "steps"], "expected NAME=VALUE"),
        (["--finetune-from", "TINY", "--set", "model.tokens=words"], "tokens must be one of pooled, grid"),
        (["--finetune-from", "TINY", "--set", "model.token=grid"], "there is no setting 'token'; did you mean tokens?"),
        (["--finetune-from", "TINY", "--preset", "finetune", "--same", "0.1"], "are for cached pairs"),
    ],
)
def test_mistakes_are_one_line(tmp_path, tiny, options, message, capsys):
    views = tmp_path / "views"
    views.mkdir()
    options = [str(tiny) if o == "TINY" else o for o in options]
    assert run("train", views, "-o", tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_learning_rate_is_scaled_on_request_only():
    from zero123.cli.train_options import SettingsOptions

    plain = SettingsOptions("original").settings()
    scaled = SettingsOptions("original", scale_lr=True, batch=4, change=["accumulate=3"]).settings()
    assert plain.learning_rate == 1e-4 and scaled.learning_rate == pytest.approx(1e-4 * 4 * 3)

"""`zero123 reconstruct --method sjc` and `sds`: what is written, scenes, runs that go on, mistakes in one line."""

import functools
import json
import math

import numpy as np
import pytest
import torch

from command import model_at, run
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.images import io
from zero123.presets import SCORE_PRESETS, SJC_ORIGINAL
from zero123.reconstruction import score_run, turntable
from zero123.reconstruction.scene import scene_folder, scene_photo

SJC = ["--method", "sjc", "--steps", "2", "--set", "grid=10", "--set", "density_shift=2", "--faces", "500"]
SDS = ["--method", "sds", "--steps", "2", "--set", "sides=10", "--set", "views=1", "--set", "milestones="]
SDS += [
    "--set",
    "table=256",
    "--set",
    "finest=16",
    "--set",
    "cells=8",
    "--set",
    "blob=20",
    "--set",
    "levels=2",
    "--set",
    "first_levels=1",
    "--faces",
    "500",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_at(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def ball(tmp_path, monkeypatch):
    """A picture of a red ball in a new folder, which is the current one; turntables are short."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZERO123_DEBUG", raising=False)
    monkeypatch.setattr(
        turntable, "render_turntable", functools.partial(turntable.render_turntable, count=2, hw=(16, 16))
    )
    place = (torch.arange(48) + 0.5) / 24 - 1
    alpha = ((0.7 - torch.hypot(place[:, None], place[None])) * 24).clamp(0, 1)
    io.save("ball.png", torch.stack((torch.full((48, 48), 0.8), *torch.full((2, 48, 48), 0.2), alpha)))
    return tmp_path / "ball.png"


def scene_at(folder, ball, elevation_deg=15.0):
    """A NeRF-synthetic scene whose second frame is taken from somewhere else."""
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "r_0.png").write_bytes(ball.read_bytes())
    poses = OrbitPose.from_degrees([90.0, 0.0], [elevation_deg, 50.0], [2.0, 2.0])
    matrices = Camera.from_orbit(poses).to_opengl().tolist()
    frames = [{"file_path": "./train/r_0", "transform_matrix": matrix} for matrix in matrices]
    (folder / "transforms_train.json").write_text(json.dumps({"camera_angle_x": 0.857, "frames": frames}))
    return folder


@pytest.mark.parametrize("options", [SJC, SDS], ids=["sjc", "sds"])
def test_a_picture_becomes_a_mesh_with_a_turntable_and_the_runs_own_files(ball, model, options, capsys):
    code = run("reconstruct", ball, "--model", model, *options, "--elevation-deg", 20, "-o", "r/ball.glb")
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "picture taken to be from 20° above the horizon" in said.out
    assert said.out.splitlines()[-1] == "r/ball.glb, turning in r/turntable.mp4"
    assert (ball.parent / "r" / "ball.glb").read_bytes()[:4] == b"glTF"
    files = {path.name for path in (ball.parent / "r" / "ball-run").iterdir()} - {".lock"}
    assert files == {"settings.json", "metrics.jsonl", "preview.png"}


def test_a_stopped_run_goes_on_and_refuses_other_settings(ball, model, capsys, monkeypatch):
    original = score_run.preview

    def stopped(*_):
        raise KeyboardInterrupt

    arguments = ("reconstruct", ball, "--model", model, *SJC, "--elevation-deg", 20, "-o", "r/ball.ply")
    monkeypatch.setattr(score_run, "preview", stopped)
    monkeypatch.setattr(score_run, "Keeping", functools.partial(score_run.Keeping, preview_seconds=0.0))
    assert run(*arguments) == 130
    monkeypatch.setattr(score_run, "preview", original)
    capsys.readouterr()
    assert run(*arguments, "--scale", 7) == 2
    assert "a run that was stopped here differs (scale: 0.0 -> 7.0)" in capsys.readouterr().err
    assert run(*arguments) == 0
    assert "going on with the run in r/ball-run" in capsys.readouterr().out


def test_a_scene_says_itself_where_its_picture_was_taken_from(ball, model, capsys, tmp_path):
    scene = scene_at(tmp_path / "scene", ball)
    assert run("reconstruct", scene, "--model", model, *SJC, "-o", "r/m.glb") == 0
    assert "picture taken to be from 15° above the horizon" in capsys.readouterr().out
    kept, given = io.load("r/input.png")[3], io.load("ball.png")[3]
    assert float(kept.mean()) == pytest.approx(float(given.mean()), abs=0.02)  # not framed anew
    assert run("reconstruct", scene / "transforms_train.json", "--frame", 2, "--model", model, *SJC) == 2
    assert "frame must be from 0 to 1, got 2" in capsys.readouterr().err


def test_a_picture_from_a_known_distance_stays_as_it_is(ball, model, capsys):
    arguments = ("reconstruct", ball, "--model", model, "--distance", 1.7, "-o", "r/m.glb")
    assert run(*arguments, *SJC) == 2
    assert "--distance is of --method views; of sjc it is --set input_radius" in capsys.readouterr().err
    io.save("wide.png", torch.cat((io.load("ball.png"), torch.zeros(4, 48, 8)), 2))
    assert run("reconstruct", "wide.png", *arguments[2:]) == 2
    assert "must be square, its middle that of the object; this one is 56 x 48" in capsys.readouterr().err


def test_only_the_frame_asked_for_is_read(ball, tmp_path):
    scene = scene_at(tmp_path / "scene", ball)
    first, second = scene_photo(scene), scene_photo(scene, 1)
    assert math.degrees(float(first.pose.elevation)) == pytest.approx(15, abs=1e-3)
    assert math.degrees(float(second.pose.elevation)) == pytest.approx(50, abs=1e-3)
    assert scene_folder(scene) == scene and scene_folder(scene / "transforms_train.json") == scene
    assert scene_folder(ball) is None and scene_folder(tmp_path) is None
    io.save(scene / "train" / "r_0.png", torch.rand(4, 8, 6, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match="pictures must be square, frame 0 is 6 x 8"):
        scene_photo(scene)


MISTAKES = {
    ("--method", "magic"): "method must be one of views, sjc, sds, got 'magic'",
    ("--method", "sjc", "--preset", "sds"): "preset of sjc must be one of quick, original, got 'sds'",
    ("--method", "sjc", "--set", "near=1"): "there is no setting 'near'",
    ("--method", "sjc", "--set", "grid=0"): "grid must be at least 1, got 0",
    ("--method", "sds", "--set", "weight=magic"): "weight",
    ("--method", "sds", "--solver", "euler"): "--solver is of --method views: sds draws no views",
    ("--method", "sds", "--symmetry", "auto"): "--symmetry is of --method views: sds draws no views",
    ("--method", "sjc", "--offload"): "--offload is of --method views",
    ("--set", "grid=3"): "--preset and --set are of --method sjc and sds",
    ("--method", "sjc", "--elevation-deg", "100"): "elevation must be a number from -90 to 90",
}


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(ball, model, arguments, capsys):
    assert run("reconstruct", ball, "--model", model, *arguments) == 2
    said = capsys.readouterr()
    assert MISTAKES[arguments] in said.err and len(said.err.splitlines()) == 1
    assert not (ball.parent / "out").exists()


def test_the_preset_original_is_the_documented_command():
    assert SCORE_PRESETS["sjc"]["original"] is SJC_ORIGINAL
    knobs = ("steps", "learning_rate", "scale", "input_weight", "depth_smoothness", "near_weight", "emptiness_weight")
    assert [getattr(SJC_ORIGINAL, name) for name in knobs] == [10_000, 0.05, 100.0, 10_000.0, 10_000.0, 10_000.0, 0.0]
    box = (SJC_ORIGINAL.grid, SJC_ORIGINAL.half_side, SJC_ORIGINAL.density_shift, SJC_ORIGINAL.march_step)
    np.testing.assert_allclose(box, (100, 1.0, -1.0, 0.5))

"""The numbered examples run as they are, with the smallest model; the fourth has `test_finetune_example.py`."""

import json
import runpy
from functools import partial
from pathlib import Path

import pytest
import trimesh

from tiny_model import SIZE, blobs, tiny_view_model
from zero123 import PhotoSettings
from zero123.images import io
from zero123.models.pretrained import save_model
from zero123.reconstruction import turntable
from zero123.reconstruction.fit import FitSettings
from zero123.reconstruction.from_views import ReconstructionSettings
from zero123.reconstruction.hull import HullSettings

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ReconstructionSettings(
    HullSettings(cells=24), FitSettings(grids=(16,), steps=(8,), rays=512), picture_size=SIZE, faces=800
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny_view_model(), folder)
    return folder


@pytest.fixture
def picture(tmp_path):
    io.save(tmp_path / "blob.png", blobs(1)[0])
    return tmp_path / "blob.png"


def example(name):
    """The `main` of an example."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


def test_views_are_written_for_each_angle_with_their_spread(tmp_path, model, picture, capsys):
    example("1_views")(picture, tmp_path / "out", model)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"mask.png", "sheet.png", *(f"view{a}.png" for a in ("+030", "+060", "+090", "+180", "-060"))}
    assert io.load(tmp_path / "out" / "view+030.png").shape == (3, SIZE, SIZE)
    assert "object found by plain" in capsys.readouterr().out


def test_an_orbit_becomes_a_video(tmp_path, model, picture, capsys):
    example("2_orbit")(picture, tmp_path / "out", model, count=4)
    assert (tmp_path / "out" / "orbit.mp4").read_bytes()[4:8] == b"ftyp"
    assert io.load(tmp_path / "out" / "frames.png").shape[-1] == 8 * (SIZE + 8)
    assert "above the horizon" in capsys.readouterr().out


def test_a_mesh_is_written_with_the_views_and_cameras_behind_it(tmp_path, model, picture, monkeypatch, capsys):
    monkeypatch.setattr(turntable, "render_turntable", partial(turntable.render_turntable, count=8, hw=(16, 16)))
    example("3_mesh")(picture, tmp_path / "out", model, PhotoSettings(ring=6, crown=4, low=0, reconstruction=QUICK))
    mesh = trimesh.load(tmp_path / "out" / "model.glb", force="mesh")
    assert 0 < len(mesh.faces) <= 800
    frames = json.loads((tmp_path / "out" / "scene" / "transforms.json").read_text())["frames"]
    assert len(frames) == 11
    assert "least trusted of 11 views" in capsys.readouterr().out


def test_a_model_is_judged_beside_baselines(tmp_path, model, capsys):
    pytest.importorskip("embreex", reason="embreex is not installed (extra: data)")
    example("5_evaluate")(model, tmp_path / "out", objects=2, targets=2)
    results = json.loads((tmp_path / "out" / "scores" / "results.json").read_text())
    assert len(results["objects"]) == 2 and (tmp_path / "out" / "scores" / "report.html").is_file()
    printed = capsys.readouterr().out
    assert "**model**" in printed and "copy the input" in printed

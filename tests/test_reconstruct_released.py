"""`zero123 reconstruct` by all three methods with a checkpoint laid out as the released weights, of tiny widths."""

import dataclasses
import functools
import math

import pytest
import torch

from command import run
from deterministic import tiny_state
from zero123.images import io
from zero123.meshes.load import load
from zero123.meshes.surface import is_watertight
from zero123.reconstruction import from_photo as room
from zero123.reconstruction import turntable
from zero123.reconstruction.fit import FitSettings
from zero123.reconstruction.from_views import ReconstructionSettings
from zero123.reconstruction.hull import HullSettings

SMALL = ReconstructionSettings(
    hull=HullSettings(cells=24), fit=FitSettings(grids=(16,), steps=(6,), rays=512), picture_size=32
)
SJC = ["--method", "sjc", "--preset", "original", "--steps", "2", "--set", "grid=16"]
SDS = ["--method", "sds", "--steps", "1", "--set", "sides=16", "--set", "views=1", "--set", "milestones="]
SDS += [*("--set", "table=256", "--set", "finest=16", "--set", "cells=8", "--set", "blob=20")]
SDS += [*("--set", "levels=2", "--set", "first_levels=1")]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A checkpoint as the original's training wrote it, under the name of a release."""
    path = tmp_path_factory.mktemp("weights") / "105000.ckpt"
    torch.save({"state_dict": tiny_state(), "global_step": 105000}, path)
    return path


@pytest.fixture
def ball(tmp_path, monkeypatch):
    """A picture of a red ball in a new folder, which is the current one; turntables are short."""
    monkeypatch.chdir(tmp_path)
    short = functools.partial(turntable.render_turntable, count=2, hw=(16, 16))
    monkeypatch.setattr(turntable, "render_turntable", short)
    place = (torch.arange(48) + 0.5) / 24 - 1
    alpha = ((0.7 - torch.hypot(place[:, None], place[None])) * 24).clamp(0, 1)
    io.save("ball.png", torch.stack((torch.full((48, 48), 0.8), *torch.full((2, 48, 48), 0.2), alpha)))
    return tmp_path / "ball.png"


@pytest.fixture
def asked(monkeypatch):
    """Shapes of the views that were to be explained, each time; the fit is a small one of views that agree."""
    original, asked = room.from_views, []

    def from_views(images, camera, settings, *others):
        asked.append(images.shape)
        small = dataclasses.replace(SMALL, faces=settings.faces, texture=64, even_light=settings.even_light)
        return original(images[:1].expand_as(images), camera, small, *others)  # what is drawn is noise: no solid

    monkeypatch.setattr(room, "from_views", from_views)
    monkeypatch.setattr(room, "PhotoSettings", functools.partial(room.PhotoSettings, ring=3, crown=0, low=0))
    return asked


@pytest.mark.parametrize(
    "method",
    [
        pytest.param([], id="views"),
        pytest.param(SJC, id="sjc", marks=pytest.mark.slow),
        pytest.param(SDS, id="sds"),
    ],
)
def test_released_weights_make_a_mesh_by_every_method(released, ball, asked, capsys, method):
    how = method or ["--steps", "1"]
    code = run("reconstruct", ball, "--model", released, *how, "--elevation-deg", 20, "--faces", 400, "-o", "r/m.glb")
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "model 105000" in said.out and "20° above the horizon" in said.out
    (mesh,) = load(ball.parent / "r" / "m.glb")
    assert is_watertight(mesh) and 50 < len(mesh.faces) <= 400 and math.isfinite(float(mesh.vertices.sum()))
    assert asked == ([] if method else [(4, 3, 256, 256)])


def test_views_are_drawn_again_and_what_none_saw_is_refined_when_asked(released, ball, asked, monkeypatch, capsys):
    steps, taken = [], room.refined

    def refined(field, teacher, cameras, settings, progress):
        steps.append((settings.steps, settings.seed))
        return taken(field, teacher, cameras, dataclasses.replace(settings, side=8, cameras=10), progress)

    monkeypatch.setattr(room, "refined", refined)
    wanted = ("--rounds", 2, "--refine", 2, "--even-light", 1, "--steps", 1, "--seed", 4, "--elevation-deg", 20)
    code = run("reconstruct", ball, "--model", released, *wanted, "--faces", 400, "-o", "r/m.glb")
    assert code == 0, capsys.readouterr().err
    assert asked == [(4, 3, 256, 256)] * 2 and steps == [(2, 4)]
    (mesh,) = load(ball.parent / "r" / "m.glb")
    assert is_watertight(mesh)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--method", "sjc", "--rounds", 2), "--rounds is of --method views: sjc draws no views"),
        (("--method", "sds", "--refine", 9), "--refine is of --method views: sds draws no views"),
        (("--method", "sds", "--even-light", 1), "--even-light is of --method views"),
        (("--refine", 9, "--offload"), "--offload goes without --refine"),
        (("--even-light", 2), "even-light"),
    ],
)
def test_what_does_not_go_together_is_one_line(ball, capsys, options, line):
    assert run("reconstruct", ball, *options, "-o", "r/m.glb") == 2
    said = capsys.readouterr()
    assert line in said.err and said.err.count("\n") == 1
    assert not (ball.parent / "r").exists()

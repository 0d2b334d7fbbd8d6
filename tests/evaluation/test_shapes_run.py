"""`zero123 evaluate --meshes`: what it writes, that it goes on, what fails, and one clear line for every mistake."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from command import model_at
from tiny_model import tiny_view_model
from zero123 import cli
from zero123.cli.shapes import ShapeOptions
from zero123.data.procedural.generate import generate
from zero123.data.render.batch import render_object
from zero123.data.render.settings import CameraSettings, RenderSettings
from zero123.data.render.source import Source
from zero123.evaluation.cases import Cases
from zero123.evaluation.protocols import Protocol
from zero123.evaluation.shape_scores import ShapeSettings
from zero123.evaluation.shapes import benchmark, summary
from zero123.evaluation.shapes.judging import ShapeJudging
from zero123.evaluation.shapes.makers import ByViews, Made, baselines
from zero123.evaluation.shapes.outline_solids import fitted_ellipsoid
from zero123.evaluation.shapes.truth import true_sources
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import RADIUS
from zero123.images.alpha import bounding_box
from zero123.images.framing import frame
from zero123.meshes.export import export_mesh
from zero123.pipeline import NovelViews

SIZE = 48
FAST = ShapeJudging(shape=ShapeSettings(points=1500, resolution=24), search="none", views=3, size=32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_at(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A new current folder: meshes of two objects in `true`, two views of each in `sets`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZERO123_DEBUG", raising=False)
    for seed, name in enumerate(("ant", "bee")):
        export_mesh(generate(seed), tmp_path / "true" / f"{name}.glb")
        source = Source(name, tmp_path / "true" / f"{name}.glb")
        render_object(source, RenderSettings(cameras=CameraSettings(views=2), size=SIZE)).save(tmp_path / "sets" / name)
    return tmp_path


class Seer:
    """A method that knows the true meshes, as they lie in the world of a photo from azimuth 0; counts its work."""

    name = "seer"

    def __init__(self, fails_on=None):
        self.asked, self.fails_on = [], fails_on

    def describe(self):
        return {"seer": 1}

    def __call__(self, photo, source, folder):
        self.asked.append(folder.parent.name)
        if folder.parent.name == self.fails_on:
            raise ValueError("saw\nnothing")
        return Made(
            generate(("ant", "bee").index(folder.parent.name)), 0.3 if source is None else float(source.elevation[0])
        )


def job_of(folder, maker, ways=("given",)):
    views = NovelViews(tiny_view_model())
    protocol = Protocol("own views", (1,), size=SIZE)
    cases = Cases(folder / "sets", protocol)
    protocol = protocol.only(cases.objects)
    lines = [benchmark.Line(one, way) for way in ways for one in (maker, *baselines(views))]
    job = benchmark.Job(protocol, true_sources(folder / "true", protocol), lines, views, FAST, folder / "out")
    return job, cases


def test_the_tables_hold_methods_baselines_costs_and_printed_numbers(here):
    job, cases = job_of(here, Seer(), ("given", "estimated"))
    job = replace(job, judging=replace(FAST, search="vertical"))
    found = benchmark.run(job, cases)
    (group,) = summary.write(found, job, ())
    assert [line.name for line in group.lines][:4] == [
        "seer, elevation given",
        "hull of the input, elevation given",
        "ellipsoid, elevation given",
        "seer, elevation estimated",
    ]
    given = group.lines[0]
    assert (given.made, given.failed, given.elevation_error_deg) == (2, 0, pytest.approx(0, abs=1e-3))
    assert given.seconds > 0 and given.gigabytes > 0.1
    assert group.lines[3].elevation_error_deg > 0.1
    page = (here / "out" / "shapes.md").read_text()
    assert "| Zero-1-to-3 | 0.0339 | 0.5035 | GSO, 30 objects, 3D | other protocol |" in page
    assert "turned for the best fit" in page and "## Failures: 0" in page
    written = json.loads((here / "out" / "shapes.json").read_text())
    score = written["summary"]["all objects"]["lines"]["ellipsoid, elevation given"]["scores"]["chamfer_mean"]
    assert score["low"] <= score["mean"] <= score["high"]
    assert set(written["objects"]["ant"]["lines"]) == {line.name for line in job.lines}
    for ending in ("glb", "json", "png"):
        assert (here / "out" / "meshes" / "bee" / f"hull-of-the-input-estimated.{ending}").is_file()


def test_a_stopped_run_goes_on_and_says_the_same(here):
    job, cases = job_of(here, Seer())
    whole = benchmark.run(job, cases)
    text = (here / "out" / "meshes" / "bee" / "seer-given.json").read_text()
    (here / "out" / "meshes" / "bee" / "seer-given.json").write_text(text[:40])  # cut short
    again = Seer()
    job, cases = job_of(here, again)
    found = benchmark.run(job, cases)
    assert again.asked == ["bee"]
    assert found[0] == whole[0]
    assert found[1].lines["seer, elevation given"].scores == whole[1].lines["seer, elevation given"].scores


def test_failures_are_listed_counted_and_tried_again(here):
    failing = Seer(fails_on="bee")
    job, cases = job_of(here, failing)
    found = benchmark.run(job, cases)
    (group,) = summary.write(found, job, ())
    assert (group.lines[0].made, group.lines[0].failed) == (1, 1)
    line = "- bee, seer, elevation given: ValueError: saw nothing"
    assert line in (here / "out" / "shapes.md").read_text()
    benchmark.run(job, cases)
    assert failing.asked == ["ant", "bee", "bee"]


def test_inputs_stay_as_rendered_and_their_whole_pose_is_told_or_they_are_framed_anew(here):
    job, cases = job_of(here, Seer())
    case = next(iter(cases))
    framing = job.views.framing
    whole = frame(case.photo, replace(framing, foreground_fraction=None))
    assert torch.equal(job.photo(case).rgba, whole)
    assert float(job.source(case).radius) == pytest.approx(float(case.pose.radius[0]), abs=1e-5)
    anew = replace(job, frame="photo")
    box = bounding_box(anew.photo(case).rgba[3], 0.1)
    assert max(box.width, box.height) == pytest.approx(framing.foreground_fraction * framing.size, abs=1)
    assert float(anew.source(case).radius) == pytest.approx(RADIUS)
    assert float(anew.source(case).elevation) == pytest.approx(float(case.pose.elevation[0]), abs=1e-5)


def test_a_true_mesh_that_is_broken_or_another_fails_alone(here):
    (here / "true" / "ant.glb").write_bytes(b"glTF")
    export_mesh(generate(7), here / "true" / "bee.glb")
    job, cases = job_of(here, Seer())
    found = benchmark.run(job, cases)
    faults = [fault for _, _, fault in summary.failures(found)]
    assert len(faults) == 6 and all(fault.startswith("true mesh: ") for fault in faults)
    assert "their outlines overlap to" in faults[-1]
    assert "| seer, elevation given | 0 of 2 |" in summary.markdown(found, summary.write(found, job, ()), job, ())


def test_meshes_made_otherwise_are_never_mixed(here):
    job, cases = job_of(here, Seer())
    benchmark.run(job, cases)
    other = Seer()
    other.describe = lambda: {"seer": 2}
    with pytest.raises(ValueError, match=r"holds meshes made with methods.seer.seer 1, now 2: choose another folder"):
        benchmark.run(*job_of(here, other))


@pytest.fixture
def evaluate(monkeypatch, capsys):
    """Runs the verb in this process; code, standard output, standard error."""

    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["zero123", "evaluate", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        written = capsys.readouterr()
        return stop.value.code, written.out, written.err

    return run


def test_the_command_judges_views_beside_the_baselines(evaluate, here, model, monkeypatch):
    def made(self, photo, source, folder):
        camera = Camera.from_orbit(source, hw=photo.rgba.shape[1:])[0]
        return Made(fitted_ellipsoid(photo.rgba, camera), float(source.elevation[0]))

    monkeypatch.setattr(ByViews, "__call__", made)
    monkeypatch.setattr(ShapeOptions, "judging", lambda self: replace(FAST, search=self.search))
    asked = ("sets", "-o", "out", "--meshes", "true", "--model", model, "--elevation", "given", "--search", "none")
    code, out, err = evaluate(*asked)
    assert (code, err) == (0, "")
    assert "all objects: 2 objects" in out and "| views, elevation given | 2 of 2 |" in out
    assert out.rstrip().endswith("out/shapes.md") and Path("out/meshes/ant/views-given.glb").is_file()
    lines = [line.split("|")[2:-3] for line in out.splitlines() if line.startswith(("| views", "| ellipsoid"))]
    assert lines[0] == lines[1]  # it is the same solid


def test_objects_without_a_true_mesh_are_named(evaluate, here, model):
    (here / "true" / "ant.glb").unlink()
    code, out, err = evaluate("sets", "-o", "out", "--meshes", "true", "--model", model)
    assert (code, out) == (2, "ant\n") and err == "error: true: 1 objects have no mesh there, those above\n"
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--meshes", "nowhere"), "nowhere: no such file or folder"),
        (("--meshes", "sets"), "no meshes found"),
        (("--meshes", "true", "--method", "magic"), "method must be one of views, sjc, sds, got 'magic'"),
        (("--meshes", "true", "--elevation", "high"), "elevation must be one of given, estimated, both, got 'high'"),
        (("--meshes", "true", "--search", "some"), "search must be one of none, vertical, full, got 'some'"),
        (("--meshes", "true", "--method", "sds", "--method", "sjc", "--set", "steps=1"), "go with one --method"),
        (("--meshes", "true", "--method", "sds", "--set", "stops=1"), "stops"),
        (("--meshes", "true", "--preset", "sds"), "--preset and --set are of --method sjc and sds"),
        (("--meshes", "true", "--pictures", "sets"), "--pictures is of pictures and goes without --meshes"),
        (("--meshes", "true", "--samples", "2"), "--samples is of pictures and goes without --meshes"),
        (("--method", "sds"), "--method goes with --meshes FOLDER"),
        (("--meshes", "true", "--model", "no-such-model"), "no-such-model"),
    ],
)
def test_a_mistake_is_one_line(evaluate, here, arguments, message):
    code, _, err = evaluate("sets", "-o", "out", *arguments)
    assert code == 2 and message in err and err.count("\n") == 1
    assert not (here / "out").exists()

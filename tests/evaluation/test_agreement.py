"""Views of one object agree along the hull they make; views in the wrong places do not, and empty ones share none."""

import json
import math

import pytest
import torch

from zero123.data.procedural import generate
from zero123.data.view_set import ViewSet
from zero123.evaluation import benchmark
from zero123.evaluation.agreement import agreement, solid_of
from zero123.evaluation.benchmark import Judging
from zero123.evaluation.cases import Cases
from zero123.evaluation.methods import OfFolder
from zero123.evaluation.protocols import ListedObject, Protocol
from zero123.geometry.camera import Camera
from zero123.geometry.paths import turntable
from zero123.images import io
from zero123.meshes.raster import draw_picture, rasterise

TARGETS = tuple(range(1, 10))
PROTOCOL = Protocol("own views", TARGETS, size=64, objects=(ListedObject("camera"),))
CAMERA = Camera.from_orbit(turntable(10, elevation=0.4), hw=(64, 64))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Views of a generated object whose sides look different."""
    pictures = [torch.from_numpy(draw_picture(generate(5), CAMERA[v])) for v in range(10)]
    folder = tmp_path_factory.mktemp("sets")
    ViewSet(torch.stack(pictures), CAMERA).save(folder / "camera")
    return folder


@pytest.fixture(scope="module")
def case(folder):
    return next(iter(Cases(folder, PROTOCOL)))


def test_the_solid_of_true_views_covers_what_the_object_covers(case):
    solid = solid_of(case.white, case.camera)
    for view in range(0, 10, 3):
        covered = torch.from_numpy(rasterise(solid, CAMERA[view]).depth).isfinite()
        both, either = (covered & case.mask[view, 0]).sum(), (covered | case.mask[view, 0]).sum()
        assert both / either > 0.9


def test_true_views_agree_as_true_views_and_shuffled_ones_do_not(case):
    true = agreement(case, case.white[1:, None])
    assert true.psnr == true.truth > 20 and true.coverage > 0.6
    shuffled = agreement(case, case.white[[1, 4, 7, 2, 5, 8, 3, 6, 9]][:, None])
    assert shuffled.psnr < true.psnr - 8 or math.isnan(shuffled.psnr)
    assert shuffled.truth == true.truth


def test_only_the_first_sample_is_asked(case):
    twice = torch.stack((case.white[1:], torch.rand_like(case.white[1:])), dim=1)
    assert agreement(case, twice) == agreement(case, case.white[1:, None])


def test_views_of_nothing_have_no_number(case):
    nothing = agreement(case, torch.ones(9, 1, 3, 64, 64))
    assert math.isnan(nothing.psnr) and nothing.coverage == 0 and nothing.truth > 20


def test_a_run_states_it_and_its_truth(tmp_path, folder, case):
    for number, picture in zip(TARGETS, case.white[1:], strict=True):
        io.save(tmp_path / f"theirs/camera/{number:03d}.png", picture)
    results = benchmark.run(
        PROTOCOL, Cases(folder, PROTOCOL), OfFolder(tmp_path / "theirs", 1), tmp_path, 1, (), Judging(consistency=True)
    )
    found = json.loads((tmp_path / "results.json").read_text())["objects"]["camera"]["agreement"]
    assert found["psnr"] == found["truth"] == results.agreements["camera"].truth
    note = f"{found['psnr']:.2f} dB over {found['coverage']:.0%} of the pixels; of the true views"
    assert note in (tmp_path / "table.md").read_text() and note in (tmp_path / "report.html").read_text()

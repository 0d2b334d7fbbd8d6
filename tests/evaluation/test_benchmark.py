"""The benchmark scores a model beside its baselines and writes numbers and pictures."""

import json

import pytest
import torch
from PIL import Image

from tiny_model import SIZE, blobs, tiny_view_model
from zero123.data.view_set import ViewSet
from zero123.diffusion.sampling import SamplingSettings
from zero123.evaluation.baselines import BASELINES
from zero123.evaluation.benchmark import ObjectResult, Protocol, evaluate, evaluate_object, mean_scores, sheet, table
from zero123.geometry.camera import Camera
from zero123.geometry.paths import turntable
from zero123.pipeline import NovelViews

PROTOCOL = Protocol(targets=2, sampling=SamplingSettings(steps=2, scale=1.0))


def _view_set(seed=0, size=SIZE):
    white = blobs(3, size, seed)
    alpha = (white.amin(1, keepdim=True) < 0.9).float()
    return ViewSet(torch.cat((white, alpha), 1), Camera.from_orbit(turntable(3), hw=(size, size)))


@pytest.fixture(scope="module")
def views():
    return NovelViews(tiny_view_model())


def test_a_run_writes_scores_of_every_method_and_a_sheet(tmp_path, views):
    for seed in (0, 1):
        _view_set(seed).save(tmp_path / "sets" / f"object{seed}")
    folders, seen = sorted((tmp_path / "sets").iterdir()), []
    means = evaluate(views, folders, PROTOCOL, tmp_path / "out", lambda *p: seen.append(p))
    written = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert written["mean"] == means and set(means) == {"model", *BASELINES}
    assert set(written["objects"]) == {"object0", "object1"} and written["protocol"]["targets"] == 2
    assert means["white"]["iou"] == 0 and seen == [(1, 2), (2, 2)]
    with Image.open(tmp_path / "out" / "sheet.png") as picture:
        assert picture.width >= 5 * SIZE and picture.height >= 2 * SIZE  # two rows of an input and two pairs


def test_the_same_object_gets_the_same_scores(views):
    first, second = (evaluate_object(views, _view_set(), "a", PROTOCOL) for _ in range(2))
    assert first.scores == second.scores and first.pictures.shape == (5, 3, SIZE, SIZE)


def test_a_model_that_gives_the_truth_scores_full_marks(views):
    truth = _view_set()

    class Perfect:
        model = views.model

        def __call__(self, photo, relative, settings, source):
            rgba = truth.images[1:]
            return rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:]

    scores = evaluate_object(Perfect(), truth, "a", PROTOCOL).scores["model"]
    assert scores["psnr"] == pytest.approx(100) and scores["ssim"] == pytest.approx(1)
    assert scores["iou"] > 0.95


def test_the_source_is_told_only_where_the_protocol_says_so(views):
    told = []

    class Listening:
        model = views.model

        def __call__(self, photo, relative, settings, source):
            told.append((source, relative))
            return torch.ones(2, 3, SIZE, SIZE)

    for known in (False, True):
        evaluate_object(Listening(), _view_set(), "a", Protocol(2, known))
    assert told[0][0] is None and told[1][0].shape == (1,)
    torch.testing.assert_close(told[0][1].azimuth, torch.tensor([2.0944, -2.0944]), atol=1e-3, rtol=0)


def test_means_are_over_objects():
    pictures = torch.ones(3, 3, 4, 4)
    results = [ObjectResult(n, {"model": {"psnr": v}}, pictures) for n, v in (("a", 10.0), ("b", 30.0))]
    assert mean_scores(results) == {"model": {"psnr": 20.0}}


def test_the_sheet_shows_every_one_of_a_few_objects(monkeypatch):
    results = [ObjectResult(str(k), {}, torch.full((5, 3, 4, 4), k / 10)) for k in range(3)]
    shown = {}

    def record(pictures, columns, labels):
        shown.update(pictures=pictures, columns=columns, labels=labels)

    monkeypatch.setattr("zero123.evaluation.benchmark.contact_sheet", record)
    sheet(results, rows=12, targets=4)
    assert shown["columns"] == 5 and len(shown["labels"]) == len(shown["pictures"]) == 15
    torch.testing.assert_close(shown["pictures"][::5, 0, 0, 0], torch.tensor([0.0, 0.1, 0.2]))


def test_the_table_has_a_line_for_each_method():
    scores = dict.fromkeys(("psnr", "psnr_foreground", "ssim", "iou"), 0.5)
    lines = table({"model": scores, "white": scores}).splitlines()
    assert len(lines) == 4 and lines[2] == "| model | 0.50 | 0.50 | 0.500 | 0.500 |"


def test_too_few_views_or_another_size_are_refused(views):
    with pytest.raises(ValueError, match="a: needs 4 views of 32x32 pixels"):
        evaluate_object(views, _view_set(), "a", Protocol(3))
    with pytest.raises(ValueError, match="a: needs 3 views of 32x32 pixels"):
        evaluate_object(views, _view_set(size=16), "a", PROTOCOL)

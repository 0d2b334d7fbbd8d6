"""A protocol is run from end to end: same figures every time, nothing made twice, samples' mean and best apart."""

import json
from dataclasses import replace

import pytest
import torch

from tiny_model import SIZE, blobs, tiny_view_model
from zero123.data.view_set import ViewSet
from zero123.diffusion.sampling import SamplingSettings
from zero123.evaluation import benchmark
from zero123.evaluation.baselines import BASELINES
from zero123.evaluation.cases import Cases
from zero123.evaluation.making import Gallery
from zero123.evaluation.methods import Answer, OfFolder, OfModel, weights_hash
from zero123.evaluation.picture_sets import PictureSets
from zero123.evaluation.protocols import ListedObject, Protocol
from zero123.evaluation.results import all_numbers
from zero123.evaluation.scoring import ObjectScores, score
from zero123.evaluation.summary import MODEL, summarise
from zero123.geometry.camera import Camera
from zero123.geometry.paths import turntable
from zero123.models.pretrained import reconfigured
from zero123.pipeline import NovelViews

FAST = SamplingSettings(steps=2, scale=1.0)
KINDS = (ListedObject("object0", "soft"), ListedObject("object1", "hard"), ListedObject("object2", "hard"))
PROTOCOL = Protocol("own views", (1, 2, 3), size=SIZE, objects=KINDS)


def _view_set(seed=0, count=4):
    white = blobs(count, SIZE, seed)
    alpha = (white.amin(1, keepdim=True) < 0.9).float()
    return ViewSet(torch.cat((white, alpha), 1), Camera.from_orbit(turntable(count), hw=(SIZE, SIZE)))


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for seed in range(3):
        _view_set(seed).save(folder / f"object{seed}")
    return folder


@pytest.fixture(scope="module")
def views():
    return NovelViews(tiny_view_model())


class Told:
    """Answers with pictures that a function makes of a case, and counts how often it is asked."""

    def __init__(self, answer, samples=1):
        self.answer, self.samples, self.asked = answer, samples, []

    def describe(self):
        return {"who": "told", "samples": self.samples}

    def __call__(self, case):
        self.asked.append(case.name)
        return Answer(torch.stack([self.answer(case, k) for k in range(self.samples)], dim=1))


def test_a_run_writes_every_number_and_the_report(tmp_path, sets, views):
    seen, cases = [], Cases(sets, PROTOCOL)
    results = benchmark.run(PROTOCOL, cases, OfModel(views, FAST), tmp_path, 1, progress=lambda *p: seen.append(p))
    written = json.loads((tmp_path / "results.json").read_text())
    assert written == json.loads(json.dumps(all_numbers(results)))
    assert list(written["summary"]) == ["soft", "hard"] and written["summary"]["hard"]["objects"] == 2
    assert set(written["summary"]["soft"]["methods"]) == {MODEL, *BASELINES}
    one = written["objects"]["object1"]
    assert (one["targets"], len(one["samples_by_target"]["psnr"])) == ([1, 2, 3], 3)
    assert one["angle_deg"] == pytest.approx([90, 180, 90], abs=1e-3)
    assert written["method"]["weights_sha256"] == weights_hash(views.model)
    assert written["method"]["sampling"]["steps"] == 2
    assert {p.name for p in (tmp_path / "pictures" / "object0").glob("*.png")} == {f"00{k}-0.png" for k in (1, 2, 3)}
    assert (tmp_path / "table.md").read_text().startswith("# own views\n")
    assert (tmp_path / "report.html").is_file()
    assert seen == [(k, 6) for k in range(1, 7)]


def test_the_same_seed_gives_the_same_figures_to_the_digit(tmp_path, sets, views):
    for name in ("once", "again"):
        benchmark.run(PROTOCOL, Cases(sets, PROTOCOL), OfModel(views, FAST), tmp_path / name, 1)
    for file in ("results.json", "table.md", "report.html"):
        assert (tmp_path / "once" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    other = OfModel(views, SamplingSettings(steps=2, scale=1.0, seed=1))
    benchmark.run(PROTOCOL, Cases(sets, PROTOCOL), other, tmp_path / "other", 1)
    assert (tmp_path / "once" / "results.json").read_bytes() != (tmp_path / "other" / "results.json").read_bytes()


def test_an_interrupted_run_goes_on_and_ends_alike(tmp_path, sets):
    whole, cases = Told(lambda case, k: 0.5 * case.white[1:]), Cases(sets, PROTOCOL)
    benchmark.run(PROTOCOL, cases, whole, tmp_path / "whole", 1)

    def breaks(case, k):
        if case.name == "object1":
            raise KeyboardInterrupt
        return 0.5 * case.white[1:]

    with pytest.raises(KeyboardInterrupt):
        benchmark.run(PROTOCOL, cases, Told(breaks), tmp_path / "broken", 1)
    rest = Told(lambda case, k: 0.5 * case.white[1:])
    benchmark.run(PROTOCOL, cases, rest, tmp_path / "broken", 1)
    assert (whole.asked, rest.asked) == (["object0", "object1", "object2"], ["object1", "object2"])
    assert (tmp_path / "whole" / "results.json").read_bytes() == (tmp_path / "broken" / "results.json").read_bytes()
    assert not [p for p in (tmp_path / "broken" / "pictures").iterdir() if p.name.startswith(".")]


def test_pictures_of_other_settings_or_of_other_views_are_not_taken(tmp_path, sets):
    Gallery(tmp_path / "g", {"sampling": {"steps": 2}, "model": "mini"}, 1)
    with pytest.raises(ValueError, match=r"made with sampling.steps 2, now 3: choose another folder"):
        Gallery(tmp_path / "g", {"sampling": {"steps": 3}, "model": "mini"}, 1)
    case = next(iter(Cases(sets, PROTOCOL)))
    gallery = Gallery(tmp_path / "g", {"sampling": {"steps": 2}, "model": "mini"}, 1)
    gallery.keep(case, Answer(case.white[1:, None], 0.25))
    assert gallery.has(case) and gallery.elevation(case) == 0.25
    assert torch.equal(gallery.views(case), case.white[1:, None])
    _view_set(9).save(tmp_path / "sets" / "object0")
    changed = Cases(tmp_path / "sets", Protocol("own views", (1, 2, 3), size=SIZE)).load(ListedObject("object0"))
    assert not gallery.has(changed)


def test_the_same_weights_that_draw_otherwise_are_another_method():
    model = tiny_view_model()
    detailed = reconfigured(model, replace(model.settings, photo_detail=1.0))
    plain, other = (OfModel(NovelViews(each), FAST).describe() for each in (model, detailed))
    assert plain["weights_sha256"] == other["weights_sha256"] and plain != other


def test_the_truth_scores_full_marks_and_copying_gains_nothing(sets):
    scores = [score(case, Answer(case.white[1:, None])) for case in Cases(sets, PROTOCOL)]
    soft, _ = summarise(scores, PROTOCOL)
    assert soft.row(MODEL)["psnr"].mean == pytest.approx(100) and soft.row(MODEL)["ssim"].mean == pytest.approx(1)
    copied = [score(case, Answer(case.white[:1].expand(3, -1, -1, -1)[:, None])) for case in Cases(sets, PROTOCOL)]
    for group in summarise(copied, PROTOCOL):
        assert all(value == (0, 0, 0) for value in group.gain.values())
        assert group.row(MODEL) == group.row(BASELINES[0])


def test_means_are_over_views_then_over_objects():
    values = [torch.tensor([[10.0], [20.0]]), torch.tensor([[30.0], [50.0]])]
    scores = [_scores(f"o{k}", {"psnr": v}, torch.tensor([20.0, 170.0])) for k, v in enumerate(values)]
    (group,) = summarise(scores, Protocol("own", (1, 2)))
    assert group.row(MODEL)["psnr"].mean == 27.5 and group.gain["psnr"].mean == 26.5
    assert group.row(MODEL)["psnr"].low == 15 and group.row(MODEL)["psnr"].high == 40
    near, *middle, far = group.bins
    assert (near.means[MODEL]["psnr"], far.means[MODEL]["psnr"]) == (20, 35)
    assert [b.views for b in (near, *middle, far)] == [2, 0, 0, 2]


def test_the_ends_of_the_ranges_of_angles_belong_to_the_lower_one():
    scores = [_scores("o", {"psnr": torch.zeros(5, 1)}, torch.tensor([0.0, 30, 30.001, 90, 180]))]
    (group,) = summarise(scores, Protocol("own", (1, 2, 3, 4, 5)))
    assert [(b.low, b.high, b.views) for b in group.bins] == [(0, 30, 2), (30, 60, 1), (60, 90, 1), (90, 180, 1)]


def test_mean_and_best_of_samples_stand_apart():
    values = {"psnr": torch.tensor([[1.0, 3.0], [5.0, 4.0]]), "lpips_vgg": torch.tensor([[0.2, 0.4], [0.1, 0.3]])}
    (group,) = summarise([_scores("o", values, torch.tensor([10.0, 20.0]))], Protocol("own", (1, 2)))
    assert [row.method for row in group.rows[:2]] == [MODEL, "best of 2, told the truth"]
    mean, best = (row.metrics for row in group.rows[:2])
    assert (mean["psnr"].mean, best["psnr"].mean) == (3.25, 4.0)
    assert (mean["lpips_vgg"].mean, best["lpips_vgg"].mean) == pytest.approx((0.25, 0.15))


def test_spread_that_follows_the_error_is_seen_and_spread_that_does_not_is(sets):
    case = next(iter(Cases(sets, PROTOCOL)))
    wrong = torch.linspace(0, 0.4, SIZE).expand(3, 3, SIZE, SIZE)
    for sure, expected in ((wrong, 1), (wrong.flip(-1), -1)):
        truth = torch.full((3, 3, SIZE, SIZE), 0.5)
        inside = torch.ones(4, 1, SIZE, SIZE, dtype=torch.bool)
        known = type(case)(
            case.name, "", case.photo, torch.cat((truth[:1], truth)), inside, case.camera, case.numbers, ""
        )
        samples = torch.stack((truth + wrong / 2 - sure / 4, truth + wrong / 2 + sure / 4), dim=1)
        found = score(known, Answer(samples)).spread.correlation
        assert found.mean() * expected > 0.97
        one = (truth + wrong / 2)[:, None]
        found = score(known, Answer(one, doubt=sure[:, 0])).spread.correlation
        assert found.mean() * expected > 0.97


def test_samples_that_do_not_spread_leave_no_number_and_valid_json(tmp_path, sets):
    sure = Told(lambda case, k: 0.5 * case.white[1:], samples=2)
    benchmark.run(PROTOCOL, Cases(sets, PROTOCOL), sure, tmp_path, 2)
    written = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert written["summary"]["soft"]["spread_tells_error"] == {"pixels": None, "views": None}
    assert written["objects"]["object0"]["spread"]["mean"] == [0, 0, 0]


def test_other_peoples_pictures_score_as_the_models_own(tmp_path, sets, views):
    cases = Cases(sets, PROTOCOL)
    own = benchmark.run(PROTOCOL, cases, OfModel(views, FAST, samples=2), tmp_path / "own", 2)
    folder = OfFolder(tmp_path / "own" / "pictures", 2)
    theirs = benchmark.run(PROTOCOL, cases, folder, tmp_path / "theirs", 2)
    assert all_numbers(own)["summary"]["hard"]["methods"] == all_numbers(theirs)["summary"]["hard"]["methods"]
    assert not (tmp_path / "theirs" / "pictures").exists()
    (tmp_path / "own" / "pictures" / "object2" / "002-1.png").unlink()
    with pytest.raises(ValueError, match=r"no such picture: .*002-1.png"):
        benchmark.run(PROTOCOL, cases, folder, tmp_path / "again", 2)


def test_a_sample_is_the_picture_of_its_seed(views, sets):
    case = next(iter(Cases(sets, PROTOCOL)))
    both = OfModel(views, FAST, samples=2)(case).views
    second = OfModel(views, SamplingSettings(steps=2, scale=1.0, seed=1))(case).views
    torch.testing.assert_close(both[:, 1], second[:, 0], atol=1e-5, rtol=0)
    joint = SamplingSettings(steps=2, scale=1.0, joint=True)
    assert OfModel(views, joint, samples=2)(case).views.shape == (3, 2, 3, SIZE, SIZE)


def test_the_source_is_told_only_where_the_protocol_says_so(views, sets):
    told = []

    class Listening:
        model = views.model
        source = views.source
        device = views.device
        belief = views.belief

        def __call__(self, photo, relative, settings, source):
            told.append((source, relative))
            return torch.ones(3, 3, SIZE, SIZE)

    case = next(iter(Cases(sets, PROTOCOL)))
    answers = [OfModel(Listening(), FAST, known_source=known)(case) for known in (False, True)]
    assert told[0][0] is None and told[1][0].shape == (1,)
    torch.testing.assert_close(told[0][1].azimuth, torch.deg2rad(torch.tensor([90.0, -180, -90])), atol=1e-3, rtol=0)
    assert answers[0].elevation == pytest.approx(float(views.source(_photo(views, case)).elevation))


def test_sets_of_pictures_are_apart_by_method(sets):
    class Colours:
        name = "fid_colours"

        def __call__(self, images):
            return images.mean((2, 3))

    found = PictureSets([Colours()])
    for case in Cases(sets, PROTOCOL):
        found.add(case, case.white[1:, None])
    distances = found.distances()
    assert distances["hard"][MODEL]["fid_colours"] == pytest.approx(0, abs=1e-9)
    assert distances["hard"]["white"]["fid_colours"] > 1e-3
    assert set(distances["soft"]) == {MODEL, *BASELINES}


def test_scores_and_a_sheet_in_short(tmp_path, sets, views):
    cases = Cases(sets, PROTOCOL)
    results = benchmark.run(PROTOCOL, cases, OfModel(views, FAST), tmp_path, 1)
    benchmark.write_simple(results, cases, tmp_path)
    written = json.loads((tmp_path / "scores.json").read_text())
    assert set(written["mean"]) == {MODEL, *BASELINES} and set(written["objects"]) == {o.name for o in KINDS}
    means = [o[MODEL]["psnr"] for o in written["objects"].values()]
    assert written["mean"][MODEL]["psnr"] == pytest.approx(sum(means) / 3)
    assert (tmp_path / "sheet.png").is_file()


def _scores(name, values, angles):
    base = {b: {m: torch.ones(len(v)).double() for m, v in values.items()} for b in BASELINES}
    model = {m: v.double() for m, v in values.items()}
    return ObjectScores(name, "", tuple(range(1, len(angles) + 1)), angles, model, base, "", "")


def _photo(views, case):
    from zero123.images.matting import Matte
    from zero123.images.photo import Photo

    return Photo(case.photo, Matte("alpha", 0.5, cropped=False), case.photo[3:])


def test_what_a_method_doubts_is_kept_with_its_pictures(tmp_path, sets):
    case = next(iter(Cases(sets, PROTOCOL)))
    doubt = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    gallery = Gallery(tmp_path / "pictures", {}, 1)
    gallery.keep(case, Answer(case.white[1:, None], 0.2, doubt))
    kept = gallery.answer(case)
    torch.testing.assert_close(kept.doubt, doubt, atol=1e-3, rtol=0)  # in half precision
    torch.testing.assert_close(kept.views, case.white[1:, None], atol=1e-6, rtol=0)
    assert kept.elevation == 0.2
    gallery.keep(case, Answer(case.white[1:, None]))
    assert gallery.answer(case).doubt is None

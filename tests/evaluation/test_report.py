"""The report needs nothing from outside, shows worst first, and prints what stands in the numbers."""

import re
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from tiny_model import SIZE, blobs
from zero123.data.view_set import ViewSet
from zero123.evaluation import benchmark
from zero123.evaluation.cases import Cases
from zero123.evaluation.examples import Example, choose, heat
from zero123.evaluation.methods import Answer
from zero123.evaluation.protocols import ListedObject, Protocol
from zero123.evaluation.tables import anchor_table, heading, score_table
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose


class Noisy:
    """The truth with noise, more of it in later objects; two samples."""

    def describe(self):
        return {"pictures": "noise <&> truth"}

    def __call__(self, case):
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(2, *case.white[1:].shape, generator=generator) * 0.1 * (1 + int(case.name[-1]))
        return Answer((case.white[1:] + noise).clamp(0, 1).transpose(0, 1))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    for seed in range(3):
        white = blobs(4, SIZE, seed)
        alpha = (white.amin(1, keepdim=True) < 0.9).float()
        pose = OrbitPose.from_degrees(torch.tensor([0.0, 20, 100, 170]), torch.zeros(4), torch.full((4,), 1.85))
        ViewSet(torch.cat((white, alpha), 1), Camera.from_orbit(pose, hw=(SIZE, SIZE))).save(
            folder / "sets" / f"o{seed}"
        )
    objects = tuple(ListedObject(f"o{k}", "odd" if k % 2 else "even") for k in range(3))
    protocol = Protocol("own views", (1, 2, 3), size=SIZE, objects=objects)
    results = benchmark.run(
        protocol, Cases(folder / "sets", protocol), Noisy(), folder / "out", 2, ("2 of 3 <objects>",)
    )
    return results, folder / "out"


def test_the_report_needs_nothing_from_outside(page):
    text = (page[1] / "report.html").read_text()
    sources = re.findall(r'src="([^"]{0,30})', text)
    assert len(sources) > 20 and all(s.startswith("data:image/webp;base64,") for s in sources)
    assert not re.search(r"<link|<script|@import|url\(|href=", text)
    assert "prefers-color-scheme: dark" in text and "color-scheme: light dark" in text


class Balanced(HTMLParser):
    """Every tag that is opened is closed, in order."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole(page):
    parser = Balanced()
    parser.feed((page[1] / "report.html").read_text())
    assert not parser.open


def test_what_a_person_wrote_is_escaped(page):
    text = (page[1] / "report.html").read_text()
    assert "noise &lt;&amp;&gt; truth" in text and "<&>" not in text
    assert "NOT the protocol as it is: 2 of 3 &lt;objects&gt;." in text


def test_every_kind_has_its_tables_and_sheets(page):
    results, out = page
    text, table = (out / "report.html").read_text(), (out / "table.md").read_text()
    for group in results.groups:
        assert f"{group.kind}: {group.objects} objects, {group.views} views" in text
        assert score_table(group).markdown() in table
        for title in ("worst", "best", "random", "worst-within-30"):
            assert (out / "sheets" / f"{group.kind}-{title}.png").is_file()
    assert text.count("<svg") == 2
    with Image.open(out / "sheets" / "even-random.png") as picture:
        assert picture.width == 5 * (SIZE + 8)  # input, truth, ours, error, uncertainty
    assert "**model**, mean of 2" in table and "best of 2, told the truth" in table and "*oracle:" in table
    assert "rank correlation" in table


def _example(name, number, psnr, angle=90.0):
    return Example(name, "", number, angle, {"psnr_foreground": psnr, "iou": 0.5}, number - 1)


def test_worst_is_first_and_each_object_once():
    examples = [_example(n, v, p) for n, v, p in (("a", 1, 5.0), ("a", 2, 6.0), ("b", 1, 9.0), ("c", 1, 7.0))]
    examples.append(_example("b", 2, 8.0, angle=20.0))
    chosen = choose(examples, 3)
    assert [(e.name, e.number) for e in chosen["worst"]] == [("a", 1), ("c", 1), ("b", 2)]
    assert [(e.name, e.number) for e in chosen["best"]] == [("b", 1), ("c", 1), ("a", 2)]
    assert [(e.name, e.number) for e in chosen["worst within 30°"]] == [("b", 2)]
    assert [(e.name, e.number) for e in choose(examples, 5)["worst"]] == [
        ("a", 1),
        ("a", 2),
        ("c", 1),
        ("b", 2),
        ("b", 1),
    ]
    better = [_example(e.name, e.number, 20 - e.scores["psnr_foreground"]) for e in examples]
    drawn = [[(e.name, e.number) for e in choose(some, 3)["random"]] for some in (examples, better)]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 3


def test_heat_grows_brighter():
    colours = heat(torch.linspace(-0.5, 1.5, 64)[None])
    assert colours.shape == (3, 1, 64) and bool((colours >= 0).all()) and bool((colours <= 1).all())
    assert bool((colours.sum(0)[0].diff() >= -1e-6).all())
    assert heat(torch.zeros(1, 1)).sum() < 0.1 < 2.5 < heat(torch.ones(1, 1)).sum()


def test_metrics_are_printed_with_their_variant():
    assert heading("psnr").title == "PSNR" and heading("lpips_vgg").title == "LPIPS vgg ↓"
    assert "same objects and views" in anchor_table("sync16", ()).markdown()
    assert "same objects and views" not in anchor_table("sync16", ("12 of its 30 objects",)).markdown()

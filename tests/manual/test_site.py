"""The manual is built without a warning and without a network, and what it says of the program is the program's own."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import zero123
from zero123.models.weights.registry import RELEASES

ROOT = Path(__file__).parents[2]
NEEDED = ("mkdocs", "material", "mkdocstrings_handlers.python", "latex2mathml")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built manual."""
    for name in NEEDED:
        pytest.importorskip(name, reason=f"{name} is not installed (extra: docs)")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


class Page(HTMLParser):
    """What a page fetches by itself, its words, and the links in it."""

    def __init__(self, path):
        super().__init__()
        self.fetched, self.words, self.tags = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.add(tag)
        fetching = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "use": "href"}
        if tag in fetching and values.get(fetching[tag]):
            self.fetched.append(values[fetching[tag]])
        if "mermaid" in (values.get("class") or ""):
            self.fetched.append("https://mermaid")  # the theme fetches a script for it

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())


def test_no_page_fetches_anything_from_outside(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for path in pages:
        fetched = Page(path).fetched
        assert fetched, path
        outside = [a for a in fetched if a.startswith(("http:", "https:", "//")) and not a.startswith("data:")]
        assert not outside, (path, outside)
        inside = [a.partition("#")[0].partition("?")[0] for a in fetched if not a.startswith("data:")]
        assert not [a for a in inside if a and not (path.parent / a).is_file() and path.name != "404.html"]
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert "@import" not in text and "url(http" not in text and "url(//" not in text


def test_every_model_of_the_registry_is_on_its_page(site):
    text = Page(site / "models.html").text
    for release in RELEASES:
        assert release.name in text and release.licence.name in text and release.about in text


def test_every_public_name_is_on_the_page_of_python(site):
    page = (site / "python.html").read_text(encoding="utf-8")
    for name in zero123.__all__:
        assert f'id="{zero123._HOMES[name]}.{name}"' in page
    assert "Camera moves from the photo" in page or "camera moves from the photo" in page  # arguments are explained


def test_every_verb_and_option_is_on_the_page_of_the_command_line(site, program):
    text = Page(site / "command-line.html").text
    for name, command in program.items():
        assert f"{name} " in text
        for parameter in command.params:
            assert all(option in text for option in parameter.opts), name


def test_tutorials_show_the_very_files_that_run(site):
    shown = " ".join(Page(path).text for path in (site / "tutorials").glob("*.html"))
    examples = sorted(ROOT.glob("examples/[0-9]_*"))
    assert [path.name[0] for path in examples] == ["1", "2", "3", "4", "5"]
    for path in examples:
        assert " ".join(path.read_text(encoding="utf-8").split()) in shown, path.name


def test_formulas_are_drawn_by_the_browser_alone(site):
    page = Page(site / "equations.html")
    assert "math" in page.tags and "$" not in page.text


def test_drawings_are_what_their_script_draws_now():
    script = ROOT / "docs" / "figures" / "curves.py"
    spec = importlib.util.spec_from_file_location("curves", script)
    curves = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(curves)
    for name, made in (("spacings", curves.spacings()), ("averages", curves.averages())):
        assert (ROOT / "docs" / "pictures" / f"{name}.svg").read_text(encoding="utf-8") == made


def test_every_picture_is_told_what_makes_it():
    told = (ROOT / "docs" / "figures" / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "docs" / "pictures").iterdir():
        family = re.sub(r"-.*(?=\.)", "-*", path.name)
        assert path.name in told or family in told, path.name
    for script in (ROOT / "docs" / "figures").glob("*.py"):
        assert script.name in told

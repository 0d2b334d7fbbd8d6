"""The drawings of the page of conventions are those that its script makes, and show what the page says."""

import math
import re
import runpy
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = runpy.run_path(str(DOCS / "figures" / "cameras.py"))


@pytest.mark.parametrize("name", SCRIPT["DRAWINGS"])
def test_a_drawing_is_the_one_its_script_makes(name):
    drawn = (DOCS / "pictures" / f"cameras-{name}.svg").read_text(encoding="utf-8")
    made = SCRIPT["DRAWINGS"][name]()
    number = r"-?\d+\.\d+"
    assert re.sub(number, "#", drawn) == re.sub(number, "#", made)
    pairs = zip(re.findall(number, drawn), re.findall(number, made), strict=True)
    assert all(
        math.isclose(float(a), float(b), abs_tol=0.15) for a, b in pairs
    )  # the last digit may be rounded either way
    assert f"pictures/cameras-{name}.svg" in (DOCS / "conventions.md").read_text(encoding="utf-8")


def test_the_axes_drawn_are_those_in_the_table():
    """Right, down and forward of a camera at (1.85, 0, 0) that looks at the origin are +y, -z and -x."""
    towards = {"right": (0, 1, 0), "left": (0, -1, 0), "down": (0, 0, -1), "up": (0, 0, 1)}
    towards |= {"forward": (-1, 0, 0), "backward": (1, 0, 0)}
    camera = SCRIPT["Camera"].from_orbit(SCRIPT["pose"](0, 0, 1.85))
    rows = re.findall(
        r"^\| (ours|`\w+`) \| [^|]+ \| (\w+), (\w+), (\w+) \|", (DOCS / "conventions.md").read_text("utf-8"), re.M
    )
    said = {name.strip("`").lower(): words for name, *words in rows}
    drawn = SCRIPT["axes_of"](camera)
    assert len(said) == len(drawn) == 7
    for name, (_, found) in drawn.items():
        expected = torch.tensor([towards[word] for word in said[name.lower()]]).double()
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)

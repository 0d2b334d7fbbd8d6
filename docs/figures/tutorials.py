"""The pictures of the tutorials, by running the examples as they are: `python docs/figures/tutorials.py [FOLDER]`."""

from __future__ import annotations

import runpy
import sys
import tempfile
from pathlib import Path

from torch.nn import functional

from zero123.images import io

ROOT = Path(__file__).parents[2]
SHEETS = {
    "1_views": ("sheet.png", "tutorial-views.png"),
    "2_orbit": ("frames.png", "tutorial-orbit.png"),
    "3_mesh": ("sides.png", "tutorial-mesh.png"),
    "5_evaluate": ("scores/sheet.png", "tutorial-evaluate.png"),
}
"""What each example writes, and what it is called in the manual."""
WIDEST = 1100


def main(folder: str | Path = ROOT / "docs" / "pictures") -> None:
    """Run the examples with `mini` and keep their sheets in `folder`, at most `WIDEST` pixels wide."""
    with tempfile.TemporaryDirectory() as work:
        for name, (sheet, figure) in SHEETS.items():
            out = Path(work) / name
            runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"](out=out)
            picture = io.load(out / sheet, max_side=10_000)
            if (scale := WIDEST / picture.shape[-1]) < 1:
                picture = functional.interpolate(picture[None], scale_factor=scale, mode="area")[0]
            io.save(Path(folder) / figure, picture)


if __name__ == "__main__":
    main(*sys.argv[1:2])

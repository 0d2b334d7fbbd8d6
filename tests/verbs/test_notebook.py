"""The example notebook: every cell runs as it stands, and what it shows is kept with it."""

import ast
import json
from pathlib import Path

import exact_scene_views
import pytest

from zero123.images import io
from zero123.reconstruction.from_photo import PhotoSettings
from zero123.verbs import models, reconstruct

QUICK = PhotoSettings(elevation_deg=20.0, reconstruction=exact_scene_views.QUICK)
NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]


class Stand(exact_scene_views.TruthTeller):
    """In the place of `mini`: any picture is of the object it knows."""

    def prepare(self, picture, background):
        assert io.load(picture).shape[0] == 4  # the picture that the notebook names is there
        return super().prepare(self.photo, background)


def test_every_cell_runs_as_it_stands(monkeypatch, tmp_path):
    monkeypatch.chdir(NOTEBOOK.parent)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(models, "_kept", lambda name: Stand())
    monkeypatch.setattr(reconstruct, "PhotoSettings", lambda: QUICK)
    names, shown = {}, []
    for cell in CODE:
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, NOTEBOOK.name, "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names))
    assert [type(one).__name__ for one in shown] == ["Views", "Image", "tuple", "Object3D", "tuple"]
    assert shown[-1][0] > 10_000


def test_what_it_shows_is_kept_and_names_no_machine():
    kinds = [set(out["data"]) for cell in CODE for out in cell["outputs"]]
    assert sum("image/png" in kind for kind in kinds) == 2 and sum("text/html" in kind for kind in kinds) == 1
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert "/home" not in text and "site-packages" not in text and "Traceback" not in text
    assert NOTEBOOK.stat().st_size < 400_000


@pytest.mark.parametrize("cell", CODE, ids=lambda cell: cell["source"][0][:20])
def test_cells_were_run_in_order(cell):
    assert cell["execution_count"] == CODE.index(cell) + 1

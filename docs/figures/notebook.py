"""What the example notebook shows, kept with it: runs its cells as they stand, `python docs/figures/notebook.py`."""

from __future__ import annotations

import ast
import base64
import io
import json
import os
from pathlib import Path
from typing import Any

from PIL import Image

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


def main(notebook: Path = NOTEBOOK) -> None:
    """Run every cell in the notebook's folder and write what the last expressions show into the file."""
    content, names = json.loads(notebook.read_text(encoding="utf-8")), {"__name__": "__main__"}
    os.chdir(notebook.parent)
    for run, cell in enumerate((cell for cell in content["cells"] if cell["cell_type"] == "code"), 1):
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, notebook.name, "exec"), names)
        value = eval(compile(ast.Expression(last.value), notebook.name, "eval"), names) if last is not None else None
        shown = {"data": shown_as(value), "execution_count": run, "metadata": {}, "output_type": "execute_result"}
        cell["execution_count"], cell["outputs"] = run, [] if value is None else [shown]
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def shown_as(value: Any) -> dict[str, Any]:
    """A value by what it says of itself to a notebook."""
    found: dict[str, Any] = {}
    if hasattr(value, "_repr_html_"):
        found["text/html"] = [value._repr_html_()]
    elif isinstance(value, Image.Image):
        data = io.BytesIO()
        value.save(data, "PNG")
        found["image/png"] = base64.b64encode(data.getvalue()).decode()
    elif hasattr(value, "_repr_png_"):
        found["image/png"] = base64.b64encode(value._repr_png_()).decode()
    text = (
        f"<PIL.Image.Image image mode={value.mode} size={value.width}x{value.height}>"
        if isinstance(value, Image.Image)
        else repr(value)
    )
    return {**found, "text/plain": [text]}


if __name__ == "__main__":
    main()

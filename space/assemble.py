"""Put together a hosted Space: `python space/assemble.py FOLDER`, then push the folder as the Space's repository."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def requirements() -> list[str]:
    """What the package and its page need, from pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    blocks = [re.search(rf"^{name} = \[(.*?)\]$", text, re.DOTALL | re.MULTILINE) for name in ("dependencies", "ui")]
    return [line for block in blocks if block for line in re.findall(r'"([^"]+)"', block[1])]


def assemble(folder: Path) -> None:
    """Write the Space into a new folder.

    Raises:
        FileExistsError: there is something already.
    """
    folder.mkdir(parents=True)
    hidden = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", folder / "src", ignore=hidden)
    shutil.copytree(ROOT / "examples" / "pictures", folder / "src" / "zero123" / "ui" / "examples")
    for name in ("README.md", "app.py"):
        shutil.copy2(ROOT / "space" / name, folder / name)
    for name in ("LICENSE", "ATTRIBUTION.md"):
        shutil.copy2(ROOT / name, folder / name)
    (folder / "requirements.txt").write_text("\n".join(requirements()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python space/assemble.py FOLDER")
    try:
        assemble(Path(sys.argv[1]))
    except FileExistsError:
        sys.exit(f"error: {sys.argv[1]} exists already: give a new folder")

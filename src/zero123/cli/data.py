"""The verbs that make training data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zero123.cli.console import bar, say

if TYPE_CHECKING:
    from zero123.data.render.batch import Source

app = typer.Typer(help="Render objects and prepare them for training.")

Views = Annotated[int, typer.Option(min=2, max=1000, help="Pictures of each object.")]
Size = Annotated[int, typer.Option(min=16, max=4096, help="Side of the pictures, pixels.")]
Seed = Annotated[int, typer.Option(help="Decides cameras and lights.")]
Processes = Annotated[int | None, typer.Option(help="[default: one per core]", show_default=False)]


@app.command()
def render(
    meshes: Annotated[list[Path], typer.Argument(help="GLB, glTF, OBJ, PLY, STL files, or folders of them.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder that receives a view set per object.")],
    views: Views = 12,
    size: Size = 256,
    seed: Seed = 0,
    processes: Processes = None,
) -> None:
    """Render meshes to view sets; objects that are there already are skipped."""
    from zero123.data.render.batch import Source
    from zero123.meshes.load import SUFFIXES

    files = [f for m in meshes for f in (sorted(m.rglob("*")) if m.is_dir() else [m])]
    files = [f for f in files if f.suffix.lower() in SUFFIXES or f in meshes]
    if not files:
        raise ValueError(f"no meshes found; give files or folders with {', '.join(SUFFIXES)}")
    _render([Source(f.stem, f) for f in files], out, views, size, seed, processes)


@app.command()
def procedural(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder that receives a view set per object.")],
    count: Annotated[int, typer.Option(min=1, help="Objects to make.")] = 100,
    first: Annotated[int, typer.Option(help="Seed of the first object; the others follow.")] = 0,
    views: Views = 8,
    size: Size = 256,
    seed: Seed = 0,
    processes: Processes = None,
) -> None:
    """Make and render procedural objects; no download, no end."""
    from zero123.data.render.batch import Source

    sources = [Source(f"procedural-{first + k:07d}", None, first + k) for k in range(count)]
    _render(sources, out, views, size, seed, processes)


def _render(sources: list[Source], out: Path, views: int, size: int, seed: int, processes: int | None) -> None:
    from zero123.data.render.batch import RenderSettings, render_all
    from zero123.files import writable_folder

    writable_folder(out)
    settings = RenderSettings(views=views, size=size, seed=seed)
    failures = []
    with bar(f"rendering {len(sources)} objects") as update:
        for done, (_, failure) in enumerate(render_all(sources, out, settings, processes), start=1):
            failures += [failure] if failure else []
            update(done, len(sources))
    for failure in failures[:20]:
        say(f"failed: {failure}")
    say(f"{len(sources) - len(failures)} objects in {out}, {len(failures)} failed")
    if len(failures) == len(sources):
        raise ValueError("nothing could be rendered; see the lines above")

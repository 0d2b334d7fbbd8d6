"""The verbs for weights: what is released and here, downloads, a look inside, and other layouts."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zero123.cli.console import bar, say

if TYPE_CHECKING:
    import torch

app = typer.Typer(help="List, download, inspect and convert weights.")


class Dtype(str, Enum):
    """Floating point type of the numbers written."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"
    keep = "keep"


class Layout(str, Enum):
    """What `export` writes; the names of `models.export.LAYOUTS`."""

    safetensors = "safetensors"
    ckpt = "ckpt"
    diffusers = "diffusers"
    diffusers_clip_camera = "diffusers-clip-camera"


Model = Annotated[str, typer.Argument(help="A release's name, a checkpoint file, or a model folder.")]
Numbers = Annotated[Dtype, typer.Option(help="Type of the numbers written; half of them halves the size.")]


@app.command("list")
def list_() -> None:
    """Show the released weights: which are on this machine, how large they are, and what their licence is."""
    from zero123.models.weights.registry import RELEASES, readable_size, weights_folder

    here = {release.name for release in RELEASES if (weights_folder() / release.file).is_file()}
    rows = [("name", "here", "size", "licence", "what it is")]
    rows += [
        (
            release.name,
            "yes" if release.name in here else "no",
            readable_size(release.size) if release.size else "unknown",
            release.licence.name,
            release.about,
        )
        for release in RELEASES
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        say("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]))
    say("")
    say(f"folder: {weights_folder()}; `zero123 weights get NAME` downloads, and says more about the licence first")


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="A name that `list` shows.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for the file. [default: where models are looked for]")
    ] = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Accept the licence and do not ask.")] = False,
) -> None:
    """Download released weights, once you have seen their source, size and licence; goes on where it stopped."""
    from zero123.models.weights.download import download
    from zero123.models.weights.registry import find_release, readable_size, weights_folder

    release = find_release(name)
    folder = out if out is not None else weights_folder()
    path = folder / release.file
    if path.is_file():
        say(f"{path} is here already, {_size(path)}")
        return
    say(f"{name}: {release.about}")
    say(f"from    {release.source}")
    say(f"size    {readable_size(release.size) if release.size else 'unknown'}")
    say(f"licence {release.licence.name}: {release.licence.allows}")
    say(f"to      {path}")
    if not yes and not sys.stdin.isatty():
        raise ValueError(f"nothing is downloaded unasked: `zero123 weights get {name} --yes` accepts the licence")
    if not yes and not typer.confirm("Accept the licence and download?"):
        say("nothing was downloaded")
        return
    with bar(f"downloading {release.file}") as update:
        download(release, folder, lambda done, total: update(done, total or max(release.size or 0, done)))
    usable = name if out is None else path
    say(f"{path}, {_size(path)}; " + ("to train from" if release.is_start else f"use it with --model {usable}"))


@app.command()
def inspect(
    path: Model,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what a checkpoint or model folder holds, lacks and costs, without its numbers; code 2 if it cannot load."""
    from zero123.models.inspect import inspect as look

    report = look(path)
    say(json.dumps(report.as_json(), indent=2) if as_json else report.as_text())
    if report.bfloat16_bytes is None:
        raise typer.Exit(2)


@app.command()
def convert(
    source: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="Model folder to write.")],
    dtype: Numbers = Dtype.keep,
) -> None:
    """Write weights of any layout as a model folder: only what makes views, averaged weights first, safetensors."""
    with bar("reading and writing"):
        from zero123.models.pretrained import load_model, save_model

        save_model(load_model(source, _torch_type(dtype)), out)
    say(f"{out}, {_size(out)}")


@app.command()
def export(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="File or folder to write.")],
    layout: Annotated[
        Layout,
        typer.Option(
            help="The original's keys (ckpt, safetensors), or a folder for diffusers' community pipelines.",
            show_default=False,
        ),
    ],
    dtype: Numbers = Dtype.keep,
) -> None:
    """Write a model in a layout that other programs read: threestudio, stable-dreamfusion, diffusers."""
    with bar("reading and writing"):
        from zero123.models.export import export_model
        from zero123.models.pretrained import load_model

        export_model(load_model(model, _torch_type(dtype)), out, layout.value)
    say(f"{out}, {_size(out)}")


def _torch_type(dtype: Dtype) -> torch.dtype | None:
    """None keeps the types in the files."""
    import torch

    return {Dtype.float32: torch.float32, Dtype.float16: torch.float16, Dtype.bfloat16: torch.bfloat16}.get(dtype)


def _size(path: Path) -> str:
    from zero123.models.weights.registry import readable_size

    files = path.rglob("*") if path.is_dir() else [path]
    return readable_size(sum(file.stat().st_size for file in files if file.is_file()))

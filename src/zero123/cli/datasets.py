"""The verbs that look after training data: check, preview, shard, unshard, encode."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from zero123.cli.console import bar, say
from zero123.cli.options import grouped

if TYPE_CHECKING:
    from zero123.data.broken import BrokenItems
    from zero123.data.shards.writer import ShardSettings
    from zero123.data.sources import ObjectSource

Views = Annotated[Path, typer.Argument(help="View sets, views_release, NeRF-synthetic scenes, or shards.")]
Part = Annotated[str, typer.Option(help="all, training or validation, where the data is split.")]
MaxBroken = Annotated[
    float, typer.Option(min=0, max=1, help="Share of broken objects above which the work stops.", show_default=True)
]
Processes = Annotated[int, typer.Option(min=1, help="Objects or shards worked on at a time.")]
Edges = Annotated[str, typer.Option(help="blended, or original: soft edges keep their dark colour.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to `zero123 data`."""
    for verb in (check, preview, shard, unshard, encode):
        app.command()(grouped(verb))


@dataclass(frozen=True)
class ShardOptions:
    """How objects are laid into shards."""

    objects: Annotated[int, typer.Option(min=1, help="Objects per shard.")] = 256
    max_broken: MaxBroken = 0.01
    part: Part = "all"

    def settings(self, **more: Any) -> ShardSettings:
        """The same for `write_shards`."""
        from zero123.data.shards.writer import ShardSettings

        return ShardSettings(objects=self.objects, share=self.max_broken, **more)


def check(
    views: Views,
    meshes: Annotated[
        Path | None, typer.Option(help="Folder of the meshes, by the objects' names: outlines are compared.")
    ] = None,
    frame: Annotated[str, typer.Option(help="How meshes stood when rendered: zero123 or blender.")] = "zero123",
    agreement: Annotated[float, typer.Option(min=0, max=1, help="Least overlap of outline and view.")] = 0.8,
    report: Annotated[Path | None, typer.Option(help="Also write the report as JSON to this file.")] = None,
    processes: Processes = 1,
) -> None:
    """Look for missing, damaged, empty, clipped and doubled views and wrong cameras; exit code 2 if there are any."""
    import json
    from dataclasses import asdict
    from typing import get_args

    from zero123.data.check import CheckSettings
    from zero123.data.check import check as look
    from zero123.data.silhouettes import Frame
    from zero123.files import atomic_path, writable_folder

    if report is not None:
        writable_folder(report.parent)
        if report.is_dir():
            raise ValueError(f"cannot write {report}: it is a folder")
    if frame not in get_args(Frame):
        raise ValueError(f"frame must be one of {', '.join(get_args(Frame))}, got {frame!r}")
    source = _opened(views)
    settings = CheckSettings(meshes, cast(Frame, frame), agreement, processes)
    with bar(f"checking {len(source.names)} objects") as update:
        found = look(source, settings, update)
    say(found.text())
    if report is not None:
        with atomic_path(report) as temporary:
            temporary.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")
    if found.findings:
        raise typer.Exit(2)


def preview(
    views: Views,
    out: Annotated[Path, typer.Option("-o", "--out", help="Picture to write.")] = Path("preview.png"),
    objects: Annotated[int, typer.Option(min=1, help="Rows, spread over all objects.")] = 8,
    columns: Annotated[int, typer.Option("--views", min=1, help="Pictures of each object.")] = 6,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Side of each picture, pixels.")] = 128,
    edges: Edges = "blended",
) -> None:
    """Write a contact sheet of objects and their views."""
    from zero123.data.preview import PreviewSettings
    from zero123.data.preview import preview as sheet
    from zero123.images import io

    settings = PreviewSettings(objects, columns, size, cast(Any, edges))  # the edges are checked where they are used
    picture, broken = sheet(_opened(views), settings)
    io.save(out, picture)
    _tell(broken)
    say(str(out))


def shard(
    views: Views,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for the shards.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Do not decode what is written; missing files only.")] = False,
    index: Annotated[
        bool, typer.Option("--index", help="VIEWS are tars of OBJECT.NNN.png and .npy: only write their index.")
    ] = False,
    processes: Processes = 1,
    *,
    lay: ShardOptions,
) -> None:
    """Pack views into tar shards (webdataset) with an index; goes on where an interrupted run stopped."""
    from zero123.data.shards.reader import index_tars
    from zero123.data.shards.writer import shard_views

    if index:
        made = index_tars(views)
        say(f"{len(made.shards)} shards, {sum(len(s.objects) for s in made.shards)} objects: {views}/index.json")
        return
    if out is None:
        raise ValueError("give a folder for the shards: -o FOLDER")
    source = _opened(views, lay.part)
    with bar(f"packing {len(source.names)} objects") as update:
        made, broken = shard_views(source, out, lay.settings(verify=not quick, processes=processes), update)
    _tell(broken)
    say(f"{sum(len(s.objects) for s in made.shards)} objects in {len(made.shards)} shards: {out}")


def unshard(
    shards: Annotated[Path, typer.Argument(help="Folder of shards.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder that receives a folder per object.")],
    max_broken: MaxBroken = 0.01,
) -> None:
    """Unpack shards to folders, file by file as they were; objects that are there already are kept."""
    from zero123.data.shards.unshard import unshard as unpack

    with bar("unpacking") as update:
        broken = unpack(shards, out, max_broken, update)
    _tell(broken)
    say(f"{broken.total - len(broken)} objects in {out}")


def encode(
    views: Views,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the shards of latents.")],
    model: Annotated[str, typer.Option(help="The model to train: its name, folder or file.")],
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps. [default: the fastest]", show_default=False)] = (
        None
    ),
    tokens: Annotated[
        bool,
        typer.Option("--tokens/--pictures", help="Store image tokens, or pictures where their encoder is trained."),
    ] = True,
    mirror: Annotated[bool, typer.Option("--mirror", help="Store mirrored views too, so that training can.")] = False,
    edges: Edges = "blended",
    *,
    lay: ShardOptions,
) -> None:
    """Run the model's encoders over all views once, so that training need not; `train` takes the shards as views."""
    from zero123.data.encoded import EncodeSettings, encode_to_shards
    from zero123.machine import usable_device
    from zero123.models.pretrained import load_model

    source = _opened(views, lay.part)
    networks = load_model(model, device=usable_device(device))  # float32: training asks for latents of the same weights
    settings = EncodeSettings(tokens, mirror, cast(Any, edges))  # the edges are checked where they are used
    with bar(f"encoding {len(source.names)} objects") as update:
        made, broken = encode_to_shards(source, networks, out, settings, lay.settings(), update)
    _tell(broken)
    size = sum(s.bytes for s in made.shards) / 1e6
    say(f"{sum(len(s.objects) for s in made.shards)} objects in {len(made.shards)} shards, {size:.1f} MB: {out}")


def _opened(views: Path, part: str = "all") -> ObjectSource:
    from typing import get_args

    from zero123.data.formats.detect import open_source
    from zero123.data.sources import Part

    if part not in get_args(Part):
        raise ValueError(f"part must be one of {', '.join(get_args(Part))}, got {part!r}")
    return open_source(views, cast(Part, part))


def _tell(broken: BrokenItems) -> None:
    if len(broken):
        say(broken.line())

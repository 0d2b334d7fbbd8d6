"""`zero123 elevation`: from which height pictures were taken, and how sure that is."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from zero123.cli.console import bar, say
from zero123.cli.options import RunOptions, SamplingOptions, grouped

if TYPE_CHECKING:
    from torch import Tensor

    from zero123.images.photo import Photo
    from zero123.reconstruction.elevation import Elevation
    from zero123.reconstruction.view_sweep import Sweep

SHEET = "elevation.png"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(grouped(elevation))


def elevation(
    pictures: Annotated[list[Path], typer.Argument(help="PNG, JPEG or WebP, one object each.", show_default=False)],
    method: Annotated[
        str, typer.Option(help="reader: the model reads it. views: by views around. auto: reader where there is one.")
    ] = "auto",
    show_sweep: Annotated[
        bool, typer.Option("--sweep", help=f"Also a sheet of all candidates, OUT/PICTURE/{SHEET}; draws views.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object for each picture, one a line.")] = False,
    background: Annotated[str, typer.Option(help="How the object is found, as for views.")] = "auto",
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for sheets.")] = Path("out"),
    *,
    run: RunOptions,
    sampling: SamplingOptions,
) -> None:
    """Estimate the height above the horizon from which pictures were taken, in degrees, with a standard deviation."""
    from zero123.images import io
    from zero123.reconstruction.elevation import by_views, chosen_way, read

    settings, folders = sampling.settings(), _folders(pictures, out) if show_sweep else {}
    images = [io.load(picture) for picture in pictures]
    with bar("loading the model", shown=not as_json):
        views = run.load()
    way = chosen_way(views, method)
    photos = [_prepared(views.prepare, p, i, background) for p, i in zip(pictures, images, strict=True)]
    for folder in folders.values():
        _writable(folder)
    for picture, photo in zip(pictures, photos, strict=True):
        found = read(views, photo) if way == "reader" else None
        tried: Sweep | None = None
        if found is None or show_sweep:
            with bar("drawing views around", shown=not as_json) as update:
                by, seen = by_views(views, photo, settings, update)
            found, tried = found or by, by.sweep
            if show_sweep and tried is not None:
                _write_sheet(folders[picture] / SHEET, seen, tried)
        sheet = folders[picture] / SHEET if show_sweep else None
        say(_json(picture, found, tried, sheet) if as_json else _line(picture, found, tried, sheet))


def _folders(pictures: list[Path], out: Path) -> dict[Path, Path]:
    """Where each picture's sheet goes.

    Raises:
        ValueError: two pictures of one name would share a sheet.
    """
    folders = {picture: out / picture.stem for picture in pictures}
    for picture, folder in folders.items():
        if other := next((p for p, f in folders.items() if f == folder and p != picture), None):
            raise ValueError(f"{picture} and {other} have one name, and would share {folder / SHEET}; do one at a time")
    return folders


def _prepared(prepare: Any, picture: Path, image: Tensor, background: str) -> Photo:
    """The photo; an error names the picture, since there are several."""
    from zero123.images.io import PictureError

    try:
        return cast("Photo", prepare(image, background))
    except PictureError as error:
        raise PictureError(f"{picture}: {error}") from error


def _writable(folder: Path) -> None:
    from zero123.files import writable_folder

    writable_folder(folder)


def _write_sheet(file: Path, seen: Tensor, tried: Sweep) -> None:
    from torch.nn.functional import interpolate

    from zero123.images import io
    from zero123.images.sheets import contact_sheet
    from zero123.reconstruction.elevation import sweep_pictures

    shown, labels = sweep_pictures(seen, tried)
    io.save(file, contact_sheet(interpolate(shown, (128, 128), mode="nearest"), 7, labels))


def _line(picture: Path, found: Elevation, tried: Sweep | None, sheet: Path | None) -> str:
    low, high = (math.degrees(edge) for edge in found.interval)
    how = "read by the model" if found.way == "reader" else "by views around it"
    line = f"{picture}: {math.degrees(found.angle):.0f}° above the horizon, ± {math.degrees(found.deviation):.0f} "
    line += f"({low:.0f} to {high:.0f}, one standard deviation), {how}"
    if found.way == "reader" and tried is not None:
        line += f"; views say {math.degrees(tried.mean):.0f} ± {math.degrees(tried.deviation):.0f}"
    return line if sheet is None else f"{line}; candidates in {sheet}"


def _json(picture: Path, found: Elevation, tried: Sweep | None, sheet: Path | None) -> str:
    """One line; names say what is in degrees."""
    told: dict[str, Any] = {
        "picture": str(picture),
        "elevation_deg": _degrees(found.angle),
        "standard_deviation_deg": _degrees(found.deviation),
        "interval_deg": [_degrees(edge) for edge in found.interval],
        "method": found.way,
    }
    if found.way == "reader":
        told["spread_over_copies_deg"] = _degrees(found.spread)
    if tried is not None:
        told["views"] = {"elevation_deg": _degrees(tried.mean), "standard_deviation_deg": _degrees(tried.deviation)}
        columns = tried.elevation.tolist(), tried.cost.tolist(), tried.probability.tolist()
        told["candidates"] = [
            {"elevation_deg": _degrees(e), "cost": round(c, 6), "density_per_deg": round(math.radians(p), 6)}
            for e, c, p in zip(*columns, strict=True)
        ]
    if sheet is not None:
        told["sheet"] = str(sheet)
    return json.dumps(told)


def _degrees(angle: float) -> float:
    return round(math.degrees(angle), 2)

"""Meshes of a folder of pictures, each checked and shown on a sheet to be looked at.

    python runs/photos.py PHOTOS -o work/photos

Runs `zero123 batch PHOTOS -o OUT --views 0 --mesh`, to which it hands on every option it does not know; what is there
is skipped. Then `OUT/sheets/NAME.png` holds the picture and six sides of its mesh, `OUT/all-N.png` those of eight
pictures each, and `OUT/photos.md` a line a mesh: whether it is closed, how many parts and triangles it has, its size,
how well its outline meets the picture's, and seconds. A mesh is called empty without volume, exploded where it reaches
out of the space in which objects are. Whether it is good, usable or bad is for a person to say: the column is empty.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zero123.geometry.camera import Camera
from zero123.geometry.orbit import RADIUS
from zero123.images import io
from zero123.images.alpha import composite
from zero123.images.sheets import contact_sheet
from zero123.meshes.load import load
from zero123.meshes.mesh import Mesh, welded
from zero123.meshes.raster import draw_picture
from zero123.meshes.surface import is_watertight, parts, volume
from zero123.reconstruction.from_photo import source_at
from zero123.reconstruction.turntable import render_turntable

SIDES, SIZE, ROWS = 6, 160, 8
HEAD = "| picture | closed | parts | triangles | side | volume | outline IoU | elevation | seconds | fault | looks |"


def outline_iou(mesh: Mesh, rgba: Tensor, elevation_deg: float) -> float:
    """Overlap of the mesh's outline with the picture's, seen from where the picture was taken."""
    camera = Camera.from_orbit(source_at(elevation_deg, RADIUS), hw=(rgba.shape[1], rgba.shape[2]))[0]
    made, seen = draw_picture(mesh, camera)[3] > 0.5, rgba[3].numpy() > 0.5
    return float((made & seen).sum() / max((made | seen).sum(), 1))


def line_of(folder: Path) -> tuple[str, Tensor]:
    """The table's line of a picture, and its row of pictures, (1 + SIDES, 3, SIZE, SIZE)."""
    noted = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (mesh,) = load(folder / "model.glb")
    size = np.ptp(mesh.vertices, axis=0).max()
    inside, closed = volume(mesh), is_watertight(mesh)
    fault = "empty" if inside < 1e-4 else "exploded" if size > 2 or not np.isfinite(size) else ""
    rgba, height = io.load(folder / "input.png"), noted["elevation_deg"]
    overlap = outline_iou(mesh, rgba, height)
    cells = (folder.name, closed, parts(welded(mesh)[0]).max() + 1, len(mesh.faces), f"{size:.2f}", f"{inside:.4f}")
    cells += (f"{overlap:.2f}", f"{height:.0f}°", f"{noted['seconds']['all']:.0f}", fault, "")
    turn = composite(render_turntable(mesh, SIDES, (SIZE, SIZE)), torch.ones(3))
    photo = io.resized(composite(rgba[None], torch.ones(3))[0], SIZE, SIZE)
    return f"| {' | '.join(map(str, cells))} |", torch.cat((photo[None], turn)).clamp(0, 1)


def main() -> None:
    """Make, check, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    own, rest = parser.parse_known_args()
    command = [sys.executable, "-m", "zero123", "batch", *map(str, own.photos), "-o", str(own.out), "--views", "0"]
    code = subprocess.run([*command, "--mesh", *rest], check=False).returncode
    folders = sorted(path.parent for path in own.out.glob("*/model.glb"))
    lines, rows = [], []
    for folder in folders:
        line, row = line_of(folder)
        io.save(own.out / "sheets" / f"{folder.name}.png", contact_sheet(row, len(row)))
        lines.append(line)
        rows.append(row)
        print(line, flush=True)
    for first in range(0, len(rows), ROWS):
        io.save(own.out / f"all-{first // ROWS}.png", contact_sheet(torch.cat(rows[first : first + ROWS]), SIDES + 1))
    page = [f"{len(folders)} meshes", "", HEAD, "|" + "---|" * HEAD.count(" | ") + "---|", *lines, ""]
    (own.out / "photos.md").write_text("\n".join(page), encoding="utf-8")
    sys.exit(code)


if __name__ == "__main__":
    main()

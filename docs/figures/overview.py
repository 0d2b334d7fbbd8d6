"""Picture, views and mesh of four pictures, as on the first page: `python docs/figures/overview.py [OUT.png]`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from zero123 import NovelViews, RelativePose, from_photo
from zero123.images import io
from zero123.images.alpha import composite
from zero123.images.sheets import contact_sheet
from zero123.reconstruction.turntable import render_turntable

ROOT = Path(__file__).parents[2]
PICTURES = ("takeaway", "taxi", "honey-pot", "armchair")
AZIMUTHS = (0, 30, 60, 90, 180, -60, -30)


def two_rows(views: NovelViews, name: str) -> Tensor:
    """The picture with its views, and the mesh from eight sides, (16, 3, S, S)."""
    photo = views.prepare(ROOT / "examples" / "pictures" / f"{name}.png")
    drawn = views(photo, RelativePose.from_degrees(AZIMUTHS, [0] * len(AZIMUTHS)))
    mesh, side = from_photo(views, photo)[0].mesh, views.model.settings.image_size
    turned = composite(render_turntable(mesh, 8, (side, side)), torch.ones(3))
    return torch.cat((photo.on_white[None], drawn, turned))


def main(out: str | Path = ROOT / "docs" / "pictures" / "overview.png") -> None:
    """Write the sheet to `out`."""
    views = NovelViews.from_pretrained("mini")
    io.save(out, contact_sheet(torch.cat([two_rows(views, name) for name in PICTURES]), 8))


if __name__ == "__main__":
    main(*sys.argv[1:2])

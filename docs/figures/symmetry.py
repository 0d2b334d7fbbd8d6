"""Meshes of two pictures without and with their plane of symmetry told: `python docs/figures/symmetry.py [OUT.png]`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from zero123 import NovelViews, PhotoSettings, SamplingSettings, from_photo
from zero123.images import io
from zero123.images.alpha import composite
from zero123.images.sheets import contact_sheet
from zero123.reconstruction.turntable import render_turntable

ROOT = Path(__file__).parents[2]
FRONTS = {"taxi": -40.0, "armchair": 40.0}
"""Where their fronts are, degrees to the right of the camera, by eye."""


def sides(views: NovelViews, name: str, sampling: SamplingSettings) -> Tensor:
    """The picture, and its mesh from six sides, (7, 3, S, S)."""
    photo = views.prepare(ROOT / "examples" / "pictures" / f"{name}.png")
    mesh, side = from_photo(views, photo, PhotoSettings(sampling=sampling))[0].mesh, views.model.settings.image_size
    turned = composite(render_turntable(mesh, 6, (side, side)), torch.ones(3))
    return torch.cat((photo.on_white[None], turned))


def main(out: str | Path = ROOT / "docs" / "pictures" / "symmetry.png") -> None:
    """Write the sheet to `out`."""
    views, rows, labels = NovelViews.from_pretrained("mini"), [], []
    for name, front in FRONTS.items():
        for symmetry in ("none", front):
            rows.append(sides(views, name, SamplingSettings(symmetry=symmetry)))
            told = "" if symmetry == "none" else f"--symmetry {front:g}"
            labels += [told or "nothing told", *[""] * 6]
    io.save(out, contact_sheet(torch.cat(rows), 7, labels))


if __name__ == "__main__":
    main(*sys.argv[1:2])

"""Views of an object from the sides you ask for, and where they are guesses: `python examples/1_views.py [PICTURE]`."""

import sys
from pathlib import Path

import torch

from zero123 import NovelViews, RelativePose, SamplingSettings
from zero123.images import io
from zero123.images.sheets import contact_sheet
from zero123.images.spread import spread_picture

HONEY_POT = Path(__file__).parent / "pictures" / "honey-pot.png"


def main(picture: str | Path = HONEY_POT, out: str | Path = "out/1_views", model: str | Path = "mini") -> None:
    """Views, a mask, and a sheet with the spread over samples, written to `out`."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    views = NovelViews.from_pretrained(model)

    # Cut the object out and frame it as the model knows objects. Look at mask.png before you blame the model.
    photo = views.prepare(picture)
    io.save(out / "mask.png", photo.mask)
    print(f"object found by {photo.matte.method}, {photo.matte.coverage:.0%} of the picture")

    # Moves of the camera from where the picture was taken: azimuth turns it to the right, elevation lifts it.
    azimuths, elevations = [30, 60, 90, 180, -60], [0, 0, 20, 0, 0]
    moves = RelativePose.from_degrees(azimuths, elevations)
    pictures = views(photo, moves)  # (5, 3, S, S) in [0, 1], on white
    for azimuth, image in zip(azimuths, pictures, strict=True):
        io.save(out / f"view{azimuth:+04d}.png", image)

    # The same seed gives the same picture. Several seeds give several guesses; where they differ, nobody knows.
    drawn = views.samples(photo, moves, SamplingSettings(samples=4))
    rows = torch.cat((photo.on_white[None], pictures, photo.on_white[None], spread_picture(drawn.spread)))
    labels = ["picture", *(f"{a:+d}°" for a in azimuths), "picture", *["spread"] * len(azimuths)]
    io.save(out / "sheet.png", contact_sheet(rows, 1 + len(azimuths), labels))
    print(f"look at {out}/sheet.png")


if __name__ == "__main__":
    main(*sys.argv[1:])

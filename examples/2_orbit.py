"""A video of a camera going once around the object: `python examples/2_orbit.py [PICTURE]`."""

import math
import sys
from pathlib import Path

from zero123 import NovelViews
from zero123.geometry.paths import turntable
from zero123.images import io
from zero123.images.sheets import contact_sheet, save_video

HONEY_POT = Path(__file__).parent / "pictures" / "honey-pot.png"


def main(
    picture: str | Path = HONEY_POT, out: str | Path = "out/2_orbit", model: str | Path = "mini", count: int = 24
) -> None:
    """A video of `count` frames, and eight of them on a sheet, written to `out`."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    views = NovelViews.from_pretrained(model)
    photo = views.prepare(picture)

    # From which height was the picture taken? The model reads it; give it yourself where you know better.
    taken_from = views.source(photo)
    print(f"taken from {float(taken_from.elevation.rad2deg()):.0f}° above the horizon")

    # Cameras on a circle 15° above the horizon, as moves from the picture's camera. All views start from the same
    # noise, so that neighbours agree.
    circle = turntable(count, math.radians(15))
    frames = views(photo, circle.relative_to(taken_from), source=taken_from)
    save_video(out / "orbit.mp4", frames, fps=12)

    # Every frame has a camera; `Camera.from_orbit(circle)` is what other programs ask for.
    io.save(out / "frames.png", contact_sheet(frames[:: max(1, count // 8)], 8))
    print(f"{out}/orbit.mp4")


if __name__ == "__main__":
    main(*sys.argv[1:])

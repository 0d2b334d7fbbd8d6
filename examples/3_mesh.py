"""A textured mesh of the object in a picture: `python examples/3_mesh.py [PICTURE]`."""

import sys
from pathlib import Path

import torch

from zero123 import Camera, NovelViews, PhotoSettings, from_photo
from zero123.images import io
from zero123.images.alpha import composite
from zero123.images.sheets import contact_sheet, save_video
from zero123.meshes.export import export_mesh
from zero123.reconstruction.results import export_dataset
from zero123.reconstruction.turntable import render_turntable

HONEY_POT = Path(__file__).parent / "pictures" / "honey-pot.png"


def main(
    picture: str | Path = HONEY_POT,
    out: str | Path = "out/3_mesh",
    model: str | Path = "mini",
    settings: PhotoSettings | None = None,
) -> None:
    """Mesh, turntable, and the views behind them with their cameras, written to `out`."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    settings = settings or PhotoSettings()  # elevation_deg=20 says from which height the picture was taken
    views = NovelViews.from_pretrained(model)
    photo = views.prepare(picture)

    # The model draws views all around; a field of density and colour is fitted to them; its surface is the mesh.
    found, pictures, poses = from_photo(views, photo, settings)
    print(f"taken from {float(poses.elevation[0].rad2deg()):.0f}° above the horizon")

    # A view that disagrees with the others was trusted less: the first thing to look at when a mesh is bad.
    worst = int(found.weights.argmin())
    print(f"least trusted of {len(pictures)} views: number {worst}, {float(found.weights[worst]):.2f}")
    io.save(out / "views.png", contact_sheet(pictures, 7))

    # GLB opens in Blender, game engines and browsers with its texture; .obj, .ply and .stl are written by their ending.
    export_mesh(found.mesh, out / "model.glb")
    turning = composite(render_turntable(found.mesh), torch.ones(3))
    save_video(out / "turntable.mp4", turning, fps=12)
    io.save(out / "sides.png", contact_sheet(turning[:: len(turning) // 8][:8], 8))

    # The views and their cameras, for a reconstruction by other programs: nerfstudio, COLMAP, gsplat.
    camera = Camera.from_orbit(poses, hw=(pictures.shape[-2], pictures.shape[-1]))
    export_dataset(out / "scene", found, pictures, camera, settings.reconstruction.hull.halo)
    print(f"{out}/model.glb, {out}/turntable.mp4, {out}/scene")


if __name__ == "__main__":
    main(*sys.argv[1:])

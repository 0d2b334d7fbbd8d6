"""The drawings of the page of conventions, by the cameras themselves: `python docs/figures/cameras.py [FOLDER]`.

Nothing is drawn by hand: a camera of ours looks at cameras, and axes are read from what each convention holds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from zero123.geometry.camera import Camera
from zero123.geometry.conventions import (
    BLENDER_IMPORT_FROM_WORLD,
    GLTF_FROM_WORLD,
    Blender,
    Colmap,
    Nerfstudio,
    OpenCV,
    OpenGL,
    PyTorch3D,
)
from zero123.geometry.orbit import OrbitPose

PICTURES = Path(__file__).parents[1] / "pictures"
INK = "#8a8f98"  # reads on white and on black
RED, GREEN, BLUE, ORANGE = "#d9483b", "#2f9a4a", "#2f7de1", "#e08a1e"
AXES = (RED, GREEN, BLUE)


def pose(azimuth_deg: float, elevation_deg: float, radius: float) -> OrbitPose:
    """In double precision, so that the drawing is the same everywhere."""
    return OrbitPose(*torch.tensor([math.radians(azimuth_deg), math.radians(elevation_deg), radius]).double())


@dataclass
class Sheet:
    """A part of a drawing: lines and words at places in the world, seen by a camera.

    Attributes:
        eye: who looks.
        corner: its upper left corner in the drawing, pixels.
        centre: world point in its middle, (3,).
    """

    eye: Camera
    corner: tuple[float, float] = (0, 0)
    centre: Tensor = field(default_factory=lambda: torch.zeros(3).double())
    parts: list[str] = field(default_factory=list)

    def at(self, point: Tensor) -> tuple[float, float]:
        """Where a world point, (3,), is drawn."""
        x, y = self.eye.project((point.double() - self.centre)[None])[0][0].tolist()
        return x + self.corner[0], y + self.corner[1]

    def line(self, points: Sequence[Tensor], colour: str = INK, width: float = 1.5, dashed: bool = False) -> None:
        """A line through world points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self.at, points))
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>')

    def arrow(self, start: Tensor, along: Tensor, colour: str, text: str) -> None:
        """An arrow from a world point, with its name beyond its head."""
        self.line([start, start + along], colour, 2.5)
        (x0, y0), (x1, y1) = self.at(start), self.at(start + along)
        length = math.hypot(x1 - x0, y1 - y0)
        if length < 6:  # it points at the eye, or away
            self.parts.append(f'<circle cx="{x1:.1f}" cy="{y1:.1f}" r="4" fill="{colour}"/>')
            length = 6.0
        u, v = (x1 - x0) / length, (y1 - y0) / length
        tip = [(x1 + 7 * u, y1 + 7 * v), (x1 - 4 * v, y1 + 4 * u), (x1 + 4 * v, y1 - 4 * u)]
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in tip)
        self.parts.append(f'<polygon points="{corners}" fill="{colour}"/>')
        self.words(x1 + 17 * u, y1 + 17 * v + 4, text, colour)

    def words(self, x: float, y: float, text: str, colour: str = INK, size: int = 13) -> None:
        """Words in the middle of a place in the drawing."""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" text-anchor="middle">{text}</text>'
        )

    def frustum(self, camera: Camera, depth: float, colour: str = INK) -> None:
        """What a camera sees, up to a depth, with a mark above its upper edge."""
        height, width = camera.hw
        corners = torch.tensor([[0, 0], [width, 0], [width, height], [0, height]]).double()
        origins, directions = camera.rays(corners)
        forward = camera.world_from_camera[:3, 2]
        far = origins + directions * (depth / (directions @ forward))[:, None]
        self.line([*far, far[0]], colour)
        for corner in far:
            self.line([camera.position, corner], colour, 1)
        up = -camera.world_from_camera[:3, 1]
        lift = (far[0] - far[3]).norm() * 0.22
        self.line([far[0] * 0.7 + far[1] * 0.3, (far[0] + far[1]) / 2 + up * lift, far[0] * 0.3 + far[1] * 0.7], colour)


def svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    """A whole drawing."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
    return "\n".join([f'{head}font-size="13" fill="{INK}"><title>{title}</title>', *parts, "</svg>\n"])


def vector(*values: float) -> Tensor:
    """A world vector, (3,)."""
    return torch.tensor(values).double()


def world() -> str:
    """World axes, the object's cube, the picture's camera and one that was moved."""
    sheet = Sheet(Camera.from_orbit(pose(38, 24, 9), math.radians(28), (420, 640)), centre=vector(0.35, 0.3, 0.2))
    for a in (-0.5, 0.5):
        for b in (-0.5, 0.5):
            for k in range(3):
                ends = [vector(*torch.tensor([a, b, c]).roll(k).tolist()) for c in (-0.5, 0.5)]
                sheet.line(ends, INK, 1, dashed=True)
    sheet.line([vector(0.5, *p) for p in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5))], INK, 2)
    for axis, (colour, name) in enumerate(zip(AXES, ("x", "y", "z, up"), strict=True)):
        sheet.arrow(vector(0, 0, 0), 0.95 * torch.eye(3).double()[axis], colour, name)
    source, moved = pose(0, 0, 1.85), pose(60, 30, 1.85)
    for one, name in ((source, "the picture’s camera"), (moved, "azimuth +60°, elevation +30°")):
        camera = Camera.from_orbit(one, hw=(256, 256))
        sheet.frustum(camera, 0.32)
        sheet.line([vector(0, 0, 0), camera.position], ORANGE, 1, dashed=True)
        x, y = sheet.at(camera.position)
        sheet.words(x, y + (26 if one is source else -46), name)
    sheet.line([pose(k * 2, 0, 1.2).point() for k in range(31)], ORANGE, 2.5)
    sheet.line([pose(60, k, 1.2).point() for k in range(31)], ORANGE, 2.5)
    sheet.line([vector(0, 0, 0), pose(60, 0, 1.3).point()], ORANGE, 1, dashed=True)
    sheet.words(*(sum(p) for p in zip(sheet.at(pose(30, 0, 1.2).point()), (0, 20), strict=True)), "azimuth", ORANGE)
    x, y = sheet.at(pose(60, 15, 1.2).point())
    sheet.words(x + 40, y - 6, "elevation", ORANGE)
    return svg(640, 420, "World, cameras and their angles", sheet.parts)


def axes_of(camera: Camera) -> dict[str, tuple[str, Tensor]]:
    """How each convention is called in a line, and its x, y and z in the world, by rows, (3, 3)."""
    gl, cv, pytorch3d = OpenGL.of(camera), OpenCV.of(camera), PyTorch3D.of(camera)
    w, x, y, z = Colmap.of(camera).qvec.tolist()
    colmap = torch.tensor(  # what a quaternion does to the world, as COLMAP has it
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    ).double()
    return {
        "ours": ("world_from_camera: camera → world", camera.world_from_camera[:3, :3].T),
        "OpenCV": ("R, t: world → camera", cv.R),
        "COLMAP": ("qvec, tvec: world → camera", colmap),
        "nerfstudio": ("camera_to_worlds: camera → world", Nerfstudio.of(camera).camera_to_worlds[:, :3].T),
        "Blender": ("matrix_world: camera → world", Blender.of(camera).matrix_world[:3, :3].T),
        "OpenGL": ("view: world → camera", gl.view[:3, :3]),
        "PyTorch3D": ("R, T: world → camera, by rows", pytorch3d.R.T),
    }


def axes() -> str:
    """The same camera with the axes of each convention."""
    camera = Camera.from_orbit(pose(0, 0, 1.85), hw=(200, 260))
    eye = Camera.from_orbit(pose(52, 22, 6), math.radians(26), (190, 220))
    found, width = axes_of(camera), 220
    parts: list[str] = []
    for index, (name, (told, rows)) in enumerate(found.items()):
        corner = (width * (index % 4), 220 * (index // 4))
        sheet = Sheet(eye, corner, camera.position + vector(-0.3, 0, 0))
        sheet.frustum(camera, 0.85)
        for axis, (colour, letter) in enumerate(zip(AXES, "xyz", strict=True)):
            sheet.arrow(camera.position, 0.55 * rows[axis], colour, letter)
        sheet.words(corner[0] + width / 2, corner[1] + 20, name, size=15)
        sheet.words(corner[0] + width / 2, corner[1] + 205, told, size=11)
        parts += sheet.parts
    legend = Sheet(eye)
    for line, (colour, text) in enumerate(zip(AXES, ("x red", "y green", "z blue"), strict=True)):
        legend.words(3.5 * width, 300 + 24 * line, text, colour)
    legend.words(3.5 * width, 425, "the mark on the frame is up", size=11)
    parts += legend.parts
    return svg(4 * width, 440, "One camera, with the axes of each convention", parts)


def worlds() -> str:
    """An object in our world, in mesh files, and as Blender imports these."""
    names = {
        "ours": torch.eye(4).double(),
        "GLB, glTF and OBJ files": GLTF_FROM_WORLD,
        "such a file imported to Blender": BLENDER_IMPORT_FROM_WORLD,
    }
    eye, parts, width = Camera.from_orbit(pose(35, 25, 7), math.radians(24), (230, 260)), [], 260
    for index, (name, matrix) in enumerate(names.items()):
        sheet = Sheet(eye, (width * index, 10), vector(0, 0, 0.15))
        face = [vector(0.4, *p) for p in ((-0.4, -0.4), (0.4, -0.4), (0.4, 0.4), (-0.4, 0.4))]
        sheet.line([*face, face[0]], INK, 2)
        sheet.line([vector(0.4, *p) for p in ((-0.2, -0.12), (0, -0.2), (0.2, -0.12))], INK, 2)  # it smiles
        for side in (-0.17, 0.17):
            sheet.line([vector(0.4, side, 0.1), vector(0.4, side, 0.2)], INK, 3)
        for y, z in ((0.4, -0.4), (0.4, 0.4), (-0.4, 0.4)):
            sheet.line([vector(0.4, y, z), vector(-0.4, y, z)], INK, 1)
        sheet.line([vector(-0.4, 0.4, -0.4), vector(-0.4, 0.4, 0.4), vector(-0.4, -0.4, 0.4)], INK, 1)
        for axis, (colour, letter) in enumerate(zip(AXES, "xyz", strict=True)):
            towards = matrix[axis, :3]  # the new axis in the old world
            sheet.arrow(vector(0, 0, 0), 0.95 * towards, colour, letter)
        sheet.words(width * (index + 0.5), 20, name, size=15)
        parts += sheet.parts
    return svg(3 * width, 240, "The axes of the world around the same object", parts)


def pixels() -> str:
    """A picture of 4 x 3 pixels: where each convention counts from."""
    side, left, top = 62, 150, 60
    parts = []
    for row in range(3):
        for column in range(4):
            x, y = left + side * column, top + side * row
            parts.append(f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="none" stroke="{INK}"/>')
            parts.append(f'<circle cx="{x + side / 2}" cy="{y + side / 2}" r="2" fill="{INK}"/>')
    right, bottom, middle = left + 4 * side, top + 3 * side, (left + 2 * side, top + 1.5 * side)

    def note(x: float, y: float, text: str, colour: str, anchor: str = "start") -> None:
        parts.append(f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}">{text}</text>')

    parts.append(f'<circle cx="{left}" cy="{top}" r="4" fill="{BLUE}"/>')
    note(left - 8, top - 26, "(0, 0) of ours, COLMAP, nerfstudio, PyTorch3D", BLUE)
    parts.append(f'<circle cx="{left + side / 2}" cy="{top + side / 2}" r="4" fill="{RED}"/>')
    note(left - 12, top + side / 2 - 2, "(0, 0) of OpenCV,", RED, "end")
    note(left - 12, top + side / 2 + 15, "(½, ½) of the others", RED, "end")
    parts.append(f'<circle cx="{middle[0]}" cy="{middle[1]}" r="4" fill="{GREEN}"/>')
    lens = OpenCV.of(Camera(torch.eye(4).double(), 1.0, (3, 4))).K
    width, height = PyTorch3D.of(Camera(torch.eye(4).double(), 1.0, (3, 4))).principal_point
    note(right + 14, middle[1] - 32, f"the middle: ({width:g}, {height:g});", GREEN)
    note(right + 14, middle[1] - 15, f"OpenCV: ({float(lens[0, 2]):g}, {float(lens[1, 2]):g});", GREEN)
    note(right + 14, middle[1] + 2, "(0, 0) of OpenGL, 1 at right and upper edge,", GREEN)
    note(right + 14, middle[1] + 19, "and of PyTorch3D’s NDC, 1 to the left and up", GREEN)
    note(right + 14, middle[1] + 36, "by half of the shorter side", GREEN)
    note(left - 8, bottom + 26, "(4, 3) of ours, with y down", BLUE)
    return svg(710, 290, "Where pixels are counted from", parts)


DRAWINGS = {"world": world, "axes": axes, "worlds": worlds, "pixels": pixels}


def main(folder: str | Path = PICTURES) -> None:
    """Write `cameras-NAME.svg` for each drawing."""
    for name, draw in DRAWINGS.items():
        (Path(folder) / f"cameras-{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:2])

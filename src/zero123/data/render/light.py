"""Light for renders: a soft sky with two far lamps, or the wide area light of the original's renders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Light:
    """Lambert shading with a hemisphere of sky light and two far lamps; strengths multiply the linear base colour.

    Attributes:
        sky: light from above, and half as much from below.
        key_direction, fill_direction: unit vectors towards the lamps, world axes, (3,).
        key, fill: strengths of the lamps.
        gloss: strength of a Blinn-Phong highlight of the key lamp; 0 is matt.
        tint: colour of the lamps, (3,), mean 1.
    """

    sky: float = 0.6
    key_direction: tuple[float, float, float] = (0.6, 0.4, 0.69)
    key: float = 0.42
    fill_direction: tuple[float, float, float] = (-0.5, -0.7, 0.51)
    fill: float = 0.15
    gloss: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @classmethod
    def random(cls, generator: np.random.Generator) -> Light:
        """A light as photographs of objects have it: mostly soft, from above, seldom tinted."""
        key_height, fill_height = generator.uniform(0.25, 0.95), generator.uniform(-0.2, 0.7)
        tint = 1 + generator.normal(0, 0.03, 3)
        return cls(
            sky=float(generator.uniform(0.48, 0.74)),
            key_direction=_direction(generator, key_height),
            key=float(generator.uniform(0.15, 0.5)),
            fill_direction=_direction(generator, fill_height),
            fill=float(generator.uniform(0.0, 0.2)),
            gloss=float(generator.choice([0.0, 0.0, generator.uniform(0.02, 0.2)])),
            tint=tuple(float(t) for t in tint / tint.mean()),  # type: ignore[arg-type]
        )

    def shade(
        self, base: NDArray[np.float32], normals: NDArray[np.float32], to_camera: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Outgoing light of base colours (both linear), unit normals and unit directions to the camera, each (N, 3)."""
        key, fill = (np.asarray(d, np.float32) for d in (self.key_direction, self.fill_direction))
        sky = self.sky * (0.75 + 0.25 * normals[:, 2])
        lamps = self.key * np.maximum(normals @ key, 0) + self.fill * np.maximum(normals @ fill, 0)
        light = base * (sky[:, None] + lamps[:, None] * np.asarray(self.tint, np.float32))
        if self.gloss:
            half = to_camera + key
            half /= np.linalg.norm(half, axis=1, keepdims=True)
            light += self.gloss * np.maximum((normals * half).sum(1), 0)[:, None] ** 40
        return light


@dataclass(frozen=True)
class AreaLight:
    """The light of Zero-1-to-3's Blender renders: a very wide lamp that shines straight down, and a bulb.

    The original's script adds one area light to Blender's start-up scene, scales it by 100, and draws its power and
    place once per object. From that scene it removes all that is neither camera nor light, so the start-up lamp (a
    point of 1000 W and radius 0.1) and the dim grey world stay. Over 100 x 100 units the area light's 300 to 600 W are
    only about a thirtieth of the light on a white floor; most comes from the bulb. Colours are the original's with the
    view transform `Filmic`, Blender 3.2's own.

    Attributes:
        energy: power, watts; drawn from 300 to 600.
        position: of its middle, world units, (3,); x and y drawn from -1 to 1, z from 0.5 to 1.5.
        size: side of the square, world units; with 100 the object sees half a sky.
        bulb: power of the start-up scene's point light, watts; 0 to leave it out.
        bulb_position: world units, (3,): (4.076, 1.005, 5.904) there, turned with the object's front from Blender's -y
            to +x.
    """

    energy: float = 450.0
    position: tuple[float, float, float] = (0.0, 0.0, 1.0)
    size: float = 100.0
    bulb: float = 1000.0
    bulb_position: tuple[float, float, float] = (-1.005, 4.076, 5.904)

    @classmethod
    def random(cls, generator: np.random.Generator) -> AreaLight:
        """As the original draws it, once per object."""
        x, y = generator.uniform(-1, 1, 2)
        return cls(float(generator.uniform(300, 600)), (float(x), float(y), float(generator.uniform(0.5, 1.5))))


def _direction(generator: np.random.Generator, height: float) -> tuple[float, float, float]:
    azimuth = generator.uniform(0, 2 * np.pi)
    flat = np.sqrt(1 - height**2)
    return float(flat * np.cos(azimuth)), float(flat * np.sin(azimuth)), float(height)

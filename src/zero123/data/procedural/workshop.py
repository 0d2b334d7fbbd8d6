"""What a family draws from while it builds: randomness, a palette, and skins (texture and the spacing it needs)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from zero123.data.procedural import textures
from zero123.data.procedural.colours import Palette, wood
from zero123.data.procedural.solid import Array, Solid

Item = TypeVar("Item")
TETRAHEDRON = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])


@dataclass(frozen=True)
class Skin:
    """A texture, and the spacing of vertices that shows it.

    Attributes:
        texture: points (N, 3) -> sRGB colours (N, 3).
        spacing: largest step between vertices, in units of the object (about 1 across).
    """

    texture: textures.Texture
    spacing: float

    def on(self, solid: Solid) -> Solid:
        """The solid painted with this skin, in its present place; a vertex has the mean colour nearby, against jags."""
        near = (solid.vertices[None] + 0.3 * self.spacing * TETRAHEDRON[:, None]).reshape(-1, 3)
        colours = self.texture(near).reshape(len(TETRAHEDRON), -1, 3).mean(0)
        return replace(solid, colours=np.clip(colours, 0, 1))


@dataclass(frozen=True)
class Workshop:
    """Random draws, colours and mesh density for one object.

    Attributes:
        generator: the only source of randomness.
        palette: colours of the object.
        spacing: vertex spacing of patterned surfaces; plain ones are three times coarser.
    """

    generator: np.random.Generator
    palette: Palette
    spacing: float

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        return float(self.generator.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.generator.random() < probability)

    def count(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return int(self.generator.integers(low, high + 1))

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items."""
        return items[int(self.generator.integers(len(items)))]

    def colour(self) -> Array:
        """One colour of the palette."""
        p = self.palette
        return self.pick([p.main, p.main, p.second, p.second, p.accent, p.dark, p.light])

    def plain(self, colour: Array | None = None) -> Skin:
        """One colour, sometimes with soft wear."""
        texture = textures.plain(self.colour() if colour is None else colour)
        if self.chance(0.25):
            texture = textures.shaded(texture, self.generator, self.uniform(0.05, 0.2))
        return Skin(texture, 2.6 * self.spacing)

    def wooden(self) -> Skin:
        """Wood with grain along a random axis."""
        return Skin(textures.grain(self.generator, wood(self.generator), self.count(0, 2)), self.spacing)

    def skin(self, patterned: float = 0.65) -> Skin:
        """A skin for a main part: patterned with this probability, else plain in the main colour."""
        if not self.chance(patterned):
            return self.plain(self.palette.main)
        texture = _pattern(self)
        if self.chance(0.3):
            texture = textures.shaded(texture, self.generator, self.uniform(0.05, 0.25))
        return Skin(texture, self.spacing)

    def decorated(self, skin: Skin, inside: textures.Inside, ink: Array) -> Skin:
        """The skin with `ink` where the boolean mask holds."""
        return Skin(textures.decal(skin.texture, inside, textures.plain(ink)), self.spacing)


def _pattern(shop: Workshop) -> textures.Texture:
    generator, p = shop.generator, shop.palette
    first, second = p.main, shop.pick([p.second, p.second, p.accent, p.light, p.dark])
    colours = [p.main, p.second, p.accent, p.light, p.main]
    kind = generator.choice(len(PATTERN_WEIGHTS), p=np.array(PATTERN_WEIGHTS) / sum(PATTERN_WEIGHTS))
    if kind == 0:
        return textures.mix(_stripes(shop), textures.plain(first), textures.plain(second))
    if kind == 1:
        return textures.checks((first, second), np.full(3, shop.uniform(0.07, 0.25)))
    if kind == 2:
        return textures.dots(generator, first, second, shop.uniform(0.1, 0.28), shop.uniform(0.25, 0.45))
    if kind == 3:
        cloud, level = textures.noise(generator, shop.uniform(2.5, 9), 2), shop.uniform(0.4, 0.6)
        soft = shop.pick([4.0, 30.0])
        return textures.mix(lambda x: (cloud(x) - level) * soft + 0.5, textures.plain(first), textures.plain(second))
    if kind == 4:
        return textures.marble(generator, first, second)
    if kind == 5:
        return textures.grain(generator, wood(generator), shop.count(0, 2))
    if kind == 6:
        direction = shop.pick(
            [np.array([0, 0, 1.0]), np.array([0, 0, 1.0]), np.array([1.0, 0, 0]), np.array([0.6, 0, 0.8])]
        )
        return textures.gradient(direction, first, second, shop.uniform(-0.4, 0.0), shop.uniform(0.3, 0.8))
    if kind == 7:
        return textures.patches(generator, colours, shop.count(6, 30))
    if kind == 8:
        return textures.bands(generator, colours, shop.count(1, 5))
    return textures.around_axis(colours[: shop.count(2, 4)], shop.count(3, 8) * 2)


PATTERN_WEIGHTS = (4, 2, 3, 3, 1.5, 2, 2, 2, 3, 1.5)


def _stripes(shop: Workshop) -> textures.Inside:
    direction = shop.pick(
        [np.array([0, 0, 1.0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), np.array([0.0, 0.7, 0.7])]
    )
    return textures.waves(direction, shop.uniform(3, 12), shop.uniform(0, 1), shop.uniform(0.25, 0.75))

"""Palettes of five colours that go together, as paint, plastic, wood, stone or cloth have them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zero123.data.procedural.solid import Array

# (weight, saturation range, value range, hue range or None for any)
MOODS: dict[str, tuple[float, tuple[float, float], tuple[float, float], tuple[float, float] | None]] = {
    "saturated": (0.24, (0.65, 0.92), (0.6, 0.95), None),
    "medium": (0.24, (0.35, 0.7), (0.45, 0.9), None),
    "pastel": (0.12, (0.12, 0.38), (0.82, 0.98), None),
    "earth": (0.14, (0.3, 0.75), (0.3, 0.8), (0.02, 0.13)),
    "leaf": (0.05, (0.35, 0.75), (0.25, 0.7), (0.2, 0.42)),
    "metal": (0.06, (0.0, 0.08), (0.35, 0.8), None),
    "near white": (0.06, (0.0, 0.08), (0.88, 0.98), None),
    "near black": (0.05, (0.0, 0.35), (0.05, 0.2), None),
}


@dataclass(frozen=True)
class Palette:
    """Five sRGB colours, each (3,) in [0, 1]: the main one, two partners, and a dark and a light neutral."""

    main: Array
    second: Array
    accent: Array
    dark: Array
    light: Array


def hsv(hue: float, saturation: float, value: float) -> Array:
    """Colour (sRGB) of a hue (turns), saturation and value in [0, 1]; (3,)."""
    k = (np.array([5.0, 3.0, 1.0]) + 6 * hue) % 6
    return np.asarray(value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1))


def palette(generator: np.random.Generator) -> Palette:
    """A random palette: main colour from a mood, partners by a hue step or from another mood."""
    main, hue = _from_mood(generator)
    step = generator.choice([0.0, 0.05, -0.06, 0.33, -0.33, 0.42, 0.5, 0.5])
    related = generator.random() < 0.5
    second = (
        hsv((hue + step) % 1, generator.uniform(0.1, 0.8), generator.uniform(0.4, 0.95))
        if related
        else _from_mood(generator)[0]
    )
    accent = hsv(
        (hue + generator.choice([0.5, 0.15, -0.15, 0.4])) % 1, generator.uniform(0.5, 0.95), generator.uniform(0.6, 1)
    )
    dark = hsv(generator.random(), generator.uniform(0, 0.4), generator.uniform(0.04, 0.25))
    light = hsv(generator.uniform(0.05, 0.2), generator.uniform(0, 0.15), generator.uniform(0.88, 0.99))
    if generator.random() < 0.25:
        second = light if generator.random() < 0.6 else dark
    return Palette(main, second, accent, dark, light)


def wood(generator: np.random.Generator) -> Array:
    """A wood colour, (3,)."""
    return hsv(generator.uniform(0.05, 0.11), generator.uniform(0.35, 0.7), generator.uniform(0.35, 0.85))


def metal(generator: np.random.Generator) -> Array:
    """A metal colour, (3,): steel, iron or brass."""
    if generator.random() < 0.25:
        return hsv(generator.uniform(0.1, 0.13), generator.uniform(0.4, 0.6), generator.uniform(0.6, 0.85))
    return hsv(generator.uniform(0.5, 0.65), generator.uniform(0, 0.08), generator.uniform(0.25, 0.8))


def _from_mood(generator: np.random.Generator) -> tuple[Array, float]:
    weights = np.array([m[0] for m in MOODS.values()])
    _, saturation, value, hues = list(MOODS.values())[generator.choice(len(MOODS), p=weights / weights.sum())]
    hue = generator.random() if hues is None else generator.uniform(*hues)
    return hsv(hue, generator.uniform(*saturation), generator.uniform(*value)), float(hue)

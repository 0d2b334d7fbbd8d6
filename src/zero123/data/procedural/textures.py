"""Solid textures: functions from points of an object to colours, so that patterns have no seams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zero123.data.procedural.solid import Array

Texture = Callable[[Array], Array]
Inside = Callable[[Array], NDArray[Any]]


def noise(generator: np.random.Generator, frequency: float, octaves: int = 2) -> Callable[[Array], Array]:
    """Smooth value noise on a periodic lattice of 16^3 random numbers: points (N, 3) -> (N,) in [0, 1]."""
    table = generator.random((16, 16, 16))
    shift = generator.uniform(0, 16, 3)

    def evaluate(points: Array) -> Array:
        total = np.zeros(len(points))
        for octave in range(octaves):
            place = points * frequency * 2.0**octave + shift
            cell = np.floor(place).astype(np.int64)
            part = place - cell
            x, y, z = (part * part * (3 - 2 * part)).T
            (i, j, k), (p, q, r) = (cell % 16).T, ((cell + 1) % 16).T
            low = (table[i, j, k] * (1 - x) + table[p, j, k] * x) * (1 - y) + (
                table[i, q, k] * (1 - x) + table[p, q, k] * x
            ) * y
            high = (table[i, j, r] * (1 - x) + table[p, j, r] * x) * (1 - y) + (
                table[i, q, r] * (1 - x) + table[p, q, r] * x
            ) * y
            total += (low * (1 - z) + high * z) / 2.0**octave
        return total / (2 - 2.0 ** (1 - octaves))

    return evaluate


def plain(colour: Array) -> Texture:
    """One colour."""
    return lambda points: np.broadcast_to(colour, points.shape).copy()


def mix(mask: Inside, low: Texture, high: Texture) -> Texture:
    """`low` where the mask is 0, `high` where it is 1."""

    def paint(points: Array) -> Array:
        weight = np.clip(mask(points), 0, 1)[:, None]
        return low(points) * (1 - weight) + high(points) * weight

    return paint


def waves(direction: Array, frequency: float, phase: float, duty: float = 0.5) -> Inside:
    """Mask of sharp stripes across `direction` with `frequency` stripes a unit."""
    return lambda points: ((points @ direction * frequency + phase) % 1 < duty).astype(np.float64)


def bands(generator: np.random.Generator, colours: list[Array], count: int) -> Texture:
    """Horizontal bands of random heights in z."""
    edges = np.sort(generator.uniform(-0.5, 1.0, count))
    table = np.stack([colours[generator.integers(len(colours))] for _ in range(count + 1)])
    return lambda points: table[np.searchsorted(edges, points[:, 2])]


def checks(colours: tuple[Array, Array], size: Array) -> Texture:
    """Chequered blocks of the given sides (3,)."""
    pair = np.stack(colours)
    return lambda points: pair[np.floor(points / size + 0.25).astype(np.int64).sum(1) % 2]


def dots(generator: np.random.Generator, base: Array, ink: Array, pitch: float, radius: float) -> Texture:
    """Balls of `ink` on a jittered lattice of the given pitch, cut by the surface."""
    jitter = generator.uniform(-0.18, 0.18, (8, 8, 8, 3))

    def paint(points: Array) -> Array:
        place = points / pitch
        cell = np.floor(place).astype(np.int64)
        i, j, k = (cell % 8).T
        centre = cell + 0.5 + jitter[i, j, k]
        inside = ((place - centre) ** 2).sum(1) < radius**2
        return np.where(inside[:, None], ink, base)

    return paint


def patches(generator: np.random.Generator, colours: list[Array], count: int, extent: float = 0.6) -> Texture:
    """Cells of the nearest of `count` random points, each of one colour."""
    sites = generator.uniform(-extent, extent, (count, 3)) + np.array([0, 0, 0.2])
    table = np.stack([colours[generator.integers(len(colours))] for _ in range(count)])

    def paint(points: Array) -> Array:
        square = (sites**2).sum(1) - 2 * points @ sites.T
        return table[square.argmin(1)]

    return paint


def marble(generator: np.random.Generator, base: Array, vein: Array) -> Texture:
    """Sine veins bent by noise."""
    bend = noise(generator, 3.0, 3)
    direction = generator.normal(size=3) * 4
    sharp = generator.uniform(1.5, 5)
    return mix(
        lambda points: np.abs(np.sin(points @ direction + 9 * bend(points))) ** (1 / sharp) * -1 + 1,
        plain(base),
        plain(vein),
    )


def grain(generator: np.random.Generator, base: Array, axis: int) -> Texture:
    """Wood: distorted rings about an axis, darker late wood."""
    bend = noise(generator, 2.5, 2)
    squeeze = np.full(3, 1.0)
    squeeze[axis] = 0.12
    centre = generator.uniform(-0.4, 0.4, 3)
    rings = generator.uniform(7, 16)
    depth = generator.uniform(0.12, 0.4)

    def paint(points: Array) -> Array:
        place = (points - centre) * squeeze
        phase = (np.linalg.norm(place, axis=1) + 0.15 * bend(points * squeeze)) * rings
        return base * (1 - depth * (phase % 1)[:, None])

    return paint


def gradient(direction: Array, low: Array, high: Array, start: float, end: float) -> Texture:
    """Smooth blend along a direction between two offsets."""
    return mix(lambda points: (points @ direction - start) / (end - start), plain(low), plain(high))


def around_axis(colours: list[Array], count: int) -> Texture:
    """Wedges of colour about the z axis."""
    table = np.stack(colours)

    def paint(points: Array) -> Array:
        turn = np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi) + 0.5
        return table[np.floor(turn * count).astype(np.int64) % count % len(table)]

    return paint


def shaded(texture: Texture, generator: np.random.Generator, strength: float) -> Texture:
    """The texture with soft dirt and wear: brightness varied by noise."""
    cloud = noise(generator, generator.uniform(2, 12), 2)
    return lambda points: texture(points) * (1 + strength * (2 * cloud(points) - 1))[:, None]


def decal(base: Texture, inside: Inside, ink: Texture) -> Texture:
    """`ink` where the boolean mask `inside` holds, `base` elsewhere."""

    def paint(points: Array) -> Array:
        return np.where(inside(points)[:, None], ink(points), base(points))

    return paint

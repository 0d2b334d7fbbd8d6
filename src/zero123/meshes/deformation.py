"""Meshes made into other shapes of the same kind: longer, flatter, thicker here and thinner there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from zero123.meshes.mesh import Mesh, unit, unit_cube

_UP = 2
_WAVES = 0.5, 2.5
"""Fewest and most half waves of a swelling over a length of 1."""


@dataclass(frozen=True)
class Swelling:
    """Thicker and thinner along an axis: what lies across it is scaled by exp(amount * cos(pi * waves * t + phase)).

    Attributes:
        axis: 0, 1 or 2 for x, y or z, along which t is measured, world units.
        amount: logarithm of the largest factor; below 0 the middle of a wave is thin.
        waves: half waves to a world unit.
        phase: radians.
    """

    axis: int
    amount: float
    waves: float
    phase: float = 0.0


@dataclass(frozen=True)
class Deformation:
    """How an object becomes another shape.

    Attributes:
        stretch: factors along x, y and z.
        swell: then, in this order.
    """

    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    swell: tuple[Swelling, ...] = ()

    @classmethod
    def drawn(cls, numbers: Generator, stretch: float, swell: float) -> Deformation:
        """One at random.

        A swelling by height begins anywhere; those along x and y are alike on both sides of the middle, or objects
        would lose what nearly all have: a left half like their right one.

        Args:
            numbers: decide it.
            stretch: largest factor along each axis, and one over the smallest, drawn evenly in their logarithm.
            swell: likewise of the swellings across each axis.
        """
        along = np.exp(numbers.uniform(-1, 1, 3) * math.log(stretch)).tolist()
        if swell == 1:
            return cls(tuple(along))
        amounts, waves = numbers.uniform(-1, 1, 3) * math.log(swell), numbers.uniform(*_WAVES, 3)
        phases = 0.0, 0.0, float(numbers.uniform(-math.pi, math.pi))
        order = numbers.permutation(3).tolist()
        return cls(tuple(along), tuple(Swelling(k, float(amounts[k]), float(waves[k]), phases[k]) for k in order))

    def of(self, parts: list[Mesh]) -> list[Mesh]:
        """The parts of an object in another shape, inside the unit cube as they were; normals stay normal."""
        parts = stretched(parts, self.stretch)
        for swelling in self.swell:
            parts = swollen(unit_cube(parts), swelling)
        return unit_cube(parts)


def stretched(parts: list[Mesh], factors: Sequence[float]) -> list[Mesh]:
    """Parts made longer or shorter along x, y and z by these factors, which are over 0; normals stay normal."""
    scale = np.asarray(factors, np.float32)
    return [
        part.replace(
            vertices=part.vertices * scale, normals=None if part.normals is None else unit(part.normals / scale)
        )
        for part in parts
    ]


def swollen(parts: list[Mesh], swelling: Swelling) -> list[Mesh]:
    """Parts made thicker and thinner along an axis, about it, but for heights: what stands on the ground still does.

    Args:
        parts: of one object, about the origin.
        swelling: where and how far.

    Returns:
        Parts whose normals, where they had some, went through the inverse transpose of the map's Jacobian.
    """
    axis, across = swelling.axis, [k for k in range(3) if k != swelling.axis]
    pivot = np.zeros(3, np.float32)
    pivot[_UP] = min(float(part.vertices[:, _UP].min()) for part in parts)
    changed = []
    for part in parts:
        angle = np.pi * swelling.waves * part.vertices[:, axis] + swelling.phase
        factor = np.exp(swelling.amount * np.cos(angle))[:, None]
        rise = -swelling.amount * np.pi * swelling.waves * np.sin(angle)  # of the factor's logarithm
        vertices, arms = part.vertices.copy(), (part.vertices - pivot)[:, across]
        vertices[:, across] = pivot[across] + arms * factor
        normals = part.normals
        if normals is not None:
            turned = normals.copy()
            turned[:, across] = normals[:, across] / factor
            turned[:, axis] = normals[:, axis] - rise * (arms * normals[:, across]).sum(1)
            normals = unit(turned)
        changed.append(part.replace(vertices=vertices, normals=normals))
    return changed

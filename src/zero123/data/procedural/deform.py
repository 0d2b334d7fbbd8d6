"""Whole-object deformations that keep the topology: taper, twist, bend and shear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from zero123.data.procedural.solid import Solid


def taper(solid: Solid, amount: float) -> Solid:
    """Scale the sections from 1 at the ground to 1 + `amount` at the top; `amount` above -1."""
    low, high = solid.low[2], solid.high[2]
    factor = 1 + amount * (solid.vertices[:, 2:] - low) / (high - low)
    return replace(solid, vertices=np.concatenate([solid.vertices[:, :2] * factor, solid.vertices[:, 2:]], 1))


def twist(solid: Solid, turn: float) -> Solid:
    """Turn the sections about z, from 0 at the ground to `turn` radians at the top."""
    low, high = solid.low[2], solid.high[2]
    angle = turn * (solid.vertices[:, 2] - low) / (high - low)
    x, y, z = solid.vertices.T
    cosine, sine = np.cos(angle), np.sin(angle)
    return replace(solid, vertices=np.stack([cosine * x - sine * y, sine * x + cosine * y, z], 1))


def bend(solid: Solid, angle: float) -> Solid:
    """Bend the z axis into a circular arc towards +x, `angle` radians (below 1.5) from the ground to the top."""
    if abs(angle) < 1e-3:
        return solid
    low, high = solid.low[2], solid.high[2]
    radius = (high - low) / angle
    x, y, z = solid.vertices.T
    turn = (z - low) / radius
    reach = radius - x
    return replace(solid, vertices=np.stack([radius - reach * np.cos(turn), y, low + reach * np.sin(turn)], 1))

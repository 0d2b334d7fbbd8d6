"""Families turned on a lathe: vases, cups, bottles, lamps, plates, and pots with plants."""

from __future__ import annotations

import numpy as np

from zero123.data.procedural import shapes, textures
from zero123.data.procedural.colours import hsv
from zero123.data.procedural.solid import Array, Solid, both_sides
from zero123.data.procedural.workshop import Skin, Workshop


def smooth(knots: Array, count: int) -> Array:
    """Cubic (Catmull-Rom) curve through knots (K, D), sampled at `count` points an interval."""
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = (np.arange(count) / count)[:, None]
    pieces = []
    for k in range(len(knots) - 1):
        a, b, c, d = padded[k : k + 4]
        pieces.append(b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))))
    return np.concatenate([*pieces, knots[-1:]])


def wall(shop: Workshop, height: float, widest: float) -> Array:
    """Random outer profile from the foot to the rim: (K, 2) of (radius, z)."""
    knots = shop.count(3, 6)
    radius = shop.generator.uniform(0.3, 1.0, knots)
    radius = np.maximum(radius / radius.max() * widest, 0.06)
    z = np.linspace(0, height, knots)
    curve = np.stack([radius, z], 1)
    if shop.chance(0.7):
        curve = smooth(curve, 8)
    return np.stack([np.maximum(curve[:, 0], 0.05), curve[:, 1]], 1)


def hollow(outer: Array, thickness: float, depth: float) -> Array:
    """Closed lathe profile of a vessel: up the outer wall, over the rim, down inside to `depth` of the height."""
    foot, rim = outer[0], outer[-1]
    floor = rim[1] - depth * (rim[1] - foot[1])
    inside = outer[outer[:, 1] > floor][::-1]
    inside = np.stack([np.maximum(inside[:, 0] - thickness, 0.01), inside[:, 1]], 1)
    bottom = np.array([[0.0, foot[1]], [0.97 * foot[0], foot[1]]])
    lip = np.array([[rim[0] - thickness / 2, rim[1] + thickness / 3]])
    return np.concatenate([bottom, outer, lip, inside, [[0.0, min(floor, inside[-1, 1])]]])


def filled(outer: Array) -> Array:
    """Closed lathe profile of a solid body with this outer wall."""
    return np.concatenate([[[0.0, outer[0, 1]], [0.97 * outer[0, 0], outer[0, 1]]], outer, [[0.0, outer[-1, 1]]]])


def handle(shop: Workshop, outer: Array, low: float, high: float) -> Solid:
    """Bowed tube on the +y side between two heights (fractions of the wall)."""
    z = np.array([low, high]) * outer[-1, 1]
    y = np.interp(z, outer[:, 1], outer[:, 0]) - 0.012
    reach = float(y.max()) + shop.uniform(0.08, 0.22)
    bow = shop.uniform(0.0, 0.4) * (z[1] - z[0])
    knots = np.array([[0, y[0], z[0]], [0, reach, z[0] + bow * 0.6], [0, reach, z[1] - bow * 0.2], [0, y[1], z[1]]])
    radius = shop.uniform(0.018, 0.035)
    return shapes.tube(smooth(knots, 6), radius, 0.04).scaled(shop.uniform(1, 1.8), 1, 1)


def vessel(shop: Workshop) -> list[Solid]:
    """Vase, cup, jug, bowl or teapot: a turned body with up to two handles, perhaps a spout or a lid."""
    height, widest = shop.uniform(0.3, 1.0), shop.uniform(0.16, 0.45)
    outer, skin = wall(shop, height, widest), shop.skin(0.75)
    thick = shop.uniform(0.015, 0.04)
    covered = shop.chance(0.25)
    parts = [skin.on(shapes.lathe(filled(outer) if covered else hollow(outer, thick, 0.8), skin.spacing))]
    trim = shop.plain() if shop.chance(0.4) else skin
    if shop.chance(0.55):
        low, high = shop.uniform(0.12, 0.35), shop.uniform(0.6, 0.92)
        grip = trim.on(handle(shop, outer, low, high))
        parts += both_sides(grip) if shop.chance(0.3) else [grip]
        if len(parts) == 2 and shop.chance(0.5):
            reach = float(np.interp(0.4 * height, outer[:, 1], outer[:, 0]))
            knots = np.array([[0, 0.6 * reach, 0.35], [0, reach + 0.1, 0.5], [0, reach + 0.2, 0.85]]) * [1, 1, height]
            spout = shapes.tube(smooth(knots, 6), np.linspace(0.06, 0.025, 13), 0.04).turned("z", np.pi)
            parts.append(trim.on(spout))
    if covered:
        rim = float(outer[-1, 0])
        lid = shapes.ball((1.04 * rim, 1.04 * rim, 0.5 * rim), 0.04).moved(z=height)
        knob = shapes.ball((0.2 * rim + 0.02,) * 3, 0.04).moved(z=height + 0.5 * rim)
        parts += [trim.on(lid), trim.on(knob)]
    return parts


def bottle(shop: Workshop) -> list[Solid]:
    """Bottle, jar or can: body, shoulder, neck, cap and a label."""
    radius, body = shop.uniform(0.12, 0.28), shop.uniform(0.35, 0.8)
    neck, shoulder = radius * shop.uniform(0.2, 0.95), shop.uniform(0.03, 0.22)
    rise = shop.uniform(0.03, 0.25)
    s = np.linspace(0, 1, 8)
    ease = s * s * (3 - 2 * s) if shop.chance(0.6) else s
    curve = np.stack([radius + (neck - radius) * ease, body + shoulder * s], 1)
    foot = np.array([[0.85 * radius, 0], [radius, 0.03]])
    outer = np.concatenate([foot, curve, [[neck, body + shoulder + rise]]])
    waist = shop.uniform(0.0, 0.15) if shop.chance(0.3) else 0.0
    outer[:, 0] *= 1 - waist * np.exp(-(((outer[:, 1] - 0.5 * body) / 0.1) ** 2))
    skin = shop.plain(shop.palette.main) if shop.chance(0.7) else shop.skin()
    low, high = body * shop.uniform(0.08, 0.3), body * shop.uniform(0.65, 0.92)
    if shop.chance(0.8):
        label = shop.decorated(
            skin, lambda x: (x[:, 2] > low) & (x[:, 2] < high), shop.pick([shop.palette.light, shop.palette.second])
        )
        skin = prints(shop, label, low, high, radius)
    parts = [skin.on(shapes.lathe(filled(outer), skin.spacing))]
    lid = shop.plain(shop.pick([shop.palette.accent, shop.palette.dark, shop.palette.light, shop.palette.second]))
    top = body + shoulder + rise
    cap = shop.uniform(0.04, 0.12)
    parts.append(lid.on(shapes.cylinder(neck * 1.08, cap, lid.spacing).moved(z=top + cap / 2 - 0.02)))
    if shop.chance(0.15):
        parts.append(lid.on(shapes.box(0.18, 0.05, 0.05, 0.06).moved(x=0.06, z=top + cap)))
    return parts


def prints(shop: Workshop, skin: Skin, low: float, high: float, radius: float) -> Skin:
    """Printed marks on the front of a label: a disc or block with lines of "text" below."""
    middle, half = (low + high) / 2, (high - low) / 2
    size = 0.5 * half * shop.uniform(0.5, 1)
    ink = shop.palette.accent if shop.chance(0.6) else shop.palette.dark
    if shop.chance(0.5):
        skin = shop.decorated(
            skin, lambda x: (x[:, 0] > 0) & (x[:, 1] ** 2 + (x[:, 2] - middle - 0.3 * half) ** 2 < size**2), ink
        )
    else:
        skin = shop.decorated(
            skin,
            lambda x: (
                (x[:, 0] > 0) & (np.abs(x[:, 1]) < 0.7 * radius) & (np.abs(x[:, 2] - middle - 0.4 * half) < 0.5 * size)
            ),
            ink,
        )
    lines = [middle - 0.35 * half, middle - 0.65 * half]
    return shop.decorated(
        skin,
        lambda x: (
            (np.abs(x[:, 1]) < 0.6 * radius) & (np.abs(x[:, 2, None] - np.array(lines)).min(1) < 0.07 * half + 0.008)
        ),
        shop.palette.dark,
    )


def lamp(shop: Workshop) -> list[Solid]:
    """Table or floor lamp: a turned foot and a conical or round shade."""
    height, skin, shade = shop.uniform(0.35, 0.75), shop.skin(0.5), shop.skin(0.5)
    base = wall(shop, height, shop.uniform(0.08, 0.2))
    base[-1, 0] = 0.03
    parts = [skin.on(shapes.lathe(filled(base), skin.spacing))]
    parts.append(skin.on(shapes.cylinder(shop.uniform(0.1, 0.2), 0.03, skin.spacing).moved(z=0.015)))
    low, high, tall = shop.uniform(0.18, 0.35), shop.uniform(0.06, 0.25), shop.uniform(0.15, 0.35)
    if shop.chance(0.75):
        cover = shapes.cylinder(low, tall, shade.spacing, top=high)
    else:
        cover = shapes.ball((low, low, tall * 0.7), shade.spacing)
    parts.append(shade.on(cover.moved(z=height + 0.4 * tall)))
    return parts


def plant(shop: Workshop) -> list[Solid]:
    """Pot with a plant: cactus, bush, leaves or flowers."""
    height, radius = shop.uniform(0.2, 0.4), shop.uniform(0.14, 0.28)
    pot, skin = np.array([[radius * shop.uniform(0.55, 1), 0], [radius, height]]), shop.skin(0.5)
    parts = [skin.on(shapes.lathe(hollow(pot, 0.02, 0.25), skin.spacing))]
    green = Skin(leafy(shop), shop.spacing)
    kind = shop.count(0, 2)
    if kind == 0:
        tall = shop.uniform(0.3, 0.6)
        parts.append(
            green.on(shapes.capsule(0.6 * radius, tall + 0.2, green.spacing * 1.3).moved(z=height + tall / 2 - 0.15))
        )
        for side in (-1, 1):
            z = height + tall * shop.uniform(0.15, 0.4)
            knots = np.array(
                [[0, 0.4 * radius, z], [0, 1.15 * radius, z], [0, 1.2 * radius, z + tall * shop.uniform(0.2, 0.5)]]
            )
            arm = green.on(shapes.tube(smooth(knots, 5), 0.22 * radius, 0.04))
            parts.append(arm if side > 0 else arm.mirrored())
    elif kind == 1:
        for _ in range(shop.count(3, 7)):
            size = shop.uniform(0.12, 0.24)
            blob = shapes.ball((size,) * 3, 1.6 * green.spacing).moved(*shop.generator.uniform(-0.5, 0.5, 2) * radius)
            parts.append(green.on(blob.moved(z=height + shop.uniform(0.0, 0.25))))
        parts.append(green.on(shapes.cylinder(0.6 * radius, 0.3, 0.06).moved(z=height)))
    else:
        bloom = shop.plain(shop.palette.accent)
        for k in range(shop.count(5, 9)):
            lean, turn, tall = shop.uniform(0.1, 0.4), 2.4 * k + shop.uniform(-0.3, 0.3), shop.uniform(0.3, 0.6)
            tip = np.array([lean * np.cos(turn), lean * np.sin(turn), height + tall])
            knots = np.array([[0, 0, height - 0.12], [0.3 * tip[0], 0.3 * tip[1], height + 0.6 * tall], tip])
            thick = np.array([0.02, 0.05, 0.06, 0.05, 0.02, 0.008, 0.005])
            parts.append(green.on(shapes.tube(smooth(knots, 3), thick, 0.05)))
            if k % 2 == 0 and shop.chance(0.5):
                parts.append(bloom.on(shapes.ball((0.06, 0.06, 0.06), 0.05).moved(*tip)))
        parts.append(shop.plain(shop.palette.dark).on(shapes.cylinder(0.9 * radius, 0.08, 0.06).moved(z=0.72 * height)))
    return parts


def leafy(shop: Workshop) -> textures.Texture:
    """Two greens blended by noise."""
    first = hsv(shop.uniform(0.2, 0.42), shop.uniform(0.4, 0.9), shop.uniform(0.25, 0.75))
    cloud = textures.noise(shop.generator, shop.uniform(4, 14), 2)
    return textures.mix(cloud, textures.plain(first * 0.6), textures.plain(np.minimum(first * 1.25, 1)))

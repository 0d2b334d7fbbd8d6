"""Toys, tools, food and abstract pieces: stacks, plates of an outline, radial and mirrored compositions."""

from __future__ import annotations

import numpy as np

from zero123.data.procedural import deform, shapes
from zero123.data.procedural.pottery import filled, hollow, leafy, smooth
from zero123.data.procedural.solid import Array, Solid, around, both_sides, join
from zero123.data.procedural.workshop import Skin, Workshop


def primitive(shop: Workshop, size: float, spacing: float) -> Solid:
    """One random primitive about `size` across, centred."""
    half, slim = size / 2, shop.uniform(0.5, 1.0)
    kind = shop.count(0, 7)
    if kind == 0:
        return shapes.box(size * slim, size, size * shop.uniform(0.4, 1), spacing, shop.pick([0.008, 0.15 * size]))
    if kind == 1:
        return shapes.ball((half * slim, half, half * shop.uniform(0.6, 1)), spacing)
    if kind == 2:
        return shapes.ball((half, half, half * slim), spacing, power=shop.uniform(2.5, 7))
    if kind == 3:
        return shapes.cylinder(half, size * shop.uniform(0.3, 1.2), spacing, bevel=shop.pick([0.01, 0.03]))
    if kind == 4:
        return shapes.cylinder(half, size * shop.uniform(0.5, 1.2), spacing, top=half * shop.uniform(0.05, 0.7))
    if kind == 5:
        return shapes.torus(0.7 * half, 0.3 * half, spacing)
    if kind == 6:
        return shapes.capsule(0.5 * half, size * shop.uniform(0.8, 1.2), spacing)
    return shapes.extrude(outline(shop) * half, size * shop.uniform(0.2, 0.6), spacing, shop.pick([0.01, 0.03]))


def outline(shop: Workshop) -> Array:
    """Random star-shaped outline about 2 across: polygon, star, gear, blob, cross, T, L, arrow, heart or leaf."""
    kind = shop.count(0, 8)
    turn = 2 * np.pi * np.arange(44) / 44
    if kind == 0:
        return shapes.circle(shop.count(3, 8))
    if kind == 1:
        n, inner = shop.count(4, 9), shop.uniform(0.4, 0.75)
        return shapes.circle(2 * n) * np.where(np.arange(2 * n) % 2, inner, 1.0)[:, None]
    if kind == 2:
        n = shop.count(6, 14)
        corner = shapes.circle(4 * n)
        return corner * np.where(np.arange(4 * n) % 4 < 2, shop.uniform(0.7, 0.85), 1.0)[:, None]
    if kind == 3:
        radius = np.full(len(turn), 0.8)
        for k in (2, 3, 4):
            radius += shop.uniform(-0.25, 0.25) / k * np.cos(k * turn + shop.uniform(0, 6))
        return radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
    if kind == 4:
        a = shop.uniform(0.2, 0.45)
        arm = np.array([[1.0, -a], [1.0, a], [a, a]])
        quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
        return np.concatenate([arm @ np.linalg.matrix_power(quarter.T, k) for k in range(4)])
    if kind == 5:
        a = shop.uniform(0.25, 0.45)
        return np.array([[-a, -1.4], [a, -1.4], [a, -a], [1, -a], [1, a], [-1, a], [-1, -a], [-a, -a]])
    if kind == 6:
        a = shop.uniform(0.25, 0.5)
        return np.array([[-a, -a], [1.3, -a], [1.3, a], [a, a], [a, 1.5], [-a, 1.5]])
    if kind == 7:
        a = shop.uniform(0.2, 0.4)
        return np.array([[0, -0.9], [1, 0.15], [a, 0.1], [a, 1.0], [-a, 1.0], [-a, 0.1], [-1, 0.15]])
    heart = np.stack(
        [16 * np.sin(turn) ** 3, 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)], 1
    )
    return heart[::-1] / 17


def stack(shop: Workshop) -> list[Solid]:
    """Tower of primitives, each standing on the one below."""
    parts: list[Solid] = []
    z, size, shrink = 0.0, shop.uniform(0.3, 0.5), shop.uniform(0.65, 1.0)
    same = shop.skin() if shop.chance(0.3) else None
    for _ in range(shop.count(2, 5)):
        skin = same or (shop.skin(0.6) if shop.chance(0.5) else shop.plain())
        part = primitive(shop, size, skin.spacing).grounded(z)
        parts.append(skin.on(part))
        z, size = float(part.high[2]) - 0.02, size * shrink * shop.uniform(0.8, 1.15)
    return parts


def single(shop: Workshop) -> list[Solid]:
    """One primitive or outline, deformed: tapered, twisted or bent."""
    skin = shop.skin(0.92)
    part = primitive(shop, 0.8, skin.spacing).grounded()
    if shop.chance(0.5):
        part = part.scaled(1, 1, shop.uniform(0.8, 1.7))
    if shop.chance(0.4):
        part = deform.taper(part, shop.uniform(-0.6, 0.6))
    if shop.chance(0.3):
        part = deform.twist(part, shop.uniform(-1.5, 1.5))
    if shop.chance(0.3):
        part = deform.bend(part, shop.uniform(-0.8, 0.8))
    return [skin.on(part)]


def plate(shop: Workshop) -> list[Solid]:
    """Upright sign, badge or cookie: an outline with a rim or an emblem in front, perhaps on a foot."""
    skin, thick = shop.skin(0.6), shop.uniform(0.05, 0.25)
    shape = outline(shop) * 0.42
    body = shapes.extrude(shape, thick, skin.spacing, shop.pick([0.01, 0.035]))
    upright = [body.turned("z", np.pi / 2).turned("y", np.pi / 2)]
    parts = [skin.on(upright[0])]
    emblem = shop.plain(shop.pick([shop.palette.accent, shop.palette.second, shop.palette.light]))
    if shop.chance(0.7):
        mark = shapes.extrude((shape if shop.chance(0.4) else outline(shop)) * 0.45, thick + 0.05, emblem.spacing)
        parts.append(emblem.on(mark.moved(z=0.01).turned("z", np.pi / 2).turned("y", np.pi / 2)))
    if shop.chance(0.5):
        low = float(parts[0].low[2])
        pole = shop.plain()
        drop = shop.uniform(0.1, 0.5)
        parts.append(
            pole.on(shapes.cylinder(0.03, drop - low, pole.spacing).moved(0, 0, low - drop + (drop - low) / 2))
        )
        parts.append(pole.on(shapes.cylinder(0.2, 0.04, pole.spacing).moved(0, 0, low - drop + 0.02)))
    return parts


def radial(shop: Workshop) -> list[Solid]:
    """N-fold piece: a hub with equal arms around, as flowers, wheels, carousels and spinning tops."""
    hub_skin, arm_skin = shop.skin(0.5), shop.skin(0.4)
    count, reach = shop.count(3, 8), shop.uniform(0.22, 0.4)
    hub = primitive(shop, shop.uniform(0.28, 0.45), hub_skin.spacing).grounded()
    height = float(hub.high[2]) * shop.uniform(0.25, 0.8)
    parts = [hub_skin.on(hub)]
    rod = shapes.capsule(shop.uniform(0.02, 0.06), reach + 0.06, 0.05).turned("y", np.pi / 2 + shop.uniform(-0.4, 0.4))
    parts += around(arm_skin.on(rod.moved(reach / 2, 0, height)), count)
    end = primitive(shop, min(shop.uniform(0.12, 0.3), 4 * reach / count), 2 * shop.spacing)
    tip = float(rod.vertices[np.argmax(rod.vertices[:, 0]), 2])
    parts += around(shop.plain(shop.palette.accent).on(end.moved(reach, 0, height + tip)), count)
    if shop.chance(0.4):
        parts.append(arm_skin.on(shapes.torus(reach, 0.03, 0.05).moved(z=height + tip)))
    return parts


def mirrored(shop: Workshop) -> list[Solid]:
    """Bilateral composition: a body with pairs of random parts at its sides and single ones in front and on top."""
    skin = shop.skin(0.7)
    body = primitive(shop, 0.5, skin.spacing).scaled(shop.uniform(0.8, 1.4), 1, shop.uniform(0.7, 1.3)).grounded()
    parts = [skin.on(body)]
    tall = float(body.high[2])
    for _ in range(shop.count(1, 3)):
        other = shop.skin(0.3)
        part = primitive(shop, shop.uniform(0.15, 0.35), 1.4 * other.spacing).turned("x", shop.uniform(-1, 1))
        z = tall * shop.uniform(0.1, 0.95)
        parts += both_sides(other.on(anchored(part, body, np.array([shop.uniform(-0.7, 0.7), 1.0, 0]), z)))
    for direction in ([1.0, 0, 0], [-1.0, 0, 0])[: shop.count(1, 2)]:
        part = primitive(shop, shop.uniform(0.12, 0.3), 1.4 * shop.spacing)
        parts.append(shop.plain().on(anchored(part, body, np.array(direction), tall * shop.uniform(0.3, 0.8))))
    if shop.chance(0.6):
        cap = primitive(shop, shop.uniform(0.15, 0.35), 1.4 * shop.spacing)
        parts.append(shop.skin(0.3).on(cap.grounded(tall - 0.03)))
    lift = min(float(p.low[2]) for p in parts)
    return [p.moved(z=-lift) for p in parts]


def anchored(part: Solid, body: Solid, direction: Array, z: float) -> Solid:
    """The part centred on the body's vertex that lies farthest along a horizontal direction near height `z`."""
    near = np.abs(body.vertices[:, 2] - z) < 0.1
    candidates = body.vertices[near] if near.any() else body.vertices
    place = candidates[np.argmax(candidates @ direction)]
    return part.moved(*place)


def tool(shop: Workshop) -> list[Solid]:
    """Hammer, brush, screwdriver, spoon or pan: a long grip with a head, lying or standing."""
    grip = shop.wooden() if shop.chance(0.4) else shop.skin(0.5)
    steel, thick, long = (
        shop.plain(shop.pick([shop.palette.dark, np.full(3, 0.6), shop.palette.second])),
        shop.uniform(0.03, 0.055),
        shop.uniform(0.4, 0.7),
    )
    knots = np.stack([thick * shop.generator.uniform(0.7, 1.2, 5), np.linspace(0, long, 5)], 1)
    parts = [grip.on(shapes.lathe(filled(smooth(knots, 5)), grip.spacing))]
    kind = shop.count(0, 4)
    if kind == 0:
        bar = shapes.cylinder(shop.uniform(0.06, 0.1), shop.uniform(0.25, 0.4), 0.05, bevel=0.02).turned("x", np.pi / 2)
        parts.append(steel.on(bar.moved(z=long)))
    elif kind == 1:
        parts.append(steel.on(shapes.box(0.07, shop.uniform(0.15, 0.3), 0.12, 0.06).moved(z=long + 0.05)))
        hair = shop.skin(0.5)
        parts.append(hair.on(shapes.box(0.06, 0.15, 0.2, hair.spacing, bevel=0.02, top=0.8).moved(z=long + 0.2)))
    elif kind == 2:
        parts.append(steel.on(shapes.cylinder(0.018, 0.35, 0.04).moved(z=long + 0.15)))
        parts.append(steel.on(shapes.box(0.012, 0.06, 0.07, 0.04).moved(z=long + 0.33)))
    else:
        radius = shop.uniform(0.12, 0.3)
        wall = np.array([[0.8 * radius, 0], [radius, shop.uniform(0.05, 0.16)]])
        pan = shapes.lathe(hollow(wall, 0.02, 0.8), 0.05).turned("y", np.pi / 2).moved(-0.04, 0, long + radius * 0.96)
        parts.append(steel.on(pan))
    if shop.chance(0.6):
        whole = join(parts)
        return [whole.turned("y", np.pi / 2).turned("z", shop.pick([0.0, np.pi / 2, np.pi])).grounded()]
    return parts


def tree(shop: Workshop) -> list[Solid]:
    """Tree or mushroom: a trunk with round, conical or cap-shaped crown."""
    trunk, green = shop.wooden(), Skin(leafy(shop), 1.4 * shop.spacing)
    if shop.chance(0.3):
        green = shop.skin(0.9)
    thick, tall = shop.uniform(0.04, 0.1), shop.uniform(0.2, 0.5)
    parts = [trunk.on(shapes.cylinder(thick * 1.3, tall + 0.2, 0.05, top=thick).grounded())]
    kind = shop.count(0, 2)
    if kind == 0:
        radius, z = shop.uniform(0.25, 0.4), tall
        for _ in range(shop.count(1, 4)):
            parts.append(green.on(shapes.cone(radius, 0.4, green.spacing).moved(z=z + 0.2)))
            z, radius = z + 0.2, 0.78 * radius
    elif kind == 1:
        size = shop.uniform(0.2, 0.32)
        parts.append(
            green.on(shapes.ball((size, size, size * shop.uniform(0.8, 1.4)), green.spacing).moved(z=tall + 0.8 * size))
        )
        for k in range(shop.count(0, 5)):
            turn, small = 1.3 * k, size * shop.uniform(0.5, 0.8)
            blob = shapes.ball((small,) * 3, green.spacing).moved(0.6 * size * np.cos(turn), 0.6 * size * np.sin(turn))
            parts.append(green.on(blob.moved(z=tall + size * shop.uniform(0.3, 1.3))))
    else:
        cap, size = shop.skin(0.9), shop.uniform(0.2, 0.38)
        dome = np.array(
            [[0.5 * size, 0.0], [size, 0.02], [0.95 * size, 0.4 * size], [0.6 * size, 0.75 * size], [0.02, 0.9 * size]]
        )
        parts.append(cap.on(shapes.lathe(filled(smooth(dome, 5)), cap.spacing).moved(z=tall)))
    return parts


def food(shop: Workshop) -> list[Solid]:
    """Fruit, cake, burger or ice cream: round layers and a stem, cherry or cone."""
    skin, p = shop.skin(0.7), shop.palette
    kind = shop.count(0, 2)
    if kind == 0:
        lobes = np.array(
            [
                [0.06, 0.06],
                [0.3, 0.0],
                [shop.uniform(0.3, 0.45), shop.uniform(0.2, 0.4)],
                [shop.uniform(0.1, 0.3), 0.6],
                [0.04, shop.uniform(0.5, 0.8)],
            ]
        )
        parts = [skin.on(shapes.lathe(filled(smooth(lobes, 7)), skin.spacing))]
        top = float(lobes[-1, 1])
        stem = np.array([[0, 0, top - 0.06], [0.01, 0, top + 0.06], [0.06, 0, top + 0.15]])
        parts.append(shop.wooden().on(shapes.tube(smooth(stem, 4), 0.018, 0.04)))
        leaf = shapes.ball((0.12, 0.05, 0.012), 0.05).moved(0.11).turned("y", -0.4).moved(0.0, 0, top + 0.04)
        return [*parts, Skin(leafy(shop), 0.05).on(leaf)]
    if kind == 1:
        parts, z = [], 0.0
        radius, square = shop.uniform(0.3, 0.5), shop.chance(0.25)
        for k in range(shop.count(2, 6)):
            layer, thick = shop.skin(0.4), shop.uniform(0.05, 0.2)
            r = radius * shop.uniform(0.9, 1.05)
            part = (
                shapes.box(1.6 * r, 1.6 * r, thick, layer.spacing, 0.02)
                if square
                else shapes.cylinder(r, thick, layer.spacing, bevel=0.025)
            )
            parts.append(layer.on(part.grounded(z)))
            z += thick - 0.005
            radius *= shop.pick([1.0, 0.75]) if k else 1.0
        cherries = [shapes.ball((0.06,) * 3, 0.05).moved(0.5 * radius, 0, z + 0.04)]
        return parts + around(shop.plain(p.accent).on(cherries[0]), shop.count(1, 7))
    cone_skin = shop.wooden()
    parts = [cone_skin.on(shapes.cylinder(0.03, 0.55, cone_skin.spacing, top=0.2).grounded())]
    z, size = 0.6, 0.22
    for _ in range(shop.count(1, 3)):
        scoop = shop.skin(0.5)
        parts.append(scoop.on(shapes.ball((size, size, 0.85 * size), scoop.spacing).moved(z=z)))
        z, size = z + 1.1 * size, 0.85 * size
    return parts

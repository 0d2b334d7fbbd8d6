"""Vehicles that drive, fly or float towards +x: cars, trucks, trains, planes, rockets and boats."""

from __future__ import annotations

import numpy as np

from zero123.data.procedural import shapes
from zero123.data.procedural.pottery import filled, smooth
from zero123.data.procedural.solid import Array, Solid, around, both_sides
from zero123.data.procedural.workshop import Workshop


def wheels(shop: Workshop, places: list[float], half_width: float, radius: float) -> list[Solid]:
    """Pairs of wheels with hubs at the given x, resting on the ground."""
    tyre, hub = shop.plain(shop.palette.dark), shop.plain(shop.pick([shop.palette.light, shop.palette.accent]))
    thick = shop.uniform(0.06, 0.12)
    wheel = shapes.cylinder(radius, thick, 1.2 * shop.spacing * 2, bevel=0.02).turned("x", np.pi / 2)
    disc = shapes.cylinder(0.55 * radius, 0.03, 0.05).turned("x", np.pi / 2).moved(y=thick / 2)
    pair = [tyre.on(wheel), hub.on(disc)]
    return [s for x in places for part in pair for s in both_sides(part.moved(x, half_width, radius))]


def side_view(points: Array, width: float, shop: Workshop, spacing: float, bevel: float) -> Solid:
    """Body whose side view is an outline of (x, z), extruded across y."""
    centre = np.array([0.0, (points[:, 1].min() + points[:, 1].max()) / 2])
    plate = shapes.extrude(points - centre, width, spacing, bevel)
    return plate.turned("x", np.pi / 2).moved(z=float(centre[1]))


def car(shop: Workshop) -> list[Solid]:
    """Car, van or pickup: body, cabin with dark windows, wheels, lights, bumpers."""
    long, wide, radius = shop.uniform(0.75, 1.0), shop.uniform(0.34, 0.46), shop.uniform(0.08, 0.13)
    skin, p = shop.skin(0.3), shop.palette
    floor, waist = 0.7 * radius, 0.7 * radius + shop.uniform(0.14, 0.22)
    nose, tail = shop.uniform(0.5, 1.0), shop.uniform(0.6, 1.0)
    hull = np.array([[-0.5, 0], [0.5, 0], [0.51, 0.5 * nose], [0.46, nose], [-0.48, tail * 0.5 + 0.5], [-0.51, 0.4]])
    outline = hull * [long, waist - floor] + [0, floor]
    parts = [skin.on(side_view(outline, wide, shop, skin.spacing, shop.pick([0.012, 0.035])))]
    roof = shop.uniform(0.12, 0.24)
    rear, front = shop.uniform(-0.5, -0.2), shop.uniform(0.05, 0.3)
    slant = shop.uniform(0.04, 0.16)
    sunk = -0.6 * (waist - floor)
    glass = np.array(
        [
            [rear, sunk],
            [front, sunk],
            [front, 0],
            [front - slant, roof],
            [rear + slant * shop.uniform(0.1, 1), roof],
            [rear, 0],
        ]
    )
    glass = glass * [long, 1] + [0, waist]
    middle = np.array([(rear + front) / 2 * long, 0.0])
    top = side_view(glass - middle, 0.86 * wide, shop, shop.spacing * 1.2, 0.02).moved(x=float(middle[0]))
    low, high = waist + 0.12 * roof, waist + 0.72 * roof
    pillar = shop.uniform(0.1, 0.25)

    def window(q: Array) -> Array:
        across = (np.abs((q[:, 0] - middle[0]) / pillar % 1 - 0.5) < 0.44) | (np.abs(q[:, 1]) < 0.36 * wide)
        return np.asarray((q[:, 2] > low) & (q[:, 2] < high) & across)

    cabin = skin if shop.chance(0.7) else shop.plain(p.light)
    parts.append(shop.decorated(cabin, window, shop.pick([p.dark, p.dark, np.array([0.55, 0.75, 0.85])])).on(top))
    lamp, stop = shop.plain(p.light), shop.plain(np.array([0.85, 0.1, 0.1]))
    z = floor + 0.55 * (waist - floor) * min(nose, 1)
    parts += both_sides(lamp.on(shapes.ball((0.03, 0.035, 0.035), 0.04).moved(0.5 * long, 0.33 * wide, z)))
    parts += both_sides(stop.on(shapes.box(0.03, 0.06, 0.04, 0.05).moved(-0.5 * long, 0.35 * wide, z)))
    for x in (-0.5, 0.5):
        parts.append(shop.plain(p.dark).on(shapes.box(0.05, wide, 0.05, 0.06).moved(x * long, 0, floor + 0.04)))
    return parts + wheels(shop, [-0.3 * long, 0.3 * long], wide / 2 - 0.01, radius)


def truck(shop: Workshop) -> list[Solid]:
    """Truck, bus, train engine or wagon: a chassis with a cab in front and a load, tank or boiler behind."""
    wide, radius, count = shop.uniform(0.28, 0.4), shop.uniform(0.06, 0.1), shop.count(2, 4)
    p, skin, load = shop.palette, shop.skin(0.3), shop.skin(0.65)
    frame, glass = shop.plain(p.dark), shop.plain(np.array([0.2, 0.3, 0.38]))
    deck = 1.5 * radius
    parts = [frame.on(shapes.box(1.0, 0.8 * wide, 0.06, frame.spacing).moved(z=deck))]
    cab, tall = shop.uniform(0.2, 0.3), shop.uniform(0.25, 0.42)
    front = 0.5 - cab / 2
    engine = shop.chance(0.3)
    if engine:
        front = -0.5 + cab / 2
    parts.append(skin.on(shapes.box(cab, wide, tall, skin.spacing, bevel=0.02).moved(front, 0, deck + tall / 2)))
    window = shapes.box(0.7 * cab, wide + 0.012, 0.34 * tall, 0.06).moved(front, 0, deck + 0.7 * tall)
    parts += [
        glass.on(window),
        glass.on(shapes.box(cab + 0.012, 0.8 * wide, 0.34 * tall, 0.06).moved(front, 0, deck + 0.7 * tall)),
    ]
    rest, middle = 1.0 - cab, 0.5 - cab / 2 - 0.5
    middle = -middle if engine else -cab / 2
    high = shop.uniform(0.15, 0.42)
    kind = 1 if engine else shop.count(0, 3)
    if kind in (0, 3):
        cargo = shapes.box(0.95 * rest, 1.02 * wide, high, load.spacing, bevel=0.015).moved(
            middle, 0, deck + high / 2 + 0.02
        )
    elif kind == 1:
        drum = shapes.capsule(0.45 * wide, rest, load.spacing).turned("y", np.pi / 2)
        cargo = drum.moved(middle, 0, deck + 0.45 * wide)
    else:
        cargo = shapes.box(0.9 * rest, wide, 0.5 * high, load.spacing).moved(middle, 0, deck + 0.25 * high + 0.02)
        sand = shapes.ball((0.42 * rest, 0.45 * wide, 0.5 * high), 0.05).moved(middle, 0, deck + 0.5 * high)
        parts.append(shop.plain().on(sand))
    parts.append(load.on(cargo))
    if engine:
        pipe = shapes.cylinder(0.05, 0.24, 0.05, top=0.07).moved(0.3, 0, deck + 0.9 * wide + 0.05)
        parts.append(shop.plain(p.accent).on(pipe))
    lamp = shop.plain(p.light)
    parts += both_sides(
        lamp.on(shapes.ball((0.025, 0.03, 0.03), 0.04).moved(0.5, 0.3 * wide, deck + (0.0 if engine else 0.05)))
    )
    places = [float(x) for x in np.linspace(-0.5 + 1.3 * radius, 0.5 - 1.3 * radius, count)]
    return parts + wheels(shop, places, 0.4 * wide, radius)


def plane(shop: Workshop) -> list[Solid]:
    """Aeroplane: fuselage, wings, tail, cockpit, engines or a propeller."""
    p, skin, wing_skin = shop.palette, shop.skin(0.4), shop.skin(0.3)
    fat, span, chord = shop.uniform(0.07, 0.13), shop.uniform(0.35, 0.6), shop.uniform(0.12, 0.25)
    body = shapes.ball((0.5, fat, fat), skin.spacing, power=shop.uniform(2, 3)).turned("y", shop.uniform(-0.05, 0.05))
    sweep, tip = shop.uniform(-0.02, 0.3), shop.uniform(0.3, 1.0) * chord
    outline = np.array([[-chord / 2, 0], [chord / 2, 0], [tip / 2 - sweep, span], [-tip / 2 - sweep, span]])
    outline[:, 1] -= 0.4 * span
    offset = -0.4 * sweep
    wing = shapes.extrude(outline - [offset, 0], 0.03, wing_skin.spacing).moved(
        0.08 + offset, 0.4 * span, shop.uniform(-0.6, 0.6) * fat
    )
    parts = [skin.on(body), *both_sides(wing_skin.on(wing))]
    small = shapes.box(0.1, 0.2, 0.02, 0.05).moved(-0.42, 0.1, 0.02)
    fin = shapes.box(0.14, 0.02, shop.uniform(0.15, 0.26), 0.05, top=0.6).moved(-0.42, 0, 0.1)
    tail = shop.plain(p.accent)
    parts += [*both_sides(tail.on(small)), tail.on(fin)]
    glass = shop.plain(np.array([0.15, 0.25, 0.35]))
    parts.append(glass.on(shapes.ball((0.12, 0.6 * fat, 0.07), 0.04).moved(0.2, 0, 0.75 * fat)))
    metal = shop.plain(p.dark)
    if shop.chance(0.5):
        parts += [
            metal.on(shapes.box(0.02, 0.36, 0.04, 0.05).moved(0.5)),
            metal.on(shapes.ball((0.04, 0.035, 0.035), 0.04).moved(0.5)),
        ]
    else:
        y = 0.4 * span
        pod = (
            shapes.capsule(0.045, 0.2, 0.05)
            .turned("y", np.pi / 2)
            .moved(0.1 - 0.4 * sweep, y, float(wing.low[2]) - 0.02)
        )
        parts += both_sides(shop.plain().on(pod))
    return parts


def rocket(shop: Workshop) -> list[Solid]:
    """Upright rocket: pointed body with portholes, nose in another colour, fins around."""
    p, skin = shop.palette, shop.skin(0.5)
    fat, foot = shop.uniform(0.1, 0.2), shop.uniform(0.05, 0.12)
    curve = smooth(np.array([[foot, 0.1], [fat, 0.4], [0.8 * fat, 0.7], [0.012, 1.0]]), 7)
    edge, hole = shop.uniform(0.6, 0.85), shop.uniform(0.4, 0.6)
    skin = shop.decorated(skin, lambda q: q[:, 2] > edge, p.accent)
    skin = shop.decorated(skin, lambda q: (q[:, 0] > 0) & (q[:, 1] ** 2 + (q[:, 2] - hole) ** 2 < 0.005), p.dark)
    parts = [skin.on(shapes.lathe(filled(curve), skin.spacing))]
    reach = shop.uniform(0.15, 0.3)
    outline = np.array([[0, 0.42], [0, 0.12], [reach, 0], [reach + 0.03, 0.14]]) - [0.06, 0.2]
    fin = shapes.extrude(outline[::1], 0.03, 0.06).turned("x", np.pi / 2).moved(0.06 + 0.5 * foot, 0, 0.2)
    parts += around(shop.plain(shop.pick([p.second, p.accent])).on(fin), shop.count(3, 4))
    parts.append(shop.plain(p.dark).on(shapes.cylinder(foot, 0.08, 0.05, top=0.8 * foot).moved(z=0.09)))
    return parts


def boat(shop: Workshop) -> list[Solid]:
    """Boat: a hull with a pointed bow, a deck house with funnel, or a mast with sails."""
    p, skin = shop.palette, shop.skin(0.4)
    wide, deep = shop.uniform(0.13, 0.2), shop.uniform(0.14, 0.24)
    outline = smooth(np.array([[0.5, 0], [0.2, 0.9 * wide], [-0.2, wide], [-0.45, 0.7 * wide], [-0.47, 0]]), 5)[:-1]
    loop = np.concatenate([outline, outline[:0:-1] * [1, -1]]) if outline[0, 1] == 0 else outline
    loop = np.concatenate([loop[: len(outline)], [[-0.47, 0]], loop[len(outline) :]])
    line = shop.uniform(-0.3, 0.2) * deep
    painted = shop.decorated(skin, lambda q: q[:, 2] < line + deep / 2, p.second)
    hull = shapes.extrude(loop * 0.75, deep, skin.spacing, top=1.33).moved(z=deep / 2)
    parts = [painted.on(hull)]
    if shop.chance(0.5):
        mast, sail = shop.uniform(0.6, 0.9), shop.skin(0.4)
        parts.append(shop.wooden().on(shapes.cylinder(0.015, mast, 0.05).moved(0.05, 0, deep + mast / 2 - 0.02)))
        for sign, reach in ((-1.0, 0.4), (1.0, 0.32)):
            cut = np.array([[0, 0], [reach * sign, 0], [0, 0.8 * mast]])[:: int(sign)] - [0.1 * sign, 0.2 * mast]
            cloth = shapes.extrude(cut, 0.015, sail.spacing).turned("x", np.pi / 2)
            parts.append(sail.on(cloth.moved(0.05 + 0.1 * sign, 0, deep + 0.05 + 0.2 * mast)))
        return parts
    cabin, tall = shop.skin(0.3), shop.uniform(0.1, 0.2)
    for k in range(shop.count(1, 3)):
        part = shapes.box(0.34 - 0.09 * k, 1.1 * wide - 0.05 * k, tall, cabin.spacing)
        parts.append(cabin.on(part.moved(-0.05, 0, deep + tall * (k + 0.5) - 0.01)))
    parts.append(shop.plain(p.accent).on(shapes.cylinder(0.05, 0.3, 0.05).moved(-0.1, 0, deep + tall + 0.11)))
    return parts

"""Things of daily use: screens, appliances, shoes, bags, hats and bent tubes."""

from __future__ import annotations

import numpy as np

from zero123.data.procedural import shapes
from zero123.data.procedural.pottery import filled, hollow, smooth
from zero123.data.procedural.solid import Array, Solid, both_sides
from zero123.data.procedural.workshop import Workshop


def screen(shop: Workshop) -> list[Solid]:
    """Television, monitor, phone or laptop: a picture in a frame that faces +x, with a stand or a keyboard."""
    case, picture, p = (
        shop.plain(shop.pick([shop.palette.dark, shop.palette.light, shop.palette.main])),
        shop.skin(0.95),
        shop.palette,
    )
    y, z, thick = shop.uniform(0.5, 1.0), shop.uniform(0.35, 0.65), shop.uniform(0.04, 0.3)
    laptop = shop.chance(0.35)
    thick = 0.035 if laptop else thick
    frame = shop.uniform(0.03, 0.08)
    panel = case.on(shapes.box(thick, y, z, case.spacing, bevel=0.012).moved(z=z / 2))
    view = shapes.box(0.02, y - 2 * frame, z - 2 * frame, picture.spacing).moved(thick / 2, 0, z / 2)
    lid = [panel, picture.on(view)]
    if laptop:
        keys = shop.plain(p.dark)
        lean = -shop.uniform(0.1, 0.5)
        parts = [s.turned("y", lean).moved(x=-0.3) for s in lid]
        parts.append(case.on(shapes.box(0.6, y, 0.035, case.spacing)))
        for k in range(4):
            parts.append(keys.on(shapes.box(0.055, 0.86 * y, 0.012, keys.spacing).moved(-0.2 + 0.075 * k, 0, 0.02)))
        parts.append(keys.on(shapes.box(0.12, 0.25 * y, 0.01, keys.spacing).moved(0.19, 0, 0.018)))
        return parts
    kind, stand = shop.count(0, 2), shop.plain()
    if kind == 0:
        lid.append(stand.on(shapes.cylinder(0.04, 0.2, 0.05).moved(z=-0.05)))
        lid.append(stand.on(shapes.cylinder(0.3 * y, 0.03, stand.spacing).scaled(0.7, 1, 1).moved(z=-0.14)))
    elif kind == 1:
        foot = shapes.box(thick + 0.12, 0.05, 0.04, 0.05).moved(0, 0.35 * y, -0.015)
        lid += both_sides(stand.on(foot))
        rod = np.array([[0, 0.01, z - 0.02], [0, 0.1, z + 0.12], [0, 0.22, z + 0.3]])
        lid += both_sides(stand.on(shapes.tube(rod, 0.01, 0.04))) if shop.chance(0.4) else []
    return lid


def appliance(shop: Workshop) -> list[Solid]:
    """Radio, camera, oven, washer or loudspeaker: a case with lens, knobs, buttons, grille and handle in front."""
    case, p = shop.skin(0.35), shop.palette
    x, y, z = shop.uniform(0.2, 0.5), shop.uniform(0.4, 0.9), shop.uniform(0.35, 0.8)
    front = x / 2
    if shop.chance(0.4):
        low, high, pitch = shop.uniform(-0.45, -0.1) * z, shop.uniform(0.0, 0.4) * z, shop.uniform(0.05, 0.08)
        case = shop.decorated(
            case,
            lambda q: (
                (q[:, 0] > front - 0.02)
                & (q[:, 2] > low)
                & (q[:, 2] < high)
                & (q[:, 2] / pitch % 1 < 0.5)
                & (np.abs(q[:, 1]) < 0.42 * y)
            ),
            p.dark,
        )
    parts = [case.on(shapes.box(x, y, z, case.spacing, bevel=shop.pick([0.012, 0.05])))]
    ring, glass, knob = shop.plain(shop.pick([p.light, p.dark])), shop.plain(p.dark), shop.plain(p.accent)
    radius, off = min(y, z) * shop.uniform(0.15, 0.38), shop.pick([0.0, 0.0, 0.18, -0.18]) * y
    if shop.chance(0.75):
        reach = shop.uniform(0.03, 0.2)
        barrel = shapes.cylinder(radius, reach + 0.04, ring.spacing, bevel=0.012).turned("y", np.pi / 2)
        parts.append(ring.on(barrel.moved(front + reach / 2 - 0.02, off, -0.08 * z)))
        lens = shapes.ball((0.25 * radius, 0.75 * radius, 0.75 * radius), 0.05)
        parts.append(glass.on(lens.moved(front + reach - 0.01, off, -0.08 * z)))
    else:
        window = shapes.box(0.025, 0.6 * y, 0.5 * z, glass.spacing).moved(front, -0.12 * y, -0.08 * z)
        parts.append(glass.on(window))
    count = shop.count(1, 5)
    small = shapes.cylinder(0.03, 0.05, 0.04).turned("y", np.pi / 2).moved(front + 0.01, 0, 0.38 * z)
    parts += [knob.on(small.moved(y=(k + 0.5) * 0.8 * y / count - 0.4 * y)) for k in range(count)]
    kind = shop.count(0, 3)
    if kind == 0:
        knots = np.array(
            [
                [0, -0.35 * y, z / 2 - 0.02],
                [0, -0.3 * y, z / 2 + 0.15],
                [0, 0.3 * y, z / 2 + 0.15],
                [0, 0.35 * y, z / 2 - 0.02],
            ]
        )
        parts.append(ring.on(shapes.tube(smooth(knots, 5), 0.025, 0.04)))
    elif kind == 1:
        parts.append(ring.on(shapes.box(0.5 * x, 0.3 * y, 0.1, 0.05, bevel=0.012).moved(0, 0, z / 2 + 0.04)))
        parts.append(knob.on(shapes.cylinder(0.04, 0.06, 0.04).moved(0, 0.35 * y, z / 2 + 0.02)))
    elif kind == 2:
        parts += [
            glass.on(shapes.cylinder(0.035, 0.06, 0.05).moved(sx * 0.4 * x, sy * 0.42 * y, -z / 2 - 0.02))
            for sx in (-1, 1)
            for sy in (-1, 1)
        ]
    return parts


def shoe(shop: Workshop) -> list[Solid]:
    """Shoe or boot with its toe towards +x: sole, upper, shaft, laces, a stripe at the sides."""
    skin, p = shop.skin(0.4), shop.palette
    long, wide, tall = 0.5, shop.uniform(0.16, 0.2), shop.uniform(0.1, 0.45)
    sole_skin = shop.plain(shop.pick([p.light, p.dark, p.second]))
    toe = shop.uniform(0.75, 1.0)
    side = np.array(
        [[long, 0], [0.4, 0.75 * wide], [0.15, wide * toe], [-0.2, 0.72 * wide], [-0.44, 0.75 * wide], [-long, 0]]
    )
    half = smooth(side, 5)
    loop = np.concatenate([half, half[-2:0:-1] * [1, -1]])
    thick = shop.uniform(0.05, 0.13)
    parts = [sole_skin.on(shapes.extrude(loop, thick, sole_skin.spacing, bevel=0.02).moved(z=thick / 2))]
    slope, line = shop.uniform(-0.3, 0.3), shop.uniform(-0.15, 0.1)
    stripe = shop.decorated(
        skin, lambda q: np.abs(q[:, 0] - line - slope * q[:, 2]) < 0.05, shop.pick([p.accent, p.light, p.second])
    )
    vamp = shapes.ball((0.47, 0.92 * wide, shop.uniform(0.16, 0.24)), stripe.spacing, power=2.4).moved(z=thick)
    parts.append(stripe.on(vamp))
    shaft = shapes.extrude(
        shapes.circle(40) * [0.2, 0.8 * wide], tall + 0.2, skin.spacing, bevel=0.03, top=shop.uniform(0.85, 1.1)
    )
    parts.append(skin.on(shaft.moved(-0.22, 0, thick + (tall + 0.2) / 2)))
    parts.append(shop.plain(p.dark).on(shapes.ball((0.15, 0.6 * wide, 0.02), 0.05).moved(-0.22, 0, thick + tall + 0.2)))
    lace = shop.plain(p.light)
    for k in range(shop.count(0, 4)):
        x = 0.02 + 0.07 * k
        z = thick + float(vamp.high[2] - thick) * (1 - (x / 0.47) ** 2.4) ** (1 / 2.4)
        parts.append(lace.on(shapes.capsule(0.016, 0.9 * wide, 0.04).turned("x", np.pi / 2).moved(x, 0, z)))
    return parts


def bag(shop: Workshop) -> list[Solid]:
    """Bag, basket, bucket or suitcase: an open or closed body with an arched handle above, pockets or a lid."""
    skin, trim, p = shop.skin(0.7), shop.plain(), shop.palette
    height, wide, deep = shop.uniform(0.3, 0.7), shop.uniform(0.25, 0.4), shop.uniform(0.12, 0.25)
    if shop.chance(0.4):
        wall = np.array([[wide * shop.uniform(0.6, 1), 0], [wide, height]])
        body = shapes.lathe(hollow(wall, 0.02, 0.85), skin.spacing)
        deep = wide
        parts = [skin.on(body), trim.on(shapes.torus(wide, 0.018, 0.05).moved(z=height))]
    else:
        body = shapes.box(
            2 * deep, 2 * wide, height, skin.spacing, bevel=shop.pick([0.012, 0.05]), top=shop.uniform(0.75, 1.05)
        )
        pocket = shapes.box(0.06, 1.3 * wide, 0.45 * height, trim.spacing, bevel=0.02).moved(
            0.95 * deep, 0, 0.35 * height
        )
        parts = [skin.on(body.moved(z=height / 2))]
        parts += [trim.on(pocket)] if shop.chance(0.5) else []
        wide *= 0.6
        flap = shop.plain(p.second)
        parts += (
            [flap.on(shapes.box(2 * deep + 0.02, 2.02 * wide, 0.08, 0.06, bevel=0.02).moved(z=height - 0.02))]
            if shop.chance(0.4)
            else []
        )
    rise = shop.uniform(0.1, 0.4)
    knots = np.array(
        [
            [0, -wide, height - 0.03],
            [0, -0.8 * wide, height + 0.7 * rise],
            [0, 0, height + rise],
            [0, 0.8 * wide, height + 0.7 * rise],
            [0, wide, height - 0.03],
        ]
    )
    grip = shapes.tube(smooth(knots, 5), shop.uniform(0.012, 0.028), 0.05)
    twin = shop.chance(0.3) and float(body.high[0]) < 0.3
    return parts + [trim.on(grip.moved(x=s)) for s in ((-0.5 * deep, 0.5 * deep) if twin else (0.0,))]


def hat(shop: Workshop) -> list[Solid]:
    """Hat, cap or helmet: crown, brim or visor, band, perhaps a bobble."""
    skin, trim = shop.skin(0.6), shop.plain()
    radius, tall, brim = shop.uniform(0.2, 0.3), shop.uniform(0.15, 0.5), shop.uniform(0.02, 0.25)
    slim = shop.uniform(0.05, 1.1)
    crown = smooth(
        np.array(
            [
                [radius, 0],
                [0.97 * radius, 0.4 * tall],
                [(0.4 + 0.6 * min(slim, 1)) * 0.9 * radius, 0.85 * tall],
                [0.5 * slim * radius, tall],
            ]
        ),
        6,
    )
    parts = [skin.on(shapes.lathe(filled(crown), skin.spacing))]
    if shop.chance(0.3):
        visor = shapes.ball((brim + 0.15, 0.9 * radius, 0.025), 0.045).turned("y", 0.15).moved(0.8 * radius, 0, 0.02)
        parts.append(trim.on(visor))
    else:
        rim = shapes.cylinder(radius + brim, 0.025, skin.spacing, bevel=0.01).scaled(1, shop.uniform(0.85, 1.1), 1)
        parts.append(skin.on(rim))
    parts.append(trim.on(shapes.torus(0.985 * radius, 0.025, 0.05, squash=shop.uniform(0.8, 2.5)).moved(z=0.06)))
    if shop.chance(0.4):
        parts.append(trim.on(shapes.ball((0.06,) * 3, 0.05).moved(z=tall + 0.02)))
    return parts


def coil(shop: Workshop) -> list[Solid]:
    """Sculpture of one bent tube: a spring, a snake or a random curve, perhaps on a plinth."""
    skin, kind, thick = shop.skin(0.85), shop.count(0, 2), shop.uniform(0.035, 0.075)
    t = np.linspace(0, 1, 60)
    if kind == 0:
        rounds, radius = shop.uniform(2, 4), shop.uniform(0.18, 0.35)
        grow = 1 - shop.uniform(0, 0.8) * t
        path = np.stack(
            [radius * grow * np.cos(2 * np.pi * rounds * t), radius * grow * np.sin(2 * np.pi * rounds * t), 0.9 * t], 1
        )
    elif kind == 1:
        waves = shop.uniform(0.8, 2)
        lift = np.maximum(t - 0.75, 0) ** 2 * shop.uniform(2, 7)
        path = np.stack([t - 0.5, shop.uniform(0.08, 0.2) * np.sin(2 * np.pi * waves * t), lift], 1)
    else:
        path = smooth(shop.generator.uniform(-0.45, 0.45, (shop.count(4, 6), 3)), 12)
        return [skin.on(shapes.tube(path, thick, skin.spacing))]
    width = thick * np.interp(t, [0, 0.1, 0.9, 1], [shop.uniform(0.2, 1), 1, 1, shop.uniform(0.6, 1.3)])
    parts = [skin.on(shapes.tube(path, width, skin.spacing))]
    if kind == 1:
        tip: Array = path[-1]
        bead = (
            shapes.ball((0.02,) * 3, 0.03)
            .moved(y=0.55 * float(width[-1]))
            .moved(float(tip[0]) + 0.6 * thick, 0, float(tip[2]) + 0.6 * thick)
        )
        parts += [shop.plain(shop.palette.dark).on(s.moved(y=float(tip[1]))) for s in both_sides(bead)]
    return parts

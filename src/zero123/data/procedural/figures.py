"""People, crawling animals and castles: larger figures built of many small parts."""

from __future__ import annotations

import numpy as np

from zero123.data.procedural import shapes
from zero123.data.procedural.colours import hsv
from zero123.data.procedural.creatures import eyes
from zero123.data.procedural.pottery import smooth
from zero123.data.procedural.solid import Solid, both_sides
from zero123.data.procedural.workshop import Workshop


def person(shop: Workshop) -> list[Solid]:
    """Toy person that faces +x: head with hair or a hat, shirt, arms, trousers or skirt, shoes, perhaps a backpack."""
    p, shirt, cloth = shop.palette, shop.skin(0.6), shop.plain(shop.pick([shop.palette.second, shop.palette.dark]))
    flesh = shop.plain(hsv(shop.uniform(0.04, 0.09), shop.uniform(0.25, 0.65), shop.uniform(0.3, 0.98)))
    leg, trunk, size = shop.uniform(0.18, 0.42), shop.uniform(0.22, 0.34), shop.uniform(0.09, 0.18)
    wide = shop.uniform(0.1, 0.16)
    body = shapes.extrude(
        shapes.circle(36) * [0.65 * wide, wide], trunk, shirt.spacing, bevel=0.04, top=shop.uniform(0.8, 1.25)
    )
    parts = [shirt.on(body.moved(z=leg + trunk / 2))]
    if shop.chance(0.25):
        parts.append(
            cloth.on(shapes.cylinder(wide * shop.uniform(1.3, 2), 0.75 * leg, 0.05, top=0.9 * wide).moved(z=0.68 * leg))
        )
    limb = shapes.cylinder(0.055, leg + 0.03, 0.05).grounded().moved(0, 0.55 * wide)
    parts += both_sides(cloth.on(limb))
    parts += both_sides(
        shop.plain(p.dark).on(shapes.box(0.15, 0.09, 0.06, 0.05, bevel=0.02).moved(0.025, 0.55 * wide, 0.03))
    )
    shoulder = np.array([0, wide * 0.9, leg + 0.85 * trunk])
    hand = shoulder + np.array([shop.uniform(-0.05, 0.22), shop.uniform(0.04, 0.22), shop.uniform(-0.26, 0.2)])
    arm = np.stack([shoulder, (shoulder + hand) / 2 + [-0.02, 0.03, 0], hand])
    parts += both_sides(shirt.on(shapes.tube(smooth(arm, 4), 0.042, 0.05)))
    parts += both_sides(flesh.on(shapes.ball((0.045,) * 3, 0.05).moved(*hand)))
    crown = leg + trunk + 0.9 * size
    parts.append(flesh.on(shapes.ball((0.95 * size, 0.9 * size, size), 0.05).moved(z=crown)))
    parts += eyes(shop, 0.82 * size, 0.35 * size, crown + 0.15 * size, 0.13 * size)
    hair = shop.plain(hsv(shop.uniform(0.03, 0.12), shop.uniform(0.2, 0.8), shop.uniform(0.05, 0.8)))
    parts.append(
        hair.on(shapes.ball((size, 1.02 * size, 0.95 * size), 0.045).moved(-0.22 * size, 0, crown + 0.2 * size))
    )
    if shop.chance(0.35):
        top = shop.plain(p.accent)
        parts.append(top.on(shapes.cylinder(1.25 * size, 0.03, 0.05).moved(0, 0, crown + 0.65 * size)))
        parts.append(
            top.on(shapes.cylinder(0.9 * size, 0.7 * size, 0.05, top=0.75 * size, bevel=0.03).moved(0, 0, crown + size))
        )
    if shop.chance(0.3):
        parts.append(
            shop.plain(p.accent).on(
                shapes.box(0.12, 1.4 * wide, 0.8 * trunk, 0.05, bevel=0.03).moved(
                    -0.65 * wide - 0.04, 0, leg + 0.55 * trunk
                )
            )
        )
    return parts


def crawler(shop: Workshop) -> list[Solid]:
    """Beetle, spider, turtle or crab: a domed shell, a head with eyes, pairs of legs, feelers or claws."""
    shell, limb, p = shop.skin(0.85), shop.plain(), shop.palette
    long, wide, tall = shop.uniform(0.26, 0.4), shop.uniform(0.2, 0.34), shop.uniform(0.12, 0.28)
    lift, pairs = shop.uniform(0.08, 0.2), shop.count(2, 4)
    parts = [shell.on(shapes.ball((long, wide, tall), shell.spacing).moved(z=lift + 0.3 * tall))]
    parts.append(
        limb.on(shapes.ball((0.98 * long, 1.04 * wide, 0.35 * tall), limb.spacing).moved(z=lift + 0.15 * tall))
    )
    size = shop.uniform(0.08, 0.14)
    face = lift + shop.uniform(0.2, 0.6) * tall
    parts.append(limb.on(shapes.ball((1.2 * size, size, 0.9 * size), 0.05).moved(long + 0.4 * size, 0, face)))
    parts += eyes(shop, long + 1.1 * size, 0.5 * size, face + 0.5 * size, 0.25 * size)
    thick, reach = shop.uniform(0.018, 0.05), shop.uniform(0.1, 0.28)
    for x in np.linspace(-0.6, 0.6, pairs) * long:
        side = wide * (1 - (x / long) ** 2) ** 0.5
        knots = np.array(
            [[x, 0.7 * side, lift], [1.15 * x, side + 0.5 * reach, lift + 0.3 * reach], [1.3 * x, side + reach, thick]]
        )
        parts += both_sides(limb.on(shapes.tube(smooth(knots, 4), thick, 0.05)))
    if shop.chance(0.5):
        z = face + 0.7 * size
        knots = np.array(
            [
                [long + 0.5 * size, 0.3 * size, z - 0.3 * size],
                [long + size, 0.6 * size, z + size],
                [long + 2.4 * size, size, z + 1.3 * size],
            ]
        )
        parts += both_sides(limb.on(shapes.tube(smooth(knots, 4), 0.012, 0.04)))
        parts += both_sides(shop.plain(p.accent).on(shapes.ball((0.025,) * 3, 0.04).moved(*knots[-1])))
    return parts


def castle(shop: Workshop) -> list[Solid]:
    """Castle: a keep with towers at the corners, pointed or flat roofs, battlements, a gate towards +x."""
    stone, roof, p = shop.skin(0.6), shop.plain(shop.pick([shop.palette.second, shop.palette.accent])), shop.palette
    x, y, height = shop.uniform(0.2, 0.32), shop.uniform(0.22, 0.4), shop.uniform(0.2, 0.4)
    radius, tall, pointed = shop.uniform(0.07, 0.12), height * shop.uniform(1.1, 1.8), shop.chance(0.6)
    parts = [stone.on(shapes.box(2 * x, 2 * y, height, 1.3 * stone.spacing).moved(z=height / 2))]
    tower = shapes.cylinder(radius, tall, 1.3 * stone.spacing, top=0.92 * radius).moved(z=tall / 2)
    if pointed:
        top = shapes.cone(1.25 * radius, shop.uniform(0.15, 0.35), 0.05).grounded(tall - 0.01)
    else:
        top = shapes.cylinder(1.2 * radius, 0.08, 0.05).grounded(tall - 0.03)
    for sx in (-1, 1):
        parts += [s for part in (stone.on(tower), roof.on(top)) for s in both_sides(part.moved(sx * x, y))]
    gate = shapes.box(0.03, 0.16, 0.6 * height, 0.05).moved(x, 0, 0.3 * height)
    parts.append(shop.plain(p.dark).on(gate))
    count = shop.count(2, 4)
    block = shapes.box(0.05, 0.06, 0.07, 0.06).moved(x - 0.025, 0, height + 0.03)
    row = np.linspace(-0.75, 0.75, 2 * count) * (y - radius)
    parts += [stone.on(block.moved(y=float(k))) for k in row]
    parts += [stone.on(block.moved(x=0.05 - 2 * x, y=float(k))) for k in row]
    if shop.chance(0.6):
        keep = shop.uniform(0.1, 0.3)
        parts.append(stone.on(shapes.box(x, y, keep + 0.1, 1.3 * stone.spacing).moved(z=height + keep / 2)))
        parts.append(roof.on(shapes.box(1.15 * x, 1.15 * y, 0.22, 0.05, top=0.06).moved(z=height + keep + 0.155)))
    return parts

"""Furniture, houses and packages: boards, legs, cushions, roofs and printed boxes."""

from __future__ import annotations

import numpy as np

from zero123.data.procedural import shapes
from zero123.data.procedural.solid import Solid, both_sides
from zero123.data.procedural.workshop import Skin, Workshop


def legs(shop: Workshop, skin: Skin, size: tuple[float, float], height: float) -> list[Solid]:
    """Four legs under a board of size (x, y), from the ground to `height`: square, round, tapered or splayed."""
    thick, style = shop.uniform(0.025, 0.06), shop.count(0, 2)
    x, y = size[0] / 2 - thick, size[1] / 2 - thick
    tall = height + 0.02
    if style == 0:
        leg = shapes.box(1.6 * thick, 1.6 * thick, tall, skin.spacing)
    else:
        leg = shapes.cylinder(thick * (0.5 if style == 2 else 1), tall, skin.spacing, top=thick)
    leg = leg.grounded()
    return [skin.on(leg.moved(sx * x, sy * y)) for sx in (-1, 1) for sy in (-1, 1)]


def table(shop: Workshop) -> list[Solid]:
    """Table, stool or desk: a round or square top on legs or on a pedestal, perhaps with a lower shelf."""
    skin = shop.wooden() if shop.chance(0.4) else shop.skin(0.5)
    frame = skin if shop.chance(0.5) else shop.plain()
    x, y, height, thick = (
        shop.uniform(0.4, 0.9),
        shop.uniform(0.4, 1.0),
        shop.uniform(0.25, 0.9),
        shop.uniform(0.03, 0.1),
    )
    if shop.chance(0.35):
        y = x
        top = shapes.cylinder(x / 2, thick, skin.spacing)
        inner = (0.72 * x, 0.72 * y)
    else:
        top = shapes.box(x, y, thick, skin.spacing, bevel=shop.pick([0.008, 0.03]))
        inner = (0.96 * x, 0.96 * y)
    parts = [skin.on(top.moved(z=height + thick / 2))]
    if shop.chance(0.2):
        parts.append(frame.on(shapes.cylinder(shop.uniform(0.03, 0.09), height + 0.02, frame.spacing).grounded()))
        return [*parts, frame.on(shapes.cylinder(0.35 * x, 0.04, frame.spacing, top=0.25 * x).grounded())]
    parts += legs(shop, Skin(frame.texture, 2 * shop.spacing), inner, height)
    if shop.chance(0.35):
        parts.append(
            frame.on(shapes.box(inner[0], inner[1], 0.03, frame.spacing).moved(z=height * shop.uniform(0.2, 0.6)))
        )
    return parts


def chair(shop: Workshop) -> list[Solid]:
    """Chair or armchair that faces +x: seat, legs, back with slats or a board, perhaps arms."""
    skin = shop.wooden() if shop.chance(0.35) else shop.skin(0.5)
    seat_skin = shop.skin(0.6) if shop.chance(0.5) else skin
    side, seat, rise = shop.uniform(0.36, 0.5), shop.uniform(0.3, 0.5), shop.uniform(0.3, 0.6)
    plate = shapes.box(side, side, shop.uniform(0.04, 0.1), seat_skin.spacing, bevel=shop.pick([0.01, 0.04]))
    parts = [seat_skin.on(plate.moved(z=seat))]
    parts += legs(shop, Skin(skin.texture, 1.6 * shop.spacing), (side, side), seat - 0.02)
    back, middle = -side / 2 + 0.025, seat + rise / 2
    if shop.chance(0.45):
        parts.append(skin.on(shapes.box(0.05, side, rise, skin.spacing, bevel=0.02).moved(back, 0, middle)))
    else:
        posts = shapes.box(0.04, 0.045, rise, 0.06).moved(back, side / 2 - 0.03, middle)
        parts += both_sides(skin.on(posts))
        if shop.chance(0.5):
            count = shop.count(2, 4)
            parts += [
                skin.on(shapes.box(0.03, side - 0.05, 0.05, 0.05).moved(back, 0, seat + rise * (k + 0.7) / count))
                for k in range(count)
            ]
        else:
            parts.append(skin.on(shapes.box(0.04, side, 0.07, 0.05).moved(back, 0, seat + rise)))
            spread = np.linspace(-0.5, 0.5, shop.count(3, 6) + 2)[1:-1] * side
            parts += [skin.on(shapes.cylinder(0.013, rise, 0.05).moved(back, y, middle)) for y in spread]
    if shop.chance(0.35):
        arm = shapes.box(side, 0.05, 0.04, 0.05).moved(0, side / 2, seat + 0.2)
        post = shapes.box(0.04, 0.04, 0.2, 0.05).moved(side / 2 - 0.03, side / 2 - 0.01, seat + 0.1)
        parts += both_sides(skin.on(arm)) + both_sides(skin.on(post))
    return parts


def sofa(shop: Workshop) -> list[Solid]:
    """Sofa, armchair or bed that faces +x: base, cushions, back and arms with soft edges."""
    cloth, cushion = shop.skin(0.5), shop.skin(0.6) if shop.chance(0.5) else shop.plain()
    width, depth, seat = shop.uniform(0.5, 1.1), shop.uniform(0.4, 0.6), shop.uniform(0.16, 0.28)
    soft = shop.uniform(0.02, 0.06)
    parts = [cloth.on(shapes.box(depth, width, seat, cloth.spacing, bevel=soft).moved(z=seat / 2 + 0.06))]
    count = shop.count(1, 3)
    step = width / count
    pad = shapes.box(depth * 0.9, step * 0.98, 0.12, cushion.spacing, bevel=0.045)
    parts += [cushion.on(pad.moved(0.02, (k + 0.5) * step - width / 2, seat + 0.09)) for k in range(count)]
    tall = shop.uniform(0.25, 0.45)
    parts.append(
        cloth.on(shapes.box(0.16, width, tall + 0.1, cloth.spacing, bevel=0.06).moved(-depth / 2, 0, seat + tall / 2))
    )
    if shop.chance(0.8):
        arm = shapes.box(depth, 0.13, seat + 0.16, cloth.spacing, bevel=0.055).moved(
            0, width / 2 + 0.03, seat / 2 + 0.14
        )
        parts += both_sides(cloth.on(arm))
    return parts + legs(shop, shop.plain(shop.palette.dark), (depth, width), 0.08)


def cabinet(shop: Workshop) -> list[Solid]:
    """Cabinet, drawers or shelf that faces +x: a carcass with doors and knobs, or open boards."""
    skin = shop.wooden() if shop.chance(0.5) else shop.skin(0.4)
    depth, width, height = shop.uniform(0.25, 0.45), shop.uniform(0.35, 0.9), shop.uniform(0.4, 1.0)
    rows, columns = shop.count(1, 4), shop.count(1, 3)
    parts: list[Solid] = []
    if shop.chance(0.4):
        side = shapes.box(depth, 0.03, height, skin.spacing).moved(0, width / 2, height / 2)
        parts += both_sides(skin.on(side))
        shelf = shapes.box(depth, width, 0.03, skin.spacing)
        parts += [skin.on(shelf.moved(z=0.03 + (height - 0.06) * k / rows)) for k in range(rows + 1)]
        parts.append(skin.on(shapes.box(0.015, width, height, skin.spacing).moved(-depth / 2, 0, height / 2)))
        for k in range(rows):
            y = -width / 2 + 0.05
            while y < width / 2 - 0.08 and shop.chance(0.85):
                wide, tall = shop.uniform(0.03, 0.08), (height - 0.06) / rows * shop.uniform(0.4, 0.85)
                item = shapes.box(depth * 0.7, wide, tall, 0.08).grounded(0.044 + (height - 0.06) * k / rows)
                parts.append(shop.plain(shop.colour()).on(item.moved(0.02, y + wide / 2)))
                y += wide
        return parts
    parts.append(skin.on(shapes.box(depth, width, height, skin.spacing).moved(z=height / 2 + 0.05)))
    door, knob = shop.plain() if shop.chance(0.5) else skin, shop.plain(shop.palette.dark)
    high, wide = height / rows, width / columns
    for i in range(rows):
        for j in range(columns):
            y, z = (j + 0.5) * wide - width / 2, (i + 0.5) * high + 0.05
            parts.append(door.on(shapes.box(0.03, wide * 0.88, high * 0.86, door.spacing).moved(depth / 2, y, z)))
            parts.append(knob.on(shapes.ball((0.018,) * 3, 0.03).moved(depth / 2 + 0.025, y, z)))
    return parts + legs(shop, knob, (depth, width), 0.06)


def house(shop: Workshop) -> list[Solid]:
    """House or tower: walls with a door and windows, a gabled, hipped or round roof, perhaps a chimney."""
    walls, roof = shop.skin(0.4), shop.skin(0.5) if shop.chance(0.5) else shop.plain(shop.palette.second)
    x, y, height = shop.uniform(0.35, 0.6), shop.uniform(0.35, 0.8), shop.uniform(0.25, 0.7)
    columns, floors = shop.count(1, 3), shop.count(1, 3)
    step, rise = y / (columns + 0.3), height / floors
    tall = min(0.24, 0.7 * rise)

    def window(p: np.ndarray) -> np.ndarray:
        across = np.abs((p[:, 1] / step + (0.5 if columns % 2 == 0 else 0)) % 1 - 0.5) > 0.28
        return (
            across
            & (np.abs((p[:, 2] / rise) % 1 - 0.6) < 0.2)
            & (np.abs(p[:, 1]) < y * 0.46)
            & (np.abs(p[:, 0]) > x * 0.4)
        )

    walls = shop.decorated(walls, window, shop.pick([shop.palette.dark, shop.palette.light, shop.palette.accent]))
    parts = [walls.on(shapes.box(x, y, height, walls.spacing).moved(z=height / 2))]
    parts.append(shop.plain().on(shapes.box(0.03, min(0.14, 0.3 * y), tall, 0.06).moved(x / 2, 0, tall / 2)))
    peak, eaves = shop.uniform(0.15, 0.4), shop.uniform(1.05, 1.25)
    kind = shop.count(0, 2)
    if kind == 0:
        gable = np.array([[eaves * x / 2, 0], [0, peak], [-eaves * x / 2, 0]]) - [0, 0.3 * peak]
        top = shapes.extrude(gable, eaves * y, roof.spacing).turned("x", np.pi / 2).moved(z=height + 0.3 * peak - 0.005)
    elif kind == 1:
        top = shapes.box(eaves * x, eaves * y, peak, roof.spacing, top=shop.uniform(0.05, 0.5)).moved(
            z=height + peak / 2 - 0.005
        )
    else:
        top = shapes.ball((eaves * x / 2, eaves * y / 2, peak), roof.spacing, power=shop.uniform(2, 4)).moved(z=height)
    parts.append(roof.on(top))
    if shop.chance(0.5):
        parts.append(
            shop.plain().on(shapes.box(0.07, 0.07, peak, 0.06).moved(-0.15 * x, 0.25 * y, height + 0.6 * peak))
        )
    return parts


def package(shop: Workshop) -> list[Solid]:
    """Printed box, carton or book: panels, discs and lines of text on the front, another print on the back."""
    x, y, z = shop.uniform(0.1, 0.5), shop.uniform(0.3, 0.8), shop.uniform(0.2, 1.0)
    skin = shop.skin(0.35)
    p = shop.palette
    for face in (1.0, -1.0):
        for _ in range(shop.count(1, 4)):
            centre = shop.generator.uniform(-0.35, 0.35, 2) * [y, z]
            half = shop.generator.uniform(0.06, 0.4, 2) * [y, z]
            round_mark = shop.chance(0.35)

            def mark(
                q: np.ndarray, f: float = face, c: np.ndarray = centre, h: np.ndarray = half, r: bool = round_mark
            ) -> np.ndarray:
                away = np.abs((q[:, 1:] - c) / h)
                return (q[:, 0] * f > x / 2 - 0.02) & (((away**2).sum(1) if r else away.max(1)) < 1)

            skin = shop.decorated(skin, mark, shop.pick([p.second, p.accent, p.light, p.dark]))
        low, left, lines = shop.uniform(-0.4, 0.2) * z, shop.uniform(0.1, 0.4) * y, shop.uniform(0.05, 0.09)

        def text(q: np.ndarray, f: float = face, b: float = low, w: float = left, s: float = lines) -> np.ndarray:
            row = np.floor((q[:, 2] - b) / s)
            inside = (
                ((q[:, 2] - b) / s % 1 < 0.4) & (row >= 0) & (row < 3) & (np.abs(q[:, 1] * f) < w * (1 - 0.2 * row))
            )
            return inside & (q[:, 0] * f > x / 2 - 0.02)

        skin = shop.decorated(skin, text, shop.pick([p.dark, p.light]))
    soft = shop.pick([0.006, 0.006, 0.03])
    body = skin.on(shapes.box(x, y, z, skin.spacing, bevel=soft).moved(z=0.0))
    return [body]

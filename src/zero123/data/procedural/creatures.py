"""Creatures that face +x: four-legged and two-legged animals, birds, fish, insects, snowmen and robots."""

from __future__ import annotations

import numpy as np

from zero123.data.procedural import shapes
from zero123.data.procedural.pottery import smooth
from zero123.data.procedural.solid import Solid, both_sides
from zero123.data.procedural.workshop import Skin, Workshop

WHITE, BLACK = np.array([0.97, 0.97, 0.95]), np.array([0.04, 0.04, 0.05])


def eyes(shop: Workshop, x: float, y: float, z: float, size: float) -> list[Solid]:
    """Two eyes looking to +x: black beads, or white balls with a pupil."""
    bead = shapes.ball((0.7 * size, size, size), 0.04)
    if shop.chance(0.5):
        return both_sides(shop.plain(BLACK).on(bead.moved(x, y, z)))
    pupil = shapes.ball((0.5 * size,) * 3, 0.03).moved(x + 0.45 * size, y, z)
    return both_sides(shop.plain(WHITE).on(bead.moved(x, y, z))) + both_sides(shop.plain(BLACK).on(pupil))


def head(shop: Workshop, skin: Skin, size: float, x: float, z: float) -> list[Solid]:
    """Head with eyes, muzzle or beak, ears or horns, centred at (x, 0, z)."""
    p = shop.palette
    radii = (size * shop.uniform(0.85, 1.1), size * shop.uniform(0.85, 1.1), size * shop.uniform(0.8, 1.1))
    parts = [skin.on(shapes.ball(radii, skin.spacing, power=shop.uniform(2, 3)).moved(x, 0, z))]
    parts += eyes(shop, x + 0.78 * radii[0], 0.42 * radii[1], z + 0.3 * radii[2], size * shop.uniform(0.12, 0.24))
    face = shop.plain(shop.pick([p.light, p.second, p.main]))
    if shop.chance(0.7):
        long = shop.uniform(0.35, 0.8) * size
        parts.append(
            face.on(
                shapes.ball((long, 0.45 * size, 0.36 * size), 0.045).moved(x + 0.75 * radii[0], 0, z - 0.25 * radii[2])
            )
        )
        nose = shapes.ball((0.13 * size,) * 3, 0.04).moved(x + 0.75 * radii[0] + long, 0, z - 0.18 * radii[2])
        parts.append(shop.plain(BLACK).on(nose))
    else:
        beak = shapes.cone(0.25 * size, 0.6 * size, 0.04).turned("y", np.pi / 2)
        parts.append(shop.plain(p.accent).on(beak.moved(x + 1.1 * radii[0], 0, z - 0.1 * radii[2])))
    kind, tall = shop.count(0, 3), shop.uniform(0.3, 1.1) * size
    ear = skin if shop.chance(0.6) else face
    lean = shop.uniform(-0.6, -0.1)
    if kind == 0:
        part = shapes.cone(0.32 * size, 0.5 * size + 0.5 * tall, 0.05)
    elif kind == 1:
        part = shapes.ball((0.14 * size, 0.25 * size, 0.3 * size + 0.6 * tall), 0.05)
    elif kind == 2:
        part = shapes.ball((0.15 * size, 0.4 * size, 0.4 * size), 0.05)
    else:
        return parts
    placed = part.moved(z=0.9 * size + 0.2 * tall).turned("x", lean).moved(x, 0, z)
    return parts + both_sides(ear.on(placed.mirrored() if placed.low[1] + placed.high[1] < 0 else placed))


def tail(shop: Workshop, skin: Skin, x: float, z: float, size: float) -> list[Solid]:
    """A tail behind (x, z): thin and curled, bushy, or a stub."""
    reach, rise = shop.uniform(0.3, 1.0) * size, shop.uniform(-0.6, 0.9) * size
    knots = np.array([[x + 0.4 * size, 0, z], [x - 0.4 * reach, 0, z + 0.2 * rise], [x - reach, 0, z + rise]])
    fat = shop.uniform(0.1, 0.3) * size
    shape = np.interp(np.linspace(0, 1, 9), [0, 0.6, 1], [0.6 * fat, shop.pick([0.6, 1.0]) * fat, 0.3 * fat])
    return [skin.on(shapes.tube(smooth(knots, 4), shape, 0.04))]


def quadruped(shop: Workshop) -> list[Solid]:
    """Four-legged animal: body, neck, head, legs and tail of random proportions."""
    skin = shop.skin(0.6)
    long, fat, leg = shop.uniform(0.24, 0.4), shop.uniform(0.13, 0.24), shop.uniform(0.12, 0.4)
    middle = leg + 0.8 * fat
    trunk = shapes.ball((long, fat, fat), skin.spacing, power=shop.uniform(2, 3.2))
    parts = [skin.on(trunk.moved(z=middle))]
    size, lift = shop.uniform(0.11, 0.2), shop.uniform(0.0, 0.4)
    top = np.array([0.85 * long + 0.5 * size + 0.2 * lift, 0, middle + 0.4 * fat + lift])
    neck = np.array([[0.55 * long, 0, middle], [0.8 * long, 0, middle + 0.5 * (top[2] - middle)], top])
    parts.append(skin.on(shapes.tube(smooth(neck, 4), np.linspace(0.62 * fat, 0.6 * size, 9), 2 * skin.spacing)))
    parts += head(shop, skin, size, float(top[0]), float(top[2]))
    thick, foot = shop.uniform(0.035, 0.075), shop.uniform(0.8, 1.4)
    shoe = shop.plain() if shop.chance(0.5) else skin
    for x in (-0.6 * long, 0.6 * long):
        limb = shapes.cylinder(thick * foot, middle, 0.06, top=thick, bevel=0.02).moved(x, 0.5 * fat, middle / 2)
        parts += both_sides(skin.on(limb))
        paw = shapes.ball((1.35 * thick * foot, 1.15 * thick * foot, 0.8 * thick), 0.06).moved(
            x + 0.3 * thick, 0.5 * fat, 0.5 * thick
        )
        parts += both_sides(shoe.on(paw))
    return parts + tail(shop, skin, -0.85 * long, middle + 0.3 * fat, shop.uniform(0.2, 0.4))


def biped(shop: Workshop) -> list[Solid]:
    """Two-legged toy: bear, doll or alien with belly, head, arms, legs, perhaps a hat."""
    skin, p = shop.skin(0.45), shop.palette
    fat, tall, leg = shop.uniform(0.14, 0.26), shop.uniform(0.18, 0.3), shop.uniform(0.06, 0.3)
    middle = leg + 0.75 * tall
    if shop.chance(0.5):
        skin = shop.decorated(
            skin, lambda q: (q[:, 0] > 0.3 * fat) & (((q[:, 1:] - [0, middle]) ** 2).sum(1) < (0.6 * fat) ** 2), p.light
        )
    parts = [skin.on(shapes.ball((0.85 * fat, fat, tall), skin.spacing, power=shop.uniform(2, 3)).moved(z=middle))]
    size = shop.uniform(0.13, 0.25)
    crown = middle + 0.85 * tall + 0.75 * size
    parts += head(shop, skin, size, 0.02, crown)
    limb, thick = skin if shop.chance(0.7) else shop.plain(), shop.uniform(0.04, 0.08)
    shoulder = np.array([0, 0.7 * fat, middle + 0.5 * tall])
    hand = shoulder + np.array([shop.uniform(0, 0.2), shop.uniform(0.1, 0.2), shop.uniform(-0.28, 0.2)])
    elbow = (shoulder + hand) / 2 + np.array([0, 0.04, -0.03])
    arm = shapes.tube(smooth(np.stack([shoulder, elbow, hand]), 4), thick, 0.05)
    parts += both_sides(limb.on(arm))
    parts += both_sides(limb.on(shapes.cylinder(1.2 * thick, middle - 0.4 * tall, 0.06).grounded().moved(0, 0.5 * fat)))
    parts += both_sides(
        shop.plain().on(shapes.ball((1.9 * thick, 1.4 * thick, thick), 0.05).moved(0.05, 0.5 * fat, thick * 0.9))
    )
    if shop.chance(0.3):
        hat = shop.plain(p.accent)
        parts += [hat.on(shapes.cylinder(0.9 * size, 0.03, 0.05).moved(0, 0, crown + 0.75 * size))]
        parts += [
            hat.on(shapes.cylinder(0.55 * size, 0.9 * size, 0.05, top=0.5 * size).moved(0, 0, crown + 1.1 * size))
        ]
    if shop.chance(0.3):
        parts += tail(shop, skin, -0.8 * fat, leg + 0.3 * tall, 0.25)
    return parts


def bird(shop: Workshop) -> list[Solid]:
    """Bird or fish: a streamlined body with wings or fins, tail fan, and legs or a stand."""
    skin, wing, p = shop.skin(0.6), shop.skin(0.4), shop.palette
    fat, tilt = shop.uniform(0.13, 0.22), shop.uniform(0.0, 0.5)
    body = shapes.ball((0.34, fat, 1.05 * fat), skin.spacing).turned("y", -tilt)
    base = 0.4
    parts = [skin.on(body.moved(z=base))]
    fish = shop.chance(0.4)
    if fish:
        parts += eyes(shop, 0.26 * np.cos(tilt), 0.5 * fat, base + 0.26 * np.sin(tilt), 0.035)
        fin = shapes.extrude(np.array([[-0.2, -0.16], [0.12, 0.0], [-0.2, 0.16]]), 0.03, wing.spacing).turned(
            "x", np.pi / 2
        )
        parts.append(wing.on(fin.moved(x=-0.38).turned("y", -tilt).moved(z=base)))
        parts.append(
            wing.on(fin.scaled(0.7, 1, 0.8).turned("y", 0.5).moved(x=-0.05, z=fat).turned("y", -tilt).moved(z=base))
        )
    else:
        parts += head(shop, skin, shop.uniform(0.1, 0.15), 0.26, base + 0.12 + 0.2 * tilt)
        fan = shapes.ball((0.22, 0.1, 0.02), wing.spacing).moved(x=-0.4)
        parts.append(wing.on(fan.turned("y", -tilt + shop.uniform(-0.2, 0.3)).moved(z=base)))
    spread = shop.uniform(0.1, 1.3)
    blade = shapes.ball((0.18, 0.03, 0.15 if fish else 0.24), wing.spacing).moved(z=-0.12 if fish else -0.05)
    parts += both_sides(
        wing.on(blade.turned("x", spread if fish else 0.6 * spread).turned("y", -tilt).moved(0, 0.85 * fat, base))
    )
    stand = shop.plain(p.accent)
    if fish or shop.chance(0.3):
        parts += [
            stand.on(shapes.cylinder(0.02, base, 0.05).grounded()),
            stand.on(shapes.cylinder(0.16, 0.03, 0.05).grounded()),
        ]
        return parts
    parts += both_sides(stand.on(shapes.cylinder(0.018, base, 0.05).grounded().moved(0, 0.4 * fat)))
    return parts + both_sides(stand.on(shapes.ball((0.08, 0.05, 0.02), 0.04).moved(0.04, 0.4 * fat, 0.018)))


def robot(shop: Workshop) -> list[Solid]:
    """Boxy robot: trunk with panel and buttons, head with eyes and antenna, arms, legs or tracks."""
    skin, limb, p = shop.skin(0.35), shop.plain(shop.pick([shop.palette.second, shop.palette.dark])), shop.palette
    x, y, z, leg = shop.uniform(0.16, 0.3), shop.uniform(0.24, 0.4), shop.uniform(0.24, 0.4), shop.uniform(0.08, 0.28)
    soft, middle = shop.pick([0.01, 0.04]), leg + z / 2
    parts = [skin.on(shapes.box(x, y, z, skin.spacing, bevel=soft).moved(z=middle))]
    panel = shapes.box(0.02, 0.65 * y, 0.45 * z, 0.06).moved(x / 2 + 0.002, 0, middle + 0.05 * z)
    parts.append(shop.plain(p.light).on(panel))
    for k in range(shop.count(1, 4)):
        knob = shapes.ball((0.025,) * 3, 0.04).moved(x / 2 + 0.015, (k - 1.5) * 0.13 * y, middle + 0.05 * z)
        parts.append(shop.plain(shop.pick([p.accent, p.dark, p.second])).on(knob))
    size = shop.uniform(0.15, 0.24)
    top = leg + z + 0.03
    parts.append(limb.on(shapes.cylinder(0.05, 0.1, 0.05).moved(z=top)))
    skull = shapes.box(0.8 * size, 1.15 * size, 0.9 * size, skin.spacing, bevel=soft)
    crown = top + 0.03 + 0.45 * size
    parts.append(skin.on(skull.moved(z=crown)))
    parts += eyes(shop, 0.4 * size, 0.28 * size, crown + 0.1 * size, 0.16 * size)
    parts.append(
        shop.plain(p.dark).on(shapes.box(0.03, 0.5 * size, 0.06 * size, 0.05).moved(0.4 * size, 0, crown - 0.22 * size))
    )
    parts.append(limb.on(shapes.cylinder(0.01, 0.14, 0.04).moved(z=crown + 0.45 * size + 0.06)))
    parts.append(shop.plain(p.accent).on(shapes.ball((0.028,) * 3, 0.04).moved(z=crown + 0.45 * size + 0.13)))
    swing = shop.uniform(-1.2, 0.3)
    arm = shapes.capsule(0.04, 0.75 * z + 0.08, 0.05).moved(z=-0.35 * z).turned("y", swing)
    parts += both_sides(limb.on(arm.moved(0, y / 2 + 0.035, leg + 0.85 * z)))
    foot = shapes.box(0.16, 0.3 * y, 0.07, 0.06).grounded().moved(0.02, 0.27 * y)
    return (
        parts
        + both_sides(limb.on(shapes.cylinder(0.045, leg + 0.04, 0.05).grounded().moved(0, 0.27 * y)))
        + both_sides(skin.on(foot))
    )

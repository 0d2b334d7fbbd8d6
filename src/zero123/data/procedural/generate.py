"""One seed, one object: draws a family by weight, builds it, keeps it within the face budget and the unit cube."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from zero123.data.procedural import creatures, figures, furniture, gadgets, pottery, toys, vehicles
from zero123.data.procedural.colours import palette
from zero123.data.procedural.solid import Solid, join
from zero123.data.procedural.workshop import Workshop
from zero123.meshes.mesh import Mesh

Family = Callable[[Workshop], list[Solid]]

FAMILIES: dict[str, Family] = {
    "vessel": pottery.vessel,
    "bottle": pottery.bottle,
    "lamp": pottery.lamp,
    "plant": pottery.plant,
    "table": furniture.table,
    "chair": furniture.chair,
    "sofa": furniture.sofa,
    "cabinet": furniture.cabinet,
    "house": furniture.house,
    "package": furniture.package,
    "car": vehicles.car,
    "truck": vehicles.truck,
    "plane": vehicles.plane,
    "rocket": vehicles.rocket,
    "boat": vehicles.boat,
    "quadruped": creatures.quadruped,
    "biped": creatures.biped,
    "bird": creatures.bird,
    "robot": creatures.robot,
    "single": toys.single,
    "stack": toys.stack,
    "plate": toys.plate,
    "radial": toys.radial,
    "mirrored": toys.mirrored,
    "tool": toys.tool,
    "tree": toys.tree,
    "food": toys.food,
    "screen": gadgets.screen,
    "appliance": gadgets.appliance,
    "shoe": gadgets.shoe,
    "bag": gadgets.bag,
    "hat": gadgets.hat,
    "coil": gadgets.coil,
    "person": figures.person,
    "crawler": figures.crawler,
    "castle": figures.castle,
}


def _even_weights() -> dict[str, float]:
    favoured = {
        "vessel": 2.0,
        "bottle": 1.5,
        "package": 2.0,
        "mirrored": 1.5,
        "quadruped": 1.5,
        "biped": 1.5,
        "tool": 1.5,
        "person": 1.5,
        "appliance": 1.5,
        "shoe": 1.5,
    }
    return {name: favoured.get(name, 1.0) for name in FAMILIES}


@dataclass(frozen=True)
class ObjectSettings:
    """What the generator draws from.

    Attributes:
        weights: relative frequency of each family; names as in `FAMILIES`, missing ones never occur.
        max_faces: upper bound of the number of triangles.
        spacing: finest distance between vertices of patterned surfaces, in units of the object (about 1 across).
    """

    weights: dict[str, float] = field(default_factory=_even_weights)
    max_faces: int = 20_000
    spacing: float = 0.018


def generate(seed: int, settings: ObjectSettings | None = None) -> Mesh:
    """The object of a seed: coloured per vertex, closed parts, z up, front towards +x, within the unit cube.

    The random stream does not depend on the spacing, so that an object over the face budget is rebuilt, coarser.
    Coordinates and colours are rounded to 2^-16, so that differences in the last bits of sines between machines vanish.

    Args:
        seed: any non-negative integer.
        settings: families and mesh density; None for the defaults.

    Raises:
        ValueError: the seed is negative, or the weights name an unknown family or sum to nothing, or the face budget is
            too small for this object.
    """
    settings = settings or ObjectSettings()
    family = FAMILIES[family_of(seed, settings)]
    spacing = settings.spacing
    while spacing < 1:
        generator = np.random.default_rng([seed, 1])
        whole = join(family(Workshop(generator, palette(generator), spacing)))
        if len(whole.faces) <= settings.max_faces:
            return _finish(whole)
        spacing *= max(1.15, 1.03 * (len(whole.faces) / settings.max_faces) ** 0.5)
    raise ValueError(f"max_faces must be at least {len(whole.faces)} for seed {seed}, got {settings.max_faces}")


def family_of(seed: int, settings: ObjectSettings | None = None) -> str:
    """Name of the family that `generate` draws for this seed."""
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    weights = (settings or ObjectSettings()).weights
    unknown = sorted(set(weights) - set(FAMILIES))
    total = sum(weights.values())
    if unknown or not total > 0 or min(weights.values(), default=0) < 0:
        raise ValueError(f"weights must be positive numbers for families of {', '.join(FAMILIES)}; got {weights}")
    draw = np.random.default_rng([seed, 0]).random() * total
    names = list(weights)
    return names[int(np.searchsorted(np.cumsum([weights[n] for n in names]), draw, side="right"))]


def _finish(whole: Solid) -> Mesh:
    assert whole.colours is not None
    mesh = Mesh(whole.vertices.astype(np.float32), whole.faces, whole.colours.astype(np.float32)).unit_cube()
    vertices = (np.round(mesh.vertices.astype(np.float64) * 65536) / 65536).astype(np.float32)
    colours = (np.round(whole.colours * 65536) / 65536).astype(np.float32)
    return mesh.replace(vertices=vertices, vertex_colours=colours)

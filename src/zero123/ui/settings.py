"""What the page's sliders ask for, checked; and the links that carry it, which never carry pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True)
class Range:
    """What a number of the page may be.

    Attributes:
        low, high: both allowed.
        step: of its slider.
        unit: for the person.
        whole: whether it must be a whole number.
    """

    low: float
    high: float
    step: float = 1
    unit: str = ""
    whole: bool = False


RANGES = {
    "azimuth": Range(-180, 180, unit="°"),
    "elevation": Range(-90, 90, unit="°"),
    "radius": Range(-0.5, 0.5, 0.01),
    "steps": Range(1, 200, whole=True),
    "scale": Range(0, 30, 0.1),
    "samples": Range(1, 8, whole=True),
    "seed": Range(0, 2**31 - 1, whole=True),
}


@dataclass(frozen=True)
class ViewSettings:
    """One view, and how it is drawn.

    Attributes:
        azimuth: camera to the right of the picture's, degrees.
        elevation: camera up, degrees.
        radius: camera away, world units.
        model: name in the page's list of models.
        steps: sampling steps.
        scale: guidance, 1 is off.
        samples: pictures of the view, from `seed` on.
        seed: same seed, same picture.
    """

    azimuth: float = 30.0
    elevation: float = 0.0
    radius: float = 0.0
    model: str = "mini"
    steps: int = 1
    scale: float = 1.0
    samples: int = 1
    seed: int = 0

    @classmethod
    def checked(cls, **values: Any) -> ViewSettings:
        """The settings, if all of them are within `RANGES`.

        Raises:
            ValueError: one is not, in one line that names it.
        """
        return cls(**{name: value if name == "model" else number(name, value) for name, value in values.items()})

    @classmethod
    def from_query(cls, query: Mapping[str, str], models: list[str]) -> tuple[ViewSettings, list[str]]:
        """The settings a link asks for, and a line for each of its values that had to be left at its default.

        Args:
            query: the link's parameters; unknown ones are ignored.
            models: names that may be chosen.
        """
        values: dict[str, Any] = {}
        refused = []
        for name in (field.name for field in fields(cls)):
            if name not in query:
                continue
            try:
                if name == "model" and query[name] not in models:
                    raise ValueError(f"no model {query[name][:40]!r} is on this machine")
                values[name] = query[name] if name == "model" else number(name, query[name])
            except ValueError as error:
                refused.append(str(error))
        return cls(**values), refused

    def query(self) -> str:
        """The settings as a link's parameters."""
        return urlencode({name: f"{v:g}" if isinstance(v, float) else v for name, v in asdict(self).items()})

    @property
    def preview(self) -> ViewSettings:
        """The same view at once: one step, one picture, no guidance."""
        return replace(self, steps=1, samples=1, scale=1.0)

    @property
    def words(self) -> str:
        """The camera's move, in words."""
        parts = [
            f"{abs(self.azimuth):g}° {'right' if self.azimuth > 0 else 'left'}" if self.azimuth else "",
            f"{abs(self.elevation):g}° {'up' if self.elevation > 0 else 'down'}" if self.elevation else "",
            f"{abs(self.radius):g} {'further' if self.radius > 0 else 'closer'}" if self.radius else "",
        ]
        return ", ".join(part for part in parts if part) or "from the picture's own place"


def number(name: str, value: Any, limits: Range | None = None) -> Any:
    """The value of a field, as int where it must be whole.

    Args:
        name: of the field, in `RANGES` unless `limits` are given.
        value: from a form, a link or a program; anything.
        limits: what it may be.

    Raises:
        ValueError: not a number, or out of range; in one line.
    """
    allowed = limits or RANGES[name]
    kind = "a whole number" if allowed.whole else "a number"
    text = f"{name} must be {kind} from {allowed.low:.10g} to {allowed.high:.10g}{allowed.unit}, got {str(value)[:40]}"
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(text) from error
    if isinstance(value, bool) or not math.isfinite(found) or not allowed.low <= found <= allowed.high:
        raise ValueError(text)
    if allowed.whole and found != int(found):
        raise ValueError(text)
    return int(found) if allowed.whole else found

"""The models a visitor may choose: those on this machine; and what there is besides. Nothing is ever downloaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class KnownModel:
    """A model, here or not.

    Attributes:
        name: what it is called on the page.
        source: what `NovelViews.from_pretrained` takes.
        here: whether it is on this machine.
        size: for people; "unknown" where nobody states it.
        licence: its name.
        allows: what one may do, in one sentence.
        about: what it is.
        steps, scale: sampling steps and guidance that suit it.
    """

    name: str
    source: str
    here: bool
    size: str
    licence: str
    allows: str
    about: str
    steps: int
    scale: float


def known_models(own: Sequence[Path] = ()) -> dict[str, KnownModel]:
    """`mini`, the models of `own`, and every released one, by name.

    Args:
        own: model folders or checkpoint files of this machine that visitors may use.

    Raises:
        ValueError: two of them have one name, or a path does not exist.
    """
    from zero123.models.weights.registry import RELEASES, readable_size, weights_folder

    shipped = Path(str(files("zero123") / "weights" / "mini"))
    models = [_local("mini", shipped, "mini", "the small model that is part of this package; 128 x 128 pixels")]
    for path in own:
        if not path.exists():
            raise ValueError(f"no such model: {path}")
        models.append(_local(path.stem, path, str(path), "a model of this machine"))
    for release in RELEASES:
        if release.is_start:
            continue
        models.append(
            KnownModel(
                release.name,
                release.name,
                (weights_folder() / release.file).is_file(),
                readable_size(release.size) if release.size else "unknown",
                release.licence.name,
                release.licence.allows,
                release.about,
                steps=20,
                scale=3.0,
            )
        )
    names = [model.name for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two models are called {', '.join(twice)}; rename the file or folder of one")
    return {model.name: model for model in models}


def _local(name: str, path: Path, source: str, about: str) -> KnownModel:
    """A model folder or file as it says of itself."""
    from zero123.models.weights.registry import readable_size

    told: dict[str, Any] = {}
    index = path / "model_index.json"
    if index.is_file():
        told = json.loads(index.read_text(encoding="utf-8")).get("settings", {})
    parts = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    licence, _, more = str(told.get("licence", "not stated; see where it came from")).partition("; ")
    return KnownModel(
        name,
        source,
        True,
        readable_size(sum(part.stat().st_size for part in parts)),
        licence,
        more,
        about,
        int(told.get("steps", 20)),
        float(told.get("scale", 3.0)),
    )


def models_table(models: dict[str, KnownModel]) -> str:
    """All models as an HTML table: which are here, their size and licence, and how to get the others."""
    rows = []
    for model in models.values():
        get = f"<code>zero123 weights get {escape(model.name)}</code>"
        state = "<b class='here'>on this machine</b>" if model.here else get
        about, licence = escape(model.about), escape(model.licence)
        rows.append(
            f"<tr><th scope='row'>{escape(model.name)}<small>{about}</small></th><td>{escape(model.size)}</td>"
            f"<td>{licence}<small>{escape(model.allows)}</small></td><td>{state}</td></tr>"
        )
    head = "<tr><th>Model</th><th>Size</th><th>Licence</th><th>Where</th></tr>"
    note = "This page never downloads a model. Who runs it can, with the command shown, after reading the licence."
    return f"<table class='models'><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table><p>{note}</p>"

"""Parts of pages that are read from the package when the manual is built: the models, the public names of Python."""

from __future__ import annotations

from typing import Any

import zero123
from zero123.models.weights.registry import RELEASES, Release, readable_size


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The page with its generated parts."""
    for mark, made in (("<!-- models -->", models), ("<!-- python -->", names)):
        if mark in markdown:
            markdown = markdown.replace(mark, made())
    return markdown


def models() -> str:
    """The table of released weights, from the registry."""
    head = "| name, size, source | what it is | licence |\n|---|---|---|"
    return "\n".join([head, *map(_row, RELEASES)])


def _row(release: Release) -> str:
    size = readable_size(release.size) if release.size else "size not stated"
    page = release.where if isinstance(release.where, str) else release.where.page
    place = page.split("//")[-1].split("/")[0]
    gate = "" if isinstance(release.where, str) or not release.where.gated else ", after accepting its terms there"
    named = f"`{release.name}`<br>{size}<br>[{place}]({page}){gate}"
    return f"| {named} | {release.about} | **{release.licence.name}**: {release.licence.allows} |"


def names() -> str:
    """A directive of mkdocstrings for each public name, at its home."""
    return "\n\n".join(f"::: {zero123._HOMES[name]}.{name}" for name in zero123.__all__)

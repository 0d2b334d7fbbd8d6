"""Which protocol is asked of which objects in a folder, before anything is made."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from pathlib import Path

from zero123.evaluation import cases, own_views
from zero123.evaluation.protocols import ListedObject, Protocol, load, read_objects

TARGETS = 8
"""Views judged where no protocol says it: those after the input."""


def asked(name: str | None, targets: int | None, known_source: bool) -> Protocol:
    """The protocol named, or view 0 in and the next `targets` out.

    Raises:
        ValueError: there is none of that name, or targets were given beside it.
    """
    if name is None:
        return Protocol("own views", tuple(range(1, (targets or TARGETS) + 1)), known_source=known_source)
    if targets is not None:
        raise ValueError("--targets goes without --protocol: a protocol names its own")
    return load(name)


def chosen(
    views: Path, protocol: Protocol, listed: Path | None = None, pattern: str = "*", limit: int | None = None
) -> Protocol:
    """The protocol with the objects that are asked for.

    Args:
        views: folder of their views.
        protocol: of whose objects, or of all in the folder where it lists none.
        listed: file of objects, see `read_objects`; None for all.
        pattern: shell pattern of their names.
        limit: only the first so many; None for all.

    Raises:
        ValueError: none of them is left, or one is unknown.
    """
    if listed is not None:
        protocol = protocol.only(read_objects(listed))
    wanted = protocol.objects
    if wanted is None:
        if protocol.sha256 and not views.exists():
            return protocol  # what is missing is told in full
        wanted = tuple(ListedObject(name) for name in cases.names_in(views))
    kept = [one for one in wanted if fnmatch.fnmatchcase(one.name, pattern)][:limit]
    if not kept:
        raise ValueError(f"{views}: holds no view sets that match")
    return protocol.only(kept)


def made(views: Path, protocol: Protocol) -> tuple[int, Iterator[None]]:
    """How many objects a folder lacks that can be made, and their making, one a step."""
    sources = own_views.lacking(views, protocol)
    return len(sources), own_views.render(views, protocol, sources) if sources else iter(())


def refuse_missing(views: Path, protocol: Protocol) -> None:
    """Make sure that all views are there.

    Raises:
        MissingViews: they are not; its `files` names all that lack.
    """
    if missing := cases.missing_files(views, protocol):
        each = " of each OBJECT" if protocol.objects is None else ""
        raise cases.MissingViews(
            f"{protocol.name}: {len(missing)} files{each} are missing in {views}, such as {missing[0]}; "
            "docs/evaluation.md says where they come from",
            missing,
        )

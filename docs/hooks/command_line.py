"""The reference of the command line, read from the program itself when the manual is built."""

from __future__ import annotations

import enum
import html
import inspect
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from typer.main import get_command

from zero123.cli import app, options

_GROUPS = {
    "Model and machine": ("views", options.RunOptions),
    "Sampling": ("views", options.SamplingOptions),
    "Picture": ("views", options.PhotoOptions),
    "Workers": ("batch", options.WorkerOptions),
}
"""Options that verbs share: what to call them, a verb that has them, and their dataclass."""

_WORDS = {int: "INTEGER", float: "NUMBER", str: "TEXT"}


@dataclass(frozen=True)
class Row:
    """An argument or option as the table shows it; equal rows are the same option."""

    name: str
    names: str
    said: str
    default: str
    argument: str


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The page with the reference in the place of its mark."""
    mark = "<!-- command line -->"
    return markdown.replace(mark, reference()) if mark in markdown else markdown


def verbs(command: Any = None, name: str = "zero123") -> Iterator[tuple[str, Any]]:
    """Every verb by its full name, in the program's order."""
    command = command or get_command(app)
    if not hasattr(command, "commands"):
        yield name, command
        return
    for part, inner in command.commands.items():
        yield from verbs(inner, f"{name} {part}")


def reference() -> str:
    """All verbs with their arguments and options; shared options once, at the end."""
    found = {name: (command, _rows(command)) for name, command in verbs()}
    shared = {}
    for title, (verb, kind) in _GROUPS.items():
        wanted = {field.name for field in fields(kind)}
        shared[title] = [row for row in found[f"zero123 {verb}"][1] if row.name in wanted]
    parts = [_verb(name, command, rows, shared) for name, (command, rows) in found.items()]
    parts += ["## Shared options", "Options that several verbs take; each verb says above which."]
    parts += [f"### {title}\n\n{_table(rows)}" for title, rows in shared.items()]
    return "\n\n".join(parts)


def _verb(name: str, command: Any, rows: list[Row], shared: dict[str, list[Row]]) -> str:
    also = []
    for title, same in shared.items():
        if set(same) <= set(rows):
            rows = [row for row in rows if row not in same]
            also.append(f"[{title.lower()}](#{title.lower().replace(' ', '-')})")
    usage = " ".join([name, *(row.argument for row in rows if row.argument), "[OPTIONS]"])
    parts = [f"## `{name}`", (command.help or "").strip(), f"```\n{usage}\n```", _table(rows)]
    return "\n\n".join([*parts, *([f"And the shared options: {', '.join(also)}."] if also else [])])


def _table(rows: list[Row]) -> str:
    if not rows:
        return ""
    lines = [f"| {row.names} | {row.said} | {row.default} |" for row in rows]
    head = ['<div class="options" markdown>', "", "| option | what | default |", "|---|---|---|"]
    return "\n".join([*head, *lines, "", "</div>"])


def _rows(command: Any) -> list[Row]:
    taken = inspect.signature(command.callback, eval_str=True).parameters
    return [_row(one, taken[one.name].annotation) for one in command.params if one.name in taken]


def _row(parameter: Any, hint: Any) -> Row:
    said, bracket, default = (getattr(parameter, "help", None) or "").partition(" [default: ")
    default = default.rstrip("]") if bracket else _default(parameter)
    argument = ""
    if parameter.param_type_name == "argument":
        word = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
        argument = word if parameter.required else f"[{word}]"
        names = f"`{argument}`"
    else:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
        names += "" if parameter.is_flag else f" {_value(hint)}"
    return Row(parameter.name, names, _plain(said), _plain(default), argument)


def _value(hint: Any) -> str:
    """What follows the option's name, with its limits."""
    kind, *more = typing.get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
    inner = [one for one in typing.get_args(kind) if one is not types.NoneType]
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kind, inner = inner[0], list(typing.get_args(inner[0]))
    if typing.get_origin(kind) is list:
        kind, inner = inner[0], []
    if inner:
        return " ".join(_WORDS.get(one, "PATH") for one in inner)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " \\| ".join(str(one.value) for one in kind)
    low, high = (
        next((getattr(m, end) for m in more if getattr(m, end, None) is not None), None) for end in ("min", "max")
    )
    limits = f", {low} to {high}" if None not in (low, high) else f", from {low}" if low is not None else ""
    return _WORDS.get(kind, "PATH") + limits


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "needed"
    if value is None or callable(value) or parameter.param_type_name == "argument":
        return ""
    if parameter.is_flag:
        return "on" if value else "off"
    values = value if isinstance(value, list | tuple) else (value,)
    return " ".join(str(getattr(one, "value", one)) for one in values)


def _plain(text: str) -> str:
    """Text for a cell: what stands between backticks is code, and nothing else is taken for markup."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    escaped = (
        p if p.startswith("`") else re.sub(r"([\\*_\[\]<])", r"\\\1", html.escape(p, quote=False)) for p in parts
    )
    return "".join(escaped).replace("|", "\\|")

"""Formulas as MathML, which browsers draw by themselves: no script, no font, nothing fetched."""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(r"(?P<sign>\${1,2})(?P<latex>[^$]+)(?P=sign)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """`$...$` and `$$...$$` of pages whose head says `math: true`, as MathML."""
    return _FORMULA.sub(_mathml, markdown) if page.meta.get("math") else markdown


def _mathml(found: re.Match[str]) -> str:
    made = convert(found["latex"].strip(), display="block" if found["sign"] == "$$" else "inline")
    return re.sub(r">([^<]+)<", lambda text: f">{text[1].translate(_MARKDOWNS)}<", made)


_MARKDOWNS = {ord(sign): f"&#{ord(sign)};" for sign in "*_|`\\"}
"""Signs that Markdown would take for its own."""

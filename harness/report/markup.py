"""GitHub's Markdown out of texts that nobody vouches for: model output can neither break a table nor become HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from harness.util.text import plain

_SPECIAL = re.compile(r"[\\`*_{}\[\]#+!|~@]|:(?=/)")


def escaped(text: str) -> str:
    """Text on one line, shown as it is: no markup, no link, no mention of a user."""
    return _SPECIAL.sub(_harmless, html.escape(plain(text), quote=False))


def _harmless(special: re.Match[str]) -> str:
    # GitHub looks for @names once Markdown's backslashes are gone; a comment stays.
    return "@<!-- -->" if special[0] == "@" else f"\\{special[0]}"


def row(cells: Sequence[str]) -> str:
    """A row of a table; the cells are Markdown already."""
    return f"| {' | '.join(cells)} |"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """The lines of a table whose first `left` columns stand at the left and the others at the right."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return [row(head), row(rule), *map(row, rows)]


def folded(summary: str, lines: Sequence[str]) -> list[str]:
    """Lines that are shown on a click; the summary is Markdown's HTML already."""
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "", "</details>"]

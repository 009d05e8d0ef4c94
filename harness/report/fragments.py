"""HTML fragments with inline styles, for notebooks: tables, and a title with notes around them."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from harness.util.text import plain

LEFT, RIGHT = "text-align:left", "text-align:right"
FAINT = "opacity:0.7"
_TITLE = "font-weight:bold;margin:0.3em 0"
_NOTES = "font-size:smaller;opacity:0.7;margin:0.3em 0"


def fragment(title: str, tables: Sequence[str], notes: Sequence[str]) -> str:
    """A title, tables, and sentences below them.

    Args:
        title: plain text.
        tables: HTML, as `table` makes it.
        notes: plain text, a line each.
    """
    below = "<br>".join(map(_escaped, notes))
    return f'<div><p style="{_TITLE}">{_escaped(title)}</p>{"".join(tables)}<p style="{_NOTES}">{below}</p></div>'


def table(head: Sequence[str], left: int, rows: Iterable[Sequence[str]]) -> str:
    """A table whose first `left` headings stand at the left and the others at the right.

    Args:
        head: headings, plain text.
        left: how many.
        rows: of cells, as `cell` makes them.
    """
    styles = [LEFT] * left + [RIGHT] * (len(head) - left)
    headings = "".join(f'<th scope="col" style="{style}">{_escaped(text)}</th>' for text, style in zip(head, styles, strict=True))
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return f"<table><thead><tr>{headings}</tr></thead><tbody>{body}</tbody></table>"


def cell(text: str, *styles: str) -> str:
    """A cell of a table; at the left unless styles say otherwise.

    Args:
        text: plain text.
        styles: CSS declarations.
    """
    return f'<td style="{";".join(styles or (LEFT,))}">{_escaped(text)}</td>'


def _escaped(text: str) -> str:
    return html.escape(plain(text))

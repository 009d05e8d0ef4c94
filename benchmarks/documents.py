"""Tables in documents that a benchmark writes itself, so that no figure is copied by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    for row in (header, ["---"] * len(header), *rows):
        yield "| " + " | ".join(cell.replace("|", "/") for cell in row) + " |"


def put(document: Path, name: str, text: str) -> None:
    """Replace what stands between the document's markers of that name.

    Raises:
        SystemExit: it has no such markers.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    content = document.read_text(encoding="utf-8")
    if begin not in content or end not in content:
        raise SystemExit(f"{document} has no markers {begin} and {end}.")
    before, rest = content.split(begin, 1)
    document.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")

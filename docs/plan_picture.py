"""Draw the engine's plan for a few questions, as the planner makes it: `python docs/plan_picture.py docs/images/plan.svg`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.contract import ScoreChoices, TokenIds
from harness.engine.transformers.planning import Planned, rows_of
from harness.engine.transformers.prefixes import ordered_rows, plan_passes
from harness.util.sequences import common_prefix

CELL, ROW, LEFT = 9, 15, 16
HEADER, QUESTIONS, CHOICES = 40, (12, 9, 14, 8, 11, 10), ((2, 4, 3), (1, 1, 1), (3, 3), (2, 5, 2), (1, 1, 1), (4, 2))
STRIP, BUDGET = 56, 112
GREY, COLOURS = "#8a8f98", ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2")


def requests() -> list[ScoreChoices]:
    """Questions behind one header; tokens are numbers that tell where they belong: 0 the header, n + 1 the question n."""
    header = tuple(range(HEADER))
    found = []
    for number, (length, choices) in enumerate(zip(QUESTIONS, CHOICES, strict=True)):
        base = 1000 * (number + 1)
        context = header + tuple(range(base, base + length))
        answers = tuple(tuple(base + 100 * (place + 1) + token for token in range(size)) for place, size in enumerate(choices))
        found.append(ScoreChoices(f"q{number}", context, answers))
    return found


def new_tokens(rows: Sequence[TokenIds], skip: int) -> Iterator[TokenIds]:
    """For each row the tokens that the one before it lacks."""
    before: TokenIds = ()
    for row in rows:
        yield row[max(skip, common_prefix(before, row)) :]
        before = row


class Drawing:
    """Rectangles of tokens and lines of text."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = 24

    def text(self, said: str, *, bold: bool = False) -> None:
        """A line of text."""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(f'<text x="{LEFT}" y="{self.y}" fill="currentColor"{weight}>{said}</text>')
        self.y += ROW

    def tokens(self, tokens: Sequence[int], column: int) -> int:
        """A row of tokens from a column on; returns the next column."""
        for place, token in enumerate(tokens):
            colour = GREY if token < 1000 else COLOURS[token // 1000 - 1]
            faint = 0.55 if token >= 1000 and token % 1000 >= 100 else 1
            x = LEFT + (column + place) * CELL
            self.parts.append(f'<rect x="{x}" y="{self.y - 10}" width="{CELL - 1}" height="11" fill="{colour}" opacity="{faint}"/>')
        return column + len(tokens)

    def outline(self, column: int, length: int) -> None:
        """A frame around a packed row."""
        x, width = LEFT + column * CELL - 2, length * CELL + 3
        self.parts.append(f'<rect x="{x}" y="{self.y - 13}" width="{width}" height="17" fill="none" stroke="currentColor" rx="2"/>')

    def svg(self, width: int) -> str:
        """The whole picture."""
        style = 'font-family="system-ui, sans-serif" font-size="12" style="color:#57606a"'
        return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {self.y}" {style}>\n' + "\n".join(self.parts) + "\n</svg>\n"


def main(target: Path) -> None:
    """Draw the requested tokens, and below them the computed ones."""
    questions = requests()
    planned = [Planned(question, rows_of(question, None)) for question in questions]
    rows = [row.tokens for question in planned for row in question.rows]
    passes = plan_passes(planned, BUDGET, STRIP, 1 << 20)
    drawing = Drawing()
    drawing.text(f"Requested: {len(questions)} questions with one few-shot header, {sum(map(len, rows))} tokens", bold=True)
    drawing.y += 4
    for row in rows:
        drawing.tokens(row, 0)
        drawing.y += ROW
    prefixes = {batch.prefix for batch in passes}
    laid = [list(new_tokens(ordered_rows(packed_row), batch.skip)) for batch in passes for packed_row in batch.packed_rows]
    computed = sum(len(piece) for pieces in prefixes for piece in pieces) + sum(len(part) for parts in laid for part in parts)
    drawing.y += 12
    drawing.text(f"Computed: {computed} tokens, each once. The header is cached; {len(laid)} packed rows follow it.", bold=True)
    drawing.text("In a packed row (a frame) a token attends to the header and to its own question; choices (paler) branch off after it.")
    drawing.y += 4
    for number, parts in enumerate(laid):
        if number == 0:
            drawing.tokens(tuple(range(HEADER)), 0)
        column = HEADER + 1
        drawing.outline(column, sum(map(len, parts)))
        for part in parts:
            column = drawing.tokens(part, column)
        drawing.y += ROW + 5
    target.write_text(drawing.svg(2 * LEFT + CELL * (HEADER + STRIP + 4)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

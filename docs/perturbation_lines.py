"""Rewrite the examples in docs/perturbations.md: `python docs/perturbation_lines.py`.

The sentences are made up for that page. `--check` writes nothing, and fails if the page is out of date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import lists
from harness.perturb import load, perturb

PAGE = Path(__file__).resolve().parent / "perturbations.md"
SEED = 0

FERRY = "The Ferry leaves at 9. Which harbour is it? (A) North (B) South"
MUSEUM = "I am sure that the museum is not open, because they did not receive the necessary money."
LINES: tuple[tuple[str, Mapping[str, Any], str], ...] = (
    ("lowercase", {}, FERRY),
    ("contraction", {}, "We do not know who he is, but it is late and she will not wait."),
    ("expansion", {}, "I'm glad they haven't left, and that he'd rather wait."),
    (
        "misspelling",
        {"rate": 0.2},
        "People believe that the government will probably announce another date, although nobody is certain yet.",
    ),
    ("misspelling", {"rate": 0.5}, MUSEUM),
    ("typos", {"rate": 0.01}, "Two botanists counted every fern along the river and found forty kinds."),
    ("typos", {"rate": 0.1}, "Two botanists counted every fern along the river and found forty kinds."),
    ("spaces", {}, "A small comet was seen above the island."),
    ("extra_space", {}, "The night train stops twice."),
    ("filler", {}, "The old bridge was closed in spring because its stones had moved in the flood."),
    ("filler", {"rate": 0.3, "speaker": True}, "The old bridge was closed in spring because its stones had moved."),
    ("mild_mix", {}, MUSEUM),
    ("mild_mix", {}, FERRY),
    ("dialect", {}, "They are working late, and there is nothing that isn't finished."),
    ("dialect", {}, "You were about to leave when their uncle was talking to himself."),
    ("gender", {}, "He lost his key; the key he found was not his, so she gave him hers."),
    ("gender", {"words": "both"}, "My uncle is a waiter, and his sons and daughters visit him on Sundays."),
    ("gender", {"to": "male"}, "Her neighbour gave her the news before she went to her office."),
    ("person_name", {}, "Emily met Brian at EMILY's shop in San Jose, and Emily waved."),
    ("person_name", {"target": "hispanic_american"}, "Emily met Brian, and {name} asked for St. Patrick."),
)
"""Perturbation, options, and the text before."""

LISTS = {
    "contractions": "contractions",
    "misspellings": "words with misspellings",
    "fillers": "fillers",
    "dialect": "phrases of the dialect",
    "gender": "pairs of gendered nouns",
    "first_names": "first names",
}


def lines() -> str:
    """The table of texts before and after."""
    rows = ["| perturbation | before | after |", "|---|---|---|"]
    for number, (name, options, text) in enumerate(LINES):
        one = load(name, options)
        rows.append(f"| `{one.label}` | {_cell(text)} | {_cell(perturb(one, text, seed=SEED, item=str(number), field='text'))} |")
    return "\n".join(rows)


def sizes() -> str:
    """The table of the lists' sizes."""
    table = {name: lists.read(name) for name in LISTS}
    kinds = ("negations", "subjects", "perfects", "one_way")
    counts = {
        "contractions": sum(len(table["contractions"][kind]) for kind in kinds),
        "misspellings": len(table["misspellings"]),
        "fillers": sum(map(len, table["fillers"].values())),
        "dialect": sum(len(feature["replace"]) for feature in table["dialect"]["features"]),
        "gender": len(table["gender"]["terms"]),
        "first_names": sum(len(names) for group in table["first_names"].values() for names in group.values()),
    }
    rows = ["| list | holds |", "|---|---|"]
    rows += [f"| `{name}` | {counts[name]} {what} |" for name, what in LISTS.items()]
    return "\n".join(rows)


def rewritten(page: str) -> str:
    """The page with both tables made anew between their markers."""
    for name, table in (("lines", lines()), ("sizes", sizes())):
        opening, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        if page.count(opening) != 1 or page.count(end) != 1:
            raise SystemExit(f"{PAGE} has not one pair of markers named {name!r}.")
        page = page[: page.index(opening) + len(opening)] + table + page[page.index(end) :]
    return page


def _cell(text: str) -> str:
    """A text in a table, its runs of spaces shown."""
    return re.sub(" {2,}", lambda run: "␣" * len(run[0]), text).replace("|", "\\|")


def main() -> None:
    """Rewrite the page, or say that it is old."""
    before = PAGE.read_text(encoding="utf-8")
    after = rewritten(before)
    if "--check" in sys.argv[1:]:
        raise SystemExit(0 if before == after else f"{PAGE.name} is old: run python docs/perturbation_lines.py")
    PAGE.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()

"""What `harness plot` is to draw, and what its kinds of figures share."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from matplotlib.figure import Figure

from harness.compare.figures import BinsOf, Side, departures
from harness.compare.paired_tables import LoadMeasure
from harness.util.text import plain

What = Literal["reliability", "families", "drops"]
KINDS: tuple[What, ...] = get_args(What)


@dataclass(frozen=True)
class FigureRequest:
    """What to draw.

    Attributes:
        kinds: of figures.
        tasks: names of tasks and groups, or globs; empty for all.
        metric: whose bins a reliability diagram shows.
    """

    kinds: tuple[What, ...] = KINDS
    tasks: tuple[str, ...] = ()
    metric: str = "ece_10_bin"

    def wants(self, name: str) -> bool:
        """Whether a task or group was requested."""
        return not self.tasks or any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in self.tasks)


@dataclass(frozen=True)
class FigureSource:
    """Where figures come from.

    Attributes:
        sides: the runs, in the order in which figures show them.
        load: finds metrics by name and options: `harness.metrics.load`.
        bins: of saved statistics: `harness.metrics.calibration.reliability`.
    """

    sides: Sequence[Side]
    load: LoadMeasure
    bins: BinsOf


@dataclass(frozen=True)
class Plot:
    """A figure that can be drawn; `name` is that of its file, without a suffix."""

    name: str
    title: str
    draw: Callable[[], Figure]


@dataclass
class Drawable:
    """The figures of one kind, and why others are missing."""

    plots: list[Plot] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def file_name(kind: What, name: str) -> str:
    """The file's name for the figure of a task or group; characters that some file systems refuse become hyphens."""
    safe = re.sub(r"[^\w.+@-]+", "-", name).strip("-")
    return f"{kind}_{safe}"


def title_of(sides: Sequence[Side], text: str) -> str:
    """The title of a figure: `text`, after the system's name where the figure shows a single system."""
    return f"{plain(sides[0].label)}: {text}" if len(sides) == 1 else text[0].upper() + text[1:]


def notes(sides: Sequence[Side], name: str, keys: Iterable[str]) -> list[str]:
    """How the measurement of systems differs from that of the first, a sentence for each.

    Args:
        sides: those in one figure.
        name: the task or group.
        keys: the measures in the figure.
    """
    first, sentences = sides[0], []
    keys = tuple(keys)
    for side in sides[1:]:
        differs = dict.fromkeys(note for key in keys for note in departures(side.record, first.record, name, key))
        if differs:
            sentences.append(f"{plain(side.label)} was measured differently from {plain(first.label)}: {', '.join(map(plain, differs))}.")
    return sentences

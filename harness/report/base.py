"""What a report is: a leaderboard, a comparison or a gate decision goes in, and text comes out.

To add one, write one class in one file and decorate it with `@report("name")`. Implement the methods for the subjects that it shows;
`--format name` of `harness leaderboard`, `compare`, `forgetting` and `gate` prints it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, TypeVar

from harness.compare.leaderboard import headlines
from harness.errors import InputError
from harness.util.plugins import Plugins

if TYPE_CHECKING:
    from pathlib import Path

    from harness.compare.comparison import RunComparison
    from harness.compare.leaderboard_table import Leaderboard
    from harness.compare.noise import NoiseByTask
    from harness.compare.ranking import Ranking
    from harness.gate.decision import GateDecision
    from harness.store.records import RunRecord

PIPE_WIDTH = 160
"""Characters in a line where the output is not a terminal."""

Subject: TypeAlias = Literal["leaderboard", "forgetting", "decision"]


@dataclass(frozen=True)
class LeaderboardContent:
    """A leaderboard to be shown.

    Attributes:
        board: the columns that were selected.
        whole: every column.
        runs: the runs behind it, each with its folder.
        selected: whether the user named the families of columns, rather than leaving the choice to the report.
    """

    board: Leaderboard
    whole: Leaderboard
    runs: Sequence[tuple[Path, RunRecord]]
    selected: bool = False

    @property
    def main(self) -> Leaderboard:
        """The columns for a table that people read: those that were selected, else what tasks and groups are scored by."""
        return self.board if self.selected else headlines(self.board)

    @property
    def has_families(self) -> bool:
        """Whether win rates by family say more than the table: families were selected, or there are several."""
        return self.selected or len({column.family for column in self.board.columns}) > 1

    @cached_property
    def ranking(self) -> Ranking:
        """Ranks and win rates within each family of `board`, computed when first read.

        Raises:
            StorageError: saved statistics cannot be read.
        """
        from harness import metrics
        from harness.compare.ranking import ranking

        return ranking(self.board, self.runs, metrics.load)


@dataclass(frozen=True)
class ForgettingContent:
    """One base against one or several systems, to be shown.

    Attributes:
        comparisons: at least one, all with the same base.
        folders: of the base's results, then of each system's; only pages read them.
        noise: by task, what scoring the base again in other batches changed; None where that was not measured.
        details: whether to show all scores, all kinds of items and more items.
        items: how many items to show of each task.
    """

    comparisons: Sequence[RunComparison]
    folders: Sequence[Path] = ()
    noise: NoiseByTask | None = None
    details: bool = False
    items: int = 10


@dataclass(kw_only=True)
class Report:
    """Base of all reports. A subclass implements one method or more; each returns the whole text.

    Class attributes:
        name: as `--format` takes it.

    Attributes:
        width: characters in a line, for reports that fit their text to a terminal.
        color: whether to use terminal colours.
    """

    name: ClassVar[str]
    width: int = PIPE_WIDTH
    color: bool = False

    def leaderboard(self, content: LeaderboardContent) -> str:
        """Systems side by side."""
        raise NotImplementedError

    def forgetting(self, content: ForgettingContent) -> str:
        """What fine-tuning gained and what it cost."""
        raise NotImplementedError

    def decision(self, decision: GateDecision) -> str:
        """What a policy decided, rule by rule."""
        raise NotImplementedError


PLUGINS: Plugins[Report] = Plugins("report", "harness.report", "reports")
ReportClass = TypeVar("ReportClass", bound=type[Report])


def report(name: str) -> Callable[[ReportClass], ReportClass]:
    """Class decorator: make a report known under `name`.

    Raises:
        InputError: another class has that name.
    """

    def register(cls: ReportClass) -> ReportClass:
        PLUGINS.register(name, cls)
        cls.name = name
        return cls

    return register


def names(subject: Subject) -> list[str]:
    """The reports that show a subject: shipped, installed as plug-ins, and from the user's folders.

    Raises:
        InputError: a report's file cannot be imported, or takes a name that another one has.
    """
    return sorted(name for name, cls in PLUGINS.known().items() if getattr(cls, subject) is not getattr(Report, subject))


def load(name: str, subject: Subject, *, width: int = PIPE_WIDTH, color: bool = False, option: str = "") -> Report:
    """The report `name`, which shows `subject`.

    Args:
        name: as it was registered.
        subject: what will be shown.
        width: characters in a line.
        color: whether to use terminal colours.
        option: the command line's option that named it, for the error.

    Raises:
        InputError: there is no such report, or it does not show this subject.
    """
    known = names(subject)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}? " if near else ""
        what = f"The report {name!r} does not show a {subject}" if name in PLUGINS.known() else f"There is no report {name!r}"
        raise InputError(f"{what}{f' ({option})' if option else ''}.", f"{hint}Choose from {', '.join(known)}.")
    return PLUGINS.build(name, {"width": width, "color": color})

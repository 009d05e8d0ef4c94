"""Tables for people at a terminal: runs, leaderboards and gate decisions. Names are data: they are never read as markup."""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from harness.compare.leaderboard import ranks
from harness.compare.leaderboard_table import MARK, Leaderboard, LeaderboardCell, LeaderboardColumn
from harness.report.base import ForgettingContent, LeaderboardContent, Report, report
from harness.report.grid import TOP, Quantity, pieces, tables
from harness.report.run_rows import RunRow, run_notes, run_rows
from harness.util.text import NONE, interval_text, plain, value_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from harness.compare.ranking import Ranking, Within
    from harness.contract import Family
    from harness.gate.decision import GateDecision
    from harness.gate.findings import Outcome
    from harness.store.records import RunRecord

OUTCOME_STYLES: dict[Outcome, str] = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}


@report("table")
@dataclass(kw_only=True)
class TerminalReport(Report):
    """Tables that fit the width of a terminal."""

    def leaderboard(self, content: LeaderboardContent) -> str:
        """The table, then win rates by family."""
        views: list[RenderableType] = [leaderboard_view(content.main, self.width)]
        if content.has_families:
            views += [Text(), families_view(content.main, content.ranking, self.width)]
        return self._text(views)

    def forgetting(self, content: ForgettingContent) -> str:
        """Every task with its verdict, what they add up to, and the items that got worse."""
        from harness.report.forgetting.terminal import forgetting_view

        view = forgetting_view(content.comparisons, self.width, noise=content.noise, details=content.details, items=content.items)
        return self._text([view])

    def decision(self, decision: GateDecision) -> str:
        """Every rule with its outcome, the verdict, and what to do next; commands stay on one line."""
        return self._text([decision_view(decision)], advice_lines(decision))

    def _text(self, views: Sequence[RenderableType], whole_lines: Sequence[Text] = ()) -> str:
        out = io.StringIO()
        console = Console(file=out, width=self.width, force_terminal=self.color, highlight=False)
        for view in views:
            console.print(view)
        for line in whole_lines:
            console.print(line, soft_wrap=True)
        return out.getvalue()


def run_table(record: RunRecord, unfold: bool = False, evaluated: Collection[str] | None = None) -> Table:
    """All scores of one run, groups above their tasks.

    Args:
        record: the run.
        unfold: show the tasks of large groups too.
        evaluated: the tasks of the last run; None for all.
    """
    table = Table(box=box.SIMPLE_HEAD, title=Text(plain(record.system.name), style="bold"), title_justify="left", caption_justify="left")
    table.add_column("task", overflow="fold")
    table.add_column("metric", overflow="fold")
    for name in ("value", "95 % interval", "n", "shots"):
        table.add_column(name, justify="right")
    for row in run_rows(record, unfold):
        table.add_row(*_run_cells(row))
    table.caption = Text("\n".join(run_notes(record, evaluated)), style="dim")
    return table


def leaderboard_view(board: Leaderboard, width: int) -> RenderableType:
    """The leaderboard for a terminal of `width` characters, transposed or split into blocks where it is too wide."""
    if not board.rows or not board.columns:
        return Text("No scores to compare.")
    quantities = [_scores([row.cells[place] for row in board.rows], column) for place, column in enumerate(board.columns)]
    legend = "In brackets: 95 % interval."
    if ranks(board):
        rates = [Text(value_text(row.win_rate, "share")) for row in board.rows]
        quantities.insert(0, Quantity(["win rate"], "win rate", rates, [""] * len(rates)))
        over = "columns" if len({column.headline for column in board.columns}) == 1 else "the headline metrics of tasks and groups"
        legend = f"Bold: best value. Win rate: share of the other systems beaten, ties counting half, averaged over {over}. {legend}"
    notes = [Text(note, style="dim") for note in board.notes]
    return Group(*tables([row.label for row in board.rows], quantities, width), *notes, Text(legend, style="dim"))


def families_view(board: Leaderboard, ranking: Ranking, width: int) -> RenderableType:
    """Win rates within each family, for a terminal of `width` characters.

    Args:
        board: whose rows are ranked.
        ranking: of these rows.
        width: in characters.
    """
    quantities = [_rates(family, within) for family, within in ranking.families.items()]
    notes = [Text(note, style="dim") for note in ranking.notes]
    legend = (
        "Win rates by family: share of the other systems beaten, ties counting half, averaged over the family's columns. "
        "In brackets: 95 % interval, resampling items and columns. To see the columns: --measures FAMILY,… or --measures all."
    )
    blocks = tables([row.label for row in board.rows], quantities, width, "family") if board.rows and quantities else []
    return Group(*blocks, *notes, Text(legend, style="dim"))


def _scores(cells: Sequence[LeaderboardCell | None], column: LeaderboardColumn) -> Quantity:
    arrow = "↑" if column.higher_is_better else "↓"
    head = [*pieces(plain(column.name), TOP), *pieces(f"{plain(column.metric)} {arrow}", TOP)]
    intervals = ["" if cell is None or cell.value is None else interval_text(cell.low, cell.high, column.unit) for cell in cells]
    return Quantity(head, column.label, [_score(cell, column) for cell in cells], intervals)


def _score(cell: LeaderboardCell | None, column: LeaderboardColumn) -> Text:
    if cell is None or cell.value is None:
        return Text(NONE, style="dim")
    return Text(value_text(cell.value, column.unit) + (MARK if cell.differs else ""), style="bold" if cell.best else "")


def _rates(family: Family, within: Within) -> Quantity:
    """The highest in bold."""
    rates = [rank.win_rate for rank in within.standings]
    best = max((rate for rate in rates if rate is not None), default=None)
    values = [Text(value_text(rate, "share"), style="dim" if rate is None else "bold" if rate == best else "") for rate in rates]
    intervals = [interval_text(rank.low, rank.high, "share") for rank in within.standings]
    return Quantity([family, within.extent], f"{family} ({within.extent})", values, intervals)


def _run_cells(row: RunRow) -> tuple[Text, ...]:
    score = row.record
    low, high = score.ci or (None, None)
    indent, unlisted = "  " if row.member else "", f" ({row.unlisted} tasks)" if row.unlisted else ""
    title = Text.assemble((indent + plain(row.name), "bold" if row.group else ""), (unlisted, "dim"))
    value = Text(value_text(score.value, score.unit), style="bold" if row.group else "")
    if row.spread:
        value.append(f" ({row.spread})", "dim")
    return (
        title if row.first else Text(),
        Text(plain(row.metric)),
        value,
        Text(interval_text(low, high, score.unit), style="dim"),
        Text(f"{score.n:,}"),
        Text(row.shots if row.first else ""),
    )


def decision_view(decision: GateDecision) -> RenderableType:
    """Every rule with its outcome and the reason, then the verdict."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("rule", overflow="fold", min_width=16, ratio=2)
    table.add_column("outcome", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=5)
    for rule in decision.results:
        outcome = rule.finding.outcome
        reasons = Text("\n".join(map(plain, rule.finding.lines)))
        table.add_row(Text(plain(rule.text)), Text(outcome, style=OUTCOME_STYLES[outcome]), reasons)
    notes = [Text(note, style="dim") for note in decision.notes]
    return Group(table, Text(), verdict_line(decision), *notes)


def advice_lines(decision: GateDecision) -> list[Text]:
    """What to do next; to be printed with `soft_wrap`, so that commands stay whole."""
    return [Text(plain(line), style="dim") for line in decision.advice]


def verdict_line(decision: GateDecision) -> Text:
    """The verdict, the systems, and how many rules passed and failed."""
    name = decision.candidate.record.system.name
    against = f" against {decision.baseline.record.system.name}" if decision.baseline else ""
    return Text.assemble((decision.outcome, OUTCOME_STYLES[decision.outcome]), f": {plain(name)}{plain(against)}. {decision.headline}.")

"""Tables and progress for people at a terminal. Names are data: they are never read as markup."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from rich import box
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from harness.compare.leaderboard import MARK, Leaderboard, LeaderboardCell, LeaderboardColumn, ranks
from harness.compare.unverified import unverified
from harness.report.grid import TOP, Quantity, pieces, tables
from harness.util.text import NONE, bytes_text, interval_text, plain, seconds_text, value_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from rich.console import RenderableType
    from rich.progress import Task, TaskID

    from harness.compare.ranking import Ranking, Within
    from harness.contract import Family
    from harness.store.runs import EfficiencyRecord, GroupRecord, MetricRecord, RunRecord, TaskRecord

FOLD = 12
"""Groups of more tasks than this are shown as one row."""

RowTexts: TypeAlias = tuple[Text, Text, Text, Text, Text, Text]


def run_table(record: RunRecord, unfold: bool = False) -> Table:
    """All scores of one run, groups above their tasks.

    Args:
        record: the run.
        unfold: show the tasks of large groups too.
    """
    table = Table(box=box.SIMPLE_HEAD, title=Text(plain(record.system.name), style="bold"), title_justify="left", caption_justify="left")
    table.add_column("task", overflow="fold")
    table.add_column("metric", overflow="fold")
    for name in ("value", "95 % interval", "n", "shots"):
        table.add_column(name, justify="right")
    for row in _rows(record, unfold):
        table.add_row(*row)
    said = unverified([(record.system.name, record)])
    notes = [*_null_notes(record), *_shortened_notes(record), *([said] if said else []), _efficiency(record)]
    table.caption = Text("\n".join(notes), style="dim")
    return table


def leaderboard_view(board: Leaderboard, width: int) -> RenderableType:
    """The leaderboard for a terminal of `width` characters, turned or split into blocks where it is too wide."""
    if not board.rows or not board.columns:
        return Text("No scores to compare.")
    quantities = [_scores([row.cells[place] for row in board.rows], column) for place, column in enumerate(board.columns)]
    legend = "In brackets: 95 % interval."
    if ranks(board):
        rates = [Text(value_text(row.win_rate, "share")) for row in board.rows]
        quantities.insert(0, Quantity(["win rate"], "win rate", rates, [""] * len(rates)))
        over = "columns" if len({column.headline for column in board.columns}) == 1 else "what tasks and groups are scored by"
        legend = f"Bold: best value. Win rate: share of the other systems beaten, ties half, mean over {over}. {legend}"
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
        "Win rates by family: share of the other systems beaten, ties half, mean over the family's columns. "
        "In brackets: 95 % interval over other items and other columns. --measures FAMILY,… or all shows the columns."
    )
    found = tables([row.label for row in board.rows], quantities, width, "family") if board.rows and quantities else []
    return Group(*found, *notes, Text(legend, style="dim"))


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
    rates = [one.win_rate for one in within.standings]
    best = max((rate for rate in rates if rate is not None), default=None)
    values = [Text(value_text(rate, "share"), style="dim" if rate is None else "bold" if rate == best else "") for rate in rates]
    intervals = [interval_text(one.low, one.high, "share") for one in within.standings]
    return Quantity([family, within.extent], f"{family} ({within.extent})", values, intervals)


class RunProgress:
    """Bars on standard error while a run goes on: one a label, and the whole below them. Silent when that is no terminal.

    Args:
        totals: number of items by label.
        console: where to draw; standard error by default.
    """

    def __init__(self, totals: Mapping[str, int], console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._rate = _RateColumn()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            self._rate,
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._tasks = {label: self._progress.add_task(plain(label), start=False, visible=False, total=n) for label, n in totals.items()}
        self._whole: TaskID = self._progress.add_task("all", total=sum(totals.values()))
        self._rate.whole = self._whole

    def advance(self, label: str, items: int = 1) -> None:
        """Count finished items of a label. Its bar is shown from the first item to the last."""
        task = self._tasks[label]
        self._progress.start_task(task)
        self._progress.update(task, advance=items, visible=True)
        self._progress.advance(self._whole, items)
        state = next(known for known in self._progress.tasks if known.id == task)
        if state.finished:
            self._progress.update(task, visible=False)

    def tokens(self, n: int) -> None:
        """Count tokens that were computed, for the rate."""
        self._rate.tokens += n

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._progress.disable:  # older rich ends even a disabled progress bar with an empty line
            self._progress.stop()


class _RateColumn(ProgressColumn):
    """Tokens a second since the start, on the bar of the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = 0
        self.whole: TaskID | None = None

    def render(self, task: Task) -> Text:
        elapsed = task.elapsed
        if task.id != self.whole or not self.tokens or not elapsed:
            return Text("")
        return Text(f"{self.tokens / elapsed:,.0f} tokens/s", style="cyan")


def _rows(record: RunRecord, unfold: bool) -> Iterator[RowTexts]:
    grouped = set()
    for name, group in record.groups.items():
        members = [task for task in group.tasks if task in record.tasks]
        grouped.update(members)
        folded = len(members) > FOLD and not unfold
        title = Text.assemble((plain(name), "bold"), (f" ({len(members)} tasks)" if folded else "", "dim"))
        yield from _metric_rows(title, group.metrics, _group_shots(group, record.tasks), "bold")
        for member in [] if folded else members:
            yield from _task_rows(member, record.tasks[member], indent="  ")
    for name, task in record.tasks.items():
        if name not in grouped:
            yield from _task_rows(name, task)


def _task_rows(name: str, task: TaskRecord, indent: str = "") -> Iterator[RowTexts]:
    return _metric_rows(Text(indent + plain(name)), task.metrics, str(task.shots))


def _metric_rows(title: Text, metrics: Mapping[str, MetricRecord], shots: str, style: str = "") -> Iterator[RowTexts]:
    for place, (name, metric) in enumerate(metrics.items()):
        first = place == 0
        low, high = metric.ci or (None, None)
        interval = interval_text(low, high, metric.unit)
        yield (
            title if first else Text(),
            Text(plain(name)),
            _value(metric, style),
            Text(interval, style="dim"),
            Text(f"{metric.n:,}"),
            Text(shots if first else ""),
        )


def _value(metric: MetricRecord, style: str) -> Text:
    text = Text(value_text(metric.value, metric.unit), style=style)
    if metric.spread is not None:
        low, high = (value_text(bound, metric.unit) for bound in (metric.spread.lowest, metric.spread.highest))
        text.append(f" ({low} to {high} over {metric.spread.template_variants} template variants)", "dim")
    return text


def _group_shots(group: GroupRecord, tasks: Mapping[str, TaskRecord]) -> str:
    shots = {tasks[name].shots for name in group.tasks if name in tasks}
    return f"{min(shots)}-{max(shots)}" if len(shots) > 1 else "".join(map(str, shots))


def _null_notes(record: RunRecord) -> list[str]:
    owners = [(name, group.metrics) for name, group in record.groups.items()]
    owners += [(name, task.metrics) for name, task in record.tasks.items()]
    notes = []
    for owner, metrics in owners:
        named: dict[str, list[str]] = {}
        for name, metric in metrics.items():
            if metric.value is None:
                named.setdefault(metric.reason or "", []).append(plain(name))
        for reason, names in named.items():
            notes.append(f"{plain(owner)} {', '.join(names)} {'has' if len(names) == 1 else 'have'} no value: {plain(reason)}")
    return notes


def _shortened_notes(record: RunRecord) -> list[str]:
    notes = []
    for name, task in record.tasks.items():
        cut = task.shortened
        if cut.items:
            ways = [f"{cut.shots_dropped} shots dropped"] if cut.shots_dropped else []
            ways += [f"text cut in {cut.text_cut}"] if cut.text_cut else []
            notes.append(f"{plain(name)}: {cut.items} of {task.items} prompts shortened to fit the model ({', '.join(ways)})")
    return notes


def _efficiency(record: RunRecord) -> str:
    spent: EfficiencyRecord = record.efficiency
    parts = [f"{sum(task.items for task in record.tasks.values()):,} items"]
    if "total" in spent.seconds:
        parts[0] += f" in {seconds_text(spent.seconds['total'])}"
    if spent.prefill_tokens_per_second is not None:
        parts.append(f"prefill {spent.prefill_tokens_per_second:,.0f} tokens/s")
    if spent.decode_tokens_per_second is not None:
        parts.append(f"decode {spent.decode_tokens_per_second:,.0f} tokens/s")
    if spent.padding_share is not None:
        parts.append(f"padding {spent.padding_share:.1%}".replace("%", " %"))
    if spent.peak_memory_bytes:
        parts.append(f"peak memory {bytes_text(spent.peak_memory_bytes)}")
    parts.append(f"{spent.requests.cached:,} of {spent.requests.unique:,} responses from the cache")
    return " · ".join(parts)

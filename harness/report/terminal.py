"""Tables and progress for people at a terminal. Names are data: they are never read as markup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from harness.report.leaderboard import MARK, Cell, Column, Leaderboard, ranks
from harness.report.numbers import NONE, bytes_text, interval_text, plain, seconds_text, value_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from rich.console import RenderableType
    from rich.progress import Task, TaskID

    from harness.store.runs import EfficiencyRecord, GroupRecord, MetricRecord, RunRecord, TaskRecord

FOLD = 12
"""Groups of more tasks than this are shown as one row."""

_GAP = 2  # of which the box draws one
_SIDE = 32
_TOP = 16
_BREAKS = "+@/_-. "

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
    notes = [*_null_notes(record), *_shortened_notes(record), _efficiency(record)]
    table.caption = Text("\n".join(notes), style="dim")
    return table


def leaderboard_view(board: Leaderboard, width: int) -> RenderableType:
    """The leaderboard for a terminal of `width` characters, turned or split into blocks where it is too wide."""
    if not board.rows or not board.columns:
        return Text("No scores to compare.")
    grid = _best_grid(board, width)
    tables: list[RenderableType] = []
    for tops in _blocks(grid, width):
        tables += [_block(grid, tops), Text()]
    notes = [Text(note.text, style="dim") for note in board.footnotes]
    legend = "In brackets: 95 % interval."
    if ranks(board):
        legend = "Bold: best value. Win rate: share of the other systems beaten, ties half, mean over columns. " + legend
    return Group(*tables, *notes, Text(legend, style="dim"))


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
        text.append(f" ({low} to {high} over {metric.spread.wordings} wordings)", "dim")
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
    parts.append(f"{spent.requests.from_store:,} of {spent.requests.asked:,} answers from the store")
    return " · ".join(parts)


@dataclass(frozen=True, slots=True)
class _Grid:
    """A table before it is cut to width: texts at the top, at the side, and cells by [side][top]."""

    corner: str
    tops: list[Text]
    sides: list[Text]
    cells: list[list[Text]]
    turned: bool

    def side_width(self) -> int:
        return max(_width(side) for side in self.sides)

    def top_widths(self) -> list[int]:
        return [max(map(_width, column)) for column in zip(self.tops, *self.cells, strict=True)]

    def height(self) -> int:
        """Lines of one block."""
        return sum(max(_height(side), max(map(_height, line))) for side, line in zip(self.sides, self.cells, strict=True)) + 4


def _best_grid(board: Leaderboard, width: int) -> _Grid:
    """The first that fits in one block: systems down, or turned, each with intervals beside or below; else the shortest.

    Leaders are found faster where systems go down, so a table in blocks is turned only where that saves much.
    """
    choices: list[tuple[float, _Grid]] = []
    for turned in (False, True):
        for stacked in (False, True):
            grid = _grid(board, stacked, turned)
            blocks = len(_blocks(grid, width))
            if blocks == 1:
                return grid
            choices.append((blocks * grid.height() * (1.2 if turned else 1.0), grid))
    return min(choices, key=lambda choice: choice[0])[1]


def _grid(board: Leaderboard, stacked: bool, turned: bool) -> _Grid:
    """Systems down and columns across, or `turned`; intervals below their values if `stacked`."""
    cells = [[_cell_text(c, column, stacked) for c, column in zip(row.cells, board.columns, strict=True)] for row in board.rows]
    labels = [row.label for row in board.rows]
    if ranks(board):
        for line, row in zip(cells, board.rows, strict=True):
            line.insert(0, Text(value_text(row.win_rate, "share")))
    first = [Text("win rate")] if ranks(board) else []
    if not turned:
        heads = first + [_head(column) for column in board.columns]
        return _Grid("system", heads, [_lines(label, _SIDE) for label in labels], cells, turned)
    sides = first + [_lines(column.label, _SIDE) for column in board.columns]
    return _Grid("task", [_lines(label, _TOP) for label in labels], sides, [list(line) for line in zip(*cells, strict=True)], turned)


def _head(column: Column) -> Text:
    arrow = "↑" if column.higher_is_better else "↓"
    return Text("\n".join([*_pieces(plain(column.name), _TOP), f"{plain(column.metric)} {arrow}"]))


def _cell_text(cell: Cell | None, column: Column, stacked: bool) -> Text:
    if cell is None or cell.value is None:
        return Text(NONE, style="dim")
    text = Text()
    text.append(value_text(cell.value, column.unit) + (MARK if cell.differs else ""), style="bold" if cell.best else None)
    interval = interval_text(cell.low, cell.high, column.unit)
    if interval:
        text.append(("\n" if stacked else " ") + interval, style="dim")
    return text


def _width(text: Text) -> int:
    return max(map(cell_len, text.plain.split("\n")))


def _height(text: Text) -> int:
    return text.plain.count("\n") + 1


def _lines(name: str, width: int) -> Text:
    return Text("\n".join(_pieces(name, width)))


def _pieces(name: str, width: int) -> list[str]:
    """A name cut into lines of at most `width`, after one of `+@/_-. ` where there is one."""
    lines = []
    while len(name) > width:
        cut = max(name.rfind(mark, 0, width) + 1 for mark in _BREAKS) or width
        lines.append(name[:cut])
        name = name[cut:]
    return [*lines, name]


def _blocks(grid: _Grid, width: int) -> list[range]:
    """Ranges of tops that fit beside the sides in `width` characters."""
    room = width - grid.side_width() - _GAP
    blocks, start, used = [], 0, 0
    widths = grid.top_widths()
    for top, need in enumerate(widths):
        if used + need + _GAP > room and top > start:
            blocks.append(range(start, top))
            start, used = top, 0
        used += need + _GAP
    return [*blocks, range(start, len(widths))]


def _block(grid: _Grid, tops: Sequence[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    table.add_column(grid.corner, overflow="fold")
    for top in tops:
        table.add_column(grid.tops[top], justify="right", overflow="fold")
    for side, line in zip(grid.sides, grid.cells, strict=True):
        table.add_row(side, *(line[top] for top in tops))
    return table

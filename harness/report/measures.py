"""One table of the seven families of measures: a row for each group and task, a column for each family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from harness.compare.families import FAMILIES, absent, first_measure
from harness.util.text import NONE, interval_text, plain, value_text

if TYPE_CHECKING:
    from harness.contract import Family
    from harness.store.records import MetricRecord, RunRecord, TaskRecord

FOLD = 12
"""Groups of more tasks than this are one row."""


@dataclass(frozen=True, slots=True)
class MeasureCell:
    """A family's first measure of a task or group.

    Attributes:
        name: the measure, as results name it.
        record: its score, or None where there is none.
        reason: why there is no value.
        more: how many further measures of the family there are.
    """

    name: str
    record: MetricRecord | None
    reason: str | None
    more: int


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """A group or a task."""

    name: str
    group: bool
    member: bool
    cells: Mapping[Family, MeasureCell]


def measured(record: RunRecord) -> bool:
    """Whether the run was to measure more than accuracy."""
    return any(task.without or any(score.family != "accuracy" for score in task.metrics.values()) for task in record.tasks.values())


def rows(record: RunRecord) -> Iterator[MeasureRow]:
    """Groups with their tasks, then tasks that stand alone."""
    grouped = set()
    for name, group in record.groups.items():
        members = [task for task in group.tasks if task in record.tasks]
        grouped.update(members)
        without = absent([record.tasks[task] for task in members])
        yield MeasureRow(name, True, False, _cells(group.metrics, [], without))
        if len(members) <= FOLD:
            yield from (_task(task, record.tasks[task], True) for task in members)
    yield from (_task(name, task, False) for name, task in record.tasks.items() if name not in grouped)


def measures_table(record: RunRecord) -> Table:
    """The table for a terminal; below it why values are missing, each reason once."""
    table = Table(box=box.SIMPLE_HEAD, title=Text("Measures", style="bold"), title_justify="left", caption_justify="left", show_lines=False)
    table.add_column("task", overflow="fold")
    for family in FAMILIES:
        table.add_column(family, justify="right")
    notes: dict[str, int] = {}
    for row in rows(record):
        name = Text(("  " if row.member else "") + plain(row.name), style="bold" if row.group else "")
        table.add_row(name, *(_text(row.cells.get(family), notes) for family in FAMILIES))
    legend = "Value, 95 % interval, items (for efficiency: timed forward passes) and measure; seconds per item when run alone."
    lines = [legend, *(f"{number} {plain(reason)}" for reason, number in notes.items())]
    table.caption = Text("\n".join(lines), style="dim")
    return table


def perturbations_table(record: RunRecord) -> Table | None:
    """What each perturbation did to the headline metrics; None where nothing was perturbed."""
    table = Table(box=box.SIMPLE_HEAD, title=Text("Perturbed items", style="bold"), title_justify="left", caption_justify="left")
    table.add_column("task", overflow="fold")
    table.add_column("perturbation", overflow="fold")
    for name in ("items changed", "before", "after", "lost", "95 % interval"):
        table.add_column(name, justify="right")
    for name, task in record.tasks.items():
        records = task.perturbations or [record for variant in task.template_variants.values() for record in variant.perturbations]
        for place, perturbed in enumerate(records):
            drop = perturbed.drop
            low, high = drop.ci or (None, None)
            scores = (value_text(score.value, score.unit) for score in (perturbed.before, perturbed.after, drop))
            worst = f" of {perturbed.family}" if perturbed.perturbation.name == "worst" else ""
            title = f"{name} {perturbed.metric}" if place == 0 else ""
            changed = f"{perturbed.changed:,} of {perturbed.items:,}"
            table.add_row(plain(title), f"{perturbed.perturbation.name}{worst}", changed, *scores, interval_text(low, high, drop.unit))
    legend = "Over the items whose text changed. worst: over all items, the worst score of each item and its perturbed copies."
    table.caption = Text(legend, style="dim")
    return table if table.row_count else None


def _task(name: str, task: TaskRecord, member: bool) -> MeasureRow:
    return MeasureRow(name, False, member, _cells(task.metrics, task.headline, task.without))


def _cells(metrics: Mapping[str, MetricRecord], headline: list[str], without: Mapping[Family, str]) -> dict[Family, MeasureCell]:
    cells: dict[Family, MeasureCell] = {}
    for family in FAMILIES:
        first = first_measure(metrics, headline, family)
        if first is not None:
            record, more = metrics[first], sum(score.family == family for score in metrics.values()) - 1
            cells[family] = MeasureCell(first, record, record.reason if record.value is None else None, more)
        elif family in without:
            cells[family] = MeasureCell("", None, without[family], 0)
    return cells


def _text(cell: MeasureCell | None, notes: dict[str, int]) -> Text:
    if cell is None:
        return Text(NONE, style="dim")
    if cell.record is None or cell.record.value is None:
        number = notes.setdefault(cell.reason or "", len(notes) + 1)
        return Text(f"{NONE} ({number})", style="dim")
    record = cell.record
    text = Text(f"{value_text(record.value, record.unit)} {'↑' if record.higher_is_better else '↓'}")
    low, high = record.ci or (None, None)
    interval = interval_text(low, high, record.unit)
    if not interval and record.reason:
        interval = f"no interval ({notes.setdefault(record.reason, len(notes) + 1)})"
    count = f"n {record.n:,}" + (f" in {record.clusters:,} clusters" if record.clusters else "")
    for line in (interval, count, plain(cell.name) + (f" +{cell.more}" if cell.more else "")):
        text.append(f"\n{line}" if line else "", style="dim")
    return text

"""The rows and notes of one run's table, before they are drawn: groups, their tasks, and every metric."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.compare.comparability import remote_note
from harness.compare.unverified import unverified
from harness.util.text import bytes_text, plain, seconds_text, value_text

if TYPE_CHECKING:
    from harness.store.records import EfficiencyRecord, GroupRecord, MetricRecord, RunRecord, TaskRecord

LARGE_GROUP = 12
"""The tasks of a group of more than this are listed only with `unfold`."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One metric of a task or of a group.

    Attributes:
        name: of the task or group.
        metric: as results name it.
        record: its score.
        shots: few-shot examples, as `5`, or `0-5` where a group's tasks differ.
        first: whether it is the first metric of its task or group.
        group: whether it is a group's.
        member: whether its task belongs to a group.
        unlisted: tasks of the group that have no rows of their own.
    """

    name: str
    metric: str
    record: MetricRecord
    shots: str
    first: bool
    group: bool = False
    member: bool = False
    unlisted: int = 0

    @property
    def spread(self) -> str:
        """The range over template variants, as `0.310 to 0.420 over 3 template variants`; empty for a single template."""
        spread = self.record.spread
        if spread is None:
            return ""
        low, high = (value_text(bound, self.record.unit) for bound in (spread.lowest, spread.highest))
        return f"{low} to {high} over {spread.template_variants} template variants"


def run_rows(record: RunRecord, unfold: bool = False) -> Iterator[RunRow]:
    """Groups above their tasks, then the tasks that belong to no group.

    Args:
        record: the run.
        unfold: list the tasks of large groups too.
    """
    grouped: set[str] = set()
    for name, group in record.groups.items():
        members = [task for task in group.tasks if task in record.tasks]
        grouped.update(members)
        unlisted = len(members) if len(members) > LARGE_GROUP and not unfold else 0
        for place, (metric, score) in enumerate(group.metrics.items()):
            yield RunRow(name, metric, score, _group_shots(group, record.tasks), place == 0, group=True, unlisted=unlisted)
        for member in [] if unlisted else members:
            yield from _task_rows(member, record.tasks[member], member=True)
    for name, task in record.tasks.items():
        if name not in grouped:
            yield from _task_rows(name, task, member=False)


def run_notes(record: RunRecord, evaluated: Collection[str] | None = None) -> list[str]:
    """Sentences below the table: scores without a value, shortened prompts, unverified tasks, and what the last run cost.

    Args:
        record: the run.
        evaluated: the tasks of the last run, where earlier ones in the same folder had others; None for all.
    """
    warning = unverified([(record.system.name, record)])
    tasks = {name: task for name, task in record.tasks.items() if evaluated is None or name in evaluated}
    remote = remote_note([(record.system.name, record.system)])
    warnings = [text for text in (warning, remote) if text]
    return [*_missing_values(record), *_shortened_prompts(record), *warnings, _cost(record.efficiency, tasks)]


def _task_rows(name: str, task: TaskRecord, *, member: bool) -> Iterator[RunRow]:
    for place, (metric, score) in enumerate(task.metrics.items()):
        yield RunRow(name, metric, score, str(task.shots), place == 0, member=member)


def _group_shots(group: GroupRecord, tasks: Mapping[str, TaskRecord]) -> str:
    shots = {tasks[name].shots for name in group.tasks if name in tasks}
    return f"{min(shots)}-{max(shots)}" if len(shots) > 1 else "".join(map(str, shots))


def _missing_values(record: RunRecord) -> list[str]:
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


def _shortened_prompts(record: RunRecord) -> list[str]:
    notes = []
    for name, task in record.tasks.items():
        cut = task.shortened
        if cut.items:
            ways = [f"{cut.shots_dropped} few-shot examples dropped"] if cut.shots_dropped else []
            ways += [f"text cut in {cut.text_cut}"] if cut.text_cut else []
            notes.append(f"{plain(name)}: {cut.items} of {task.items} prompts shortened to fit the model ({', '.join(ways)})")
    return notes


def _cost(efficiency: EfficiencyRecord, tasks: Mapping[str, TaskRecord]) -> str:
    parts = [f"{sum(task.items for task in tasks.values()):,} items"]
    if "total" in efficiency.seconds:
        parts[0] += f" in {seconds_text(efficiency.seconds['total'])}"
    if efficiency.prefill_tokens_per_second is not None:
        parts.append(f"prefill {efficiency.prefill_tokens_per_second:,.0f} tokens/s")
    if efficiency.decode_tokens_per_second is not None:
        parts.append(f"decode {efficiency.decode_tokens_per_second:,.0f} tokens/s")
    if efficiency.padding_share is not None:
        parts.append(f"padding {efficiency.padding_share:.1%}".replace("%", " %"))
    if efficiency.peak_memory_bytes:
        parts.append(f"peak memory {bytes_text(efficiency.peak_memory_bytes)}")
    parts.append(f"{efficiency.requests.cached:,} of {efficiency.requests.unique:,} responses from the cache")
    return " · ".join(parts)

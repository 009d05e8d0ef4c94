"""Tasks and groups measured before and after, before it is known what is judged together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import InputError
from harness.report import groups, items, same
from harness.report.kept import DISAGREE, Joined, LoadMeasure, Reader, Results, Table, join
from harness.report.overall import Placed, on_scale
from harness.report.scored import Measured, Plan, difference_of
from harness.stats.paired import Difference
from harness.stats.pairs import Pairs
from harness.store.runs import MetricRecord, TaskRecord

Sides = tuple[Results, Results]
"""The results before and after."""


@dataclass(frozen=True)
class Draft:
    """A task or group, measured.

    Attributes:
        title: one line.
        target: whether it was tuned for.
        joined: its wordings; of a group, those of all tasks.
        measured: its scores, headlines first.
        tables: by metric; of a task only.
        chance: what guessing scores at the first headline.
        placed: the headlines on the scale from 0 to 1.
        wordings: the headlines in each wording, where there are several.
        slices: label, value and the first headline over the items with that value.
        parts: of a group, its tasks.
        repeated: whether one system was asked the same twice; of a group, in all its tasks.
        responses_differ: items with another response the second time; 0 where it was not asked twice.
    """

    name: str
    title: str
    target: bool
    joined: Sequence[Joined]
    measured: Sequence[Measured]
    tables: Mapping[str, Table]
    chance: float
    placed: Placed | None
    wordings: Mapping[str, Sequence[Measured]]
    slices: Sequence[tuple[str, str, Measured]]
    parts: Sequence[Draft] = ()
    repeated: bool = False
    responses_differ: int = 0

    @property
    def same(self) -> bool:
        """Whether one system gave the same responses twice."""
        return self.repeated and not self.responses_differ

    @property
    def items(self) -> int:
        """Items shared."""
        return self.measured[0].items


@dataclass(frozen=True)
class Drafter:
    """Measures the tasks and groups of two results.

    Attributes:
        sides: the results.
        load: finds metrics.
        plan: how to compare.
        tests: how many tasks are compared.
    """

    sides: Sides
    load: LoadMeasure
    plan: Plan
    tests: int

    def task(self, name: str, number: int) -> Draft:
        """One task; `number` seeds its resampling.

        Raises:
            StorageError: its samples cannot be read.
            InputError: its wordings do not hold the same items, or it has no label to cluster by.
        """
        records = self.sides[0].record.tasks[name], self.sides[1].record.tasks[name]
        joined = [join(self.sides[0].kept(name, own), self.sides[1].kept(name, own), own) for own in records[0].wordings or [None]]
        if any(one.places != joined[0].places for one in joined):
            raise InputError(f"The wordings of {name} do not hold the same items.", "Run the task again, all wordings together.")
        repeated = same.one_system(*(side.record.system for side in self.sides)) and same.asked_alike(*records, joined)
        differ = same.responses_differ(joined) if repeated else 0
        steady = repeated and not differ
        reader = Reader(self.load, *records, joined, self.plan.clusters.get(name))
        common = [key for key in records[0].metrics if key in records[1].metrics]
        heads = [key for key in records[0].headline if key in common] or common[:1]
        keys = [*heads, *(key for key in common if key not in heads)]
        tables: dict[str, Table] = {}
        measured = []
        for place, key in enumerate(keys):
            table = self._foreign(records[0].metrics[key]) or reader.table(key)
            measured.append(self._measured(records, name, key, table, joined, key in heads, (number, place), steady))
            if isinstance(table, Table):
                tables[key] = table
        chance = self._chance(records[0], heads[0], tables.get(heads[0]), joined[0])
        return Draft(
            name=name,
            title=records[0].title,
            target=name in self.plan.targets,
            joined=joined,
            measured=measured,
            tables=tables,
            chance=chance,
            placed=on_scale(measured[: len(heads)], chance, self.plan, (number, len(keys))),
            wordings=self._wordings(reader, name, heads, (number, len(keys) + 1), steady) if len(joined) > 1 else {},
            slices=self._slices(measured[0], tables.get(heads[0]), joined, (number, len(keys) + 2), steady),
            repeated=repeated,
            responses_differ=differ,
        )

    def _foreign(self, record: MetricRecord) -> str | None:
        """Why two systems cannot be compared in this unit, or None."""
        tokenizers = {side.record.system.tokenizer_digest for side in self.sides}
        if record.unit.endswith("per token") and len(tokenizers) > 1:
            return "it is counted in tokens, and the systems' tokenizers differ"
        return None

    def _measured(
        self,
        records: tuple[TaskRecord, TaskRecord],
        name: str,
        key: str,
        table: Table | str,
        joined: Sequence[Joined],
        headline: bool,
        seed: Sequence[int],
        steady: bool,
    ) -> Measured:
        before, after = (record.metrics[key] for record in records)
        pairs, reason = (table.pairs, None) if isinstance(table, Table) else (None, table)
        if pairs is not None and not all(map(math.isfinite, pairs.scores)):
            pairs, reason = None, "undefined on these items"
        return Measured(
            key=key,
            record=before,
            values=(before.value, after.value),
            headline=headline,
            items=len(joined[0].places),
            margin=self.plan.margin(name, key, before, pairs.scores[0] if pairs else before.value or 0.0),
            flips=items.flips(key, before.higher_is_better, joined),
            resampled=table.resampled if isinstance(table, Table) else "items",
            pairs=pairs,
            difference=self._difference(pairs, seed, self.tests, steady) if pairs else None,
            reason=reason,
            steady=_unmoved(steady, (before, after), reason),
        )

    def _difference(self, pairs: Pairs, seed: Sequence[int], tests: int, steady: bool) -> Difference:
        """Of `steady` responses of one system there is no difference, on these items or on others."""
        found = difference_of(pairs, self.plan, seed, tests)
        return dataclasses.replace(found, interval=same.NO_CHANGE) if steady and not pairs.changed else found

    def _wordings(self, reader: Reader, name: str, heads: Sequence[str], seed: Sequence[int], steady: bool) -> dict[str, list[Measured]]:
        records = reader.before, reader.after
        return {
            str(one.wording): [
                self._measured(records, name, key, reader.table(key, one.wording), [one], True, (*seed, place, own), steady)
                for own, key in enumerate(heads)
            ]
            for place, one in enumerate(reader.joined)
        }

    def _slices(
        self, measured: Measured, table: Table | None, joined: Sequence[Joined], seed: Sequence[int], steady: bool
    ) -> list[tuple[str, str, Measured]]:
        """The first headline over the items of each value of each label that names kinds of items."""
        result = []
        for place, (label, values) in enumerate(items.kinds(joined[0]).items()):
            for kind, (value, chosen) in enumerate(sorted(values.items())):
                pairs = table.subset(chosen) if table else None
                if pairs is None or not all(map(math.isfinite, pairs.scores)):
                    continue
                parts = [dataclasses.replace(one, places=tuple(one.places[item] for item in chosen)) for one in joined]
                own = dataclasses.replace(
                    measured,
                    items=len(chosen),
                    pairs=pairs,
                    difference=self._difference(pairs, (*seed, place, kind), 1, steady),
                    flips=items.flips(measured.key, measured.record.higher_is_better, parts),
                    resampled="items",
                )
                result.append((label, value, own))
        return result

    def _chance(self, task: TaskRecord, key: str, table: Table | None, joined: Joined) -> float:
        plain = table is not None and table.items is not None and table.items.mean and task.metrics[key].higher_is_better
        return items.guessing(joined) if plain and task.answer == "choices" else 0.0

    def group(self, name: str, members: Sequence[Draft], seed: Sequence[int]) -> Draft:
        """A group as one task, whose scores are averages over its tasks'."""
        record = self.sides[0].record.groups[name]
        tasks = [self.sides[0].record.tasks[member.name] for member in members]
        measured: list[Measured] = []
        chance = 0.0
        for place, (key, metric) in enumerate(record.metrics.items()):
            own, after = groups.member_metric(metric, tasks), self.sides[1].record.groups[name].metrics.get(key)
            if own is None or after is None:
                continue
            if not measured:
                chance = _average_chance(members, own[1])
            measured.append(self._group_score(name, key, (metric, after), own, members, not measured, (*seed, place)))
        return Draft(
            name=name,
            title=record.title,
            target=name in self.plan.targets or members[0].target,
            joined=[one for member in members for one in member.joined],
            measured=measured,
            tables={},
            chance=chance,
            placed=on_scale(measured[:1], chance, self.plan, seed),
            wordings={},
            slices=(),
            parts=members,
            repeated=all(member.repeated for member in members),
            responses_differ=sum(member.responses_differ for member in members),
        )

    def _group_score(
        self,
        name: str,
        key: str,
        records: tuple[MetricRecord, MetricRecord],
        own: tuple[str, str],
        members: Sequence[Draft],
        headline: bool,
        seed: Sequence[int],
    ) -> Measured:
        metric, average = own
        found = _pooled(average, {member.name: member.tables.get(metric) for member in members})
        pairs, whole = (None, False) if isinstance(found, str) else found
        flips = [one.flips for member in members for one in member.measured if one.key == metric]
        present = [one for one in flips if one is not None]
        return Measured(
            key=key,
            record=records[0],
            values=(records[0].value, records[1].value),
            headline=headline,
            items=sum(member.items for member in members),
            margin=self.plan.margin(name, key, records[0], pairs.scores[0] if pairs else records[0].value or 0.0),
            flips=(sum(lost for lost, _ in present), sum(gained for _, gained in present)) if len(present) == len(members) else None,
            resampled="tasks" if whole else "items",
            pairs=pairs,
            difference=self._difference(pairs, seed, self.tests, all(member.same for member in members)) if pairs else None,
            reason=found if isinstance(found, str) else None,
            steady=_unmoved(all(member.same for member in members), records, found if isinstance(found, str) else None),
        )


def _unmoved(steady: bool, records: tuple[MetricRecord, MetricRecord], reason: str | None) -> bool:
    """Whether a score that cannot be resampled, for this reason, is of one system's same responses, so that nothing can have changed."""
    return steady and reason != DISAGREE and records[0].value == records[1].value


def _pooled(average: str, tables: Mapping[str, Table | None]) -> tuple[Pairs, bool] | str:
    missing = [name for name, table in tables.items() if table is None]
    if missing:
        return f"{missing[0]} cannot be compared item by item"
    known = {name: table for name, table in tables.items() if table is not None}
    gather = next(iter(known.values())).gather
    return groups.pooled(average, {name: table.pairs for name, table in known.items()}, gather)


def _average_chance(members: Sequence[Draft], average: str) -> float:
    weights = [member.items if average == "micro" else 1 for member in members]
    return float(np.average([member.chance for member in members], weights=weights)) if sum(weights) else 0.0

"""Measure tasks and groups before and after: differences with intervals and tests, before p-values are adjusted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from harness.compare import groups, items, same_system
from harness.compare.comparability import NotComparable
from harness.compare.metric import ComparisonOptions, Measured, difference_of
from harness.compare.overall import ScaledScore, on_common_scale
from harness.compare.paired_tables import SCORE_NOT_REPRODUCED, LoadMeasure, PairedReader, PairedTable
from harness.compare.pairing import PairedSamples, Results, join_task
from harness.errors import InputError
from harness.stats.paired import PairedDifference
from harness.stats.pairs import Pairs
from harness.store.records import MetricRecord, TaskRecord

Sides: TypeAlias = tuple[Results, Results]
"""The results before and after."""


@dataclass(frozen=True)
class MeasuredTask:
    """A task, or a group compared as one, measured.

    Attributes:
        name, title: of the task or group; the title is one line.
        target: whether the model was fine-tuned on it.
        joined: its template variants; of a group, those of all tasks.
        measured: its scores, headlines first.
        tables: by metric; of a task only.
        chance: expected score of guessing at the first headline.
        scaled: the headlines on the scale from 0 to 1.
        template_variants: the headlines in each template, where there are several.
        slices: label, value and the first headline over the items with that value.
        parts: of a group, its tasks.
        repeated: whether both results are of one system and identical requests; of a group, in all its tasks.
        responses_differ: items with another response the second time; 0 where requests were not repeated.
    """

    name: str
    title: str
    target: bool
    joined: Sequence[PairedSamples]
    measured: Sequence[Measured]
    tables: Mapping[str, PairedTable]
    chance: float
    scaled: ScaledScore | None
    template_variants: Mapping[str, Sequence[Measured]]
    slices: Sequence[tuple[str, str, Measured]]
    parts: Sequence[MeasuredTask] = ()
    repeated: bool = False
    responses_differ: int = 0

    @property
    def same(self) -> bool:
        """Whether one system gave the same responses twice."""
        return self.repeated and not self.responses_differ

    @property
    def items(self) -> int:
        """Number of shared items."""
        return self.measured[0].items


@dataclass(frozen=True)
class TaskMeasurer:
    """Measures the tasks and groups of two results.

    Attributes:
        sides: the results.
        load: loads metrics.
        options: how to compare.
        tests: how many tasks are compared.
    """

    sides: Sides
    load: LoadMeasure
    options: ComparisonOptions
    tests: int

    def task(self, name: str, number: int) -> MeasuredTask:
        """Measure one task; `number` seeds its resampling.

        Raises:
            StorageError: its samples cannot be read.
            InputError: its template variants do not hold the same items, or it has no label to cluster by.
        """
        records = self.sides[0].record.tasks[name], self.sides[1].record.tasks[name]
        joined = join_task(self.sides, name)
        if any(paired.places != joined[0].places for paired in joined):
            raise InputError(
                f"The template variants of {name} do not hold the same items.", "Run the task again with all template variants together."
            )
        systems = [side.record.system for side in self.sides]
        repeated = same_system.is_same_system(*systems) and same_system.same_requests(*records, joined)
        differ = same_system.responses_differ(joined) if repeated else 0
        steady = repeated and not differ
        reader = PairedReader(self.load, *records, joined, self.options.clusters.get(name))
        common = [key for key in records[0].metrics if key in records[1].metrics]
        heads = [key for key in records[0].headline if key in common] or common[:1]
        keys = [*heads, *(key for key in common if key not in heads)]
        tables: dict[str, PairedTable] = {}
        measured = []
        for place, key in enumerate(keys):
            table = self._unit_mismatch(records[0].metrics[key]) or reader.table(key)
            measured.append(self._measured(records, name, key, table, joined, key in heads, (number, place), steady))
            if isinstance(table, PairedTable):
                tables[key] = table
        chance = self._chance(records[0], heads[0], tables.get(heads[0]), joined[0])
        variants = self._template_variants(reader, name, heads, (number, len(keys) + 1), steady) if len(joined) > 1 else {}
        return MeasuredTask(
            name=name,
            title=records[0].title,
            target=name in self.options.targets,
            joined=joined,
            measured=measured,
            tables=tables,
            chance=chance,
            scaled=on_common_scale(measured[: len(heads)], chance, self.options, (number, len(keys))),
            template_variants=variants,
            slices=self._slices(measured[0], tables.get(heads[0]), joined, (number, len(keys) + 2), steady),
            repeated=repeated,
            responses_differ=differ,
        )

    def group(self, name: str, members: Sequence[MeasuredTask], seed: Sequence[int]) -> MeasuredTask:
        """Measure a group as one task, whose scores are averages over its tasks."""
        record = self.sides[0].record.groups[name]
        tasks = [self.sides[0].record.tasks[member.name] for member in members]
        measured: list[Measured] = []
        chance = 0.0
        for place, (key, metric) in enumerate(record.metrics.items()):
            averaged, after = groups.member_metric(metric, tasks), self.sides[1].record.groups[name].metrics.get(key)
            if averaged is None or after is None:
                continue
            if not measured:
                chance = _average_chance(members, averaged[1])
            measured.append(self._group_score(name, key, (metric, after), averaged, members, not measured, (*seed, place)))
        return MeasuredTask(
            name=name,
            title=record.title,
            target=name in self.options.targets or members[0].target,
            joined=[paired for member in members for paired in member.joined],
            measured=measured,
            tables={},
            chance=chance,
            scaled=on_common_scale(measured[:1], chance, self.options, seed),
            template_variants={},
            slices=(),
            parts=members,
            repeated=all(member.repeated for member in members),
            responses_differ=sum(member.responses_differ for member in members),
        )

    def _unit_mismatch(self, record: MetricRecord) -> NotComparable | None:
        """Why two systems cannot be compared in this unit, or None."""
        tokenizers = {side.record.system.tokenizer_digest for side in self.sides}
        if record.unit.endswith("per token") and len(tokenizers) > 1:
            return NotComparable("the score is per token, and the systems have different tokenizers")
        return None

    def _measured(
        self,
        records: tuple[TaskRecord, TaskRecord],
        name: str,
        key: str,
        table: PairedTable | NotComparable,
        joined: Sequence[PairedSamples],
        headline: bool,
        seed: Sequence[int],
        steady: bool,
    ) -> Measured:
        before, after = (record.metrics[key] for record in records)
        pairs, reason = (table.pairs, None) if isinstance(table, PairedTable) else (None, table.reason)
        if pairs is not None and not all(map(math.isfinite, pairs.scores)):
            pairs, reason = None, "undefined on these items"
        return Measured(
            key=key,
            record=before,
            values=(before.value, after.value),
            headline=headline,
            items=len(joined[0].places),
            margin=self.options.margin(name, key, before, pairs.scores[0] if pairs else before.value or 0.0),
            flips=items.flips(key, before.higher_is_better, joined),
            resampled=table.resampled if isinstance(table, PairedTable) else "items",
            pairs=pairs,
            difference=self._difference(pairs, seed, self.tests, steady) if pairs else None,
            reason=reason,
            steady=_unchanged(steady, (before, after), reason),
        )

    def _difference(self, pairs: Pairs, seed: Sequence[int], tests: int, steady: bool) -> PairedDifference:
        """The difference; where one system repeated its responses (`steady`), it is 0 on these items and on all others."""
        difference = difference_of(pairs, self.options, seed, tests)
        return dataclasses.replace(difference, interval=same_system.NO_CHANGE) if steady and not pairs.changed else difference

    def _template_variants(
        self, reader: PairedReader, name: str, heads: Sequence[str], seed: Sequence[int], steady: bool
    ) -> dict[str, list[Measured]]:
        records = reader.before, reader.after
        return {
            str(paired.variant): [
                self._measured(records, name, key, reader.table(key, paired.variant), [paired], True, (*seed, place, head), steady)
                for head, key in enumerate(heads)
            ]
            for place, paired in enumerate(reader.joined)
        }

    def _slices(
        self, measured: Measured, table: PairedTable | None, joined: Sequence[PairedSamples], seed: Sequence[int], steady: bool
    ) -> list[tuple[str, str, Measured]]:
        """The first headline over the items of each value of each label that names kinds of items."""
        result = []
        for place, (label, values) in enumerate(items.kinds(joined[0]).items()):
            for kind, (value, chosen) in enumerate(sorted(values.items())):
                pairs = table.subset(chosen) if table else None
                if pairs is None or not all(map(math.isfinite, pairs.scores)):
                    continue
                parts = [dataclasses.replace(paired, places=tuple(paired.places[item] for item in chosen)) for paired in joined]
                of_slice = dataclasses.replace(
                    measured,
                    items=len(chosen),
                    pairs=pairs,
                    difference=self._difference(pairs, (*seed, place, kind), 1, steady),
                    flips=items.flips(measured.key, measured.record.higher_is_better, parts),
                    resampled="items",
                )
                result.append((label, value, of_slice))
        return result

    def _chance(self, task: TaskRecord, key: str, table: PairedTable | None, joined: PairedSamples) -> float:
        is_mean = table is not None and table.items is not None and table.items.mean
        return items.guessing(joined) if is_mean and task.metrics[key].higher_is_better and task.answer == "choices" else 0.0

    def _group_score(
        self,
        name: str,
        key: str,
        records: tuple[MetricRecord, MetricRecord],
        averaged: tuple[str, str],
        members: Sequence[MeasuredTask],
        headline: bool,
        seed: Sequence[int],
    ) -> Measured:
        metric, average = averaged
        pool = _pooled(average, {member.name: member.tables.get(metric) for member in members})
        pairs, whole = (None, False) if isinstance(pool, NotComparable) else pool
        flips = [score.flips for member in members for score in member.measured if score.key == metric]
        present = [pair for pair in flips if pair is not None]
        reason, steady = pool.reason if isinstance(pool, NotComparable) else None, all(member.same for member in members)
        return Measured(
            key=key,
            record=records[0],
            values=(records[0].value, records[1].value),
            headline=headline,
            items=sum(member.items for member in members),
            margin=self.options.margin(name, key, records[0], pairs.scores[0] if pairs else records[0].value or 0.0),
            flips=(sum(lost for lost, _ in present), sum(gained for _, gained in present)) if len(present) == len(members) else None,
            resampled="tasks" if whole else "items",
            pairs=pairs,
            difference=self._difference(pairs, seed, self.tests, steady) if pairs else None,
            reason=reason,
            steady=_unchanged(steady, records, reason),
        )


def _unchanged(steady: bool, records: tuple[MetricRecord, MetricRecord], reason: str | None) -> bool:
    """Whether one system gave the same responses twice, so that nothing can have changed even where the score cannot be resampled.

    Args:
        steady: whether the system and its responses are the same.
        records: the score before and after.
        reason: why the score cannot be resampled, or None.
    """
    return steady and reason != SCORE_NOT_REPRODUCED.reason and records[0].value == records[1].value


def _pooled(average: str, tables: Mapping[str, PairedTable | None]) -> tuple[Pairs, bool] | NotComparable:
    missing = [name for name, table in tables.items() if table is None]
    if missing:
        return NotComparable(f"{missing[0]} cannot be compared item by item")
    known = {name: table for name, table in tables.items() if table is not None}
    gather = next(iter(known.values())).gather
    return groups.pooled(average, {name: table.pairs for name, table in known.items()}, gather)


def _average_chance(members: Sequence[MeasuredTask], average: str) -> float:
    weights = [member.items if average == "micro" else 1 for member in members]
    return float(np.average([member.chance for member in members], weights=weights)) if sum(weights) else 0.0

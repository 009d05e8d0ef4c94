"""The changed items that a page embeds: both responses beside the reference, within a budget of bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.compare.comparison import RunComparison, TaskComparison
from harness.compare.items import ItemChange
from harness.report.html.page import number
from harness.store.samples import SampleRecord
from harness.util.text import plain

BUDGET = 4_000_000
"""Bytes of JSON that a page spends on items."""

LONGEST = 20_000
"""Characters of a text that are embedded; the middle of a longer text is left out, and the page reports how many characters."""

_MOST_LABELS = 12

Json = dict[str, Any]


@dataclass
class EmbeddedFlips:
    """Changed items as a page embeds them.

    Attributes:
        samples: the base's side of each item, once however many candidates changed it.
        changes: the candidates' sides, pointing into `samples`.
        total: how many items changed, over all candidates and template variants.
        shortened: texts whose middle was left out.
    """

    samples: list[Json] = field(default_factory=list)
    changes: list[Json] = field(default_factory=list)
    total: int = 0
    shortened: int = 0
    _places: dict[tuple[str, str | None, str], int] = field(default_factory=dict)
    _spent: int = 0

    def add(self, candidate: int, task: str, change: ItemChange, budget: int) -> bool:
        """Embed an item; False where it does not fit any more."""
        key = (task, change.variant, change.before.id)
        known = key in self._places
        cut = _Cutter()
        sample = {} if known else _base(task, change, cut)
        side = _candidate(candidate, self._places[key] if known else len(self.samples), change, cut)
        cost = _bytes(side) + (0 if known else _bytes(sample))
        if self._spent + cost > budget:
            return False
        if not known:
            self._places[key] = len(self.samples)
            self.samples.append(sample)
        self.changes.append(side)
        self._spent += cost
        self.shortened += cut.count
        return True


def leaves(tasks: Sequence[TaskComparison]) -> Iterator[TaskComparison]:
    """Tasks, those of groups included, groups themselves not."""
    for task in tasks:
        yield from leaves(task.parts) if task.parts else [task]


def flips(comparisons: Sequence[RunComparison], budget: int = BUDGET) -> EmbeddedFlips:
    """Choose the items: of each candidate and task the largest changes first, losses and gains in turn, until the budget is spent."""
    queues = []
    total = 0
    for candidate, comparison in enumerate(comparisons):
        for task in leaves(comparison.tasks):
            total += len(task.changes)
            losses = [change for change in task.changes if change.change < 0]
            gains = [change for change in task.changes if change.change > 0]
            name = plain(task.name)
            queues += [(candidate, name, iter(losses)), (candidate, name, iter(reversed(gains)))]
    chosen = EmbeddedFlips(total=total)
    while queues:
        remaining = []
        for candidate, name, waiting in queues:
            change = next(waiting, None)
            if change is not None and chosen.add(candidate, name, change, budget):
                remaining.append((candidate, name, waiting))
        queues = remaining
    return chosen


@dataclass
class _Cutter:
    """Leaves out the middle of long texts, and counts them."""

    count: int = 0

    def text(self, text: str) -> str:
        if len(text) <= LONGEST:
            return text
        self.count += 1
        head = LONGEST // 3
        return f"{text[:head]}\n[… {len(text) - LONGEST:,} characters left out of this page …]\n{text[head - LONGEST :]}"

    def answer(self, answer: str | int) -> str | int:
        return self.text(answer) if isinstance(answer, str) else answer

    def target(self, target: str | int | list[str] | list[int]) -> list[str | int]:
        return [self.answer(part) for part in (target if isinstance(target, list) else [target])]


def _base(task: str, change: ItemChange, cut: _Cutter) -> Json:
    sample = change.before
    content: Json = {"task": task, "id": sample.id, "prompt": cut.text(sample.prompt), "target": cut.target(sample.target)}
    if sample.choices is not None:
        content["choices"] = [cut.text(choice) for choice in sample.choices]
    if change.variant is not None:
        content["template"] = change.variant
    if labels := _labels(sample.labels or {}):
        content["labels"] = labels
    return content | _response(sample, cut)


def _candidate(candidate: int, place: int, change: ItemChange, cut: _Cutter) -> Json:
    content: Json = {"candidate": candidate, "sample": place, "kind": change.kind, "change": number(change.change)}
    if change.after.prompt != change.before.prompt:
        content["prompt"] = cut.text(change.after.prompt)
    return content | _response(change.after, cut)


def _response(sample: SampleRecord, cut: _Cutter) -> Json:
    content: Json = {"response": cut.answer(sample.prediction)}
    if sample.text is not None and sample.text != sample.prediction:
        content["text"] = cut.text(sample.text)
    if sample.logprobs is not None:
        content["logprobs"] = [number(value) for value in sample.logprobs]
    scores = {name: number(value) for name, value in sample.metrics.items() if value is not None}
    return content | ({"scores": scores} if scores else {})


def _labels(labels: Mapping[str, Any]) -> dict[str, str]:
    """The short labels, each on one line."""
    texts = {name: str(value) for name, value in labels.items() if isinstance(value, (str, int, float))}
    return dict([(name, text) for name, text in texts.items() if len(text) <= 80 and "\n" not in text][:_MOST_LABELS])


def _bytes(content: Json) -> int:
    return len(json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass"))

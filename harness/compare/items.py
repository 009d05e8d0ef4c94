"""Single items before and after: flips, changes, the score of guessing, and slices by label."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.compare.pairing import PairedSamples
from harness.store.samples import SampleRecord

MOST_KINDS = 100
"""A label with more values than this identifies items rather than kinds of items."""

Kind = Literal["lost", "gained", "worse", "better"]


@dataclass(frozen=True, slots=True)
class ItemChange:
    """One item on which the two systems score differently.

    Attributes:
        kind: lost or gained where responses are correct or incorrect; worse or better where each has a score.
        change: of the item's score; positive is better.
        variant: the template of the prompt; None where the task has one.
        before, after: both samples: prompt, response, reference.
    """

    kind: Kind
    change: float
    variant: str | None
    before: SampleRecord
    after: SampleRecord


def item_value(sample: SampleRecord, key: str) -> float | None:
    """The item's own score; for a metric without one (F1, MCC), whether the choice is correct; None where there is neither."""
    value = sample.metrics.get(key)
    if value is not None or not sample.logprobs or isinstance(sample.prediction, str):
        return value
    return float(sample.prediction in _targets(sample))


def flips(key: str, higher_is_better: bool, joined: Sequence[PairedSamples]) -> tuple[int, int] | None:
    """Numbers of items lost and gained over all template variants; None where items are not correct or incorrect."""
    values = [(item_value(before, key), item_value(after, key)) for paired in joined for before, after in paired.pairs]
    if not values or any(value not in (0.0, 1.0) for pair in values for value in pair):
        return None
    down, up = values.count((1.0, 0.0)), values.count((0.0, 1.0))
    return (down, up) if higher_is_better else (up, down)


def changes(key: str, higher_is_better: bool, joined: Sequence[PairedSamples]) -> tuple[ItemChange, ...]:
    """The items whose own score changed, largest loss first."""
    sign = 1.0 if higher_is_better else -1.0
    kinds: tuple[Kind, Kind] = ("worse", "better") if flips(key, higher_is_better, joined) is None else ("lost", "gained")
    changed = []
    for paired in joined:
        for before, after in paired.pairs:
            first, second = item_value(before, key), item_value(after, key)
            if first is not None and second is not None and first != second:
                change = sign * (second - first)
                changed.append(ItemChange(kinds[change > 0], change, paired.variant, before, after))
    return tuple(sorted(changed, key=lambda change: change.change))


def guessing(joined: PairedSamples) -> float:
    """Expected score of guessing among the choices: the share of correct ones, averaged over the items; 0 without choices."""
    samples = [sample for sample, _ in joined.pairs]
    if not samples or not all(sample.logprobs for sample in samples):
        return 0.0
    return float(np.mean([len(_targets(sample)) / len(sample.logprobs or ()) for sample in samples]))


def kinds(joined: PairedSamples) -> dict[str, dict[str, list[int]]]:
    """Indices of the shared items by label and value, for labels that name kinds of items.

    These are labels that all items have, with texts, truth values or whole numbers as values, of which 2 to `MOST_KINDS` differ.
    """
    by_label: dict[str, dict[str, list[int]]] = {}
    labels = [before.labels or {} for before, _ in joined.pairs]
    for name in labels[0] if labels else ():
        values = [given.get(name) for given in labels]
        if not all(isinstance(value, (str, int)) for value in values):
            continue
        by_value: defaultdict[str, list[int]] = defaultdict(list)
        for number, value in enumerate(values):
            by_value[value if isinstance(value, str) else json.dumps(value)].append(number)
        if 2 <= len(by_value) <= MOST_KINDS and len(by_value) < len(values):
            by_label[name] = dict(by_value)
    return by_label


def _targets(sample: SampleRecord) -> Sequence[str | int]:
    return sample.target if isinstance(sample.target, list) else [sample.target]

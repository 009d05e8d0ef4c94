"""One changed item in the parts that reports show: prompt, the responses before and after, and the correct answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.compare.comparison import TaskComparison
from harness.compare.items import ItemChange
from harness.report.forgetting.phrases import signed
from harness.report.texts import Piece, marked, readable
from harness.store.samples import SampleRecord
from harness.util.text import plain, value_text


@dataclass(frozen=True)
class ShownItem:
    """One item, ready to be printed.

    Attributes:
        title: task, item, and what became of it.
        prompt: what the model read.
        before, after: the responses, in pieces that say where the two differ.
        reference: the correct answer.
    """

    title: str
    prompt: str
    before: Sequence[Piece]
    after: Sequence[Piece]
    reference: str


def shown(task: TaskComparison, change: ItemChange) -> ShownItem:
    """An item ready to be shown; every text in it is safe to print."""
    before, after = change.before, change.after
    if before.logprobs is not None and isinstance(before.prediction, int):
        choices = [Piece(_choice(sample), before.prediction != after.prediction) for sample in (before, after)]
        sides: tuple[Sequence[Piece], Sequence[Piece]] = ([choices[0]], [choices[1]])
    elif before.logprobs is not None:
        sides = [Piece(_likelihood(before), True)], [Piece(_likelihood(after), True)]
    else:
        sides = marked(readable(str(before.prediction)), readable(str(after.prediction)))
    return ShownItem(_title(task, change), readable(after.prompt).rstrip(), sides[0], sides[1], _reference(before))


def _title(task: TaskComparison, change: ItemChange) -> str:
    score = task.headlines[0]
    where = f" ({plain(change.variant)})" if change.variant else ""
    became = {"lost": "correct before, incorrect after", "gained": "incorrect before, correct after"}.get(change.kind)
    if became is None:
        values = [sample.metrics.get(score.metric) for sample in (change.before, change.after)]
        became = f"{plain(score.metric)} {value_text(values[0], score.unit)} before, {value_text(values[1], score.unit)} after"
        if values[0] is None or values[1] is None:
            became = f"{change.kind} by {signed(abs(change.change), score.unit).lstrip('+')}"
    return f"{plain(task.name)} {plain(change.before.id)}{where}: {became}"


def _choice(sample: SampleRecord) -> str:
    """The choice, and each choice's share of their probability."""
    logprobs = sample.logprobs or []
    top = max(logprobs)
    weights = [math.exp(value - top) for value in logprobs]
    shares = " ".join(f"{weight / sum(weights):.2f}" for weight in weights)
    of = f" of {len(logprobs)}" if sample.choices is None else ""
    return f"{_name(sample, int(sample.prediction))}{of} ({shares})"


def _name(sample: SampleRecord, place: int) -> str:
    """A choice's text, or where the results do not hold it, its number counted from 1."""
    return f"choice {place + 1}" if sample.choices is None else readable(sample.choices[place])


def _likelihood(sample: SampleRecord) -> str:
    return f"log-probability {sum(sample.logprobs or []):.2f}"


def _reference(sample: SampleRecord) -> str:
    targets = sample.target if isinstance(sample.target, list) else [sample.target]
    if all(isinstance(target, int) for target in targets):
        return " or ".join(_name(sample, int(target)) for target in targets)
    return readable("\n".join(map(str, targets)))

"""What a metric is: per-item sufficient statistics, and a score that is a function of their sum.

One code path then gives the score, its interval, the paired test and the gate. To add a metric, write one class in one
file and decorate it with `@metric("name")`; its fields are its options in a task file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.contract import AnswerForm, ChoiceOutcome, Family, LikelihoodOutcome, Outcome, TextOutcome
from harness.errors import MetricError
from harness.store.signature import Signature
from harness.util.plugins import Plugins

__all__ = [
    "ChoiceOutcome",
    "FloatArray",
    "LikelihoodOutcome",
    "Metric",
    "Signature",
    "TextOutcome",
    "build",
    "check_form",
    "label",
    "metric",
    "per_item",
    "registered",
]

FloatArray = NDArray[np.float64]
AnyOutcome = TypeVar("AnyOutcome", bound=Outcome)


@dataclass(frozen=True)
class Metric(Generic[AnyOutcome]):
    """Base of all metrics. Fields of a subclass are its options and become part of its signature.

    Options annotated with `bool`, `int`, `float`, `str`, `Literal[...]` or a union of these are checked when a metric is built;
    `__post_init__` may raise ValueError for the rest.

    Class attributes:
        name: as task files call it.
        form: the answer form it can judge.
        family: what it is a measure of.
        higher_is_better: direction.
        low, high: the range of a score; infinities where there is no bound.
        unit: "share", "points", "nats", …
        version: raised whenever the same answers would score differently.
        pulled: whether chance alone moves the score away from its bound; its interval is then reflected about it.
        remote_code: whether scoring runs Python code that a task file names; it then has to be allowed by the user.
        min_items: fewest rows of statistics for which a score means something; with fewer it is refused.
    """

    name: ClassVar[str]
    form: ClassVar[AnswerForm]
    family: ClassVar[Family] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    unit: ClassVar[str] = "share"
    version: ClassVar[int] = 1
    pulled: ClassVar[bool] = False
    remote_code: ClassVar[bool] = False
    min_items: ClassVar[int] = 1

    def statistics(self, outcomes: Sequence[AnyOutcome]) -> FloatArray:
        """Sufficient statistics: array [rows, statistics].

        A row is an item, or a group of items that is judged as one: a score's n counts rows, and resampling draws rows,
        which keeps clustered items together. Which items make up a row must not depend on the answers.
        """
        raise NotImplementedError

    def sources(self, outcomes: Sequence[AnyOutcome]) -> Sequence[int]:
        """Place of the outcome, or the first of the outcomes, that each row of the statistics is made of [rows].

        A metric whose rows are not its outcomes one by one says so here, so that rows of one cluster are known.
        """
        return range(len(outcomes))

    def score(self, totals: FloatArray) -> FloatArray:
        """Scores [...] from summed statistics [..., statistics]; by default the first statistic's mean over the second."""
        with np.errstate(invalid="ignore", divide="ignore"):
            result: FloatArray = totals[..., 0] / totals[..., 1]
        return result

    def item_scores(self, statistics: FloatArray) -> FloatArray | None:
        """The score of each item alone [items], or None where a single item has none (correlations, judged groups).

        The mean of these is the score only for metrics that are plain means; for others they serve to sort and to show items.
        """
        return self.score(statistics)

    def pool(self, parts: Sequence[FloatArray]) -> FloatArray:
        """Statistics of several tasks' items as one table [all items, statistics], for a micro average."""
        return np.concatenate(parts)

    def gather(self, parts: Sequence[FloatArray]) -> FloatArray:
        """Statistics of several tasks as those of one task with all their items; by default `pool`."""
        return self.pool(parts)

    def beside(self, statistics: FloatArray) -> Mapping[str, float]:
        """What helps to read the score of these statistics [rows, statistics]: what it is counted from, what it would be by chance."""
        return {}

    def refused(self, statistics: FloatArray) -> str | None:
        """Why these statistics [rows, statistics] have no score that means something; None where they have one."""
        rows = len(statistics)
        return None if rows >= self.min_items else f"{rows} items, of the {self.min_items} that it needs"

    def no_interval(self, statistics: FloatArray) -> str | None:
        """Why resampling or pairing these statistics [rows, statistics] would mislead.

        None where they may be resampled.
        """
        return None

    @property
    def signature(self) -> Signature:
        """Everything about the metric that decides the number: its version, its options, and the libraries behind it."""
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return Signature.of(self.name, {"version": self.version, **options, **self.libraries()})

    def signature_for(self, outcomes: Sequence[AnyOutcome]) -> Signature:
        """`signature` with what the outcomes add to it, such as the number of references."""
        return self.signature

    def libraries(self) -> dict[str, str]:
        """The release of each library that can change the score, or the digest of each file, by name."""
        return {}


def per_item(values: Sequence[float] | FloatArray) -> FloatArray:
    """Statistics of a metric that is a plain mean: array [items, 2] of value and count."""
    column = np.asarray(values, dtype=np.float64)
    return np.stack([column, np.ones_like(column)], axis=1)


def label(outcome: Outcome, name: str, wanted: Metric[Any]) -> Any:
    """What the task says about an item under the label `name`.

    Raises:
        MetricError: the task gives its items no such label.
    """
    try:
        return outcome.labels[name]
    except KeyError:
        given = f"It gives {', '.join(sorted(outcome.labels))}." if outcome.labels else "It gives none."
        raise MetricError(
            f"Metric {wanted.name!r} needs the label {name!r} of every item. {given}", f"Add `labels: {{{name}: EXPRESSION}}` to the task."
        ) from None


PLUGINS: Plugins[Metric[Any]] = Plugins("metric", "harness.metrics", "metrics", MetricError)
MetricClass = TypeVar("MetricClass", bound=type[Metric[Any]])


def metric(name: str) -> Callable[[MetricClass], MetricClass]:
    """Class decorator: make a metric known under `name`.

    Raises:
        MetricError: another class has that name; a number's name would then not say how it was made.
    """

    def register(cls: MetricClass) -> MetricClass:
        PLUGINS.register(name, cls)
        cls.name = name
        return cls

    return register


def registered() -> Mapping[str, type[Metric[Any]]]:
    """All metrics known so far, by name."""
    return PLUGINS.registered()


def build(name: str, options: Mapping[str, Any]) -> Metric[Any]:
    """Make the metric `name` with its options.

    Raises:
        MetricError: the name is unknown, an option does not exist or is missing, or its value is not allowed.
    """
    return PLUGINS.build(name, options, hint="Metrics of the evaluate library are named evaluate:NAME.")


def check_form(wanted: Metric[Any], form: AnswerForm) -> None:
    """Raise MetricError unless `wanted` can judge answers of this form."""
    if wanted.form != form:
        fitting = sorted(n for n, cls in registered().items() if cls.form == form)
        raise MetricError(
            f"Metric {wanted.name!r} judges answers of form {wanted.form!r}, not {form!r}.", f"Metrics for it: {', '.join(fitting)}."
        )

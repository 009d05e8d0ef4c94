"""The base class of metrics: sufficient statistics per item, and a score that is a function of their sum.

One code path then gives the score, its confidence interval, the paired test and the gate. To add a metric, write a class in a
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
    """Base class of all metrics. Fields of a subclass are its options and part of its signature.

    Options annotated with `bool`, `int`, `float`, `str`, `Literal[...]` or a union of these are checked when a metric is built;
    `__post_init__` may raise ValueError for other checks.

    Class attributes:
        name: in task files.
        form: the answer form that it scores.
        family: family of measures it belongs to.
        higher_is_better: direction.
        low, high: the range of a score; infinite without a bound.
        unit: "share", "points", "nats", …
        version: increased whenever the same responses would score differently.
        pulled: whether chance alone moves the score away from its bound; the interval is then reflected about the bound.
        remote_code: whether scoring runs Python code that a task file names, which the user then has to allow.
        min_items: fewest rows of statistics for a meaningful score; with fewer rows there is no score.
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

        A row is an item, or a group of items that is scored as one: the n of a score counts rows, and resampling draws rows,
        which keeps clustered items together. The items of a row must not depend on the responses.
        """
        raise NotImplementedError

    def sources(self, outcomes: Sequence[AnyOutcome]) -> Sequence[int]:
        """Index of the (first) outcome behind each row of the statistics [rows].

        A metric whose rows do not correspond one to one to outcomes overrides this, so that the rows of a cluster are known.
        """
        return range(len(outcomes))

    def score(self, totals: FloatArray) -> FloatArray:
        """Scores [...] from summed statistics [..., statistics]; by default the first statistic's mean over the second."""
        with np.errstate(invalid="ignore", divide="ignore"):
            result: FloatArray = totals[..., 0] / totals[..., 1]
        return result

    def item_scores(self, statistics: FloatArray) -> FloatArray | None:
        """The score of each item alone [items], or None if single items have no score (correlations, groups).

        Their mean is the score only for metrics that are plain means; otherwise they serve to sort and show items.
        """
        return self.score(statistics)

    def pool(self, parts: Sequence[FloatArray]) -> FloatArray:
        """Statistics of several tasks' items as one table [all items, statistics], for a micro average."""
        return np.concatenate(parts)

    def gather(self, parts: Sequence[FloatArray]) -> FloatArray:
        """Statistics of several tasks as those of one task with all their items; by default `pool`."""
        return self.pool(parts)

    def beside(self, statistics: FloatArray) -> Mapping[str, float]:
        """Numbers that help to interpret the score of these statistics [rows, statistics]: counts behind it, the score by chance."""
        return {}

    def refused(self, statistics: FloatArray) -> str | None:
        """Why these statistics [rows, statistics] have no meaningful score; None if they have one."""
        rows = len(statistics)
        return None if rows >= self.min_items else f"only {rows} items; it needs at least {self.min_items}"

    def no_interval(self, statistics: FloatArray) -> str | None:
        """Why these statistics [rows, statistics] cannot be resampled or paired; None if they can."""
        return None

    @property
    def signature(self) -> Signature:
        """Everything about the metric that can change the score: its version, its options, and its libraries."""
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return Signature.of(self.name, {"version": self.version, **options, **self.libraries()})

    def signature_for(self, outcomes: Sequence[AnyOutcome]) -> Signature:
        """`signature` with fields that depend on the outcomes, such as the number of references."""
        return self.signature

    def libraries(self) -> dict[str, str]:
        """By name, the release of each library and the digest of each file that can change the score."""
        return {}


def per_item(values: Sequence[float] | FloatArray) -> FloatArray:
    """Statistics of a metric that is a plain mean: array [items, 2] of value and count."""
    column = np.asarray(values, dtype=np.float64)
    return np.stack([column, np.ones_like(column)], axis=1)


def label(outcome: Outcome, name: str, wanted: Metric[Any]) -> Any:
    """The label `name` of an item.

    Raises:
        MetricError: the task has no such label.
    """
    try:
        return outcome.labels[name]
    except KeyError:
        given = f"The task has the labels {', '.join(sorted(outcome.labels))}." if outcome.labels else "The task has no labels."
        raise MetricError(
            f"Metric {wanted.name!r} needs the label {name!r}. {given}", f"Add `labels: {{{name}: EXPRESSION}}` to the task."
        ) from None


PLUGINS: Plugins[Metric[Any]] = Plugins("metric", "harness.metrics", "metrics", MetricError)
MetricClass = TypeVar("MetricClass", bound=type[Metric[Any]])


def metric(name: str) -> Callable[[MetricClass], MetricClass]:
    """Class decorator: register a metric under `name`.

    Raises:
        MetricError: another class has that name.
    """

    def register(cls: MetricClass) -> MetricClass:
        PLUGINS.register(name, cls)
        cls.name = name
        return cls

    return register


def registered() -> Mapping[str, type[Metric[Any]]]:
    """All metrics registered so far, by name."""
    return PLUGINS.registered()


def build(name: str, options: Mapping[str, Any]) -> Metric[Any]:
    """Build the metric `name` with its options.

    Raises:
        MetricError: the name is unknown, an option is unknown or missing, or its value is not allowed.
    """
    return PLUGINS.build(name, options, hint="Metrics of the evaluate library are named evaluate:NAME.")


def check_form(wanted: Metric[Any], form: AnswerForm) -> None:
    """Raise MetricError unless the metric `wanted` scores this answer form."""
    if wanted.form != form:
        fitting = sorted(n for n, cls in registered().items() if cls.form == form)
        raise MetricError(
            f"Metric {wanted.name!r} scores the answer form {wanted.form!r}, not {form!r}.", f"Metrics for it: {', '.join(fitting)}."
        )

"""Metrics of the evaluate library, by name or by the path of a local script: `evaluate:NAME[:KEY]`."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.contract import AnswerForm, TextOutcome
from harness.errors import MetricError
from harness.metrics.base import FloatArray, Metric, metric, per_item
from harness.util import paths

_TOLERANCE = 1e-9


def from_name(name: str, options: Mapping[str, Any]) -> EvaluateMetric:
    """The metric that `evaluate:NAME[:KEY]` names; `lower_is_better` is an option of harness, all others are passed to `compute()`.

    Raises:
        MetricError: the name has no module, or `lower_is_better` is not a boolean.
    """
    module, _, key = name.removeprefix("evaluate:").partition(":")
    if not module:
        raise MetricError(f"{name!r} does not name a metric of the evaluate library.", "Write evaluate:NAME or evaluate:./script.py.")
    lower = options.get("lower_is_better", False)
    if not isinstance(lower, bool):
        raise MetricError(f"Metric {name!r}: option 'lower_is_better' cannot be {lower!r}.", "It takes true or false.")
    passed = {option: value for option, value in options.items() if option != "lower_is_better"}
    return EvaluateMetric(module, key, lower, tuple(sorted(passed.items())))


@metric("evaluate")
@dataclass(frozen=True)
class EvaluateMetric(Metric[TextOutcome]):
    """The value of `evaluate.load(module).compute(...)[key]` over all items.

    Such a value need not be a function of summed per-item statistics. If it equals the mean of the values of single items, it
    is treated as that mean, with a confidence interval. Otherwise every item carries the value over all items, which is then
    also their mean, and `no_interval` says why they cannot be resampled.

    Options:
        module: name on the Hub, or path of a script.
        key: entry of the result; may be empty if there is only one.
        lower_is_better: direction.
        compute: options passed to `compute()`.
    """

    form: ClassVar[AnswerForm] = "generate"
    low: ClassVar[float] = -math.inf
    high: ClassVar[float] = math.inf
    unit: ClassVar[str] = "as computed"
    remote_code: ClassVar[bool] = True
    module: str = ""
    key: str = ""
    lower_is_better: bool = False
    compute: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not self.module:
            raise ValueError("name a metric of the evaluate library, as evaluate:NAME or evaluate:./script.py")
        # Name and direction are class attributes of other metrics; this class represents many metrics.
        object.__setattr__(self, "name", f"evaluate:{self.module}" + (f":{self.key}" if self.key else ""))
        object.__setattr__(self, "higher_is_better", not self.lower_is_better)

    def statistics(self, outcomes: Sequence[TextOutcome]) -> FloatArray:
        """Value, count, and 1 if the value is that of the corpus instead of the item: array [items, 3].

        Raises:
            MetricError: the module cannot be loaded, fails on these texts, or does not return a number.
        """
        if not outcomes:
            return np.zeros((0, 3))
        whole = self._value(outcomes)
        alone = self._items(outcomes, whole)
        table = per_item(np.full(len(outcomes), whole) if alone is None else alone)
        return np.column_stack([table, np.full(len(outcomes), float(alone is None))])

    def item_scores(self, statistics: FloatArray) -> FloatArray | None:
        """Values of single items [items], or None if the score is not their mean."""
        return None if self.no_interval(statistics) else self.score(statistics)

    def no_interval(self, statistics: FloatArray) -> str | None:
        """The reason, if the value is not the mean of the items' values."""
        if not statistics[:, 2].any():
            return None
        return f"{self.name} over all items is not the mean of its values for single items, so items cannot be resampled"

    def _items(self, outcomes: Sequence[TextOutcome], whole: float) -> FloatArray | None:
        """Values of single items, or None if `whole` is not their mean.

        Two halves are compared first: every single item takes milliseconds, and most corpus metrics already differ there.
        """
        middle = len(outcomes) // 2
        halves = [part for part in (outcomes[:middle], outcomes[middle:]) if part]
        try:
            weighted = sum(self._value(part) * len(part) for part in halves) / len(outcomes)
            if not math.isclose(weighted, whole, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
                return None
            alone = np.array([self._value([outcome]) for outcome in outcomes])
        except MetricError:
            return None
        return alone if math.isclose(alone.mean(), whole, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) else None

    def _value(self, outcomes: Sequence[TextOutcome]) -> float:
        module = _load(self.module)
        references: list[Any] = [list(outcome.references) for outcome in outcomes]
        if _takes_one_reference(module):
            references = [self._only(outcome) for outcome in outcomes]
        try:
            result = module.compute(predictions=[o.prediction for o in outcomes], references=references, **dict(self.compute))
        except Exception as error:
            raise MetricError(
                f"Metric {self.name!r} fails on these texts: {type(error).__name__}: {error}.",
                "Check that it takes texts as predictions and references, and check its options.",
            ) from error
        return self._number(result or {})

    def _only(self, outcome: TextOutcome) -> str:
        if len(outcome.references) != 1:
            raise MetricError(
                f"Metric {self.name!r} takes one reference per item; an item has {len(outcome.references)}.",
                "Keep one reference in the task, or choose a metric that takes several.",
            )
        return outcome.references[0]

    def _number(self, result: Mapping[str, Any]) -> float:
        if not self.key and len(result) != 1:
            raise MetricError(
                f"Metric {self.name!r} returns several values: {', '.join(result)}.",
                f"Choose one, as in {self.name}:{next(iter(result), 'KEY')}.",
            )
        key = self.key or next(iter(result))
        if key not in result:
            raise MetricError(f"Metric {self.name!r} returns no value {key!r}.", f"It returns {', '.join(result)}.")
        if np.ndim(result[key]) or not isinstance(result[key], (int, float, np.number)):
            raise MetricError(f"Metric {self.name!r}: {key!r} is not a number but {type(result[key]).__name__}.", "Choose another entry.")
        return float(result[key])

    def libraries(self) -> dict[str, str]:
        """The release of evaluate, and a digest of the script that computes the value."""
        script = Path(inspect.getfile(type(_load(self.module))))
        return {"evaluate": importlib.metadata.version("evaluate"), "script": hashlib.sha256(script.read_bytes()).hexdigest()[:16]}


@functools.cache
def _load(module: str) -> Any:
    import datasets
    import evaluate

    download = datasets.DownloadConfig(local_files_only=paths.offline())
    try:
        return evaluate.load(module, keep_in_memory=True, download_config=download)
    except Exception as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MetricError(
            f"The evaluate library cannot load {module!r}: {first_line}",
            "Its metrics are scripts on the Hub: connect to the network once, or give the path of a script, as evaluate:./my_metric.py.",
        ) from error


def _takes_one_reference(module: Any) -> bool:
    """Whether the module declares references as single texts in every form it accepts."""
    from datasets import Value

    forms = module.features if isinstance(module.features, list) else [module.features]
    return all(isinstance(form.get("references"), Value) for form in forms)

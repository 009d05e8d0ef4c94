"""Numbers in generated texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Literal

from harness.contract import AnswerForm, TextOutcome
from harness.errors import MetricError
from harness.metrics.base import FloatArray, Metric, metric, per_item

# A minus counts as a sign only where it follows no word or bracket: "3-4" is a range, "(2)-1" a subtraction.
_SIGN = r"(?:(?<![\w.)\]])[-−])?[$€£]?"
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
_NUMBER = re.compile(rf"{_SIGN}(?:{_DIGITS}|(?<!\w)\.[0-9]+)")


def number_in(text: str, which: Literal["first", "last"]) -> Decimal | None:
    """The first or last decimal number in a text, or None.

    Commas between groups of three digits and a currency sign before the digits are ignored; `18` and `18.00` are equal.
    Exponents and fractions are not read as one number: `1/2` holds 1 and 2.
    """
    numbers = _NUMBER.findall(text)
    return Decimal(_plain(numbers[0 if which == "first" else -1])) if numbers else None


def _plain(number: str) -> str:
    return re.sub("[,$€£]", "", number).replace("−", "-")


@metric("exact_number")
@dataclass(frozen=True)
class ExactNumber(Metric[TextOutcome]):
    """Share of texts whose last number equals the last number of a reference, as `number_in` reads them (GSM8K)."""

    form: ClassVar[AnswerForm] = "generate"

    def statistics(self, outcomes: Sequence[TextOutcome]) -> FloatArray:
        """Hit (0 or 1) and count: array [items, 2].

        Raises:
            MetricError: a reference contains no number.
        """
        return per_item([float(number_in(o.prediction, "last") in [self._wanted(r) for r in o.references]) for o in outcomes])

    def _wanted(self, reference: str) -> Decimal:
        number = number_in(reference, "last")
        if number is None:
            raise MetricError(
                f"Metric {self.name!r}: the reference {reference!r} contains no number.", "Correct the task's target, or use exact_match."
            )
        return number

"""Efficiency quantities of a run that rules can name, such as `efficiency.items_per_second`; none has an interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.compare.pairing import Results
from harness.gate.evidence import Evidence
from harness.gate.findings import Finding, UnfitRuleError
from harness.store.records import EfficiencyRecord

_PREFIX = "efficiency."


def named(subject: str, evidence: Evidence) -> str | None:
    """The quantity that a rule about efficiency names; None for other rules.

    Raises:
        UnfitRuleError: there is no such quantity.
    """
    if not subject.startswith(_PREFIX) or "efficiency" in evidence.candidate.record.tasks:
        return None
    name = subject.removeprefix(_PREFIX)
    if name not in QUANTITIES:
        raise UnfitRuleError(f"There is no efficiency quantity {name!r}.", f"Available quantities: {', '.join(QUANTITIES)}.")
    return name


def measured(results: Results, quantity: str) -> float | None:
    """A run's value of a quantity; None where it was not measured."""
    return QUANTITIES[quantity](results.record.efficiency)


def unmeasured(quantity: str, whose: str) -> Finding:
    """The finding for a quantity that was not measured; `whose` is "run" or "baseline"."""
    message = f"{quantity} of the {whose} is not known: its responses came from the cache"
    return Finding("inconclusive", message, (f"compute the {whose} again with --fresh",))


def _items_per_second(record: EfficiencyRecord) -> float | None:
    """Responses computed per second of scoring and generating."""
    seconds = record.seconds.get("score", 0.0) + record.seconds.get("generate", 0.0)
    return record.requests.computed / seconds if record.requests.computed and seconds else None


QUANTITIES: Mapping[str, Callable[[EfficiencyRecord], float | None]] = {
    "items_per_second": _items_per_second,
    "prefill_tokens_per_second": lambda record: record.prefill_tokens_per_second,
    "decode_tokens_per_second": lambda record: record.decode_tokens_per_second,
    "padding_share": lambda record: record.padding_share,
    "peak_memory_bytes": lambda record: float(record.peak_memory_bytes),
    "seconds": lambda record: record.seconds.get("total") if record.requests.computed else None,
}
"""By the name that rules use: from a run's efficiency record to the value."""

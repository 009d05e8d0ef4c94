"""Recognize two results of the same system, between which nothing can have changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.stats.bootstrap import Interval

if TYPE_CHECKING:
    from harness.compare.pairing import PairedSamples
    from harness.store.records import SystemRecord, TaskRecord

METHOD = "same system"
"""Method of the interval of a difference where one system gave the same responses twice."""
NO_CHANGE = Interval(0.0, 0.0, METHOD)

_COMPUTES_RESPONSES = (
    *("architecture", "dtype", "quantization", "engine", "engine_code", "engine_args"),
    *("model_digest", "adapter_digest", "tokenizer_digest", "chat_template_digest"),
)


def is_same_system(before: SystemRecord, after: SystemRecord) -> bool:
    """Whether two systems are the same: equal digests, or equal in everything that determines a response.

    Names and the Hub revision may differ, since the content behind them has digests of its own. Weights in another precision, or
    another engine, round differently and are another system: items outside the sample may flip.
    """
    return before.digest == after.digest or all(getattr(before, name) == getattr(after, name) for name in _COMPUTES_RESPONSES)


def same_requests(before: TaskRecord, after: TaskRecord, joined: Sequence[PairedSamples]) -> bool:
    """Whether both runs of a task sent identical requests: equal signatures, the same items, the same prompts."""
    template_variants = [{name: variant.signature for name, variant in task.template_variants.items()} for task in (before, after)]
    if before.signature != after.signature or template_variants[0] != template_variants[1]:
        return False
    return all(paired.same_items and all(first.prompt == second.prompt for first, second in paired.pairs) for paired in joined)


def responses_differ(joined: Sequence[PairedSamples]) -> int:
    """Number of items whose response differs in at least one of the template variants."""
    return len(
        {
            place
            for paired in joined
            for place, (first, second) in enumerate(paired.pairs)
            if (first.prediction, first.text) != (second.prediction, second.text)
        }
    )

"""Whether two results are of one system, so that nothing can have changed between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.stats.bootstrap import Interval

if TYPE_CHECKING:
    from harness.compare.pairing import PairedSamples
    from harness.store.runs import SystemRecord, TaskRecord

METHOD = "same system"
"""How the interval of a difference was made where one system gave the same responses twice."""
NO_CHANGE = Interval(0.0, 0.0, METHOD)

_DECIDES = (
    *("architecture", "dtype", "quantization", "engine"),
    *("model_digest", "adapter_digest", "tokenizer_digest", "chat_template_digest"),
)


def one_system(before: SystemRecord, after: SystemRecord) -> bool:
    """Whether two systems are one: equal digests, or equal in all that computes a response.

    Names and the hub revision may differ, since the content behind them has digests of its own. Weights in another precision, or
    another engine, round differently and are another system: it may flip items that were not asked.
    """
    return before.digest == after.digest or all(getattr(before, name) == getattr(after, name) for name in _DECIDES)


def asked_alike(before: TaskRecord, after: TaskRecord, joined: Sequence[PairedSamples]) -> bool:
    """Whether a task was asked twice to the letter: equal signatures, the same items, the same prompts."""
    template_variants = [{name: one.signature for name, one in task.template_variants.items()} for task in (before, after)]
    if before.signature != after.signature or template_variants[0] != template_variants[1]:
        return False
    return all(one.same_items and all(first.prompt == second.prompt for first, second in one.pairs) for one in joined)


def responses_differ(joined: Sequence[PairedSamples]) -> int:
    """Items with another response in one of the template variants at least."""
    return len(
        {
            place
            for one in joined
            for place, (first, second) in enumerate(one.pairs)
            if (first.prediction, first.text) != (second.prediction, second.text)
        }
    )

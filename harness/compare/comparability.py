"""In what systems were run differently, beyond their weights: precision and the form of their prompts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.util.text import plain

if TYPE_CHECKING:
    from harness.store.runs import SystemRecord

_MOST_NAMED = 4


def system_notes(systems: Sequence[tuple[str, SystemRecord]]) -> tuple[str, ...]:
    """A sentence on each of precision and prompt form in which these systems differ; none where all are alike.

    Scores of systems that differ so are comparable, but part of their difference may come from it.

    Args:
        systems: label and system of each run.
    """
    forms = {label: _form(system, [other for _, other in systems]) for label, system in systems}
    sentences = [
        _sentence("Weights differ in precision", {label: system.dtype for label, system in systems}),
        _sentence("Prompts differ", forms),
    ]
    return tuple(sentence for sentence in sentences if sentence)


def _form(system: SystemRecord, systems: Sequence[SystemRecord]) -> str:
    """How a system gets its prompts; a template is told apart from another one of the same tokenizer."""
    if system.chat_template_digest is None:
        return "plain text"
    others = {other.chat_template_digest for other in systems if other.tokenizer_digest == system.tokenizer_digest} - {None}
    return "chat template" if len(others) == 1 else f"chat template {system.chat_template_digest[:8]}"


def _sentence(what: str, values: dict[str, str]) -> str | None:
    by_value: defaultdict[str, list[str]] = defaultdict(list)
    for label, value in values.items():
        by_value[value].append(plain(label))
    if len(by_value) < 2:
        return None
    return f"{what}: {'; '.join(f'{value} for {_named(labels)}' for value, labels in by_value.items())}."


def _named(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:_MOST_NAMED])
    return shown if len(labels) <= _MOST_NAMED else f"{shown} and {len(labels) - _MOST_NAMED} more"

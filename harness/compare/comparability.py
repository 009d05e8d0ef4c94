"""What makes results comparable: reasons why scores are not, differences between signatures, and notes on how systems were run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from harness.store.signature import Signature
from harness.util.text import plain, some

if TYPE_CHECKING:
    from harness.store.records import SystemRecord

SignatureParts: TypeAlias = tuple[tuple[str, Signature], ...]
"""What determines a number: (part, signature) for the metric, named "", and for each task that the number covers."""

_LONGEST_VALUE = 24


@dataclass(frozen=True, slots=True)
class NotComparable:
    """Returned in place of a table, an interval or a figure that cannot be made from the results.

    Attributes:
        reason: why, as a clause for a report, such as "the two results have no items in common".
    """

    reason: str


def signature_differences(signature: SignatureParts, reference: SignatureParts) -> tuple[str, ...]:
    """How a number's signature differs from another's, such as `shots: 0 instead of 5`; empty where they are equal."""
    mine, theirs = dict(signature), dict(reference)
    shared = [part for part in mine if part in theirs]
    by_field: defaultdict[str, list[str]] = defaultdict(list)
    for part in shared:
        for difference in mine[part].difference(theirs[part]):
            by_field[difference.field].append(f"{_shortened(difference.mine)} instead of {_shortened(difference.theirs)}")
    notes = [_field_note(name, texts, tasks=len(shared) - 1) for name, texts in by_field.items()]
    if mine.keys() != theirs.keys():
        count = f"{len(mine) - 1} others" if len(mine) == len(theirs) else str(len(mine) - 1)
        notes.insert(0, f"tasks: {count} instead of {len(theirs) - 1}")
    return tuple(notes)


def remote_note(systems: Sequence[tuple[str, SystemRecord]]) -> str:
    """A sentence on systems whose weights nobody could verify, because a server computes; empty where there are none."""
    remote = list(dict.fromkeys(label for label, system in systems if system.identity == "remote"))
    return f"A server computed {some(remote)}: the weights behind it are not verified." if remote else ""


def system_notes(systems: Sequence[tuple[str, SystemRecord]]) -> tuple[str, ...]:
    """One sentence each on differences in precision and in the form of prompts, and on weights that are not verified.

    Scores of systems that differ in these are comparable, but part of their difference may come from it.

    Args:
        systems: label and system of each run.
    """
    forms = {label: _prompt_form(system, [other for _, other in systems]) for label, system in systems}
    sentences = [
        _difference_note("Weights differ in precision", {label: system.dtype for label, system in systems}),
        _difference_note("Prompts differ", forms),
        remote_note(systems),
    ]
    return tuple(sentence for sentence in sentences if sentence)


def _field_note(name: str, texts: Sequence[str], tasks: int) -> str:
    name = name.replace("_", " ")
    where = f" in {len(texts)} of {tasks} tasks" if 0 < len(texts) < tasks else ""
    return f"{name}: {texts[0]}{where}" if len(set(texts)) == 1 else f"{name}: differs{where}"


def _shortened(value: str | None) -> str:
    text = "none" if value is None else plain(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE // 2]}…"


def _prompt_form(system: SystemRecord, systems: Sequence[SystemRecord]) -> str:
    """How a system receives its prompts; a chat template carries its digest where the same tokenizer is used with another one."""
    if system.chat_template_digest is None:
        return "plain text"
    others = {other.chat_template_digest for other in systems if other.tokenizer_digest == system.tokenizer_digest} - {None}
    return "chat template" if len(others) == 1 else f"chat template {system.chat_template_digest[:8]}"


def _difference_note(what: str, values: Mapping[str, str]) -> str | None:
    by_value: defaultdict[str, list[str]] = defaultdict(list)
    for label, value in values.items():
        by_value[value].append(plain(label))
    if len(by_value) < 2:
        return None
    return f"{what}: {'; '.join(f'{value} for {some(labels)}' for value, labels in by_value.items())}."

"""Signatures of metrics, perturbations and averages; those of tasks are in `task_signatures`.

Weights, precision, tokenizer, chat template and engine belong to the system, whose digest identifies them
(`store.records.system_record`). Everything else that can change a score is in these two files. What cannot change one (batch size, device,
folders) is in neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.models.digests import text_digest
from harness.store.signature import AVERAGE_FIELDS, Signature
from harness.util.plugins import code_of

if TYPE_CHECKING:
    from harness.perturb import Perturbation

DIGITS = 16
"""Characters of a SHA-256 (hex) that stand in a signature."""


def metric_signature(metric: type, signature: Signature, read: Iterable[str], labels: Mapping[str, str]) -> Signature:
    """A metric's signature with the expressions that give the labels it reads, and with its code if it is a plug-in.

    Args:
        metric: the metric's class.
        signature: the metric's own, for these outcomes.
        read: names of the labels that it reads.
        labels: the expression of every label of the task.
    """
    decisive = {name: labels[name] for name in sorted(read) if name in labels}
    return signature.with_fields(**code_of(metric), **({"labels": decisive} if decisive else {}))


def perturbation_signature(perturbation: Perturbation, seed: int, columns: Iterable[str]) -> Signature:
    """What decides the perturbed items: the perturbation with its code, its seed, and the columns that it may change."""
    return perturbation.signature.with_fields(**code_of(type(perturbation)), seed=seed, columns=sorted(columns))


def worst_signature(signature: Signature, perturbations: Sequence[Signature]) -> Signature:
    """A metric over the worst of each item and its perturbed versions."""
    return signature.with_fields(worst=perturbations)


def average_signature(
    scores: Sequence[tuple[str, Signature]], tasks: Mapping[str, Signature], average: str, metric: str | None
) -> Signature:
    """A group's average over its tasks.

    Args:
        scores: (task, signature) of each score that is averaged, at least one.
        tasks: the tasks' own signatures.
        average: "macro", "members" or "micro".
        metric: the metric that is averaged; None for each task's headline.
    """
    content = [*(f"{task}: {signature.digest}" for task, signature in scores), *(f"{name}: {own.digest}" for name, own in tasks.items())]
    named = Signature("headline") if metric is None else scores[0][1]
    added = (average, len(tasks), text_digest("\n".join(content))[:DIGITS])
    return named.with_fields(**dict(zip(AVERAGE_FIELDS, added, strict=True)))


class ReadLabels(Mapping[str, Any]):
    """An item's labels that note which of them are read.

    Args:
        labels: as the task gives them.
        read: grows with the names that are read.
    """

    def __init__(self, labels: Mapping[str, Any], read: set[str]) -> None:
        self._labels, self._read = labels, read

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return self._labels[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)

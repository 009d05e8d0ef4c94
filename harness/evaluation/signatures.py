"""The one place where signatures are made: from everything that decides prompts, items, decoding and scores.

Weights, precision, tokenizer, chat template and engine belong to the system, whose digest identifies them
(`store.records.system_record`). Everything else that can change a score is here. What cannot change one (batch size, device, folders) is
in neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.models.digests import text_digest
from harness.store.signature import AVERAGE_FIELDS, Signature
from harness.util.plugins import code_of

if TYPE_CHECKING:
    from harness.evaluation.plan import PlannedTask
    from harness.perturb import Perturbation

DIGITS = 16
"""Characters of a SHA-256 (hex) that stand in a signature."""


def task_signature(variants: Sequence[PlannedTask]) -> Signature:
    """What decides a task's prompts, items and decoding.

    Few-shot examples, samples and perturbations are drawn by an item's id, so what gives the ids decides as well.

    Args:
        variants: the task with each of its prompt templates, at least one; all have the same items.
    """
    first = variants[0]
    data = first.task.data
    fields: dict[str, object] = {
        "version": first.task.version,
        "template": ",".join(planned.name for planned in variants),
        "template_digest": template_digest(variants)[:DIGITS],
        "shots": first.shots,
    }
    if first.shots:
        fields |= _examples(first)
    fields |= {
        "data": data.path or (data.files or {})[data.split],
        "config": data.config,
        "split": data.split,
        "data_digest": data_digest(first)[:DIGITS],
        "items": len(first.item_requests),
        "item_ids": data.id,
    }
    if first.task.answer == "generate":
        fields |= _decoding(first)
    return Signature.of(first.task.task, fields)


def _examples(planned: PlannedTask) -> dict[str, object]:
    """What decides the few-shot examples."""
    shots = planned.task.shots
    fields: dict[str, object] = {"shot_selection": shots.select, "shot_split": shots.split}
    fields |= {"shot_pool": planned.pool.digest[:DIGITS]} if planned.pool is not None else {}
    return fields | ({"shot_seed": planned.seed} if shots.select == "random" else {})


def _decoding(planned: PlannedTask) -> dict[str, object]:
    settings = planned.task.generation
    fields: dict[str, object] = {"max_new_tokens": settings.max_new_tokens, "stop": settings.stop, "temperature": settings.temperature}
    if settings.temperature > 0:
        fields |= {"top_p": settings.top_p, "sampling_seed": planned.seed, "texts": planned.texts}
    return fields | ({"beams": settings.beams} if settings.beams > 1 else {})


def template_digest(variants: Sequence[PlannedTask]) -> str:
    """SHA-256 (hex) over the templates with the task's choices and target; of several templates over all of them."""
    digests = [
        text_digest(planned.variant.template.model_dump_json() + str(planned.task.choices) + str(planned.task.target))
        for planned in variants
    ]
    return digests[0] if len(digests) == 1 else text_digest("".join(digests))


def data_digest(planned: PlannedTask) -> str:
    """SHA-256 (hex) over the ids and the content of the items that are scored, in their order.

    Few-shot examples and samples are drawn by an item's id. Ids may be row numbers, which shift when the data has other rows that a filter
    leaves out.
    """
    items = (item_requests.question.item for item_requests in planned.item_requests)
    return text_digest("".join(f"{json.dumps(item.id)}:{item.digest}\n" for item in items))


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

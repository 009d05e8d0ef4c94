"""Signatures of tasks: what decides prompts, items and decoding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.evaluation.signatures import DIGITS
from harness.models.digests import text_digest
from harness.store.signature import Signature

if TYPE_CHECKING:
    from harness.evaluation.plan import PlannedTask


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

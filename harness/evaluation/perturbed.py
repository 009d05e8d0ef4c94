"""Perturbed copies of a task's questions, for robustness and fairness."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.errors import TaskError
from harness.perturb import perturb_fields
from harness.tasks import templates
from harness.tasks.prompts import Question, TemplateVariant

if TYPE_CHECKING:
    from harness.evaluation.requests import ItemRequests
    from harness.perturb import Perturbation
    from harness.store.signature import Signature


@dataclass(frozen=True)
class PerturbedItems:
    """The items that one perturbation changed, and the requests for them.

    Attributes:
        signature: the perturbation's, with its seed and the columns that it may change.
        places: indices of the items whose text changed, among all items.
        item_requests: their perturbed copies, in the same order.
    """

    perturbation: Perturbation
    signature: Signature
    places: Sequence[int]
    item_requests: Sequence[ItemRequests]


def perturbed(variant: TemplateVariant, questions: Sequence[Question], perturbation: Perturbation, seed: int) -> dict[int, Question]:
    """The questions that a perturbation changes, by their indices.

    Only the parts of an item that the prompt shows are changed: never the template's own text, and the choices and references only where
    the perturbation sets `references`; then the whole item changes consistently.

    Raises:
        InputError: the perturbation is not available here.
    """
    shown = columns(variant)
    change = _whole if perturbation.references else _shown
    changed = {}
    for place, question in enumerate(questions):
        copy = change(variant, question, perturbation, seed, shown)
        if copy is not None:
            changed[place] = copy
    return changed


def columns(variant: TemplateVariant) -> frozenset[str]:
    """The columns that may be changed: those that the task names, else those that its prompt shows, without answers."""
    task, template = variant.task, variant.template
    if task.perturb:
        return frozenset(task.perturb)
    shown = _read(template.prompts or (template.prompt or "",))
    choices = template.choices if template.choices is not None else task.choices or ()
    expressions = [text for text in (template.target or task.target, choices) if isinstance(text, str)]
    answers = _read([f"{{{{ {text} }}}}" for text in expressions]) | _read(() if isinstance(choices, str) else choices)
    return shown - answers


def _read(sources: Iterable[str]) -> frozenset[str]:
    return frozenset(name for source in sources for name in templates.names(source))


def _shown(variant: TemplateVariant, question: Question, perturbation: Perturbation, seed: int, shown: frozenset[str]) -> Question | None:
    """The question with perturbed text in the prompt and the original answers; None where nothing changed."""
    row = question.item.row
    before = {name: row[name] for name in sorted(shown) if isinstance(row.get(name), str)}
    after = perturb_fields(perturbation, before, seed=seed, item=question.item.id)
    if after == before:
        return None
    return replace(question, item=replace(question.item, row={**row, **after}))


def _whole(variant: TemplateVariant, question: Question, perturbation: Perturbation, seed: int, shown: frozenset[str]) -> Question | None:
    """The question with the whole item perturbed, choices and references included; the correct choice stays correct."""
    row = question.item.row
    before = dict(_texts(row, ()))
    changed = perturb_fields(perturbation, {"/".join(path): text for path, text in before.items()}, seed=seed, item=question.item.id)
    after = {path: changed["/".join(path)] for path in before}
    if all(after[path] == text for path, text in before.items() if path[0] in shown):
        return None
    try:
        answered = variant.question(replace(question.item, row=_replaced(row, after, ())))
    except TaskError:
        return _shown(variant, question, perturbation, seed, shown)
    same = answered.targets == question.targets and len(answered.choices) == len(question.choices)
    return answered if same else _shown(variant, question, perturbation, seed, shown)


def _texts(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text in a row, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _texts(part, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield from _texts(part, (*path, str(number)))


def _replaced(value: Any, texts: Mapping[tuple[str, ...], str], path: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return texts[path]
    if isinstance(value, Mapping):
        return {key: _replaced(part, texts, (*path, str(key))) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replaced(part, texts, (*path, str(number))) for number, part in enumerate(value)]
    return value

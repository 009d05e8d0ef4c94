"""`harness tasks check`: is a task file right, and does the task fit its data and a model?"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from harness import metrics
from harness.contract import Item, Prompt, TokenIds
from harness.errors import HarnessError, TaskError, UnavailableError
from harness.metrics.base import check_form
from harness.tasks.data import DataReader
from harness.tasks.prompts import Question, TemplateVariant, draw_shots
from harness.tasks.registry import TaskEntry, TaskRegistry
from harness.tasks.schema import Task

SHOWN = 3
"""Items whose whole prompts, shots included, are rendered in every template."""

SAMPLE = 300
"""Items, drawn from the whole split, whose questions and answers are looked at in every template."""

FEW_CLUSTERS = 10
"""From so many on, intervals are about as wide as the items' likeness makes them."""

LONGEST = 50
"""Longest items whose prompts are tokenized in every template."""

_NAMED = 3


class CheckedTokens(Protocol):
    """A question's token ids."""

    @property
    def context(self) -> TokenIds:
        """What all its choices follow."""
        ...

    @property
    def choices(self) -> tuple[TokenIds, ...]:
        """Each choice."""
        ...


class CheckEncoder(Protocol):
    """What is asked of a model's tokenizer; `harness.models.encoding` has it."""

    @property
    def architecture(self) -> Literal["causal", "seq2seq"]:
        """Whether prompt and answer stand in one sequence or in two."""
        ...

    @property
    def max_length(self) -> int | None:
        """Longest sequence in tokens, None for no limit."""
        ...

    @property
    def chat(self) -> bool:
        """Whether prompts are chat messages."""
        ...

    def text(self, prompt: Prompt) -> str:
        """The exact text that is tokenized."""
        ...

    def contexts(self, texts: Sequence[str]) -> Sequence[TokenIds]:
        """Token ids of prompts."""
        ...

    def choices(self, prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> Sequence[CheckedTokens]:
        """Token ids of prompts, each with its answers."""
        ...


@dataclass(frozen=True, slots=True)
class TaskCheck:
    """What was found out about one task, group or file.

    Attributes:
        name: the task's, the group's or the file's.
        state: `right`, `no data` where they cannot be had here, or `wrong`.
        told: what it holds, or what is wrong.
        warnings: what does not make the file wrong, but would stop a run late or bend its numbers.
    """

    name: str
    state: Literal["right", "no data", "wrong"]
    told: str
    warnings: tuple[str, ...] = ()


def check_files(paths: Sequence[Path], folder: Path | None = None, encoder: CheckEncoder | None = None) -> Iterator[TaskCheck]:
    """Check task and group files: what cannot be read first, then each task, then each group.

    Args:
        paths: YAML files; they may refer to tasks that are shipped or in the user's folders.
        folder: folder of dataset snapshots.
        encoder: a model's tokenizer, for what only tokens tell.
    """
    registry = _known()
    defined: dict[str, Path] = {}
    for path in paths:
        try:
            for name in registry.add_file(path):
                if name in defined:
                    raise TaskError(f"{path}: the name {name!r} is taken by {defined[name]}.", "Give one of them another name.")
                defined[name] = path
        except HarnessError as error:
            yield TaskCheck(str(path), "wrong", str(error))
    reader, last = DataReader(folder), None
    for name, path in defined.items():
        if path != last:
            reader.forget()
            last = path
        if name not in registry.groups:
            yield _checked(name, partial(_check_task, registry, name, reader, encoder))
    for name in defined:
        if name in registry.groups:
            yield _checked(name, partial(check_group, registry, name))


def _known() -> TaskRegistry:
    """What is shipped and what the user added; nothing where one of those files is wrong, for it may be the one to be checked."""
    try:
        return TaskRegistry.default()
    except TaskError:
        return TaskRegistry()


def _checked(name: str, check: Callable[[], TaskCheck]) -> TaskCheck:
    try:
        return check()
    except UnavailableError as error:
        return TaskCheck(name, "no data", error.what.removeprefix(f"Task {name}: "))
    except HarnessError as error:
        return TaskCheck(name, "wrong", str(error))


def _check_task(registry: TaskRegistry, name: str, reader: DataReader, encoder: CheckEncoder | None) -> TaskCheck:
    family = registry.families.get(name)
    return check_entry(registry.find(family.example() if family else name), reader, encoder)


def check_group(registry: TaskRegistry, name: str) -> TaskCheck:
    """Check that a group's members and the metrics of its aggregates exist.

    Raises:
        TaskError: one does not.
    """
    group, path = registry.groups[name]
    members = registry.members(name)
    for aggregate in group.aggregate:
        for member in members:
            measured = [spec.key for spec in registry.tasks[member].task.metrics]
            if aggregate.metric is not None and aggregate.metric not in measured:
                raise TaskError(
                    f"{path}: the group {name!r} averages {aggregate.metric!r}, which its task {member} does not measure.",
                    f"The task's metrics: {', '.join(measured)}.",
                )
    averages = ", ".join(aggregate.key for aggregate in group.aggregate) or "no average"
    return TaskCheck(name, "right", f"group of {_count(len(members), 'task')}, {averages}")


def check_entry(entry: TaskEntry, reader: DataReader, encoder: CheckEncoder | None = None) -> TaskCheck:
    """Check a task against its metrics, its data and, where a tokenizer is given, a model.

    The first items' prompts are rendered whole. Questions and answers are looked at on a sample of the split, prompt lengths on
    its longest items.

    Raises:
        MetricError: a metric is unknown, wrongly configured, or judges another form of answer.
        DataError: the data cannot be had or lack a column.
        TaskError: a template does not fit the data.
    """
    task, beside = entry.task, entry.path.parent
    for spec in task.metrics:
        check_form(metrics.load(spec.metric, spec.options), task.answer)
    items = reader.split(task, task.data.split, beside).items
    pool, warnings = _shots(entry, reader, items)
    warnings += _duplicates(items) + _clusters(task, items)
    sample = _sample(items)
    told: dict[str, list[str]] = {}
    for template in task.templates:
        variant = TemplateVariant(task, template, chat=encoder is not None and encoder.chat)
        for warning in _check_wording(variant, items, sample, pool, encoder):
            told.setdefault(warning, []).append(template.name)
    for warning, names in told.items():
        everywhere = len(names) == len(task.templates)
        warnings.append(warning if everywhere else f"template {', '.join(names)}: {warning}")
    counts = (_count(len(items), "item"), _count(len(task.templates), "template"), _count(len(task.metrics), "metric"))
    return TaskCheck(task.task, "right", ", ".join(counts), tuple(warnings))


def _shots(entry: TaskEntry, reader: DataReader, items: Sequence[Item]) -> tuple[Sequence[Item], list[str]]:
    """The items that shots are drawn from, and what is remarkable about them."""
    task, split = entry.task, entry.task.shots.split
    if split is None:
        return (), []
    try:
        pool = reader.split(task, split, entry.path.parent).items
    except UnavailableError:
        if task.shots.number:
            raise
        return (), [f"the split {split!r}, from which shots are drawn, cannot be had here"]
    if split == task.data.split:
        return pool, []
    digests = {item.digest for item in pool}
    both = [item for item in items if item.digest in digests]
    if not both:
        return pool, []
    return pool, [f"items that stand in {split!r} too, the split of the shots: {_of(both, items)}; none is ever drawn for itself"]


def _sample(items: Sequence[Item]) -> Sequence[Item]:
    """Items drawn at random, the same ones each time, in their order; every n-th would see one class only where classes alternate."""
    if len(items) <= SAMPLE:
        return items
    return [items[index] for index in sorted(random.Random(0).sample(range(len(items)), SAMPLE))]


def _duplicates(items: Sequence[Item]) -> list[str]:
    seen: set[str] = set()
    again = []
    for item in items:
        if item.digest in seen:
            again.append(item)
        seen.add(item.digest)
    return [f"repeats of an earlier item: {_of(again, items)}"] if again else []


def _clusters(task: Task, items: Sequence[Item]) -> list[str]:
    """What is remarkable about the items' clusters, where the task names any."""
    if task.cluster is None or len(items) < 2:
        return []
    variant = TemplateVariant(task, task.templates[0], chat=False)
    count = len({variant.cluster(item) for item in items})
    if count == len(items):
        return ["each item is a cluster of its own: `cluster` changes nothing"]
    if count >= FEW_CLUSTERS:
        return []
    few = "1 cluster, so there are no intervals" if count == 1 else f"{count} clusters, so intervals are wide"
    return [f"all {_count(len(items), 'item')} are of {few}"]


def _check_wording(
    variant: TemplateVariant, items: Sequence[Item], sample: Sequence[Item], pool: Sequence[Item], encoder: CheckEncoder | None
) -> Iterator[str]:
    questions, failures = _questions(variant, sample)
    if not questions:
        raise next(iter(failures.values()))[1]
    number = variant.task.shots.number
    for question in questions[:SHOWN]:
        variant.prompts(question, _drawn(variant, question, pool, number))
    if failures:
        failed, reasons = [item for item, _ in failures.values()], [error for _, error in failures.values()]
        yield f"items that cannot be asked, where a run would stop: {_of(failed, sample)}. {reasons[0].what.rstrip('.')}"
    asked = [question.item for question in questions]
    if variant.task.metrics:
        yield from _answers(questions, asked)
    alike = _alike(variant, questions, encoder)
    if alike:
        yield f"choices of the same {'tokens' if encoder else 'text'}: {_of(alike, asked)}"
    if encoder is not None and encoder.max_length is not None and variant.task.answer != "score_text":
        yield from _too_long(variant, items, pool, encoder, encoder.max_length)


def _answers(questions: Sequence[Question], asked: Sequence[Item]) -> Iterator[str]:
    """What is remarkable about the right answers."""
    empty = [question.item for question in questions if not all(reference.strip() for reference in question.references)]
    if empty:
        yield f"empty references: {_of(empty, asked)}"
    answers = {question.references for question in questions}
    if len(answers) == 1 and len(questions) > 1:
        yield f"the right answer is always {answers.pop()[0]!r} ({_count(len(questions), 'item')} looked at)"


def _questions(variant: TemplateVariant, sample: Sequence[Item]) -> tuple[list[Question], Mapping[str, tuple[Item, TaskError]]]:
    """The sample's questions, and the items of which none can be made."""
    questions, failures = [], {}
    for item in sample:
        try:
            question = variant.question(item)
            variant.prompts(question, ())
            questions.append(question)
        except TaskError as error:
            failures[item.id] = (item, error)
    return questions, failures


def _drawn(variant: TemplateVariant, question: Question, pool: Sequence[Item], number: int) -> list[Question]:
    return [variant.question(shot) for shot in draw_shots(variant.task, pool, question.item, number, seed=0)]


def _alike(variant: TemplateVariant, questions: Sequence[Question], encoder: CheckEncoder | None) -> list[Item]:
    """Items of which two choices cannot be told apart; where each choice has a prompt of its own they may be the same."""
    if variant.template.prompts is not None or variant.task.answer != "choices":
        return []
    if encoder is None:
        return [q.item for q in questions if len({choice.strip() for choice in q.choices}) < len(q.choices)]
    return [q.item for q in questions if len(set(_encoded(variant, q, (), encoder)[0].choices)) < len(q.choices)]


def _encoded(variant: TemplateVariant, question: Question, shots: Sequence[Question], encoder: CheckEncoder) -> Sequence[CheckedTokens]:
    """A question's token ids: all its choices after one context, or each after its own."""
    texts = [encoder.text(prompt) for prompt in variant.prompts(question, shots)]
    delimiter = "" if encoder.chat else variant.template.delimiter
    answers = [delimiter + choice for choice in question.choices]
    return encoder.choices(texts, [answers] if len(texts) == 1 else [[answer] for answer in answers])


def _too_long(variant: TemplateVariant, items: Sequence[Item], pool: Sequence[Item], encoder: CheckEncoder, limit: int) -> Iterator[str]:
    longest = sorted(items, key=_characters, reverse=True)[:LONGEST]
    questions, _ = _questions(variant, longest)
    number = min(variant.task.shots.number, len(pool))
    lengths = {}
    for question in questions:
        lengths[question.item.id] = _length(variant, question, _drawn(variant, question, pool, number), encoder)
    over = [question.item for question in questions if lengths[question.item.id] > limit]
    if over:
        peak = max(over, key=lambda item: lengths[item.id])
        yield (
            f"{len(over)} of the {_count(len(questions), 'longest item')} are over the model's {limit:,} tokens, answer included; "
            f"item {peak.id} has {lengths[peak.id]:,}. A run drops shots, then cuts the longest field, and says so"
        )


def _length(variant: TemplateVariant, question: Question, shots: Sequence[Question], encoder: CheckEncoder) -> int:
    """Tokens that a question needs in the model's longest sequence."""
    apart = encoder.architecture == "seq2seq"
    if variant.task.answer == "generate":
        context = encoder.contexts([encoder.text(variant.prompt(question, shots))])[0]
        return len(context) + (0 if apart else variant.task.generation.max_new_tokens)
    encoded = _encoded(variant, question, shots, encoder)
    answer = max(len(choice) for one in encoded for choice in one.choices)
    context_tokens = max(len(one.context) for one in encoded)
    return max(context_tokens, answer) if apart else context_tokens + answer - 1


def _characters(item: Item) -> int:
    return sum(len(value) if isinstance(value, str) else len(str(value)) for value in item.row.values())


def _of(some: Sequence[Item], whole: Sequence[Item]) -> str:
    named = ", ".join(item.id for item in some[:_NAMED]) + (", …" if len(some) > _NAMED else "")
    return f"{len(some):,} of {_count(len(whole), 'item')} ({named})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

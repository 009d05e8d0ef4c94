"""`harness tasks check`: is a task file valid, and does the task fit its data and a model?"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from harness import metrics
from harness.contract import Item, Prompt, TokenIds
from harness.errors import HarnessError, MissingLibraryError, TaskError, UnavailableError
from harness.metrics.base import check_form
from harness.tasks.data import DataReader
from harness.tasks.prompts import Question, TemplateVariant, draw_shots
from harness.tasks.registry import TaskEntry, TaskRegistry
from harness.tasks.schema import Task

SHOWN = 3
"""Items whose full prompts, few-shot examples included, are rendered with every template."""

SAMPLE = 300
"""Items, drawn at random from the whole split, whose questions and answers are checked with every template."""

FEW_CLUSTERS = 10
"""Below this number of clusters, a warning says that confidence intervals are wide."""

LONGEST = 50
"""Number of longest items whose prompts are tokenized with every template."""

_NAMED = 3
"""Item ids that a warning lists."""


class CheckedTokens(Protocol):
    """A question's token ids."""

    @property
    def context(self) -> TokenIds:
        """Token ids that precede every choice."""
        ...

    @property
    def choices(self) -> tuple[TokenIds, ...]:
        """Token ids of each choice."""
        ...


class CheckEncoder(Protocol):
    """Turns prompts into token ids; `harness.models.encoding.Encoder` implements it."""

    @property
    def architecture(self) -> Literal["causal", "seq2seq"]:
        """Whether prompt and answer are one sequence (causal) or two (seq2seq)."""
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


CheckState: TypeAlias = Literal["OK", "no data", "error"]


@dataclass(frozen=True, slots=True)
class TaskCheck:
    """The result of checking one task, group or file.

    Attributes:
        name: of the task, the group or the file.
        state: `OK`, `no data` if its dataset is not available here, or `error`.
        summary: what it holds, or what the error is.
        warnings: problems that do not make the file invalid, but would stop a run late or distort its scores.
    """

    name: str
    state: CheckState
    summary: str
    warnings: tuple[str, ...] = ()


def check_files(paths: Sequence[Path], folder: Path | None = None, encoder: CheckEncoder | None = None) -> Iterator[TaskCheck]:
    """Check task and group files; files that cannot be read come first, then each task, then each group.

    Args:
        paths: YAML files; they may refer to built-in tasks and to those in the user's folders.
        folder: folder of dataset snapshots.
        encoder: a model's tokenizer, to check choices and prompt lengths in tokens.
    """
    registry = _known()
    defined: dict[str, Path] = {}
    for path in paths:
        try:
            for name in registry.add_file(path):
                if name in defined:
                    raise TaskError(f"{path}: {defined[name]} already defines {name!r}.", "Rename one of them.")
                defined[name] = path
        except HarnessError as error:
            yield TaskCheck(str(path), "error", str(error))
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
    """The built-in and the user's tasks; none if one of those files is invalid, since it may be the file to check."""
    try:
        return TaskRegistry.default()
    except TaskError:
        return TaskRegistry()


def _checked(name: str, check: Callable[[], TaskCheck]) -> TaskCheck:
    try:
        return check()
    except MissingLibraryError:
        raise
    except UnavailableError as error:
        return TaskCheck(name, "no data", error.what.removeprefix(f"Task {name}: "))
    except HarnessError as error:
        return TaskCheck(name, "error", str(error))


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
                    f"{path}: the group {name!r} averages {aggregate.metric!r}, but its task {member} has no such metric.",
                    f"The task's metrics: {', '.join(measured)}.",
                )
    averages = ", ".join(aggregate.key for aggregate in group.aggregate) or "no average"
    return TaskCheck(name, "OK", f"group of {_count(len(members), 'task')}, {averages}")


def check_entry(entry: TaskEntry, reader: DataReader, encoder: CheckEncoder | None = None) -> TaskCheck:
    """Check a task against its metrics, its data and, if a tokenizer is given, a model.

    Full prompts are rendered for the first items. Questions and answers are checked on a sample of the split, prompt lengths on
    its longest items.

    Raises:
        MetricError: a metric is unknown, has invalid options, or scores another answer form.
        DataError: the dataset is not available or lacks a column.
        TaskError: a template does not fit the data.
    """
    task, beside = entry.task, entry.path.parent
    for spec in task.metrics:
        check_form(metrics.load(spec.metric, spec.options), task.answer)
    items = reader.split(task, task.data.split, beside).items
    pool, warnings = _shots(entry, reader, items)
    warnings += _duplicates(items) + _clusters(task, items)
    sample = _sample(items)
    templates_by_warning: dict[str, list[str]] = {}
    for template in task.templates:
        variant = TemplateVariant(task, template, chat=encoder is not None and encoder.chat)
        for warning in _check_variant(variant, items, sample, pool, encoder):
            templates_by_warning.setdefault(warning, []).append(template.name)
    for warning, names in templates_by_warning.items():
        everywhere = len(names) == len(task.templates)
        warnings.append(warning if everywhere else f"template {', '.join(names)}: {warning}")
    counts = (_count(len(items), "item"), _count(len(task.templates), "template"), _count(len(task.metrics), "metric"))
    return TaskCheck(task.task, "OK", ", ".join(counts), tuple(warnings))


def _shots(entry: TaskEntry, reader: DataReader, items: Sequence[Item]) -> tuple[Sequence[Item], list[str]]:
    """The items that few-shot examples are drawn from, and warnings about them."""
    task, split = entry.task, entry.task.shots.split
    if split is None:
        return (), []
    try:
        pool = reader.split(task, split, entry.path.parent).items
    except UnavailableError:
        if task.shots.number:
            raise
        return (), [f"the split {split!r} of the few-shot examples is not available"]
    if split == task.data.split:
        return pool, []
    digests = {item.digest for item in pool}
    both = [item for item in items if item.digest in digests]
    if not both:
        return pool, []
    return pool, [
        f"items that are also in {split!r}, the split of the few-shot examples: {_of(both, items)}; an item is never its own example"
    ]


def _sample(items: Sequence[Item]) -> Sequence[Item]:
    """Items drawn at random, the same ones each time, in order; taking every n-th item would miss a class where classes alternate."""
    if len(items) <= SAMPLE:
        return items
    return [items[index] for index in sorted(random.Random(0).sample(range(len(items)), SAMPLE))]


def _duplicates(items: Sequence[Item]) -> list[str]:
    seen: set[str] = set()
    repeated = []
    for item in items:
        if item.digest in seen:
            repeated.append(item)
        seen.add(item.digest)
    return [f"items that repeat an earlier one: {_of(repeated, items)}"] if repeated else []


def _clusters(task: Task, items: Sequence[Item]) -> list[str]:
    """Warnings about the items' clusters, if the task defines any."""
    if task.cluster is None or len(items) < 2:
        return []
    variant = TemplateVariant(task, task.templates[0], chat=False)
    count = len({variant.cluster(item) for item in items})
    if count == len(items):
        return ["every item is its own cluster: `cluster` has no effect"]
    if count >= FEW_CLUSTERS:
        return []
    few = "1 cluster, so scores have no confidence intervals" if count == 1 else f"{count} clusters, so confidence intervals are wide"
    return [f"all {_count(len(items), 'item')} belong to {few}"]


def _check_variant(
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
        yield f"items that would stop a run: {_of(failed, sample)}. {reasons[0].what.rstrip('.')}"
    checked = [question.item for question in questions]
    if variant.task.metrics:
        yield from _answers(questions, checked)
    alike = _alike(variant, questions, encoder)
    if alike:
        yield f"items with two choices of the same {'tokens' if encoder else 'text'}: {_of(alike, checked)}"
    if encoder is not None and encoder.max_length is not None and variant.task.answer != "score_text":
        yield from _too_long(variant, items, pool, encoder, encoder.max_length)


def _answers(questions: Sequence[Question], checked: Sequence[Item]) -> Iterator[str]:
    """Warnings about the correct answers."""
    empty = [question.item for question in questions if not all(reference.strip() for reference in question.references)]
    if empty:
        yield f"items with an empty reference: {_of(empty, checked)}"
    answers = {question.references for question in questions}
    if len(answers) == 1 and len(questions) > 1:
        yield f"the correct answer is always {answers.pop()[0]!r} ({_count(len(questions), 'item')} checked)"


def _questions(variant: TemplateVariant, sample: Sequence[Item]) -> tuple[list[Question], Mapping[str, tuple[Item, TaskError]]]:
    """The sample's questions, and by item id the items whose question cannot be built, with the errors."""
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
    """Items with two identical choices, which is an error unless each choice has its own prompt."""
    if variant.template.prompts is not None or variant.task.answer != "choices":
        return []
    if encoder is None:
        return [q.item for q in questions if len({choice.strip() for choice in q.choices}) < len(q.choices)]
    return [q.item for q in questions if len(set(_encoded(variant, q, (), encoder)[0].choices)) < len(q.choices)]


def _encoded(variant: TemplateVariant, question: Question, shots: Sequence[Question], encoder: CheckEncoder) -> Sequence[CheckedTokens]:
    """Token ids of a question: all choices after one context, or each choice after its own context."""
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
            f"{len(over)} of the {_count(len(questions), 'longest item')} exceed the model's {limit:,} tokens, answer included; "
            f"item {peak.id} has {lengths[peak.id]:,}. A run drops few-shot examples, then cuts the longest field, and reports both"
        )


def _length(variant: TemplateVariant, question: Question, shots: Sequence[Question], encoder: CheckEncoder) -> int:
    """Tokens that a question takes in the model's longest sequence."""
    apart = encoder.architecture == "seq2seq"
    if variant.task.answer == "generate":
        context = encoder.contexts([encoder.text(variant.prompt(question, shots))])[0]
        return len(context) + (0 if apart else variant.task.generation.max_new_tokens)
    encoded = _encoded(variant, question, shots, encoder)
    answer = max(len(choice) for tokens in encoded for choice in tokens.choices)
    context_tokens = max(len(tokens.context) for tokens in encoded)
    return max(context_tokens, answer) if apart else context_tokens + answer - 1


def _characters(item: Item) -> int:
    return sum(len(value) if isinstance(value, str) else len(str(value)) for value in item.row.values())


def _of(some: Sequence[Item], whole: Sequence[Item]) -> str:
    named = ", ".join(item.id for item in some[:_NAMED]) + (", …" if len(some) > _NAMED else "")
    return f"{len(some):,} of {_count(len(whole), 'item')} ({named})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

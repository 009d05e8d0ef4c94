"""Build the prompt, the answers and the target of an item from a task and a template."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from harness.contract import Item, Labels, Message, Prompt
from harness.errors import TaskError
from harness.tasks.data import DataReader
from harness.tasks.schema import Task, Template
from harness.tasks.templates import Where, evaluate, render

_LONGEST_CLUSTER = 64
"""Longest cluster name in characters; longer ones, such as whole texts, are replaced by their digest."""


@dataclass(frozen=True, slots=True)
class Question:
    """An item in one template, without few-shot examples.

    Attributes:
        choices: the answer texts (answer form `choices`), or empty.
        targets: indices of the correct choices, or empty.
        references: the correct answers as text; a few-shot example shows the first.
        labels: what the task says about the item.
        cluster: names what the item shares with other items, or is the SHA-256 (16 hex characters) of a long name; None if the item is
            independent of all others.
    """

    item: Item
    choices: tuple[str, ...]
    targets: tuple[int, ...]
    references: tuple[str, ...]
    labels: Labels
    cluster: str | None = None

    @property
    def target(self) -> int | None:
        """Index of the correct choice, or of the first if there are several; None without choices."""
        return self.targets[0] if self.targets else None


@dataclass(frozen=True)
class TemplateVariant:
    """One template of a task, ready to build prompts.

    Args:
        task: the task.
        template: one of its templates.
        chat: whether prompts are chat messages.
    """

    task: Task
    template: Template
    chat: bool
    _example_texts: dict[tuple[str, str], str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def question(self, item: Item) -> Question:
        """Evaluate the choices, the target, the labels and the cluster of an item.

        Raises:
            TaskError: an expression fails, or its value has an invalid type.
        """
        where = Where(self.task.task, f"template {self.template.name}", item.id)
        expression = self.template.target or self.task.target
        assert expression is not None
        value = evaluate(expression, item.row, where)
        labels = {name: evaluate(source, item.row, where) for name, source in self.task.labels.items()}
        if self.task.answer != "choices":
            return Question(item, (), (), _references(value, where), labels, self.cluster(item))
        choices = self._choices(item, where)
        targets = _indices(value, choices, where)
        return Question(item, choices, targets, tuple(choices[index] for index in targets), labels, self.cluster(item))

    def cluster(self, item: Item) -> str | None:
        """The cluster of an item, as in `Question.cluster`.

        Raises:
            TaskError: the expression fails, or its value is none.
        """
        if self.task.clustered_by is None:
            return None
        where = Where(self.task.task, "cluster", item.id)
        value = evaluate(self.task.clustered_by, item.row, where)
        if value is None:
            raise TaskError(f"{where}: the cluster is none.", f"Correct the expression {self.task.clustered_by!r}, or remove `cluster`.")
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
        return text if len(text) <= _LONGEST_CLUSTER else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def _choices(self, item: Item, where: Where) -> tuple[str, ...]:
        source = self.template.choices if self.template.choices is not None else self.task.choices
        assert source is not None
        if not isinstance(source, str):
            choices = tuple(render(text, item.row, where) for text in source)
        else:
            value = evaluate(source, item.row, where)
            if not isinstance(value, (list, tuple)):
                raise TaskError(f"{where}: choices must be a list, not {type(value).__name__}.", f"The expression is {source!r}.")
            choices = tuple(str(part) for part in value)
        if len(choices) < 2 or not all(choices):
            raise TaskError(f"{where}: a question needs at least two choices, none of them empty; got {list(choices)}.", "Check choices.")
        return choices

    def prompts(self, question: Question, shots: Sequence[Question]) -> list[Prompt]:
        """The prompts before the choices: one for all of them, or one for each choice if the template has `prompts`."""
        count = len(self.template.prompts or ())
        if count and count != len(question.choices):
            where = Where(self.task.task, f"template {self.template.name}", question.item.id)
            raise TaskError(f"{where}: there are {count} prompts for {len(question.choices)} choices.", "Give one prompt for each choice.")
        return [self.prompt(question, shots, choice) for choice in range(count)] or [self.prompt(question, shots)]

    def unconditional(self) -> Prompt:
        """The prompt for the probability of a choice without the question."""
        text = self.template.unconditional
        return Prompt(text, (Message("user", text),) if self.chat and text else None, self.template.delimiter)

    def _question_text(self, question: Question, where: Where, choice: int | None = None) -> str:
        if self.template.prompts is None:
            return render(self.template.prompt or "", question.item.row, where)
        if choice is None and self.template.prompt is not None:
            return render(self.template.prompt, question.item.row, where)
        return render(self.template.prompts[question.targets[0] if choice is None else choice], question.item.row, where)

    def _example_text(self, shot: Question, where: Where) -> str:
        """The question of a few-shot example, rendered once for all the prompts that show it."""
        key = (shot.item.id, shot.item.digest)
        if key not in self._example_texts:
            self._example_texts[key] = self._question_text(shot, where)
        return self._example_texts[key]

    def prompt(self, question: Question, shots: Sequence[Question], choice: int | None = None) -> Prompt:
        """The prompt of a question after its few-shot examples, as plain text or as chat messages.

        Args:
            question: the item.
            shots: few-shot examples.
            choice: index of the choice whose prompt to build if each has its own; the correct one by default.
        """
        item, template = question.item, self.template
        where = Where(self.task.task, f"template {template.name}", item.id)
        system = render(template.system, item.row, where)
        header = render(template.header, item.row, where)
        questions = [self._example_text(shot, where) for shot in shots] + [self._question_text(question, where, choice)]
        answers = [shot.references[0] for shot in shots]
        if not self.chat:
            blocks = [f"{text}{template.delimiter}{answer}{template.separator}" for text, answer in zip(questions, answers, strict=False)]
            lead = f"{system}{template.separator}" if system else ""
            return Prompt(lead + header + "".join(blocks) + questions[-1], None, template.delimiter)
        questions[0] = header + questions[0]
        messages = [Message("system", system)] if system else []
        for text, answer in zip(questions, answers, strict=False):
            messages += [Message("user", text), Message("assistant", answer)]
        messages.append(Message("user", questions[-1]))
        return Prompt("\n\n".join(f"{m.role}: {m.content}" for m in messages), tuple(messages))


def draw_shots(task: Task, pool: Sequence[Item], item: Item, number: int, seed: int) -> list[Item]:
    """Draw the few-shot examples of one item: the same whatever else is evaluated, and never the item itself.

    Random examples come from a generator seeded with (seed, task, item id), so --limit, order and sharding change no prompt. Items
    with the same content as the scored item are excluded.

    Raises:
        TaskError: the pool has too few other items.
    """
    if task.shots.select == "first":
        others = (candidate for candidate in pool if candidate.digest != item.digest)
        chosen = list(islice(others, number))
    else:
        chosen = _drawn(random.Random(f"{seed}/{task.task}/{item.id}"), pool, item, number)
    if len(chosen) < number:
        raise TaskError(
            f"Task {task.task}: {number} few-shot examples are needed, but the split {task.shots.split!r} has only "
            f"{len(chosen)} other items.",
            "Ask for fewer with --shots.",
        )
    return chosen


def _drawn(generator: random.Random, pool: Sequence[Item], item: Item, number: int) -> list[Item]:
    chosen: list[Item] = []
    seen: set[int] = set()
    while len(chosen) < number and len(seen) < len(pool):
        index = generator.randrange(len(pool))
        if index not in seen and pool[index].digest != item.digest:
            chosen.append(pool[index])
        seen.add(index)
    return chosen


def _references(value: Any, where: Where) -> tuple[str, ...]:
    references = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not references or not all(isinstance(reference, str) for reference in references):
        raise TaskError(f"{where}: the target must be a text or a list of texts, not {value!r}.", "Correct the target expression.")
    return references


def _indices(value: Any, choices: tuple[str, ...], where: Where) -> tuple[int, ...]:
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values:
        raise TaskError(f"{where}: no choice is correct.", "Correct the target expression, or exclude the item with data.filter.")
    return tuple(dict.fromkeys(_index(target, choices, where) for target in values))


def _index(value: Any, choices: tuple[str, ...], where: Where) -> int:
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, int) and 0 <= value < len(choices):
        return value
    if isinstance(value, str) and value in choices:
        return choices.index(value)
    hint = "An item without a label (-1, say) cannot be scored: use a labelled split, or exclude it with data.filter."
    raise TaskError(f"{where}: the target {value!r} is neither an index nor one of the choices {list(choices)}.", hint)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as `harness tasks render` shows it, with the correct answer and the other choices."""

    item: str
    prompt: str
    delimiter: str
    answer: str
    others: tuple[str, ...]


def rendered(
    task: Task, template: Template, reader: DataReader, beside: Path, number: int, shots: int | None = None, seed: int = 0
) -> list[Rendered]:
    """The plain-text prompts of the first `number` items with their answers; `beside` is the folder of the task file."""
    variant = TemplateVariant(task, template, chat=False)
    wanted = task.shots.number if shots is None else shots
    pool = reader.split(task, task.shots.split, beside).items if wanted and task.shots.split else ()
    result = []
    for item in reader.split(task, task.data.split, beside).items[:number]:
        question = variant.question(item)
        prompt = variant.prompt(question, [variant.question(shot) for shot in draw_shots(task, pool, item, wanted, seed)])
        others = tuple(choice for index, choice in enumerate(question.choices) if index not in question.targets[:1])
        result.append(Rendered(item.id, prompt.text, prompt.delimiter, question.references[0], others))
    return result

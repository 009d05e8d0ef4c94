"""From a task, a template and an item to the prompt, its answers and its target."""

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
"""Characters of a cluster's name; a whole passage is kept by its digest."""


@dataclass(frozen=True, slots=True)
class Question:
    """An item in one template, without shots.

    Attributes:
        choices: the answer texts (answer form `choices`), else empty.
        targets: indices of the right choices, else empty.
        references: the right answers as text, the first being the one a shot shows.
        labels: what the task says about the item.
        cluster: what it shares with other items, as text, or the text's SHA-256 (16 characters) where it is long; None where it stands
            alone.
    """

    item: Item
    choices: tuple[str, ...]
    targets: tuple[int, ...]
    references: tuple[str, ...]
    labels: Labels
    cluster: str | None = None

    @property
    def target(self) -> int | None:
        """The right choice, or the first of several."""
        return self.targets[0] if self.targets else None


@dataclass(frozen=True)
class TemplateVariant:
    """One template of a task, ready to make prompts.

    Args:
        task: the task.
        template: one of its templates.
        chat: whether prompts are chat messages.
    """

    task: Task
    template: Template
    chat: bool
    _shown: dict[tuple[str, str], str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def question(self, item: Item) -> Question:
        """The answers of an item.

        Raises:
            TaskError: an expression fails, or its value is of the wrong kind.
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
        """What an item shares with others, as `Question.cluster` has it.

        Raises:
            TaskError: the expression fails, or gives none.
        """
        if self.task.clustered_by is None:
            return None
        where = Where(self.task.task, "cluster", item.id)
        value = evaluate(self.task.clustered_by, item.row, where)
        if value is None:
            raise TaskError(f"{where}: the cluster is none.", f"Mend the expression {self.task.clustered_by!r}, or leave `cluster` out.")
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
            raise TaskError(f"{where}: a question needs two choices or more, none of them empty; got {list(choices)}.", "Check choices.")
        return choices

    def prompts(self, question: Question, shots: Sequence[Question]) -> list[Prompt]:
        """What stands before the choices: one prompt for all of them, or one for each where the template has `prompts`."""
        count = len(self.template.prompts or ())
        if count and count != len(question.choices):
            where = Where(self.task.task, f"template {self.template.name}", question.item.id)
            raise TaskError(f"{where}: there are {count} prompts for {len(question.choices)} choices.", "Give one for each.")
        return [self.prompt(question, shots, choice) for choice in range(count)] or [self.prompt(question, shots)]

    def unconditional(self) -> Prompt:
        """What stands before a choice when its probability without the question is asked."""
        text = self.template.unconditional
        return Prompt(text, (Message("user", text),) if self.chat and text else None, self.template.delimiter)

    def _asked(self, question: Question, where: Where, choice: int | None = None) -> str:
        if self.template.prompts is None:
            return render(self.template.prompt or "", question.item.row, where)
        if choice is None and self.template.prompt is not None:
            return render(self.template.prompt, question.item.row, where)
        return render(self.template.prompts[question.targets[0] if choice is None else choice], question.item.row, where)

    def _shot(self, shot: Question, where: Where) -> str:
        """What a shot asks, rendered once for all the prompts it stands in."""
        key = (shot.item.id, shot.item.digest)
        if key not in self._shown:
            self._shown[key] = self._asked(shot, where)
        return self._shown[key]

    def prompt(self, question: Question, shots: Sequence[Question], choice: int | None = None) -> Prompt:
        """The prompt of a question after its shots, as plain text or as chat messages.

        Args:
            question: the item.
            shots: solved items before it.
            choice: whose prompt, where each choice has its own; by default the right one's.
        """
        item, template = question.item, self.template
        where = Where(self.task.task, f"template {template.name}", item.id)
        system = render(template.system, item.row, where)
        header = render(template.header, item.row, where)
        asked = [self._shot(shot, where) for shot in shots] + [self._asked(question, where, choice)]
        answers = [shot.references[0] for shot in shots]
        if not self.chat:
            blocks = [f"{ask}{template.delimiter}{answer}{template.separator}" for ask, answer in zip(asked, answers, strict=False)]
            lead = f"{system}{template.separator}" if system else ""
            return Prompt(lead + header + "".join(blocks) + asked[-1], None, template.delimiter)
        asked[0] = header + asked[0]
        messages = [Message("system", system)] if system else []
        for ask, answer in zip(asked, answers, strict=False):
            messages += [Message("user", ask), Message("assistant", answer)]
        messages.append(Message("user", asked[-1]))
        return Prompt("\n\n".join(f"{m.role}: {m.content}" for m in messages), tuple(messages))


def draw_shots(task: Task, pool: Sequence[Item], item: Item, number: int, seed: int) -> list[Item]:
    """The shots of one item: the same whatever else is run, and never the item itself.

    Random shots come from a generator seeded with (seed, task, item id), so neither --limit nor order nor sharding can change a
    prompt. Items whose content equals the scored one are left out.

    Raises:
        TaskError: the pool holds too few other items.
    """
    if task.shots.select == "first":
        others = (candidate for candidate in pool if candidate.digest != item.digest)
        chosen = list(islice(others, number))
    else:
        chosen = _drawn(random.Random(f"{seed}/{task.task}/{item.id}"), pool, item, number)
    if len(chosen) < number:
        raise TaskError(
            f"Task {task.task}: {number} shots are asked for, but the split {task.shots.split!r} has only {len(chosen)} other items.",
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
        raise TaskError(f"{where}: the target must be a text or a list of texts, not {value!r}.", "Mend the target expression.")
    return references


def _indices(value: Any, choices: tuple[str, ...], where: Where) -> tuple[int, ...]:
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values:
        raise TaskError(f"{where}: no choice is right.", "Mend the target expression, or leave the item out with data.filter.")
    return tuple(dict.fromkeys(_index(one, choices, where) for one in values))


def _index(value: Any, choices: tuple[str, ...], where: Where) -> int:
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, int) and 0 <= value < len(choices):
        return value
    if isinstance(value, str) and value in choices:
        return choices.index(value)
    hint = "An item without a label (-1, say) cannot be scored: use a labelled split, or leave it out with data.filter."
    raise TaskError(f"{where}: the target {value!r} is neither an index nor one of the choices {list(choices)}.", hint)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as `harness tasks render` shows it: the right answer, and the others where there are choices."""

    item: str
    prompt: str
    delimiter: str
    answer: str
    others: tuple[str, ...]


def rendered(
    task: Task, template: Template, reader: DataReader, beside: Path, number: int, shots: int | None = None, seed: int = 0
) -> list[Rendered]:
    """The first items' plain prompts with their answers; `beside` is the folder of the task file."""
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

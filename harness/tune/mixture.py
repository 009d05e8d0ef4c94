"""The training rows and their templates: the tasks' train splits, mixed, and separated from evaluated items."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from harness.contract import Item
from harness.errors import DataError, TaskError
from harness.models.adapter_cards import DataUse, Overlap
from harness.tasks.data import DataReader
from harness.tasks.prompts import TemplateVariant
from harness.tasks.registry import TaskEntry, TaskRegistry
from harness.tasks.schema import Task, Template
from harness.tune.overlap import NGRAM, EvaluatedItems
from harness.tune.settings import TuneSettings

VALIDATION_SPLITS = ("validation", "valid", "dev")
HELD_OUT = 5
"""Where a task has no validation split of its own, at most one row in this many is held out of its train split."""


@dataclass(frozen=True, slots=True)
class Example:
    """A row in the template in which it is learned."""

    variant: TemplateVariant
    item: Item


@dataclass(frozen=True)
class Pool:
    """One task's rows.

    Attributes:
        entry: the task.
        role: whether the task is learned, or replayed so that it is not forgotten.
        split: where the rows come from.
        templates: the template variants they may have.
        items: rows to learn.
        validation: items that the model is validated on; none for replayed tasks.
    """

    entry: TaskEntry
    role: Literal["task", "replay"]
    split: str
    templates: tuple[Template, ...]
    items: tuple[Item, ...]
    validation: tuple[Item, ...] = ()

    def example(self, item: Item, chat: bool, seed: int) -> Example:
        """The row in one of the template variants: where there are several it is drawn from (seed, task, row)."""
        task = self.entry.task
        template = random.Random(f"{seed}/template/{task.task}/{item.id}").choice(self.templates)
        return Example(TemplateVariant(task, template, chat), item)


@dataclass(frozen=True)
class Mixture:
    """What is learned.

    Attributes:
        examples: rows in their template variants, in no meaningful order; the rows of small tasks may stand more than once.
        pools: the tasks they come from.
        overlap: training rows that resemble evaluated items.
        uses: what cards keep of each task.
    """

    examples: tuple[Example, ...]
    pools: tuple[Pool, ...]
    overlap: Overlap | None
    uses: tuple[DataUse, ...]


@dataclass
class Library:
    """Reads what is learned.

    Args:
        registry: the tasks.
        reader: their data.
        validate: validation items of each task.
        against: further tasks whose evaluated items are compared with the rows.
        note: shows a message to the user.
    """

    registry: TaskRegistry
    reader: DataReader
    validate: int
    against: tuple[str, ...]
    note: Callable[[str], None]
    _evaluated: dict[tuple[str, ...], tuple[EvaluatedItems, tuple[str, ...]]] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)

    def mixture(self, settings: TuneSettings, chat: bool) -> Mixture:
        """The examples that settings ask for; `chat` is whether prompts are chat messages.

        Raises:
            HarnessError: a task or split is not there, or a row that is evaluated would be trained on.
        """
        pools = [self._pool(entry, "task", settings) for entry in self.registry.select(settings.tasks).entries]
        if settings.replay is not None:
            learned = {pool.entry.task.task for pool in pools}
            others = [entry for entry in self.registry.select(settings.replay.tasks).entries if entry.task.task not in learned]
            pools += [self._pool(entry, "replay", settings) for entry in others]
        pools, overlap = self._apart(pools, settings)
        parts = _mixed(pools, settings)
        examples = [pool.example(item, chat, settings.seed) for pool, items in zip(pools, parts, strict=True) for item in items]
        uses = tuple(_use(pool, items) for pool, items in zip(pools, parts, strict=True))
        return Mixture(tuple(examples), tuple(pools), overlap, uses)

    def _say(self, message: str) -> None:
        """Note something once, whatever the number of candidates."""
        if message not in self._said:
            self._said.add(message)
            self.note(message)

    def _pool(self, entry: TaskEntry, role: Literal["task", "replay"], settings: TuneSettings) -> Pool:
        task = entry.task
        split = (settings.train_split if role == "task" else None) or train_split(task)
        if split == task.data.split:
            raise DataError(
                f"Task {task.task} is evaluated on its split {split!r}: training on it would make its scores worthless.",
                "Name another split with --train-split, or give the task a train split.",
            )
        items: Sequence[Item] = self.reader.split(task, split, entry.path.parent).items
        validation: Sequence[Item] = ()
        if role == "task" and self.validate:
            validation, items = self._validation(entry, items, split)
        if settings.limit is not None:
            items = _drawn(random.Random(f"{settings.seed}/limit/{task.task}"), items, min(settings.limit, len(items)))
        names = settings.template if role == "task" or settings.template == "all" else None
        return Pool(entry, role, split, entry.templates(names), tuple(items), tuple(validation))

    def _validation(self, entry: TaskEntry, items: Sequence[Item], split: str) -> tuple[Sequence[Item], Sequence[Item]]:
        """Validation items and the rows left to learn; the same validation items whatever the settings."""
        task = entry.task
        known = [*task.about.rows, *(task.data.files or {})]
        named = next((name for name in VALIDATION_SPLITS if name in known and name not in (task.data.split, split)), None)
        generator = random.Random(f"validation/{task.task}")
        if named is not None:
            own = self.reader.split(task, named, entry.path.parent).items
            return _drawn(generator, own, min(self.validate, len(own))), items
        held = _drawn(generator, items, min(self.validate, len(items) // HELD_OUT))
        ids = {item.id for item in held}
        return held, [item for item in items if item.id not in ids]

    def _apart(self, pools: Sequence[Pool], settings: TuneSettings) -> tuple[list[Pool], Overlap | None]:
        """The pools without evaluated items, and the overlap."""
        evaluated, compared = self._evaluated_items([pool.entry for pool in pools])
        if not compared:
            return list(pools), None
        remaining, duplicates = [], 0
        for pool in pools:
            equal = evaluated.equal(pool.items)
            if equal and not settings.drop_duplicates:
                raise DataError(
                    f"Task {pool.entry.task.task}: {len(equal)} of {len(pool.items)} rows of its split {pool.split!r} are evaluated "
                    f"as well, row {equal[0].id} the first.",
                    "Name another split with --train-split, or leave such rows out with --drop-duplicates.",
                )
            near = {item.id for item in evaluated.near(pool.items)}
            duplicates += len(near)
            left = tuple(item for item in pool.items if item.id not in near) if settings.drop_duplicates else pool.items
            if not left:
                raise DataError(f"Task {pool.entry.task.task}: every training row is evaluated as well.", "Give it a train split.")
            remaining.append(replace(pool, items=left))
        if duplicates:
            done = "left out" if settings.drop_duplicates else "they stay in; --drop-duplicates leaves them out"
            self._say(f"{duplicates:,} training rows share half of their {NGRAM}-grams or more with an evaluated item ({done}).")
        return remaining, Overlap(ngram=NGRAM, compared_with=compared, near_duplicates=duplicates, left_out=settings.drop_duplicates)

    def _evaluated_items(self, entries: Sequence[TaskEntry]) -> tuple[EvaluatedItems, tuple[str, ...]]:
        """The evaluated items of these tasks and of those to compare with, and the names of the tasks that could be read."""
        others = self.registry.select(self.against).entries if self.against else ()
        wanted = {entry.task.task: entry for entry in (*entries, *others)}
        key = tuple(wanted)
        if key not in self._evaluated:
            items: list[Item] = []
            read = []
            for name, entry in wanted.items():
                try:
                    items += self.reader.split(entry.task, entry.task.data.split, entry.path.parent).items
                    read.append(name)
                except DataError as error:
                    self._say(f"Training rows could not be compared with the evaluated items of {name}: {error.what}")
            self._evaluated[key] = (EvaluatedItems(items), tuple(read))
        return self._evaluated[key]


def train_split(task: Task) -> str:
    """The split that a task is learned from: `train` where it has one, else the one its shots come from.

    Raises:
        TaskError: it has neither.
    """
    known = [*task.about.rows, *(task.data.files or {})]
    if "train" in known:
        return "train"
    if task.shots.split is not None:
        return task.shots.split
    raise TaskError(f"Task {task.task} names no split to learn from.", "Name one with --train-split.")


def _mixed(pools: Sequence[Pool], settings: TuneSettings) -> list[list[Item]]:
    """The rows of each pool that an epoch goes through."""
    own = [pool for pool in pools if pool.role == "task"]
    total = sum(len(pool.items) for pool in own)
    even = math.ceil(total / len(own))
    counts = {id(pool): len(pool.items) if settings.mix == "size" else even for pool in own}
    replayed = [pool for pool in pools if pool.role == "replay"]
    if replayed and settings.replay is not None:
        asked = sum(counts.values()) * settings.replay.share / (1 - settings.replay.share)
        counts |= {id(pool): max(1, round(asked / len(replayed))) for pool in replayed}
    return [_drawn(random.Random(f"{settings.seed}/mix/{pool.entry.task.task}"), pool.items, counts[id(pool)]) for pool in pools]


def _drawn(generator: random.Random, items: Sequence[Item], count: int) -> list[Item]:
    """Yield that many items: each once before any repeats."""
    chosen: list[Item] = []
    while len(chosen) < count:
        chosen += generator.sample(items, min(len(items), count - len(chosen)))
    return chosen


def _use(pool: Pool, items: Sequence[Item]) -> DataUse:
    digests = "".join(sorted({item.digest for item in items}))
    return DataUse(
        task=pool.entry.task.task,
        role=pool.role,
        split=pool.split,
        templates=tuple(template.name for template in pool.templates),
        rows=len({item.id for item in items}),
        pairs=len(items),
        digest=hashlib.sha256(digests.encode()).hexdigest(),
    )

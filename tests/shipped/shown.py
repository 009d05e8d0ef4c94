"""Shipped tasks over invented rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contract import Item
from harness.tasks.data import DataReader
from harness.tasks.prompts import Question, TemplateVariant
from harness.tasks.registry import TaskRegistry
from harness.tasks.schema import Task
from tests.tasks.cases import write_rows

Row = Mapping[str, Any]

REGISTRY = TaskRegistry.default()


@dataclass(frozen=True)
class Shown:
    """A task over invented rows."""

    task: Task
    items: Sequence[Item]

    def question(self, item: int = 0, template: str | None = None) -> Question:
        return self._wording(template).question(self.items[item])

    def text(self, item: int = 0, template: str | None = None) -> str:
        return self._wording(template).prompt(self.question(item, template), []).text

    def _wording(self, template: str | None) -> TemplateVariant:
        chosen = next(t for t in self.task.templates if template in (None, t.name))
        return TemplateVariant(self.task, chosen, chat=False)


def show(folder: Path, name: str, *rows: Row) -> Shown:
    """The shipped task `name`, its dataset replaced by `rows`; each of its template variants must render each of them."""
    task = REGISTRY.find(name).task
    write_rows(folder / "rows.jsonl", rows)
    data = task.data.model_copy(update={"path": None, "config": None, "files": {task.data.split: "rows.jsonl"}})
    task = task.model_copy(update={"data": data})
    shown = Shown(task, DataReader().split(task, data.split, folder).items)
    for number in range(len(shown.items)):
        texts = [shown.text(number, template.name) for template in task.templates]
        assert len(set(texts)) == len(texts)
        assert all(text == text.rstrip() and "{{" not in text and "${" not in text for text in texts)
    return shown

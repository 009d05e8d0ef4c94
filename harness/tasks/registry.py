"""The registry: every task and group that is shipped or that the user adds, found by name, group, glob or path."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import TaskError
from harness.tasks import files
from harness.tasks.schema import Group, Task, Template
from harness.util import paths


@dataclass(frozen=True)
class TaskEntry:
    """A task and the file that defines it."""

    task: Task
    path: Path
    document: files.Document

    def checked(self) -> TaskEntry:
        """This entry, once all its templates and expressions compile; raises TaskError naming file, line and part.

        Done for the tasks that are asked for only: compiling those of every shipped task would take longer than listing them.
        """
        from harness.tasks.syntax import check_templates

        check_templates(self.task, self.document)
        return self

    def templates(self, names: str | None) -> tuple[Template, ...]:
        """The templates named, separated by commas; 'all' for every one, None for the first."""
        if names == "all":
            return self.task.templates
        wanted = [None] if names is None else [name.strip() for name in names.split(",")]
        return tuple(dict.fromkeys(self.template(name) for name in wanted))

    def template(self, name: str | None) -> Template:
        """The template of that name, by default the first; raises TaskError naming those there are."""
        if name is None:
            return self.task.templates[0]
        for template in self.task.templates:
            if template.name == name:
                return template
        known = ", ".join(template.name for template in self.task.templates)
        raise TaskError(f"Task {self.task.task} has no template {name!r}.", f"Its templates: {known}.")

    def with_templates(self, templates: Sequence[Template]) -> TaskEntry:
        """The task with these templates before its own, so that the first of them is asked where none is named."""
        from harness.tasks.promptsource import extend

        return replace(self, task=extend(self.task, templates, first=True))


@dataclass(frozen=True)
class Selection:
    """What a list of names stands for.

    Attributes:
        entries: the tasks, each once, in the order asked for.
        groups: the groups all of whose tasks were selected, larger ones first, with their tasks' weights among the direct members.
        labels: for each task the name under which the user asked for it.
    """

    entries: tuple[TaskEntry, ...]
    groups: Mapping[str, tuple[Group, Mapping[str, float]]]
    labels: Mapping[str, str]

    def with_templates(self, templates: Sequence[Template]) -> Selection:
        """The same tasks, each with these templates before its own."""
        return replace(self, entries=tuple(entry.with_templates(templates) for entry in self.entries))


@dataclass
class TaskRegistry:
    """Tasks and groups by name."""

    tasks: dict[str, TaskEntry] = field(default_factory=dict)
    groups: dict[str, tuple[Group, Path]] = field(default_factory=dict)
    families: dict[str, files.TaskFamily] = field(default_factory=dict)

    @classmethod
    def default(cls) -> TaskRegistry:
        """What is shipped, then the user's folders (HARNESS_PATH); a user's task replaces a shipped one of the same name."""
        registry = cls()
        for folder in [paths.shipped("tasks"), *paths.added("tasks")]:
            registry.add_folder(folder)
        return registry

    def add_folder(self, folder: Path) -> None:
        """Read every task file below `folder`; names starting with '_' are only for include."""
        found: dict[str, Path] = {}
        for path in sorted(folder.rglob("*.yaml")):
            if not path.name.startswith("_"):
                for name in self.add_file(path):
                    if name in found:
                        raise TaskError(f"{path}: the name {name!r} is taken by {found[name]}.", "Give one of them another name.")
                    found[name] = path

    def add_file(self, path: Path) -> list[str]:
        """Read one task or group file, and return the names it defines."""
        document = files.read(path)
        family = files.family(document)
        if family is not None:
            name = str(family.template.get("task"))
            self.families[name] = family
            return [name]
        names = []
        for content in files.expand(document):
            if "group" in content:
                group = files.validated(Group, content, document)
                self.groups[group.group] = (group, path)
                names.append(group.group)
            else:
                names.append(self._add_task(content, document))
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise TaskError(f"{document.place(['expand'])}: 'expand' gives the name {twice!r} twice.", "Use a variable in the name.")
        return names

    def _add_task(self, content: Mapping[str, Any], document: files.Document) -> str:
        task = files.validated(Task, content, document)
        if task.template_files:
            from harness.tasks.promptsource import with_files

            task = with_files(task, document.path.parent)
        self.tasks[task.task] = TaskEntry(task, document.path, document)
        return task.task

    def members(self, group: str) -> list[str]:
        """Names of the tasks in a group, nested groups opened, each once."""
        return list(dict.fromkeys(self._members(group, ())))

    def _members(self, group: str, above: tuple[str, ...]) -> Iterator[str]:
        if group in above:
            raise TaskError(f"The group {group!r} contains itself, by way of {above[-1]!r}.", "Break the circle.")
        declared, path = self.groups[group]
        for pattern in declared.tasks:
            names = self._matching(pattern)
            if not names:
                raise TaskError(f"{path}: the group {group!r} names {pattern!r}, which no task or group is called.", "Check `tasks:`.")
            for name in names:
                if name in self.groups:
                    yield from self._members(name, (*above, group))
                else:
                    yield name
        yield from (name for name, entry in self.tasks.items() if group in entry.task.groups)

    def weights(self, group: str) -> dict[str, float]:
        """Each task's share in the average over a group's direct members; a nested group shares one member's part among its own."""
        declared, _ = self.groups[group]
        nested = [name for pattern in declared.tasks for name in self._matching(pattern) if name in self.groups]
        inside = {task for name in nested for task in self.members(name)}
        own = [task for task in self.members(group) if task not in inside]
        part = 1 / max(1, len(own) + len(nested))
        shares = dict.fromkeys(self.members(group), 0.0) | dict.fromkeys(own, part)
        for name in nested:
            for task, share in self.weights(name).items():
                shares[task] += part * share
        return shares

    def _matching(self, pattern: str) -> list[str]:
        if pattern in self.groups or pattern in self.tasks:
            return [pattern]
        for family in self.families.values():
            content = family.find(pattern)
            if content is not None:
                return [self._add_task(content, family.document)]
        return [name for name in self.tasks if fnmatch.fnmatchcase(name, pattern)]

    def select(self, names: Iterable[str]) -> Selection:
        """The tasks that names, groups, globs and paths of YAML files stand for.

        Raises:
            TaskError: a name stands for nothing; the nearest right ones are named.
        """
        labels: dict[str, str] = {}
        asked: list[str] = []
        for name in names:
            asked.append(name)
            for task in self._opened(name):
                labels.setdefault(task, name)
        if not labels:
            raise TaskError("No task was named.", "Give --tasks NAME[,NAME…]; `harness tasks list` shows them.")
        chosen = set(labels)
        groups = {}
        for group, (declared, _) in self.groups.items():
            weights = self.weights(group) if declared.aggregate else {}
            if weights and chosen.issuperset(weights):
                groups[group] = (declared, weights)
        ordered = dict(sorted(groups.items(), key=lambda pair: -len(pair[1][1])))
        return Selection(tuple(self.tasks[name].checked() for name in labels), ordered, labels)

    def _opened(self, name: str) -> list[str]:
        if name.endswith((".yaml", ".yml")) or "/" in name:
            defined = self.add_file(Path(name))
            return [task for part in defined for task in (self.members(part) if part in self.groups else [part])]
        if name in self.groups:
            return self.members(name)
        found = self._matching(name)
        if found:
            return found
        whole = self._completed(name)
        return self.members(whole) if whole in self.groups else [whole]

    def find(self, name: str) -> TaskEntry:
        """The task of that name; raises TaskError naming the nearest ones."""
        if name not in self.tasks and name not in self._matching(name):
            name = self._completed(name)
        if name not in self.tasks:
            raise self.unknown(name)
        return self.tasks[name].checked()

    def _completed(self, name: str) -> str:
        """The one task or group called so but for upper case or what stands before: `boolq` for `superglue_boolq`; raises TaskError."""
        lower = name.lower()
        known = [*self.tasks, *self.groups]
        equal = [other for other in known if other.lower() == lower]
        longer = [other for other in known if other.lower().endswith(f"_{lower}")]
        for found in (equal, longer):
            if len(found) == 1:
                return found[0]
        raise self.unknown(name)

    def unknown(self, name: str) -> TaskError:
        """A TaskError for a name that stands for nothing."""
        known = [*self.tasks, *self.groups]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.6) or [k for k in known if name.lower() in k.lower()][:3]
        hint = f"Did you mean {', '.join(near)}?" if near else "`harness tasks list` shows every task."
        return TaskError(f"Unknown task {name!r}.", hint)

"""Registry of the built-in and the user's tasks and groups, which are selected by name, group, glob or path."""

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
        """Compile all templates and expressions, and return this entry; raises TaskError with file, line and part.

        Only selected tasks are compiled: compiling those of every built-in task would take longer than listing them.
        """
        from harness.tasks.syntax import check_templates

        check_templates(self.task, self.document)
        return self

    def templates(self, names: str | None) -> tuple[Template, ...]:
        """Templates by name, separated by commas; "all" for every template, None for the first."""
        if names == "all":
            return self.task.templates
        wanted = [None] if names is None else [name.strip() for name in names.split(",")]
        return tuple(dict.fromkeys(self.template(name) for name in wanted))

    def template(self, name: str | None) -> Template:
        """The template of that name, the first one for None; raises TaskError with the known names."""
        if name is None:
            return self.task.templates[0]
        for template in self.task.templates:
            if template.name == name:
                return template
        known = ", ".join(template.name for template in self.task.templates)
        raise TaskError(f"Task {self.task.task} has no template {name!r}.", f"Its templates: {known}.")

    def with_templates(self, templates: Sequence[Template]) -> TaskEntry:
        """The task with these templates before its own, so that their first is the default."""
        from harness.tasks.promptsource import extend

        return replace(self, task=extend(self.task, templates, first=True))


@dataclass(frozen=True)
class Selection:
    """The tasks and groups that a list of names selects.

    Attributes:
        entries: the tasks, each once, in the order of the names.
        groups: the groups whose tasks are all selected, larger ones first, with the weight of each task among the direct members.
        labels: task name to the name that selected it.
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
        """The built-in tasks, then those in the user's folders (HARNESS_PATH), which replace built-in tasks of the same name."""
        registry = cls()
        for folder in [paths.shipped("tasks"), *paths.added("tasks")]:
            registry.add_folder(folder)
        return registry

    def add_folder(self, folder: Path) -> None:
        """Read every task file below `folder`; files whose name starts with '_' are only included by others."""
        defined: dict[str, Path] = {}
        for path in sorted(folder.rglob("*.yaml")):
            if not path.name.startswith("_"):
                for name in self.add_file(path):
                    if name in defined:
                        raise TaskError(f"{path}: {defined[name]} already defines {name!r}.", "Rename one of them.")
                    defined[name] = path

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
        """Names of the tasks in a group and its nested groups, each once."""
        return list(dict.fromkeys(self._members(group, ())))

    def _members(self, group: str, above: tuple[str, ...]) -> Iterator[str]:
        if group in above:
            raise TaskError(f"The group {group!r} contains itself through {above[-1]!r}.", "Remove one of them from the other.")
        declared, path = self.groups[group]
        for pattern in declared.tasks:
            names = self._matching(pattern)
            if not names:
                raise TaskError(f"{path}: the group {group!r} names {pattern!r}, but there is no such task or group.", "Check `tasks:`.")
            for name in names:
                if name in self.groups:
                    yield from self._members(name, (*above, group))
                else:
                    yield name
        yield from (name for name, entry in self.tasks.items() if group in entry.task.groups)

    def weights(self, group: str) -> dict[str, float]:
        """Weight of each task in the mean over a group's direct members; a nested group divides its weight among its members."""
        declared, _ = self.groups[group]
        nested = [name for pattern in declared.tasks for name in self._matching(pattern) if name in self.groups]
        inside = {task for name in nested for task in self.members(name)}
        direct = [task for task in self.members(group) if task not in inside]
        part = 1 / max(1, len(direct) + len(nested))
        shares = dict.fromkeys(self.members(group), 0.0) | dict.fromkeys(direct, part)
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
        """The tasks selected by names, groups, globs and paths of YAML files.

        Raises:
            TaskError: a name matches nothing; the message suggests the closest names.
        """
        labels: dict[str, str] = {}
        for name in names:
            for task in self._opened(name):
                labels.setdefault(task, name)
        if not labels:
            raise TaskError("No task is selected.", "Give --tasks NAME[,NAME…]; `harness tasks list` shows all tasks.")
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
        matching = self._matching(name)
        if matching:
            return matching
        whole = self._completed(name)
        return self.members(whole) if whole in self.groups else [whole]

    def find(self, name: str) -> TaskEntry:
        """The task of that name; raises TaskError with the closest names."""
        if name not in self.tasks and name not in self._matching(name):
            name = self._completed(name)
        if name not in self.tasks:
            raise self.unknown(name)
        return self.tasks[name].checked()

    def _completed(self, name: str) -> str:
        """The only task or group with this name in other case or with a prefix, such as `superglue_boolq` for `boolq`; raises TaskError."""
        lower = name.lower()
        known = [*self.tasks, *self.groups]
        equal = [other for other in known if other.lower() == lower]
        longer = [other for other in known if other.lower().endswith(f"_{lower}")]
        for candidates in (equal, longer):
            if len(candidates) == 1:
                return candidates[0]
        raise self.unknown(name)

    def unknown(self, name: str) -> TaskError:
        """The TaskError for a name that matches nothing."""
        known = [*self.tasks, *self.groups]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.6) or [k for k in known if name.lower() in k.lower()][:3]
        hint = f"Did you mean {', '.join(near)}?" if near else "`harness tasks list` shows every task."
        return TaskError(f"Unknown task {name!r}.", hint)

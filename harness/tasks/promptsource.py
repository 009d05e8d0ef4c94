"""Templates in promptsource's format: Jinja with `|||` between prompt and answer, `answer_choices`, `!Template` tags.

Rendering such a template gives prompt and answer together, and a Jinja block may span the `|||`. So the template stays whole: the
`harness` template made from it gets its parts from one function, `promptsource`, which every template can call.

As in promptsource, parts and choices are stripped of white space, a `|||` inside a row's text does not separate, and the filters
`choice`, `most_frequent`, `to_list` and `highlight`, and `zip`, are available. Two rules differ: an undefined name is an error, and
`choice` is seeded with the row's content, so that an item has the same prompt in every run.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2 import StrictUndefined, TemplateError, TemplateRuntimeError, TemplateSyntaxError, UndefinedError, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ValidationError

from harness.errors import TaskError
from harness.tasks.schema import Task, Template
from harness.tasks.templates import add_function

SEPARATOR = "|||"
_HIDDEN = "\ue000\ue001\ue000"
"""Replaces a separator inside a row's text while a template is rendered; private-use characters of Unicode."""

_GENERATOR = " generator"
"""Key of the random generator in a rendering context; Jinja names cannot contain a space."""

_SEED_CHARACTERS = 32
"""Characters of each text that seed `choice`: few, so that cutting a long prompt does not change the pick."""


class _Metadata(BaseModel):
    original_task: bool | None = None


class _Source(BaseModel):
    name: str
    jinja: str
    answer_choices: str | None = None
    metadata: _Metadata | None = None


class _File(BaseModel):
    templates: dict[Any, _Source]


def load(path: Path) -> tuple[Template, ...]:
    """The templates of a file, without those whose metadata say `original_task: false`: they pose another task.

    In names, whatever is not a letter, a digit, `_`, `.` or `-` becomes `_`.

    Raises:
        TaskError: the file is missing, is not YAML, has an unknown tag or no template, or a template does not compile.
    """
    sources = [source for source in _read(path).templates.values() if not source.metadata or source.metadata.original_task is not False]
    if not sources:
        raise TaskError(f"{path} has no template for its original task.", "Its `templates:` map ids to `!Template` objects.")
    made: dict[str, Template] = {}
    for source in sources:
        for text in (source.jinja, source.answer_choices or ""):
            _check(text, source.name, path)
        name = _free_name(source.name, made)
        made[name] = _template(name, source)
    return tuple(made.values())


def extend(task: Task, templates: Sequence[Template], *, first: bool = False) -> Task:
    """Add templates to a task.

    Args:
        task: the task.
        templates: the templates to add.
        first: put them before the task's own templates instead of after them.

    Raises:
        TaskError: a name is given twice, or a template has no choices or target and the task has none either.
    """
    try:
        whole = (*templates, *task.templates) if first else (*task.templates, *templates)
        return Task.model_validate({**dict(task), "templates": whole})
    except ValidationError as error:
        message = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise TaskError(f"Task {task.task} cannot take these templates: {message}.", "Change the template file.") from error


def with_files(task: Task, beside: Path) -> Task:
    """The task with the templates of its `template_files`; `beside` is the folder of the task file."""
    templates = [template for name in task.template_files for template in load(beside / name)]
    return extend(task, templates) if templates else task


def _read(path: Path) -> _File:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise TaskError(f"Cannot read the template file {path}: {reason}.", "Check the path.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise TaskError(
            f"{path}{line}: {getattr(error, 'problem', None) or error}.", "The only tags allowed are !Template and !TemplateMetadata."
        ) from error
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        message = str(first["msg"])
        raise TaskError(
            f"{path}: {where}: {message[:1].lower()}{message[1:]}.", "The file needs `templates:`, each a !Template with name and jinja."
        ) from error


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_LOADER: type[Any] = type("_Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
for _tag in ("!Template", "!TemplateMetadata"):
    _LOADER.add_constructor(_tag, _mapping)


def _free_name(name: str, taken: Mapping[str, Template]) -> str:
    plain = re.sub(r"[^A-Za-z0-9_.\-]+", "_", name).strip("_.-") or "template"
    number, free = 1, plain
    while free in taken:
        number += 1
        free = f"{plain}_{number}"
    return free


def _template(name: str, source: _Source) -> Template:
    arguments = json.dumps(source.jinja, ensure_ascii=False)
    if source.answer_choices:
        arguments += f", {json.dumps(source.answer_choices, ensure_ascii=False)}"
    call = f"promptsource({arguments})"
    return Template(
        name=name,
        prompt=f"{{{{ {call}.prompt }}}}",
        target=f"{call}.target" if SEPARATOR in source.jinja else None,
        choices=f"{call}.choices" if source.answer_choices else None,
    )


@dataclass(frozen=True, slots=True)
class _Applied:
    """A template applied to a row; its parts are rendered on access."""

    row: Mapping[str, Any]
    jinja: str
    answer_choices: str

    @property
    def choices(self) -> list[str]:
        return [_shown(choice) for choice in self._hidden_choices()]

    @property
    def prompt(self) -> str:
        return self._parts()[0]

    @property
    def target(self) -> str:
        return self._parts()[1]

    def _hidden_choices(self) -> list[str]:
        if not self.answer_choices:
            return []
        return [part.strip() for part in _render(self.answer_choices, self.row).split(SEPARATOR)]

    def _parts(self) -> list[str]:
        choices = self._hidden_choices()
        parts = _render(self.jinja, {**self.row, "answer_choices": choices} if choices else self.row).split(SEPARATOR)
        wanted = 2 if SEPARATOR in self.jinja else 1
        if len(parts) != wanted:
            raise UndefinedError(f"for this item the template renders {len(parts) - 1} {SEPARATOR!r} instead of {wanted - 1}")
        return [_shown(part).strip() for part in parts]


@pass_context
def _promptsource(context: Context, jinja: str, answer_choices: str = "") -> _Applied:
    globals_ = context.environment.globals
    row = {name: _hidden(value) for name, value in context.get_all().items() if globals_.get(name, context) is not value}
    if "answer_choices" in row:
        raise TemplateRuntimeError("the row has a column 'answer_choices', a name that these templates reserve; rename it with data.rename")
    return _Applied(row, jinja, answer_choices)


add_function("promptsource", _promptsource)


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(SEPARATOR, _HIDDEN)
    if isinstance(value, Mapping):
        return {key: _hidden(part) for key, part in value.items()}
    return [_hidden(part) for part in value] if isinstance(value, (list, tuple)) else value


def _shown(text: str) -> str:
    return text.replace(_HIDDEN, SEPARATOR)


def _render(source: str, row: Mapping[str, Any]) -> str:
    return _compiled(source).render({**row, _GENERATOR: random.Random(_seed(row))})


def _seed(row: Mapping[str, Any]) -> str:
    short = {name: value[:_SEED_CHARACTERS] if isinstance(value, str) else value for name, value in row.items()}
    return json.dumps(short, sort_keys=True, default=repr)


@lru_cache(maxsize=1024)
def _compiled(source: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(source)


def _check(source: str, name: str, path: Path) -> None:
    try:
        _compiled(source)
    except TemplateError as error:
        line = f" (line {error.lineno})" if isinstance(error, TemplateSyntaxError) else ""
        raise TaskError(f"{path}: template {name!r}: {error.message}{line}.", "Fix its Jinja syntax.") from error


@pass_context
def _choice(context: Context, options: Sequence[Any]) -> Any:
    return context[_GENERATOR].choice(list(options))


def _most_frequent(values: Sequence[Any]) -> list[Any]:
    """All values that occur as often as the most frequent one, in order of appearance."""
    counts = Counter(values)
    return [value for value, count in counts.items() if count == max(counts.values())]


def _to_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
_ENVIRONMENT.filters |= {"choice": _choice, "most_frequent": _most_frequent, "to_list": _to_list, "highlight": str}
_ENVIRONMENT.globals |= {"choice": _choice, "most_frequent": _most_frequent, "to_list": _to_list, "zip": zip}

"""Sandboxed Jinja, compiled once and cached: templates render text, expressions evaluate to data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, Undefined, UndefinedError, meta
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from harness.errors import TaskError


def _positions(values: Iterable[Any], wanted: Any = True) -> list[int]:
    """The filter `positions`: indices (from 0) of the elements equal to `wanted`."""
    return [place for place, value in enumerate(values) if value == wanted]


_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
_ENVIRONMENT.filters["positions"] = _positions


@dataclass(frozen=True, slots=True)
class Where:
    """Where a template is, for error messages."""

    task: str
    part: str
    item: str | None = None

    def __str__(self) -> str:
        of_item = f", item {self.item}" if self.item is not None else ""
        return f"Task {self.task}, {self.part}{of_item}"


@lru_cache(maxsize=4096)
def _template(source: str) -> Template:
    return _ENVIRONMENT.from_string(source)


@lru_cache(maxsize=4096)
def _expression(source: str) -> Callable[..., Any]:
    return _ENVIRONMENT.compile_expression(source, undefined_to_none=False)


def render(source: str, row: Mapping[str, Any], where: Where) -> str:
    """Render the template `source` for `row`.

    Raises:
        TaskError: a name is undefined, the syntax is wrong, or the template tries to leave the sandbox.
    """
    if "{" not in source:
        return source
    try:
        return _template(source).render(row)
    except Exception as error:
        raise _explain(error, source, row, where) from error


def evaluate(source: str, row: Mapping[str, Any], where: Where) -> Any:
    """Evaluate the expression `source` for `row`, lazy parts included; raises TaskError as `render` does."""
    try:
        return _definite(_expression(source)(row))
    except Exception as error:
        raise _explain(error, source, row, where) from error


def _definite(value: Any) -> Any:
    if isinstance(value, Undefined):
        str(value)
    if isinstance(value, dict):
        return {key: _definite(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_definite, value))
    return list(map(_definite, value)) if isinstance(value, (list, Iterator)) else value


def names(source: str) -> set[str]:
    """Names of the columns that a template reads."""
    return meta.find_undeclared_variables(_ENVIRONMENT.parse(source))


def add_function(name: str, function: Callable[..., Any]) -> None:
    """Make a function available to every template and expression under `name`."""
    _ENVIRONMENT.globals[name] = function


def check_syntax(source: str, where: Where, *, expression: bool = False) -> None:
    """Raise TaskError unless `source` compiles."""
    try:
        _expression(source) if expression else _template(source)
    except TemplateError as error:
        raise _explain(error, source, {}, where) from error


def _explain(error: Exception, source: str, row: Mapping[str, Any], where: Where) -> TaskError:
    if isinstance(error, SecurityError):
        return TaskError(f"{where}: the template tries to leave the sandbox ({error}).", "Templates may only read the row's columns.")
    if isinstance(error, UndefinedError):
        return TaskError(f"{where}: {error.message}.", f"The row's columns: {', '.join(map(str, row))}.")
    if isinstance(error, TemplateSyntaxError):
        return TaskError(f"{where}: {error.message} (line {error.lineno} of {_short(source)}).", "Fix the Jinja syntax.")
    reason = f"{type(error).__name__}: {str(error).rstrip('.')}"
    return TaskError(f"{where}: {_short(source)} failed: {reason}.", "Check the template against the row's values.")


def _short(source: str) -> str:
    return repr(source if len(source) <= 60 else source[:57] + "...")

"""Keywords of the API's functions, taken from the dataclasses that define the options of the command line."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

_OF_THE_COMMAND_LINE = {"command"}
"""Fields that only the command line sets."""

Result = TypeVar("Result")
Keywords = ParamSpec("Keywords")


def keywords_of(record: Callable[Keywords, object], *, positional: int) -> Callable[[Callable[..., Result]], Callable[Keywords, Result]]:
    """Function decorator: the function takes what the dataclass takes, for type checkers, `help()` and completion alike.

    Args:
        record: the dataclass; the function gets an instance of it.
        positional: how many of its first fields may be given without their name.

    Returns:
        The decorator. The decorated function raises a TypeError that names similar keywords where one is unknown.
    """

    def decorate(function: Callable[..., Result]) -> Callable[Keywords, Result]:
        signature = _signature(record, positional)

        @wraps(function)
        def call(*arguments: Keywords.args, **keywords: Keywords.kwargs) -> Result:
            _refuse_unknown(function.__name__, keywords, signature)
            try:
                bound = signature.bind(*arguments, **keywords)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            return function(record(**bound.arguments))  # type: ignore[call-arg]  # bound to the record's own signature

        call.__signature__ = signature.replace(return_annotation=function.__annotations__["return"])  # type: ignore[attr-defined]
        return call

    return decorate


def _signature(record: Any, positional: int) -> inspect.Signature:
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD if place < positional else inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=_short(str(field.type)),
        )
        for place, field in enumerate(field for field in dataclasses.fields(record) if field.name not in _OF_THE_COMMAND_LINE)
    ]
    return inspect.Signature(parameters)


def _short(annotation: str) -> str:
    """An annotation without what only the command line needs: `Annotated[T, OptionSpec(…)]` is T."""
    inner = annotation.removeprefix("Annotated[")
    return annotation if inner == annotation else inner[: inner.index(", OptionSpec(")]


def _refuse_unknown(function: str, given: dict[str, Any], signature: inspect.Signature) -> None:
    names = list(signature.parameters)
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            hint = f"Did you mean {', '.join(near)}?" if near else f"Keywords: {', '.join(names)}."
            raise TypeError(f"{function}() got an unexpected keyword {name!r}. {hint}")

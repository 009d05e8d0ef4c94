"""Options of commands, generated from dataclasses whose fields carry an `OptionSpec`."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args

import typer

from harness.errors import InputError
from harness.evaluation.options import OptionField, option_fields

Command = TypeVar("Command", bound=Callable[..., None])
Part: TypeAlias = str | Sequence[inspect.Parameter]


def parameters(
    record: type, *, only: Collection[str] = (), without: Collection[str] = (), optional: Collection[str] = (), panel: str = ""
) -> list[inspect.Parameter]:
    """Parameters for typer from the fields of a dataclass.

    Args:
        record: the dataclass.
        only: names of the fields to take; all where it is empty.
        without: names of fields to leave out.
        optional: names of required fields that the command can do without.
        panel: heading in `--help`; by default that of each field.
    """
    chosen = [field for field in option_fields(record) if (not only or field.name in only) and field.name not in without]
    return [_parameter(field, optional=field.name in optional, panel=panel) for field in chosen]


def generated(command: Command, *parts: Part) -> Command:
    """Give a command with `**given` the parameters that it takes there.

    Args:
        command: the function; its keyword parameters that `parts` does not name come last.
        parts: names of the function's own parameters, and lists of generated ones, in the order of `--help`.
    """
    explicit = {
        name: parameter
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    named = [part for part in parts if isinstance(part, str)]
    ordered = [parameter for part in parts for parameter in ([explicit[part]] if isinstance(part, str) else part)]
    ordered += [parameter for name, parameter in explicit.items() if name not in named]
    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in ordered]
    command.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]  # what inspect.signature, and so typer, reads
    command.__annotations__ = {}
    return command


def values(record: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords for a dataclass among the values that a command got; options that were not given are left out."""
    return {field.name: given[field.name] for field in option_fields(record) if given.get(field.name) not in (None, [])}


def given_on_command_line(context: typer.Context, names: Collection[str]) -> list[str]:
    """Which of these options the user gave, such as "--batch-tokens"."""
    sources = {name: context.get_parameter_source(name) for name in names}
    return [f"--{name.replace('_', '-')}" for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def _parameter(field: OptionField, *, optional: bool, panel: str) -> inspect.Parameter:
    kind, default = _kind(field), field.default
    if default is dataclasses.MISSING:
        default = None if optional else inspect.Parameter.empty
        kind = kind | None if optional else kind
    elif field.many:
        kind, default = kind | None, None
    spec = field.spec
    flag = f"{field.flag}/--no-{field.flag.removeprefix('--')}" if field.type == bool | None else field.flag
    option = typer.Option(
        *(flag, *([spec.short] if spec.short else [])),
        help=spec.help,
        rich_help_panel=panel or spec.panel or None,
        metavar=_metavar(field),
        show_default=not (default is None or default is False or default == ""),
        min=None if spec.keyword else spec.low,
        max=None if spec.keyword else spec.high,
    )
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _metavar(field: OptionField) -> str | None:
    if field.spec.keyword:
        return f"NUMBER|{field.spec.keyword.upper()}"
    if field.many:
        return field.spec.metavar or ("NUMBERS" if {int, float} & set(get_args(field.type)) else "NAMES")
    return field.spec.metavar or None


def _allowed(field: OptionField) -> tuple[str, ...]:
    """The allowed values; none are known for `--help` where a plug-in cannot be imported."""
    try:
        return field.allowed
    except InputError:
        if {"--help", "-h"} & set(sys.argv) or len(sys.argv) == 1:
            return ()
        raise


def _kind(field: OptionField) -> Any:
    """The type that typer converts the option to."""
    if field.many:
        return list[str]
    if field.type in (bool, bool | None):
        return field.type
    kind = str if field.spec.keyword or field.plain not in (int, Path) else field.plain
    if allowed := _allowed(field):
        kind = Literal[allowed]
    return kind | None if field.default is None else kind

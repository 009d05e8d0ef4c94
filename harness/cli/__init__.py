"""The command line: parse, call, print. Heavy imports wait inside the commands, so that help answers at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from io import TextIOWrapper
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from harness import __version__
from harness.cli import internal_errors
from harness.errors import HarnessError, InputError
from harness.util import garbage
from harness.util.user_errors import meant_for_users

_TERMINATED = 128 + signal.SIGTERM


class _TerminatedError(BaseException):
    """Raised when SIGTERM arrives, so that blocks are left in order and what a run started is ended."""


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
    raise _TerminatedError


class _Guarded(TyperGroup):
    """Turns Ctrl-C, SIGTERM and a closed pipe into one message at most and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            typer.echo("\nInterrupted. What was finished is saved: run the same command again to continue.", err=True)
            raise typer.Exit(130) from error
        except _TerminatedError as error:
            typer.echo("\nTerminated. What was finished is saved: run the same command again to continue.", err=True)
            raise typer.Exit(_TERMINATED) from error
        except BrokenPipeError as error:  # the reader of our output (head, less) went away
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from error


def _print_error(error: HarnessError) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text.assemble(("Error: ", "bold red"), error.what))
    if error.remedy:
        console.print(Text(error.remedy, style="dim"))


app = typer.Typer(
    cls=_Guarded,
    name="harness",
    help="Evaluate fine-tuned language models: what improved, what was forgotten, which adapter to keep, and whether it can ship.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"harness {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Options of every command."""


_MODULES = {
    "run": "run",
    "merge": "merge",
    "forgetting": "forgetting",
    "compare": "comparison",
    "leaderboard": "leaderboard",
    "plot": "plot",
    "gate": "gate",
    "export": "export",
    "tune": "tune",
    "tasks": "tasks",
    "models": "models",
    "adapters": "adapters",
    "results": "results",
}
"""The module of each command, in the order of `harness --help`."""


def add_commands(arguments: Sequence[str] = ()) -> None:
    """Register the command that these arguments name, or every command where they name none."""
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    for name in [command] if command in _MODULES else list(_MODULES):
        _add_command(name)


@cache
def _add_command(name: str) -> None:
    import_module(f"harness.cli.{_MODULES[name]}").add_to(app)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 2 bad input, 130 interrupted, 143 terminated, 1 anything else that failed; `gate` also 3 for inconclusive. An
    unforeseen error is reported in one line, and its traceback is written to a file.
    """
    _accept_any_text()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with garbage.paused_gc(), internal_errors.watched():
            _check_arguments(sys.argv[1:])
            add_commands(sys.argv[1:])
            app()
    except _TerminatedError as error:
        raise SystemExit(_TERMINATED) from error
    except Exception as error:
        message = meant_for_users(error)
        if message is None:
            internal_errors.report(error)
            raise SystemExit(internal_errors.EXIT_CODE) from error
        _print_error(message)
        raise SystemExit(message.exit_code) from error


def _accept_any_text() -> None:
    """Print characters that the terminal's encoding lacks as escapes, instead of failing after the work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments that are not valid UTF-8: results record the command."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(argument).decode("utf-8", "backslashreplace")
            raise InputError(
                f"The argument '{shown}' is not valid UTF-8.", "Rename the file or folder, or set a UTF-8 locale (LANG=C.UTF-8)."
            ) from error

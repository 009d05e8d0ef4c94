"""The command line: parse, call, print. Heavy imports wait inside the commands, so that help answers at once."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from functools import cache
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from harness import __version__
from harness.cli import internal_errors
from harness.errors import HarnessError, InputError
from harness.util import garbage
from harness.util.libraries import missing_library

_LONGEST_NAME = 300
_SURROUNDINGS = {
    errno.EACCES: "Change the permissions, or name another place.",
    errno.EPERM: "Change the permissions, or name another place.",
    errno.EROFS: "That file system is read-only: name another place.",
    errno.ENOSPC: "The disk is full: free some space and run the same command again; what was finished is kept.",
    errno.EDQUOT: "Your disk quota is used up: free some space and run the same command again; what was finished is kept.",
    errno.ENAMETOOLONG: "Give a shorter name.",
    errno.ENOTDIR: "A part of that path is a file, not a folder.",
    errno.EISDIR: "That is a folder; name a file.",
    errno.ELOOP: "Symbolic links there lead in a circle.",
    errno.EIO: "The disk or the network drive failed: check it and run the same command again.",
    errno.EMFILE: "Too many files are open: raise the limit (`ulimit -n`).",
}
"""What a file system says of a named file is about the machine, not about the harness; and what can be done."""


class _Guarded(TyperGroup):
    """Turns Ctrl-C and a reader that went away into one message at most and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            typer.echo("\nInterrupted. Finished answers are kept: the same command continues where it stopped.", err=True)
            raise typer.Exit(130) from error
        except BrokenPipeError as error:  # the reader of our output (head, less) went away
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from error


def _meant_for_users(error: Exception) -> HarnessError | None:
    """The error as a message that the user can act on; None where it is a fault of the harness."""
    if isinstance(error, HarnessError):
        return error
    if (missing := missing_library(error)) is not None:
        return missing
    if isinstance(error, OSError) and error.filename and error.errno in _SURROUNDINGS:
        return InputError(f"{str(error.filename)[:_LONGEST_NAME]}: {error.strerror}.", _SURROUNDINGS[error.errno])
    if isinstance(error, RecursionError):
        return InputError(
            "Something that was read is nested too deeply to be understood.", "Look at configuration, policy and header files."
        )
    if isinstance(error, MemoryError):
        return HarnessError(f"The memory of this machine is used up{f': {error}' if str(error) else ''}.", "Ask for less at once.")
    return None


def _say_error(error: HarnessError) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text.assemble(("Error: ", "bold red"), error.what))
    if error.remedy:
        console.print(Text(error.remedy, style="dim"))


app = typer.Typer(
    cls=_Guarded,
    name="harness",
    help="Evaluate fine-tuned language models: is the adapter better, what did it forget, which one to keep, may it ship?",
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


@cache
def _add_commands() -> None:
    from harness.cli import adapters, comparison, export, forgetting, gate, leaderboard, models, plot, results, run, tasks, tune

    run.add_to(app)
    forgetting.add_to(app)
    comparison.add_to(app)
    leaderboard.add_to(app)
    plot.add_to(app)
    gate.add_to(app)
    export.add_to(app)
    tune.add_to(app)
    for group in (tasks, models, adapters, results):
        group.add_to(app)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 2 bad input, 130 interrupted, 1 anything else that failed; `gate` also 3 for inconclusive. An unforeseen error is
    reported in one line, and its traceback is written to a file.

    """
    _accept_any_text()
    try:
        with garbage.paused_gc(), internal_errors.watched():
            _check_arguments(sys.argv[1:])
            _add_commands()
            app()
    except Exception as error:
        told = _meant_for_users(error)
        if told is None:
            internal_errors.report(error)
            raise SystemExit(internal_errors.EXIT_CODE) from error
        _say_error(told)
        raise SystemExit(told.exit_code) from error


def _accept_any_text() -> None:
    """Print what the terminal's encoding does not have as escapes, instead of failing after the work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_arguments(arguments: Sequence[str]) -> None:
    """Refuse names that are no text: results keep the command, and they are UTF-8."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(argument).decode("utf-8", "backslashreplace")
            raise InputError(
                f"The argument '{shown}' is not valid UTF-8.", "Rename the file or folder, or set a UTF-8 locale (LANG=C.UTF-8)."
            ) from error

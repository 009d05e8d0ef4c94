"""The command line: parse, call, print. Heavy imports wait inside the commands, so that help answers at once."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from harness import __version__, collector
from harness.errors import HarnessError


class _Guarded(TyperGroup):
    """Turns the harness's own errors and Ctrl-C into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            _say_error(error)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("\nInterrupted. Finished answers are kept: the same command continues where it stopped.", err=True)
            raise typer.Exit(130) from error
        except BrokenPipeError as error:  # the reader of our output (head, less) went away
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from error


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
    from harness.cli import adapters, forgetting, gate, leaderboard, models, plot, results, run, tasks, tune

    run.add_to(app)
    forgetting.add_to(app)
    leaderboard.add_to(app)
    plot.add_to(app)
    gate.add_to(app)
    tune.add_to(app)
    for group in (tasks, models, adapters, results):
        group.add_to(app)


def main() -> None:
    """Run the command line; exits with 0 done, 2 bad input, 130 interrupted, 1 anything else that failed; `gate` with 3, cannot tell."""
    with collector.held_back():
        _add_commands()
        app()

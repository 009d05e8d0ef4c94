"""`harness tune`: train adapters."""

from __future__ import annotations

from typing import Any

import typer

from harness.api.tuning import TuneKeywords
from harness.cli.options import generated, parameters, values


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("tune")(generated(tune, parameters(TuneKeywords)))


def tune(**given: Any) -> None:
    """Train an adapter, or a whole model, on the train split of tasks; save its weights and its card.

    Options marked * may have several values, separated by commas: every combination is trained, one after the other on one loaded
    base model (or on --workers), and a table ranks them. Run the same command again to resume an interrupted training.

    Example: harness tune --model flan-t5-base --task dialogsum --method lora --rank 2,4,8,16 --name lora
    """
    from harness.cli.console import console
    from harness.tune.tuning import ranked
    from harness.tune.tuning import tune as train
    from harness.tune.view import ConsoleTuneProgress, candidates_table

    options = TuneKeywords(**values(TuneKeywords, given)).options()
    with ConsoleTuneProgress() as progress:
        trained = ranked(train(options, progress))
    console().print(candidates_table(trained))
    best = trained[0].name
    typer.echo(f"Card: {options.output / best}.yaml. Evaluate it: harness run --model {options.model} --adapter none,{best} --tasks TASKS")

"""`harness adapters`: adapter cards."""

from __future__ import annotations

from typing import Annotated

import typer

adapters = typer.Typer(help="List and show adapter cards.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(adapters, name="adapters")


@adapters.command("list")
def list_() -> None:
    """List adapter cards: those shipped, in ./adapters, and below HARNESS_PATH."""
    from rich.table import Table

    from harness.cli.console import console
    from harness.models.adapter_cards import cards

    known = cards()
    if not known:
        typer.echo("No adapter cards yet. `harness tune` makes them; --adapter also takes a folder or a Hub id.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("adapter", "method", "bases", "title"):
        table.add_column(column)
    for card, _ in known.values():
        table.add_row(card.name, card.method, ", ".join(card.weights), card.title)
    console().print(table)


@adapters.command()
def show(name: Annotated[str, typer.Argument(help="Name of an adapter card, or a folder.")]) -> None:
    """Show an adapter card (how it was trained and how well it scored), or what an adapter folder contains."""
    import yaml

    from harness.cli.console import console
    from harness.models.adapter_cards import cards
    from harness.models.adapters import check_weights, read_config, unknown
    from harness.models.digests import adapter_digest, adapter_weights, count_parameters
    from harness.tune.view import card_view
    from harness.util import paths

    folder = paths.expanded(name)
    if (folder / "adapter_config.json").is_file():
        config = read_config(folder)
        check_weights(folder)
        wanted = ("peft_type", "base_model_name_or_path", "r", "lora_alpha", "target_modules", "modules_to_save", "num_virtual_tokens")
        facts = {key: config[key] for key in wanted if config.get(key) is not None}
        facts |= {"weights": f"{count_parameters(adapter_weights(folder)):,}", "digest": adapter_digest(folder)}
        console().print(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True), end="", markup=False)
        return
    known = cards()
    if name not in known:
        raise unknown(name, known)
    console().print(card_view(*known[name]))

"""`harness models`: model cards."""

from __future__ import annotations

from typing import Annotated

import typer

models = typer.Typer(help="List and show model cards.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(models, name="models")


@models.command("list")
def list_() -> None:
    """List model cards."""
    from rich.table import Table

    from harness.cli.console import console
    from harness.models.cards import cards

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("model", "kind", "architecture", "parameters", "context", "license", "hub id"):
        table.add_column(column, justify="right" if column in ("parameters", "context") else "left")
    for card in cards().values():
        context = f"{card.context:,}" if card.context else ""
        table.add_row(card.name, card.kind, card.architecture, _size(card.parameters), context, card.license, card.hub)
    console().print(table)


@models.command()
def show(name: Annotated[str, typer.Argument(help="Name of a model card, or a folder.")]) -> None:
    """Show a model card, or what a model folder contains."""
    from rich.table import Table

    from harness.cli.console import console
    from harness.errors import ModelError
    from harness.models import cards, digests, loading
    from harness.util import paths

    out = console()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    folder = paths.expanded(name)
    if (folder / "config.json").is_file():
        source = cards.resolve(name)
        config = loading.raw_config(source)
        loading.check_weights(source)
        files = digests.weights_files(source.folder)
        facts = {
            "folder": str(source.folder),
            "card": source.card.name if source.card else "",
            "architecture": ", ".join(map(str, config.get("architectures") or [config.get("model_type", "")])),
            "parameters": f"{digests.count_parameters(files):,}",
            "digest": digests.model_digest(source.folder),
        }
    else:
        known = cards.cards()
        card = known.get(name.lower())
        if card is None:
            raise (
                cards.unknown(name, known)
                if "/" not in name
                else ModelError(f"{name} is neither a model card nor a folder with a config.json.")
            )
        facts = {key: str(value) for key, value in card.model_dump(exclude_none=True).items() if value != ""}
    for key, value in facts.items():
        table.add_row(key, value)
    out.print(table)


def _size(parameters: int) -> str:
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.0f} M"

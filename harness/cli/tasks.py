"""`harness tasks`: list, show, render, check and create tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.contract import LARGEST_SEED
from harness.errors import TaskError
from harness.evaluation.options import MOST_ITEMS, MOST_SHOTS

if TYPE_CHECKING:
    from rich.panel import Panel
    from rich.text import Text

    from harness.models.encoding import Encoder
    from harness.tasks.checking import CheckState
    from harness.tasks.prompts import Rendered
    from harness.tasks.registry import TaskEntry

tasks = typer.Typer(help="List, show, render, check and create tasks.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(tasks, name="tasks")


@tasks.command("list")
def list_(
    pattern: Annotated[str | None, typer.Argument(help="List only names that contain this text.")] = None,
    lm_eval: Annotated[
        bool, typer.Option("--lm-eval", help="List the tasks of the installed lm-eval instead; PATTERN may be a glob.")
    ] = False,
) -> None:
    """List tasks by group."""
    if lm_eval:
        _list_lm_eval(pattern or "")
        return
    from rich.text import Text

    from harness.cli.console import console
    from harness.tasks.registry import TaskRegistry

    registry = TaskRegistry.default()
    wanted = [
        name for name in registry.tasks if not pattern or pattern in name or any(pattern in g for g in registry.tasks[name].task.groups)
    ]
    if not wanted and not any(pattern in name for name in registry.families if pattern):
        raise registry.unknown(pattern or "")
    out = console()
    width = max(map(len, wanted), default=0) + 2
    out.print(_line(("task", "answer", "rows", "shots", "metrics", "license"), width, "bold"), soft_wrap=True)
    left = dict.fromkeys(wanted)
    for group, (declared, _) in registry.groups.items():
        members = [name for name in registry.members(group) if name in left]
        if (members or not pattern or pattern in group) and len(members) < len(registry.tasks):
            out.print(Text.assemble((group, "bold"), (f"  {declared.title}", "dim")), soft_wrap=True)
            for name in members:
                out.print(_line(_row(f"  {name}", registry.tasks[name]), width), soft_wrap=True)
                del left[name]
    for name in left:
        out.print(_line(_row(name, registry.tasks[name]), width), soft_wrap=True)
    for name, family in registry.families.items():
        if not pattern or pattern in name:
            keys = "; ".join(
                f"{variable}: {', '.join(list(values)[:4])}, … ({len(values)})" for variable, values in family.variables.items()
            )
            out.print(Text.assemble((name, "bold"), (f"  by name, {keys}", "dim")), soft_wrap=True)


def _list_lm_eval(pattern: str) -> None:
    """lm-eval's tasks, groups and tags, as `harness run --tasks` takes them."""
    from harness.lm_eval import task_names

    known = task_names.index()
    names = task_names.matching(pattern, known)
    if not names:
        raise task_names.unknown(pattern, known)
    width = max(len(name) for name in names) + len(task_names.PREFIX) + 2
    for name in names:
        listed = known[name]
        detail = listed.output if listed.kind in ("task", "class") else f"{len(listed.members)} members"
        typer.echo(f"{task_names.PREFIX + name:<{width}}{listed.kind:<7}{detail:<23}{listed.path}".rstrip())


def _row(label: str, entry: TaskEntry) -> tuple[str, ...]:
    task = entry.task
    names = [spec.key for spec in task.metrics]
    listed = ", ".join(names[:3]) + (f" +{len(names) - 3}" if len(names) > 3 else "")
    rows = task.about.rows.get(task.data.split)
    return label, task.answer, f"{rows:,}" if rows else "", str(task.shots.number), listed, task.about.license


def _line(cells: tuple[str, ...], width: int, style: str = "") -> Text:
    from rich.text import Text

    name, answer, rows, shots, metrics, license_ = cells
    return Text(f"{name:<{width}}  {answer:<10}  {rows:>6}  {shots:>5}  {metrics:<30}  {license_}".rstrip(), style)


@tasks.command()
def show(name: Annotated[str, typer.Argument(help="A task or group.")]) -> None:
    """Show a task's header, data, templates and metrics, or a group's members."""
    import yaml
    from rich.syntax import Syntax

    from harness.cli.console import console
    from harness.tasks.registry import TaskRegistry

    registry = TaskRegistry.default()
    out = console()
    if name in registry.groups:
        group, path = registry.groups[name]
        out.print(f"[bold]{name}[/bold]: {group.title}", f"[dim]{path}[/dim]", sep="\n")
        for aggregate in group.aggregate:
            measured = aggregate.metric or "the tasks' headline scores"
            out.print(f"  {aggregate.key}: {aggregate.average} average of {measured}")
        out.print(", ".join(registry.members(name)))
        return
    entry = registry.find(name)
    out.print(f"[dim]{entry.path}[/dim]")
    content = entry.task.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    out.print(Syntax(text, "yaml", background_color="default", word_wrap=True))


@tasks.command()
def render(
    name: Annotated[str, typer.Argument(help="A task, or the path of its YAML file.")],
    number: Annotated[int, typer.Option("-n", min=1, max=MOST_ITEMS, help="Number of items.")] = 1,
    template: Annotated[
        str | None, typer.Option(help="Prompt templates by name, separated by commas, or all (default: the first).")
    ] = None,
    template_file: Annotated[Path | None, typer.Option(help="Render the prompt templates of this file in promptsource format.")] = None,
    shots: Annotated[
        int | None, typer.Option(min=0, max=MOST_SHOTS, help="Number of few-shot examples before the question (default: set by the task).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed for random few-shot examples.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder of local dataset snapshots (default: $HARNESS_DATA).")] = None,
) -> None:
    """Print the prompts of the first items, as a model without a chat template reads them."""
    from harness.cli.console import console
    from harness.tasks.data import DataReader
    from harness.tasks.prompts import rendered
    from harness.tasks.promptsource import load
    from harness.tasks.registry import TaskRegistry
    from harness.util import paths

    reader, out = DataReader(paths.data_folder(data)), console()
    further = load(template_file) if template_file else ()
    selection = TaskRegistry.default().select([name]).with_templates(further)
    for entry in selection.entries:
        for variant in further if further and template is None else entry.templates(template):
            for prompt in rendered(entry.task, variant, reader, entry.path.parent, number, shots, seed):
                out.print(_panel(f"{entry.task.task}, {variant.name}, item {prompt.item}", prompt))


def _panel(title: str, prompt: Rendered) -> Panel:
    from rich.panel import Panel
    from rich.text import Text

    text = Text.assemble((prompt.prompt, ""), (prompt.delimiter, "reverse"), (prompt.answer, "bold green"))
    if prompt.others:
        text.append("\n\nother choices: " + " | ".join(prompt.others), "dim")
    return Panel(text, title=Text(title), title_align="left")


@tasks.command()
def new(
    name: Annotated[str, typer.Argument(help="The task's name: letters, digits, '_', '.' and '-'.")],
    source: Annotated[Path, typer.Option("--from", help="File of items: .csv, .tsv, .json, .jsonl or .parquet.")],
    output: Annotated[Path | None, typer.Option(help="Task file to write (default: NAME.yaml).")] = None,
) -> None:
    """Write a commented task file for a file of items; answer form, target, prompt and metrics are guessed from the columns.

    Example: harness tasks new support_summaries --from support.csv
    """
    from rich.text import Text

    from harness.cli.console import console
    from harness.tasks.scaffold import write

    path = output or Path(f"{name}.yaml")
    guess = write(name, source, path)
    out = console()
    out.print(Text.assemble(("wrote ", "green"), (str(path), "bold"), f": {guess}"), soft_wrap=True)
    out.print(Text(f"Review it, then run: harness tasks check {path}", style="dim"), soft_wrap=True)


@tasks.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Task files, folders of them, or names of tasks.")],
    data: Annotated[Path | None, typer.Option(help="Folder of local dataset snapshots (default: $HARNESS_DATA).")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Also check tokens with this model: choices with equal tokens, prompts that are too long."),
    ] = None,
) -> None:
    """Check task files: keys, templates on real rows, metrics, answers, duplicates, and with --model the tokens.

    Exit code 2 if a file has errors. Missing datasets are reported, not counted as errors.
    """
    from collections import Counter

    from rich.text import Text

    from harness.cli.console import console
    from harness.tasks.checking import SAMPLE, check_files
    from harness.util import paths

    folder, out = paths.data_folder(data), console()
    styles: dict[CheckState, str] = {"OK": "green", "no data": "yellow", "error": "bold red"}
    tally: Counter[str] = Counter()
    for result in check_files(_yaml_files(files), folder, _encoder(model, folder) if model else None):
        tally[result.state] += 1
        tally["warnings"] += len(result.warnings)
        summary = result.summary.replace("\n", f"\n{'':9}")
        out.print(Text.assemble((f"{result.state:<7}", styles[result.state]), "  ", (result.name, "bold"), f": {summary}"), soft_wrap=True)
        for warning in result.warnings:
            out.print(Text.assemble(f"{'':9}", ("warning: ", "yellow"), f"{warning}."), soft_wrap=True)
    counts = f"{tally['OK']} passed, {tally['no data']} skipped, {tally['error']} failed; warnings: {tally['warnings']}."
    out.print(
        Text(f"{counts} Answers were checked on up to {SAMPLE} items of each task, drawn from its whole split.", style="dim"),
        soft_wrap=True,
    )
    if tally["error"]:
        raise typer.Exit(2)


def _encoder(model: str, folder: Path | None) -> Encoder:
    from harness.models.cards import resolve
    from harness.models.opening import open_encoder

    return open_encoder(resolve(model, data=folder))


def _yaml_files(given: list[Path]) -> list[Path]:
    """The files, those below the folders, and those of tasks; names starting with '_' are only for include."""
    from harness.tasks.registry import TaskRegistry

    paths: dict[Path, None] = {}
    for path in given:
        if not path.exists() and (entry := TaskRegistry.default().tasks.get(str(path))) is not None:
            paths[entry.path] = None
            continue
        below = sorted(p for p in path.rglob("*.yaml") if not p.name.startswith("_")) if path.is_dir() else [path]
        if not below:
            raise TaskError(f"The folder {path} contains no task file.", "Task files end in .yaml.")
        paths |= dict.fromkeys(below)
    return list(paths)


@tasks.command()
def schema(group: Annotated[bool, typer.Option("--group", help="Print the schema of group files instead.")] = False) -> None:
    """Print the JSON Schema of task files."""
    from harness.tasks.schema import Group, Task

    typer.echo(json.dumps((Group if group else Task).model_json_schema(by_alias=True), indent=2))

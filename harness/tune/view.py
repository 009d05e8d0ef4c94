"""What the terminal shows of trainings: their progress, their cards, and the leaderboard of a grid."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from harness.util import garbage

if TYPE_CHECKING:
    from pathlib import Path

    from harness.models.adapter_cards import AdapterCard, Training, ValidationScore
    from harness.tune.tuning import Made

_SMOOTHING = 0.1
"""Share of the newest step in the loss that is shown."""


class ConsoleTuneProgress:
    """Follows trainings on standard error: a bar where that is a terminal, lines for validations; use it as a context manager."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._loss: float | None = None
        self._tokens = 0

    def candidate(self, name: str, number: int, of: int) -> None:
        """A training begins."""
        self.end()
        self._console.print(Text.assemble((name, "bold"), f"  {number} of {of}" if of > 1 else ""))

    def begin(self, facts: str, steps: int, done: int) -> None:
        """Steps begin."""
        garbage.resume_gc()
        resumed = f"; going on after step {done:,}" if done else ""
        self._console.print(Text(f"{facts}; {steps:,} steps{resumed}", style="dim"))
        self._loss, self._tokens = None, 0
        columns = (SpinnerColumn(), MofNCompleteColumn(), BarColumn(None), TextColumn("{task.fields[status]}"), TimeRemainingColumn())
        self._progress = Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal, expand=True)
        self._progress.start()
        self._task = self._progress.add_task("", total=steps, completed=done, status="")

    def step(self, loss: float, tokens: int) -> None:
        """A step is finished."""
        if self._progress is None:
            return
        self._tokens += tokens
        self._loss = loss if self._loss is None else (1 - _SMOOTHING) * self._loss + _SMOOTHING * loss
        elapsed = self._progress.tasks[0].elapsed or 0.0
        speed = f", {self._tokens / elapsed:,.0f} tokens/s" if elapsed else ""
        self._progress.update(self._task, advance=1, status=f"loss {self._loss:.3f}{speed}")

    def validated(self, step: int, loss: float | None, headline: float | None, best: bool) -> None:
        """The model was validated after a step."""
        score = f", score {headline:.4f}" if headline is not None else ""
        text = Text(f"step {step:,}: validation loss {loss:.4f}{score}")
        self._console.print(text.append("  best so far", "green") if best else text)

    def end(self) -> None:
        """The steps are finished."""
        if self._progress is not None:
            if not self._progress.disable:  # older rich ends even a disabled progress bar with an empty line
                self._progress.stop()
            self._progress = None

    def note(self, message: str) -> None:
        """Something the user should know."""
        self._console.print(Text.assemble(("Note: ", "yellow"), message))

    def __enter__(self) -> ConsoleTuneProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()


def candidates_table(made: Sequence[Made]) -> Table:
    """Candidates in their order, with their sizes and validation scores: a column for each setting in which they differ."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    differing = _differing([adapter.training.settings for adapter in made])
    metrics = _metrics(made[0].training.scores)
    table.add_column("candidate")
    for name in differing:
        table.add_column(name.replace("_", " "))
    for heading in ("trained", "share", "size", "train loss", "val loss", *(label for label, _ in metrics), "memory", "time"):
        table.add_column(heading, justify="right")
    for place, adapter in enumerate(made):
        training = adapter.training
        cells = [adapter.name, *(_setting(training.settings.get(name)) for name in differing)]
        cells += [f"{training.trainable:,}", share(training.share), size(training.bytes), f"{training.losses.last:.3f}"]
        cells.append("" if training.losses.validation is None else f"{training.losses.validation:.3f}")
        cells += [score(training.scores[task][name], interval=name == next(iter(training.scores[task]))) for _, (task, name) in metrics]
        cells += [size(training.peak_memory_bytes), duration(training.seconds)]
        table.add_row(*cells, style="bold" if place == 0 and len(made) > 1 else "")
    return table


def _differing(settings: Sequence[Mapping[str, object]]) -> list[str]:
    names = dict.fromkeys(name for chosen in settings for name in chosen)
    return [name for name in names if len({str(chosen.get(name)) for chosen in settings}) > 1]


def _metrics(scores: Mapping[str, Mapping[str, ValidationScore]]) -> list[tuple[str, tuple[str, str]]]:
    """Column heading and (task, metric) of up to three metrics a task."""
    several = len(scores) > 1
    return [(f"{task} {name}" if several else name, (task, name)) for task, by_metric in scores.items() for name in list(by_metric)[:3]]


def card_view(card: AdapterCard, path: Path) -> RenderableType:
    """An adapter's card: what it is, then how the weights of each base were made."""
    head = _facts()
    for name, value in (("method", card.method), ("license", card.license), ("notes", card.notes), ("card", str(path))):
        if value:
            head.add_row(name, value)
    for base, place in card.weights.items():
        if base not in card.training:
            head.add_row(base, place)
    parts: list[RenderableType] = [head, *(_training(base, card.weights[base], training) for base, training in card.training.items())]
    return Panel(Group(*parts), title=Text.assemble((card.name, "bold"), f"  {card.title}"), title_align="left", expand=False)


def _training(base: str, place: str, training: Training) -> RenderableType:
    table = _facts()
    settings = {name: value for name, value in training.settings.items() if name not in ("method", "tasks")}
    quantized = f", {training.quantization}" if training.quantization else ""
    losses = f"{training.losses.first:.3f} to {training.losses.last:.3f} in training"
    if training.losses.validation is not None:
        losses += f", {training.losses.validation:.3f} on validation items"
    rows = {
        "weights": f"{place}, {size(training.bytes)}, {training.digest[:12]}",
        "base": f"{training.base} {training.base_digest[:12]} ({training.architecture}, {training.dtype}{quantized})",
        "trained": f"{training.trainable:,} parameters, {share(training.share)}",
        "settings": ", ".join(f"{name} {_setting(value)}" for name, value in settings.items()),
        "data": "\n".join(_data(training)),
        "steps": f"{training.steps:,}, the best after {training.best_step:,}; {training.tokens:,} tokens, {duration(training.seconds)}",
        "loss": losses,
        "scores": "\n".join(f"{task}: {_scores(by_metric)}" for task, by_metric in training.scores.items() if by_metric),
        "memory": f"{size(training.peak_memory_bytes)} at most ({training.device})",
        "made with": ", ".join(f"{name} {version}" for name, version in training.versions.items()),
        "again": f"harness tune --model {training.base} {training.recipe} --dtype {training.dtype} --name NAME",
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return Group(Text(f"\n{base}", style="bold cyan"), table)


def _data(training: Training) -> list[str]:
    lines = [
        f"{use.task}/{use.split}: {use.rows:,} rows, {use.pairs:,} pairs, {', '.join(use.templates)}"
        + (" (replayed)" if use.role == "replay" else "")
        for use in training.data
    ]
    if training.overlap is not None:
        treatment = "left out" if training.overlap.left_out else "not left out"
        lines.append(f"{training.overlap.near_duplicates:,} near-duplicates of evaluated items ({treatment})")
    return [*lines, f"digest {training.data_digest[:12]}"]


def _scores(by_metric: Mapping[str, ValidationScore]) -> str:
    return ", ".join(f"{name} {score(validation)} (n={validation.n})" for name, validation in by_metric.items())


def _facts() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def score(validation: ValidationScore, *, interval: bool = True) -> str:
    """A score, with its interval where there is one and `interval` is true."""
    if validation.value is None:
        return "none"
    bounds = "" if validation.ci is None or not interval else f" [{validation.ci[0]:.3f}, {validation.ci[1]:.3f}]"
    return f"{validation.value:.3f}{bounds}"


def share(value: float) -> str:
    """A share as percent, small ones with three digits that say something."""
    return f"{100 * value:.3g} %"


def size(count: int) -> str:
    """Bytes in the unit that suits them, decimal."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}" if unit != "B" else f"{count} B"
        value /= 1000
    return f"{value:.3g} GB"


def duration(seconds: float) -> str:
    """Seconds, minutes and hours as they are said."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {left:02d} s"


def _setting(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return " ".join(_setting(inner) for inner in value.values())
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)

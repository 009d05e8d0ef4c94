"""Progress bars on standard error while a run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from harness.util.text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from rich.progress import Task, TaskID


class RunProgress:
    """Bars on standard error while a run goes on: one for each label, and the total below them. Draws nothing where that is no terminal.

    Args:
        totals: number of items by label.
        console: where to draw; standard error by default.
        show: whether to draw; by default on a terminal only.
    """

    def __init__(self, totals: Mapping[str, int], console: Console | None = None, *, show: bool | None = None) -> None:
        console = console or Console(stderr=True)
        self._rate = _RateColumn()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            self._rate,
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not (console.is_terminal if show is None else show),
            transient=True,
        )
        self._tasks = {label: self._progress.add_task(plain(label), start=False, visible=False, total=n) for label, n in totals.items()}
        self._whole: TaskID = self._progress.add_task("all", total=sum(totals.values()))
        self._rate.whole = self._whole

    def advance(self, label: str, items: int = 1) -> None:
        """Count finished items of a label. Its bar is shown from the first item to the last."""
        task = self._tasks[label]
        self._progress.start_task(task)
        self._progress.update(task, advance=items, visible=True)
        self._progress.advance(self._whole, items)
        state = next(known for known in self._progress.tasks if known.id == task)
        if state.finished:
            self._progress.update(task, visible=False)

    def tokens(self, n: int) -> None:
        """Count tokens that were computed, for the rate."""
        self._rate.tokens += n

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._progress.disable:  # older rich ends even a disabled progress bar with an empty line
            self._progress.stop()


class _RateColumn(ProgressColumn):
    """Tokens per second since the start, on the bar of the total."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = 0
        self.whole: TaskID | None = None

    def render(self, task: Task) -> Text:
        elapsed = task.elapsed
        if task.id != self.whole or not self.tokens or not elapsed:
            return Text("")
        return Text(f"{self.tokens / elapsed:,.0f} tokens/s", style="cyan")

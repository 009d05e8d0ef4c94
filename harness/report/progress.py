"""Progress bars on standard error while a run goes on."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from harness.util.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from rich.console import RenderableType
    from rich.progress import Task, TaskID

    from harness.engine.cluster import Worker


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
        self._progress = _ProgressWithWorkers(
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

    def workers(self, workers: Sequence[Worker]) -> None:
        """Show what the workers do."""
        self._progress.lines = tuple(_worker_lines(workers))

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._progress.disable:  # older rich ends even a disabled progress bar with an empty line
            self._progress.stop()


class _ProgressWithWorkers(Progress):
    """Bars, and below them a line for each worker."""

    lines: tuple[Text, ...] = ()

    def get_renderables(self) -> Iterator[RenderableType]:
        """The bars, then the workers."""
        yield from super().get_renderables()
        yield from self.lines


_MOST_LINES = 8


def _worker_lines(workers: Sequence[Worker]) -> Iterator[Text]:
    """A line for each of few workers: what it does, requests a second, memory and restarts; one line for many."""
    if len(workers) <= _MOST_LINES:
        width = max(len(worker.name) for worker in workers)
        for worker in workers:
            rate = f"{worker.answered / worker.seconds:,.1f} items/s" if worker.seconds else ""
            memory = f"{worker.memory / 2**30:.1f} GiB" if worker.memory else ""
            restarts = f"started again {worker.restarts} ×" if worker.restarts else ""
            parts = (f"{worker.doing:<9}", f"{rate:>13}", f"{memory:>8}", restarts)
            yield Text(f"  {plain(worker.name):<{width}}  {'  '.join(parts)}".rstrip(), style="dim", no_wrap=True, overflow="ellipsis")
        return
    counts = Counter(worker.doing for worker in workers)
    seconds = sum(worker.seconds for worker in workers) / len(workers)
    facts = [f"{count} {doing}" for doing, count in counts.most_common()]
    facts += [f"{sum(worker.answered for worker in workers) / seconds:,.0f} items/s"] if seconds else []
    facts += [f"{total} started again"] if (total := sum(worker.restarts for worker in workers)) else []
    yield Text(f"  {len(workers)} workers: {', '.join(facts)}", style="dim", no_wrap=True, overflow="ellipsis")


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

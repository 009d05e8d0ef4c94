"""Progress of a run on a terminal, in a notebook, or in a log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING

from harness.evaluation.progress import SilentProgress
from harness.util import garbage

if TYPE_CHECKING:
    from rich.console import Console

    from harness.engine.cluster import Worker
    from harness.report.progress import RunProgress

_LOGGER = logging.getLogger("harness")


class LoggedProgress(SilentProgress):
    """Shows no bars, and logs remarks as warnings of the logger `harness`."""

    def note(self, message: str) -> None:
        """Log a remark."""
        _LOGGER.warning(message)

    def __enter__(self) -> LoggedProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


class ConsoleProgress:
    """Bars and remarks on standard error, or in a notebook; use it as a context manager.

    Bars need a terminal, or a notebook with ipywidgets. Remarks are always printed.
    """

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._bars: RunProgress | None = None

    def start(self, system: str, totals: Mapping[str, int]) -> None:
        """A system begins."""
        from rich.text import Text

        from harness.report.progress import RunProgress

        garbage.resume_gc()
        self._stop()
        if self._console.is_terminal:
            self._console.print(Text(system, style="bold"))
        self._bars = RunProgress(totals, self._console, show=shows_bars(self._console))
        self._bars.__enter__()

    def advance(self, label: str, items: int) -> None:
        """Some items of a task or group are finished."""
        if self._bars is not None:
            self._bars.advance(label, items)

    def tokens(self, count: int) -> None:
        """The engine computed this many more tokens."""
        if self._bars is not None:
            self._bars.tokens(count)

    def workers(self, workers: Sequence[Worker]) -> None:
        """The workers that compute have gone on."""
        if self._bars is not None:
            self._bars.workers(workers)

    def note(self, message: str) -> None:
        """Print a remark."""
        from rich.text import Text

        self._console.print(Text.assemble(("Note: ", "yellow"), message))

    def __enter__(self) -> ConsoleProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bars is not None:
            self._bars.__exit__(None, None, None)
            self._bars = None


def shows_bars(console: Console) -> bool:
    """Whether progress bars can be drawn: on a terminal, or in a notebook with ipywidgets."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def progress_for(wanted: bool | None) -> ConsoleProgress | LoggedProgress:
    """The progress display that a caller of the API wants.

    Args:
        wanted: True or False; None for a display on a terminal and in a notebook only.
    """
    if wanted is None:
        from rich.console import Console

        console = Console(file=sys.stderr)
        wanted = console.is_terminal or console.is_jupyter
    return ConsoleProgress() if wanted else LoggedProgress()

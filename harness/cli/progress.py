"""Progress of a run on the terminal: one bar for each name asked for, quiet when standard error is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.text import Text

from harness.report.terminal import RunProgress
from harness.util import garbage


class ConsoleProgress:
    """Follows a run; use it as a context manager."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._progress: RunProgress | None = None

    def start(self, system: str, totals: Mapping[str, int]) -> None:
        """A system begins."""
        garbage.resume_gc()
        self._stop()
        if self._console.is_terminal:
            self._console.print(Text(system, style="bold"))
        self._progress = RunProgress(totals, self._console)
        self._progress.__enter__()

    def advance(self, label: str, items: int) -> None:
        """Items under a name are finished."""
        if self._progress is not None:
            self._progress.advance(label, items)

    def tokens(self, count: int) -> None:
        """So many tokens were computed."""
        if self._progress is not None:
            self._progress.tokens(count)

    def note(self, message: str) -> None:
        """Something the user should know."""
        self._console.print(Text.assemble(("Note: ", "yellow"), message))

    def __enter__(self) -> ConsoleProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None

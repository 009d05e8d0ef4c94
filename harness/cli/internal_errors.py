"""Internal errors: one line on the terminal, and everything that helps to fix them in a log file."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from harness import __version__
from harness.util import paths

EXIT_CODE = 1
MOST_LOGS = 20
"""Number of log files; older ones are removed."""

_LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "datasets", "numpy", "pydantic", "typer", "rich")
_LONGEST = 200
"""Characters of the error's own message on the terminal."""


def report(error: BaseException, then: str = "") -> None:
    """Report an internal error in one line on standard error, and write the traceback to a file.

    With HARNESS_DEBUG=1 the traceback is printed instead, and no file is written.

    Args:
        error: the exception.
        then: a sentence on what happens next.
    """
    if os.environ.get("HARNESS_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error)
        return
    log = _written(_details(error))
    name, words = type(error).__name__, " ".join(str(error).split())
    summary = f"{name}: {words}" if words else name
    if len(summary) > _LONGEST:
        summary = f"{summary[:_LONGEST]} …"
    where = f"the file {log}" if log else "the output of the same command under HARNESS_DEBUG=1 (no log file could be written)"
    _print(f" (harness {__version__}): {summary}. {then}Please report it with {where}.")


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Context in which errors in background threads and in clean-up are reported like all others."""

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            report(args.exc_value, "It happened in a background thread; the command goes on. ")

    def in_cleanup(args: Any) -> None:
        if isinstance(args.exc_value, Exception):
            report(args.exc_value, "It happened during clean-up; the command goes on. ")

    before = threading.excepthook, sys.unraisablehook
    threading.excepthook, sys.unraisablehook = in_thread, in_cleanup
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = before


def _print(message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True, highlight=False).print(Text.assemble(("Internal error", "bold red"), message))


def _details(error: BaseException) -> str:
    """The command, versions, the machine, and the traceback."""
    facts = {
        "harness": __version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["harness", *sys.argv[1:]]),
        "python": sys.version.replace("\n", " "),
        "platform": platform.platform(),
        "processors": str(os.cpu_count()),
        **{name: _version(name) for name in _LIBRARIES},
    }
    return "".join([*(f"{name}: {value}\n" for name, value in facts.items()), "\n", *traceback.format_exception(error)])


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"


def _written(text: str) -> Path | None:
    """Write a text to a log file in the cache, or else in the temporary folder; None where neither can be written."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{os.getpid()}.log"
    with contextlib.suppress(Exception):  # the error must be reported even if the cache cannot be written
        folder = paths.cache() / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        path = _exclusively(folder / name, text)
        for old in sorted(folder.glob("*.log"))[:-MOST_LOGS]:
            old.unlink(missing_ok=True)
        return path
    with contextlib.suppress(OSError):
        return _exclusively(Path(tempfile.mkdtemp(prefix="harness-")) / name, text)
    return None


def _exclusively(path: Path, text: str) -> Path:
    with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return path

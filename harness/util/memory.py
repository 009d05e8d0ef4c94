"""Peak memory of this process, and of the processes that it started."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

_PROCESSES = Path("/proc")


def peak_resident_bytes() -> int:
    """Largest resident set of this process in bytes; 0 on systems that do not report it (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_resident_bytes_of_children() -> int:
    """Sum of the largest resident sets of all processes below this one that still run, in bytes; 0 where there is no /proc.

    An upper bound: they need not have their peaks at the same time, and pages that they share are counted for each.
    """
    parents: dict[int, int] = {}
    peaks: dict[int, int] = {}
    for folder in _PROCESSES.glob("[0-9]*"):
        with suppress(OSError, ValueError, KeyError):
            lines = (folder / "status").read_text(encoding="utf-8", errors="replace").splitlines()
            facts = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
            parents[int(folder.name)] = int(facts["PPid"])
            peaks[int(folder.name)] = int(facts["VmHWM"].split()[0]) * 1024
    return sum(peak for process, peak in peaks.items() if _descends(process, os.getpid(), parents))


def _descends(process: int, ancestor: int, parents: dict[int, int]) -> bool:
    while (parent := parents.get(process)) and process != parent:
        if parent == ancestor:
            return True
        process = parent
    return False

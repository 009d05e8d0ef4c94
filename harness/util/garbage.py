"""Pause Python's garbage collector while libraries are imported.

torch and transformers create about a million permanent objects. While they are imported, the collector traverses these again and again,
which takes longer than everything else that harness does before the first forward pass (benchmarks/startup.py).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_gc() -> Iterator[None]:
    """Pause the collector until `resume_gc` or the end of the block."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def resume_gc() -> None:
    """Resume a paused collector; existing objects count as permanent and are no longer traversed."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()

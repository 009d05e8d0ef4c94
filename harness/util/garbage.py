"""Python's cycle collector, held back while libraries are imported.

torch and transformers make about a million objects that stay. The collector walks them again and again while they are imported, which takes
longer than everything that the harness itself does before the first forward (benchmarks/startup.py).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_gc() -> Iterator[None]:
    """No collection until `resume`, or the end of the block."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def resume_gc() -> None:
    """Collect again where it was held back; objects made until now are taken to stay, and are not walked any more."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()

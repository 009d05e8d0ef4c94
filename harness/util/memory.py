"""Peak memory of this process."""

from __future__ import annotations

import sys


def peak_resident_bytes() -> int:
    """Largest resident set of this process in bytes; 0 on systems that do not report it (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

"""Runs the command line in a process of its own, with a folder of the user's own files, as a user outside the package would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def harness_outside(place: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `harness ARGUMENTS` does in `place`, with `folder` on HARNESS_PATH."""
    environment = os.environ | {"HARNESS_PATH": str(folder), "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments], cwd=place, env=environment, capture_output=True, text=True, check=False
    )

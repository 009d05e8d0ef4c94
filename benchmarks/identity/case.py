"""What every part of the benchmark shares: where to work, how to call the command line, and how an attempt ended."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Outcome = Literal["refused", "recomputed", "marked", "kept", "SLIPPED"]


@dataclass(frozen=True, slots=True)
class Case:
    """One attempt to make the harness report something false.

    Attributes:
        point: the kind of attempt, such as "data" or "weights".
        attempt: what was done, in a few words.
        outcome: "refused" (exit 2, or a failed verification), "recomputed" (a new digest, a new response), "marked" (shown beside the
            score), "kept" (nothing was lost, and every number is right), or "SLIPPED" (a wrong score, exit 0).
        seen: the line, digest or signature that shows it.
    """

    point: str
    attempt: str
    outcome: Outcome
    seen: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part works.

    Attributes:
        models: folder that holds `minimind2-small` and `smollm2-135m-instruct`.
        data: folder of dataset snapshots.
        scratch: an empty folder of the part's own; its cache lies in it.
    """

    models: Path
    data: Path
    scratch: Path

    def harness(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the command line offline, with a cache below the scratch folder."""
        environment = os.environ | {"HARNESS_CACHE": str(self.scratch / "cache"), "HARNESS_OFFLINE": "1", "COLUMNS": "200"}
        command = [sys.executable, "-m", "harness", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

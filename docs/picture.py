"""Draw the README's picture from finished runs: `python docs/picture.py results/demo docs/images/leaderboard.svg`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from harness.compare.leaderboard import leaderboard
from harness.report.terminal import leaderboard_view, run_table
from harness.store import runs


def main(folder: Path, target: Path) -> None:
    """Write an SVG of the first run's table and of the leaderboard of all runs below `folder`."""
    found = [(path.parent, runs.read(path)) for path in runs.find_runs([folder])]
    console = Console(record=True, width=88, highlight=False, file=io.StringIO())
    console.print(run_table(found[0][1]))
    console.print()
    console.print(leaderboard_view(leaderboard(found), console.width))
    target.write_text(console.export_svg(title="make demo"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

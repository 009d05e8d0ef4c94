"""`python -m benchmarks.identity --models DIR --data DIR`: attempts to get a false score with exit 0, and how each ended."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.identity.case import Case, Place

PARTS = ("contents", "results", "responses", "signatures", "kinds")


def main() -> int:
    """Print one line an attempt; exit 1 where anything slipped through."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=PARTS, action="append")
    chosen = parser.parse_args()
    cases: list[Case] = []
    for name in chosen.only or PARTS:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            place = Place(chosen.models.resolve(), chosen.data.resolve(), Path(scratch))
            for case in importlib.import_module(f"benchmarks.identity.{name}").cases(place):
                cases.append(case)
                print(f"{case.outcome:<10}  {case.point}: {case.attempt} | {case.seen}", flush=True)
        print(f"            ({name}: {time.perf_counter() - began:.0f} s)", flush=True)
    slipped = sum(case.outcome == "SLIPPED" for case in cases)
    print(f"{len(cases)} attempts, {slipped} slipped through")
    return 1 if slipped else 0


if __name__ == "__main__":
    sys.exit(main())

"""Where the engine's time goes: seconds in products of matrices, attention, what else torch does, and Python, by workload.

Example: python -m benchmarks.engine.where --models DIR --data DIR --json benchmarks/results/where-cpu.json --document docs/performance.md

Runs a quarter of each workload's items under torch's profiler, in a process for each part. The profiler itself costs time, most of it in
what is shown as Python. The rate is that of the products alone, over the best that this machine reaches on a large square product.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.documents import put, table
from benchmarks.engine.worker import ours
from benchmarks.engine.workloads import WORKLOADS, Part, write_tasks

_KINDS = {
    "products of matrices": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear", "aten::matmul"),
    "attention": ("aten::_scaled_dot_product", "aten::scaled_dot_product", "aten::_flash_attention"),
}
_REST, _PYTHON = "the rest of torch", "Python and the profiler"


def _kind(name: str) -> str:
    return next((kind for kind, names in _KINDS.items() if any(name == one or name.startswith(one + "_") for one in names)), _REST)


def watched(method: Callable[..., Iterator[Any]], found: dict[str, float]) -> Callable[..., Iterator[Any]]:
    """The engine's method with its seconds by kind, and the operations of its products, added to `found`."""

    def run(*args: Any, **kwargs: Any) -> Iterator[Any]:
        from torch.profiler import ProfilerActivity, profile

        began = time.perf_counter()
        with profile(activities=[ProfilerActivity.CPU], with_flops=True) as profiler:
            yield from method(*args, **kwargs)
        whole = time.perf_counter() - began
        events = profiler.key_averages()
        for event in events:
            found[_kind(event.key)] += event.self_cpu_time_total / 1e6
            found["operations"] += event.flops if _kind(event.key) == "products of matrices" else 0
        found[_PYTHON] += max(0.0, whole - sum(event.self_cpu_time_total for event in events) / 1e6)

    return run


def one_part(given: argparse.Namespace) -> None:
    """Run one part and print what was found as JSON."""
    from harness.engine.transformers.engine import TransformersEngine

    found: dict[str, float] = defaultdict(float)
    for name in ("score", "generate"):
        setattr(TransformersEngine, name, watched(getattr(TransformersEngine, name), found))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HARNESS_CACHE"] = folder
        given.output = Path(folder) / "out"
        ours(given)
    print("\n" + json.dumps(found))


def measure(part: Part, model: Path, limit: int, tasks: Path, threads: int) -> dict[str, float]:
    """One part in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.engine.where", "--model", str(model), "--tasks-folder", str(tasks)]
    command += ["--tasks", ",".join(part.tasks), "--shots", str(part.shots), "--limit", str(limit)]
    own = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def rows(kept: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """A line for each workload: seconds, shares, and the products' share of the matrix rate."""
    for key, found in kept["found"].items():
        kinds = [*_KINDS, _REST, _PYTHON]
        whole = sum(found.get(kind, 0.0) for kind in kinds)
        shares = [f"{100 * found.get(kind, 0.0) / whole:.0f} %" for kind in kinds]
        rate = found["operations"] / found["products of matrices"] / kept["matrix_rate"]
        yield (key, f"{whole:.1f} s", *shares, f"{rate:.2f}")


def main() -> None:
    """Measure every workload, then print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="folder that holds both models")
    parser.add_argument("--data", type=Path, help="folder of dataset snapshots")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--document", type=Path, help="Markdown whose table is written anew")
    own = parser.add_argument_group("of one part, which the command starts itself")
    own.add_argument("--model", type=Path)
    own.add_argument("--tasks-folder", type=Path)
    own.add_argument("--tasks")
    own.add_argument("--shots", type=int)
    own.add_argument("--limit", type=int)
    parser.set_defaults(device="cpu", dtype="float32", adapters="", merge=False)
    given = parser.parse_args()
    if given.model:
        one_part(given)
        return
    import torch

    from benchmarks.engine.flops import matrix_rate

    torch.set_num_threads(given.threads)
    kept: dict[str, Any] = {"threads": given.threads, "matrix_rate": matrix_rate(), "found": {}}
    with tempfile.TemporaryDirectory() as folder:
        tasks = Path(folder) / "tasks"
        write_tasks(tasks, given.data.resolve())
        for workload in WORKLOADS:
            found: dict[str, float] = defaultdict(float)
            for part in workload.parts:
                limit = max(8, workload.limit // 4)
                for kind, amount in measure(part, given.models.resolve() / workload.model, limit, tasks, given.threads).items():
                    found[kind] += amount
            kept["found"][workload.key] = found
    lines = list(table(("", "measured", *_KINDS, _REST, _PYTHON, "rate of the products"), list(rows(kept))))
    print("\n".join(lines))
    if given.json:
        given.json.write_text(json.dumps(kept, indent=1) + "\n")
    if given.document:
        put(given.document, "benchmarks.engine.where", "\n".join(lines))


if __name__ == "__main__":
    main()

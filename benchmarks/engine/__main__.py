"""The engine against lm-eval 0.4.13 at its best batch size, on the same tasks, prompts, weights and machine.

Example: python -m benchmarks.engine --models DIR --data DIR --runs 3 --json benchmarks/results/engine-cpu.json

Every measurement is a process of its own, as a user would start it, with a cache of its own that begins empty; both sides take turns.
On a GPU: python -m benchmarks.engine --models DIR --data DIR --device cuda --dtype bfloat16 --shapes DIR --batch-sizes 8,32,64,128
--only mmlu_5shot,hellaswag --json benchmarks/results/engine-gpu.json

lm-eval's batch size is the fastest of 1, 8 and 16, or of those asked for, on a quarter of each workload's items. What was measured is in
the JSON file after each process, and is not measured again when the command is repeated: take another file for new figures.

Ratios are of medians of seconds of scoring, with three exceptions. dialogsum_t5: seconds for each decoded token, because lm-eval lets T5
write more than the task allows, and seconds against CTranslate2, which writes the same texts. end_to_end: whole processes of all workloads.
adapters: four processes of ours against one.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.documents import put, table
from benchmarks.engine.workloads import ADAPTERS_AIM, CAUSAL, CTRANSLATE2_AIM, WHOLE_AIM, WORKLOADS, Part, Workload, write_tasks

SHARES = (16, 4, 1)
ADAPTERS = ("one", "two", "three")
DETAILS = (
    "seconds at the matrix rate",
    "useful share of it, harness / lm-eval",
    "peak GiB, harness / lm-eval",
    "tokens requested / computed / decoded",
    "padding",
    "ms per item at 1/16, 1/4, 1",
    "lm-eval's batch",
)


@dataclass
class Kept:
    """Measurements by name, on disk after each."""

    path: Path
    found: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.is_file():
            self.found = json.loads(self.path.read_text())

    def save(self) -> None:
        """Write everything."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.found, indent=1, sort_keys=True) + "\n")


@dataclass
class Bench:
    """Starts processes and keeps what they measured."""

    models: Path
    folder: Path
    kept: Kept
    threads: int
    device: str = "cpu"
    dtype: str = "float32"
    batch_sizes: tuple[int, ...] = (1, 8, 16)

    def part(self, name: str, side: str, model: str, part: Part, limit: int, *more: str) -> dict[str, Any]:
        """One process, unless it was measured before."""
        runs = self.kept.found.setdefault("measurements", {})
        if name not in runs:
            with tempfile.TemporaryDirectory(dir=self.folder) as own:
                report = Path(own) / "report.json"
                asked = ["--shots", str(part.shots), "--limit", str(limit), *more]
                began = time.perf_counter()
                self.work(side, report, model, part, Path(own) / "out", *asked)
                wall = time.perf_counter() - began
                runs[name] = {"wall": round(wall, 3)} | json.loads(report.read_text())
                self.kept.save()
            print(f"{name:<40}{runs[name]['scoring']:>9.2f} s scoring{runs[name]['wall']:>9.2f} s in all", flush=True)
        found: dict[str, Any] = runs[name]
        return found

    def work(self, side: str, report: Path, model: str, part: Part, output: Path, *more: str) -> None:
        """Start a worker, its cache beside its output, and wait for it."""
        command = ["benchmarks.engine.worker", side, "--report", str(report), "--model", str(self.models / model), "--output", str(output)]
        command += ["--device", self.device, "--dtype", self.dtype] if side != "ctranslate2" else []
        command += ["--tasks-folder", str(self.folder / "tasks"), "--tasks", ",".join(part.tasks)]
        self.process([*command, *more], output.parent)

    def rate(self, name: str) -> None:
        """This machine's rate at matrix products, now."""
        rates = self.kept.found.setdefault("matrix_rate", {})
        if name not in rates:
            rates[name] = float(self.process(["benchmarks.engine.flops", "--device", self.device, "--dtype", self.dtype], self.folder))
            self.kept.save()

    def process(self, command: Sequence[str], cache: Path) -> str:
        """Run a module; returns what it printed."""
        threads = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true", "HARNESS_CACHE": str(cache / "cache")}
        done = subprocess.run(
            [sys.executable, "-m", *command], env={**os.environ, **threads, **quiet}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return done.stdout


def best_batch(bench: Bench, workload: Workload) -> int:
    """lm-eval's fastest batch size on a quarter of the items."""
    seconds: dict[int, float] = {}
    for size in bench.batch_sizes:
        limit = max(8, workload.limit // 4)
        seconds[size] = 0.0
        for number, part in enumerate(workload.parts):
            name = f"{workload.key} lm-eval quarter bs{size} #{number}"
            found = bench.part(name, "lm_eval", workload.model, part, limit, "--batch-size", str(size))
            seconds[size] += found["scoring"]
    return min(seconds, key=lambda size: seconds[size])


def against_lm_eval(bench: Bench, workload: Workload, runs: int) -> None:
    """Both sides, taking turns."""
    size = str(best_batch(bench, workload))
    bench.kept.found.setdefault("batch_size", {})[workload.key] = int(size)
    for run in range(runs):
        bench.rate(f"{workload.key} {run}")
        for number, part in enumerate(workload.parts):
            bench.part(f"{workload.key} ours {run} #{number}", "ours", workload.model, part, workload.limit)
            bench.part(f"{workload.key} lm-eval {run} #{number}", "lm_eval", workload.model, part, workload.limit, "--batch-size", size)


def growth(bench: Bench, workload: Workload) -> None:
    """Our side on a sixteenth and a quarter of the items."""
    for share in SHARES[:-1]:
        for number, part in enumerate(workload.parts):
            bench.part(f"{workload.key} ours 1/{share} #{number}", "ours", workload.model, part, max(1, workload.limit // share))


def against_ctranslate2(bench: Bench, workload: Workload, runs: int) -> None:
    """CTranslate2 on the prompts that a run of ours kept, at the fastest of three batch sizes."""
    (part,) = workload.parts
    ours = bench.folder / "prompts"
    if not ours.exists():
        bench.work("ours", bench.folder / "unused.json", workload.model, part, ours, "--limit", str(workload.limit))
    for run in range(runs):
        for size in (8, 16, 32):
            more = ("--ours", str(ours), "--batch-size", str(size))
            bench.part(f"{workload.key} ctranslate2 bs{size} {run}", "ctranslate2", workload.model, part, workload.limit, *more)


def adapters(bench: Bench, workload: Workload, runs: int) -> None:
    """Three adapters and the base in one process, and in four."""
    (part,) = workload.parts
    folders = []
    for number, name in enumerate(ADAPTERS):
        folder = bench.folder / "adapters" / name
        if not folder.exists():
            bench.process(["benchmarks.engine.adapter", str(bench.models / workload.model), str(folder), str(number)], bench.folder)
        folders.append(str(folder))
    for run in range(runs):
        bench.part(f"adapters joint {run}", "ours", workload.model, part, workload.limit, "--adapters", ",".join(["none", *folders]))
        for name, asked in zip(("none", *ADAPTERS), ("none", *folders), strict=True):
            bench.part(f"adapters {name} {run}", "ours", workload.model, part, workload.limit, "--adapters", asked)


@dataclass(frozen=True)
class Line:
    """One line of the table: seconds of both sides by run, and the ratio of their medians."""

    key: str
    what: str
    ours: list[float]
    theirs: list[float]
    aim: float

    @property
    def ratio(self) -> float:
        """How many times as fast."""
        return statistics.median(self.theirs) / statistics.median(self.ours)

    @property
    def cells(self) -> tuple[str, ...]:
        """As shown."""
        met = "yes" if self.ratio >= self.aim else "NO"
        medians = (_median(self.ours), _median(self.theirs))
        return (self.key, self.what, str(len(self.ours)), *medians, f"{self.ratio:.2f}", f"{self.aim:.1f}", met)


def _median(values: list[float]) -> str:
    middle = statistics.median(values)
    unit = (1e3, " ms") if middle < 0.1 else (1.0, " s")
    return f"{middle * unit[0]:.1f} [{min(values) * unit[0]:.1f}, {max(values) * unit[0]:.1f}]{unit[1]}"


@dataclass(frozen=True)
class Found:
    """What the JSON file holds, read for the tables."""

    kept: dict[str, Any]

    def sums(self, prefix: str, what: str = "scoring") -> list[float]:
        """For each run the sum over a workload's parts; runs that are not whole, or of which this was not kept, are left out."""
        parts = next(len(one.parts) for one in WORKLOADS if prefix.startswith(one.key))
        runs: dict[str, list[float]] = {}
        for name, one in self.kept["measurements"].items():
            if name.startswith(prefix + " "):
                run, _, number = name.removeprefix(prefix + " ").partition(" #")
                if run.isdigit() and number and what in one:
                    runs.setdefault(run, []).append(float(one[what]))
        return [sum(values) for _, values in sorted(runs.items()) if len(values) == parts]

    def lines(self) -> Iterator[Line]:
        """The table's lines, those for which both sides were measured."""
        whole: dict[str, list[list[float]]] = {"ours": [], "lm-eval": []}
        for one in WORKLOADS:
            ours, theirs = (self.sums(f"{one.key} {side}") for side in ("ours", "lm-eval"))
            if not ours or not theirs:
                continue
            for side, found in whole.items():
                found.append(self.sums(f"{one.key} {side}", "wall"))
            if one.key == "dialogsum_t5":
                ours = [a / b for a, b in zip(ours, self.sums("dialogsum_t5 ours", "decoded"), strict=True)]
                theirs = [a / b for a, b in zip(theirs, self.sums("dialogsum_t5 lm-eval", "decoded"), strict=True)]
            yield Line(
                one.key, f"{one.title}, {one.model}" + (", a decoded token" if one.key == "dialogsum_t5" else ""), ours, theirs, one.aim
            )
            if one.key == "dialogsum_t5" and (other := self._ctranslate2()):
                yield Line("dialogsum_t5", "the same against CTranslate2", self.sums("dialogsum_t5 ours"), other, CTRANSLATE2_AIM)
        if whole["ours"] and all(whole["ours"]) and all(whole["lm-eval"]):
            ours, theirs = ([sum(run) for run in zip(*found, strict=False)] for found in whole.values())
            yield Line("end_to_end", "whole processes, the workloads above", ours, theirs, WHOLE_AIM)
        joint = self._walls("adapters joint")
        apart = [sum(run) for run in zip(*(self._walls(f"adapters {name}") for name in ("none", *ADAPTERS)), strict=False)]
        if joint and apart:
            yield Line("adapters", "three adapters and base, one process against four", joint, apart, ADAPTERS_AIM)

    def _walls(self, prefix: str) -> list[float]:
        names = [name for name in self.kept["measurements"] if name.rsplit(" ", 1)[0] == prefix]
        return [float(self.kept["measurements"][name]["wall"]) for name in sorted(names)]

    def _ctranslate2(self) -> list[float]:
        by_size: dict[str, list[float]] = {}
        for name, one in self.kept["measurements"].items():
            if name.startswith("dialogsum_t5 ctranslate2 "):
                by_size.setdefault(name.split()[2], []).append(float(one["scoring"]))
        return min(by_size.values(), key=statistics.median, default=[])

    def details(self, workload: Workload) -> tuple[str, ...] | None:
        """Share of the machine's rate, memory, padding, and seconds an item as the work grows."""
        ours, theirs = (self.sums(f"{workload.key} {side}") for side in ("ours", "lm-eval"))
        flops = self.kept.get("useful_flops", {}).get(workload.key)
        rates = [rate for name, rate in self.kept.get("matrix_rate", {}).items() if name.startswith(workload.key)]
        if not ours or not theirs or not flops or not rates:
            return None
        rate = max(rates)
        share = " / ".join(f"{flops / statistics.median(values) / rate:.2f}" for values in (ours, theirs))
        peak = " / ".join(f"{max(self._values(f'{workload.key} {side} ', 'peak_bytes')) / 2**30:.2f}" for side in ("ours", "lm-eval"))
        tokens = [one["tokens"] for one in self._own(workload)]
        total = {name: sum(one[name] for one in tokens) for name in ("asked", "prefill", "padding", "decode")}
        padding = total["padding"] / max(1, total["padding"] + total["prefill"])
        growth = " ".join(f"{1e3 * seconds:.0f}" for seconds in self._growth(workload))
        counted = f"{total['asked']:,} / {total['prefill']:,} / {total['decode']:,}"
        batch = str(self.kept["batch_size"][workload.key])
        return (workload.key, f"{flops / rate:.1f}", share, peak, counted, f"{100 * padding:.1f} %", growth, batch)

    def _own(self, workload: Workload) -> list[dict[str, Any]]:
        names = [f"{workload.key} ours 0 #{number}" for number in range(len(workload.parts))]
        return [self.kept["measurements"][name] for name in names]

    def _values(self, prefix: str, what: str) -> list[float]:
        found = self.kept["measurements"].items()
        return [float(one[what]) for name, one in found if name.startswith(prefix) and "quarter" not in name]

    def _growth(self, workload: Workload) -> Iterator[float]:
        for share in SHARES:
            limit = max(1, workload.limit // share)
            items = sum(limit * len(part.tasks) for part in workload.parts)
            found = self.sums(f"{workload.key} ours") if share == 1 else [sum(self._values(f"{workload.key} ours 1/{share} #", "scoring"))]
            yield statistics.median(found) / items


def show(kept: dict[str, Any]) -> None:
    """Print both tables."""
    found, console = Found(kept), Console(width=150)
    table = Table("", "workload", "runs", "ours", "lm-eval", "ratio", "aim", "met", title="Median [lowest, highest] of the runs")
    for line in found.lines():
        table.add_row(*line.cells)
    console.print(table)
    more = Table("", *DETAILS)
    for workload in WORKLOADS:
        if cells := found.details(workload):
            more.add_row(*cells)
    console.print(more)


def document(kept: dict[str, Any]) -> str:
    """Both tables in Markdown."""
    found, place = Found(kept), kept["environment"]
    rows = [line.cells for line in found.lines()]
    more = [cells for workload in WORKLOADS if (cells := found.details(workload))]
    versions = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
    where = (
        f"{place['processor']}, {place['threads']} threads of {place['cores']} cores, Python {place['python']}, {versions}; "
        f"{', '.join(place['dates'])}"
    )
    return "\n".join(
        [
            f"{where}. Median [lowest, highest] of the runs; {place.get('dtype', 'float32')} on {place.get('device', 'cpu')}.",
            "",
            *table(("", "workload", "runs", "harness", "the other", "ratio", "aim", "met"), rows),
            "",
            *table(("", *DETAILS), more),
        ]
    )


def environment(given: argparse.Namespace, dates: Sequence[str]) -> dict[str, Any]:
    """Where and with what this was measured, today and on earlier dates."""
    names = ("torch", "transformers", "peft", "lm_eval", "ctranslate2")
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), ""
    )
    return {
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "threads": given.threads,
        "device": _device(given.device),
        "dtype": given.dtype,
        "weights": "random, of larger shapes" if given.shapes else "real",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in names},
        "dates": sorted({*dates, datetime.now(UTC).date().isoformat()}),
    }


def _device(name: str) -> str:
    if not name.startswith("cuda"):
        return name
    import torch

    return str(torch.cuda.get_device_name(name))


def main() -> None:
    """Measure what is missing, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder that holds both models")
    parser.add_argument("--data", type=Path, required=True, help="folder of dataset snapshots")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--batch-sizes", default="1,8,16", help="of lm-eval, of which the fastest is taken")
    parser.add_argument("--shapes", type=Path, help="folder for models of larger shapes with random weights, which are taken instead")
    parser.add_argument("--only", default="", help="workloads, separated by commas; adapters included")
    parser.add_argument("--json", type=Path, required=True, help="what was measured; read again and completed")
    parser.add_argument("--document", type=Path, help="Markdown whose tables are written anew")
    parser.add_argument("--show", action="store_true", help="print what the file holds, and measure nothing")
    given = parser.parse_args()
    kept = Kept(given.json)
    wanted = given.only.split(",") if given.only else [*(one.key for one in WORKLOADS), "adapters"]
    if not given.show:
        kept.found["environment"] = environment(given, kept.found.get("environment", {}).get("dates", ()))
        with tempfile.TemporaryDirectory() as folder:
            sizes = tuple(map(int, given.batch_sizes.split(",")))
            models = given.models.resolve()
            if given.shapes:
                from benchmarks.engine.shapes import make

                models = make(models, given.shapes.resolve())
            bench = Bench(models, Path(folder), kept, given.threads, given.device, given.dtype, sizes)
            write_tasks(bench.folder / "tasks", given.data.resolve())
            for workload in (one for one in WORKLOADS if one.key in wanted):
                against_lm_eval(bench, workload, given.runs)
                growth(bench, workload)
                if workload.key == "dialogsum_t5" and given.device == "cpu":
                    against_ctranslate2(bench, workload, given.runs)
                _count(bench, workload)
            if "adapters" in wanted:
                adapters(bench, next(one for one in WORKLOADS if one.model == CAUSAL), given.runs)
    show(kept.found)
    if given.document:
        put(given.document, "benchmarks.engine", document(kept.found))


def _count(bench: Bench, workload: Workload) -> None:
    flops = bench.kept.found.setdefault("useful_flops", {})
    if workload.key not in flops:
        from benchmarks.engine.flops import useful

        decoded = bench.kept.found["measurements"][f"{workload.key} ours 0 #0"]["decoded"]
        flops[workload.key] = useful(workload, bench.models, bench.folder / "tasks", decoded)
        bench.kept.save()


if __name__ == "__main__":
    main()

"""Every task whose data are available, evaluated on each model in one command; prints a table.

Example: python -m benchmarks.every_task --model DIR --model DIR --data DIR --limit 20 --markdown docs/every-task.md

A task counts as at hand when its scored split, and the split of its shots where it asks for some, can be read from the folder of data with
no network. Where the scored split is missing but the training split is there, the task is run on that, and its name says so.

`harness run` is started once a model; whatever it says beside its tables is shown, and makes the exit code 1: a task that runs
is one that runs without a warning.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from harness.errors import HarnessError
from harness.store import runs
from harness.store.records import MetricRecord, RunRecord
from harness.tasks.data import DataReader
from harness.tasks.registry import TaskEntry, TaskRegistry

_TRAIN = "_on_train"


@dataclass(frozen=True)
class Asked:
    """What `--tasks` gets.

    Attributes:
        names: tasks that are shipped.
        files: the same tasks on their training split.
        missing: tasks with no rows here.
    """

    names: list[str]
    files: list[str]
    missing: list[str]


def _readable(reader: DataReader, entry: TaskEntry, split: str | None) -> bool:
    try:
        return split is None or bool(reader.split(entry.task, split, entry.path.parent).items)
    except HarnessError:
        return False


def at_hand(registry: TaskRegistry, data: Path, folder: Path) -> Asked:
    """The tasks that can be run on `data`; files for those that only have training rows are written to `folder`."""
    reader, asked = DataReader(data), Asked([], [], [])
    for name, entry in registry.tasks.items():
        task = entry.task
        shots = task.shots.split if task.shots.number else None
        if not _readable(reader, entry, shots):
            asked.missing.append(name)
        elif _readable(reader, entry, task.data.split):
            asked.names.append(name)
        elif _readable(reader, entry, "train"):
            path = folder / f"{name}.yaml"
            path.write_text(yaml.safe_dump({"include": str(entry.path), "task": name + _TRAIN, "data": {"split": "train"}}))
            asked.files.append(str(path))
        else:
            asked.missing.append(name)
    return asked


def scored(model: Path, asked: Asked, data: Path, limit: int, output: Path) -> tuple[RunRecord, str]:
    """One `harness run` over all tasks; returns its record and what it said on standard error."""
    command = [sys.executable, "-m", "harness", "run", "--model", str(model), "--tasks", ",".join([*asked.names, *asked.files])]
    command += ["--limit", str(limit), "--data", str(data), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HARNESS_OFFLINE": "1"}, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:6])} … ended with {done.returncode}:\n{done.stderr}")
    return runs.read(output), done.stderr.strip()


def _cell(metric: MetricRecord | None) -> str:
    if metric is None:
        return ""
    if metric.value is None:
        return f"none: {metric.reason}"
    interval = f" [{metric.ci[0]:.3g}, {metric.ci[1]:.3g}]" if metric.ci else ""
    return f"{metric.value:.3g}{interval}"


def _rows(records: Sequence[RunRecord]) -> Iterator[list[str]]:
    for name, task in records[0].tasks.items():
        for metric in task.headline or list(task.metrics)[:1] or [""]:
            cells = [_cell(record.tasks[name].metrics.get(metric)) for record in records]
            yield [name, str(task.items), str(task.shots), task.answer.replace("_", " "), metric or "none: samples only", *cells]


def table(records: Sequence[RunRecord]) -> list[str]:
    """A Markdown table: a row for each task's headline metric, a column for each system."""
    header = ["task", "items", "shots", "answer", "metric", *(record.system.name for record in records)]
    lines = [header, ["---"] * len(header), *_rows(records)]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _document(records: Sequence[RunRecord], asked: Asked, limit: int) -> str:
    first = records[0]
    count = len(first.tasks)
    return "\n".join(
        [
            "# Every task whose data are available",
            "",
            f"Printed by `python -m benchmarks.every_task`: {count} tasks, the first {limit} items of each, with the task's own",
            "number of few-shot examples and first template, in one `harness run` for each model. 95 % intervals in brackets. So few",
            f"items show that a task runs, not how good a model is. Tasks ending in `{_TRAIN}` used training rows, because their",
            "evaluation split was not available.",
            "",
            *(
                f"- {record.system.name}: {record.system.dtype} on {record.environment.get('device', 'cpu')}, "
                f"{record.efficiency.requests.unique:,} requests"
                for record in records
            ),
            "",
            *table(records),
            "",
            f"Not run, because the data were not available: {', '.join(f'`{name}`' for name in asked.missing)}.",
            "",
        ]
    )


def main() -> None:
    """Run every task whose data are available and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, action="append", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--output", type=Path, default=Path("results/every-task"))
    options = parser.parse_args()
    os.environ["HARNESS_OFFLINE"] = "1"
    said = {}
    with tempfile.TemporaryDirectory() as folder:
        asked = at_hand(TaskRegistry.default(), options.data.resolve(), Path(folder))
        print(f"{len(asked.names) + len(asked.files)} tasks at hand, {len(asked.missing)} without rows", flush=True)
        records = []
        for model in options.model:
            record, said[model.name] = scored(model, asked, options.data.resolve(), options.limit, options.output / model.name)
            records.append(record)
            print(f"{model.name}: {record.efficiency.seconds.get('total', 0.0):.0f} s", flush=True)
    document = _document(records, asked, options.limit)
    print(document)
    if options.markdown is not None:
        options.markdown.write_text(document)
    for model_name, text in said.items():
        if text:
            print(f"{model_name} said:\n{text}", file=sys.stderr)
    raise SystemExit(any(said.values()))


if __name__ == "__main__":
    main()

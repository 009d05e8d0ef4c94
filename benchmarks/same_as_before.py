"""The scores of an earlier checkout, run again by this one.

Example: python -m benchmarks.same_as_before --before CHECKOUT --models DIR --data DIR

Five runs (a decoder-only model, an encoder-decoder model, an adapter beside its base, every family of measures, and a task of lm-eval) are
made by both checkouts, each with an empty cache. Scores, signatures, samples, statistics and cached responses must be equal, value for
value; fields that have another name now are mapped, and what tells of the time, the machine or the command is left out. So are sentences
(reasons), and the digest of the code behind a task of lm-eval, which covered our own reader of its data before. Exit code 1 where anything
differs.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
RENAMED = {"wordings": "template_variants", "disturbances": "perturbations", "from_store": "cached"}
"""Fields of schema 2 as the earlier checkout may write them, and their present names."""
COUNTED = {"requests": {"asked": "unique"}, "tokens": {"asked": "requested"}}
NEW = {(".system", "identity"), (".system", "engine_code"), (".system", "engine_args")}
"""Fields that only the present schema has."""
OF_THE_RUN = {"created", "command", "digest", "harness_version", "environment"}
WORDS_AND_CODE = {"reason", "code_digest"}
OF_THE_MACHINE = {
    "decode_tokens_per_second",
    "energy_joules",
    "peak_memory_bytes",
    "prefill_time",
    "prefill_tokens_per_second",
    "seconds",
    "seconds_alone",
    "step_time",
}


@dataclass(frozen=True)
class Case:
    """One command that both checkouts run.

    Attributes:
        name: of the case.
        model: folder below the models' folder.
        arguments: of `harness run`, beside model, data and output.
    """

    name: str
    model: str
    arguments: tuple[str, ...]


CASES = (
    Case("decoder-only", "smollm2-135m-instruct", ("--tasks", "glue_sst2,mmlu_anatomy,dialogsum", "--limit", "12")),
    Case("encoder-decoder", "flan-t5-small-titles", ("--tasks", "glue_sst2,dialogsum", "--limit", "12")),
    Case("adapter", "smollm2-135m-instruct", ("--adapter", "none,lora_r8", "--tasks", "demo_dialogue,demo_sentiment", "--limit", "8")),
    Case(
        "measures",
        "minimind2-small",
        ("--tasks", "glue_sst2,dialogsum", "--limit", "10", "--measures", "all", "--toxicity", "profanity", "--template", "all"),
    ),
    Case("lm-eval", "minimind2-small", ("--tasks", "lm_eval:cola", "--limit", "10")),
)


def run(case: Case, checkout: Path, models: Path, data: Path, folder: Path) -> None:
    """Run a case with the package of a checkout, results and cache below `folder`."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "HARNESS_CACHE": str(folder / "cache"),
        "HARNESS_OFFLINE": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "harness", "run", "--model", str(models / case.model), "--data", str(data)]
    done = subprocess.run(
        [*command, *case.arguments, "--output", str(folder / "results")],
        env=environment,
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{case.name}, {checkout}: exit code {done.returncode}\n{done.stderr}")


def mapped(value: Any, parent: str = "") -> Any:
    """A document with present names, without what tells of one run or one machine."""
    if isinstance(value, Mapping):
        names = RENAMED | COUNTED.get(parent, {})
        kept = {
            name: part
            for name, part in value.items()
            if name not in OF_THE_MACHINE | WORDS_AND_CODE and not (parent == "" and name in OF_THE_RUN)
        }
        return {names.get(name, name): mapped(part, names.get(name, name)) for name, part in kept.items()}
    return [mapped(part, parent or "list") for part in value] if isinstance(value, list) else value


def differences(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """Where two documents differ, as paths."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            if name not in before and (where, name) in NEW:
                continue
            if name not in before or name not in after:
                yield f"{where}.{name}: only {'after' if name in after else 'before'}"
            else:
                yield from differences(before[name], after[name], f"{where}.{name}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (first, second) in enumerate(zip(before, after, strict=True)):
            yield from differences(first, second, f"{where}[{place}]")
    elif before != after:
        yield f"{where}: {before!r} before, {after!r} after"


def of_results(before: Path, after: Path) -> Iterator[str]:
    """Differences of every `results.json`, sample and statistic of two results folders."""
    files = [sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()) for folder in (before, after)]
    for name in sorted({*files[0]} ^ {*files[1]}):
        yield f"{name}: only {'before' if name in files[0] else 'after'}"
    for name in sorted({*files[0]} & {*files[1]}):
        first, second = before / name, after / name
        if name.suffix == ".json":
            yield from (
                f"{name}{where}" for where in differences(mapped(json.loads(first.read_text())), mapped(json.loads(second.read_text())))
            )
        elif first.read_bytes() != second.read_bytes():
            yield f"{name}: other bytes"


def of_caches(before: Path, after: Path) -> Iterator[str]:
    """Differences of two files of cached responses: keys and payloads."""
    rows = []
    for path in (before, after):
        connection = sqlite3.connect(path)
        rows.append(dict(connection.execute("SELECT key, payload FROM responses").fetchall()))
        connection.close()
    if rows[0].keys() != rows[1].keys():
        yield f"cached responses: {len(rows[0].keys() ^ rows[1].keys())} of {len(rows[0])} keys differ"
    changed = sum(rows[0][key] != rows[1][key] for key in rows[0].keys() & rows[1].keys())
    if changed:
        yield f"cached responses: {changed} of {len(rows[0])} differ"


def check(cases: Sequence[Case], before: Path, models: Path, data: Path) -> int:
    """Print what every case gave; returns how many differ."""
    failed = 0
    for case in cases:
        with tempfile.TemporaryDirectory() as scratch:
            old, new = Path(scratch, "before"), Path(scratch, "after")
            run(case, before, models, data, old)
            run(case, HERE, models, data, new)
            faults = [
                *of_results(old / "results", new / "results"),
                *of_caches(*(one / "cache" / "responses.sqlite" for one in (old, new))),
            ]
            files = sum(path.is_file() for path in (new / "results").rglob("*"))
        print(f"{case.name:<16} {files} files, {'equal' if not faults else f'{len(faults)} differences'}", flush=True)
        for fault in faults[:20]:
            print(f"    {fault[:300]}", flush=True)
        failed += bool(faults)
    return failed


def main() -> int:
    """Run and compare all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="an earlier checkout")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=[case.name for case in CASES], action="append")
    given = parser.parse_args()
    cases = [case for case in CASES if not given.only or case.name in given.only]
    return 1 if check(cases, given.before.resolve(), given.models.resolve(), given.data.resolve()) else 0


if __name__ == "__main__":
    sys.exit(main())

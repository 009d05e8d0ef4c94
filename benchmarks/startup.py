"""Seconds until the first forward pass of `harness run`, beside what importing torch and transformers and loading the weights cost.

Example: python -m benchmarks.startup --model DIR --data DIR --tasks mmlu_anatomy --limit 100

Each is a process of its own, taking turns with the others, with files warm. Ours ends where the model's forward is called first, by which
time tasks, data, prompts and token ids are ready. The harness's cache is empty each time; with --verified it is kept, so that model and
rows have been verified before. --before DIR measures an earlier checkout in the same turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.documents import put, table

_BASELINE = """
import sys, time
began = time.perf_counter()
import torch, transformers
config = transformers.AutoConfig.from_pretrained(sys.argv[1])
kind = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
kind.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
print(time.perf_counter() - began)
"""

_OURS = """
import os, sys, time
began = time.perf_counter()
from harness.models import loading
load = loading.load_model
def stop(module, *_):
    print(time.perf_counter() - began, flush=True)
    os._exit(0)
def watched(*args, **kwargs):
    loaded = load(*args, **kwargs)
    loaded.module.register_forward_pre_hook(stop)
    if loaded.architecture == "seq2seq":
        loaded.module.get_encoder().register_forward_pre_hook(stop)
    return loaded
loading.load_model = watched
from harness.cli import main
main()
"""


_IMPORTS, _BEFORE, _FIRST = "importing and loading", "before, until the first forward", "until the first forward"


def seconds(code: str, arguments: list[str], cache: Path, checkout: Path) -> float:
    """What the code prints, run in a process of its own that imports the checkout's package."""
    environment = {**os.environ, "HARNESS_CACHE": str(cache), "HARNESS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", default="mmlu_anatomy")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--verified", action="store_true", help="keep the harness's cache between the runs")
    parser.add_argument("--before", type=Path, help="another checkout, measured in the same turns")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--document", type=Path, help="Markdown whose table is written anew")
    given = parser.parse_args()
    model, here = given.model.resolve(), Path(__file__).resolve().parents[1]
    command = ["run", "--model", str(model), "--tasks", given.tasks, "--limit", str(given.limit), "--data", str(given.data.resolve())]
    checkouts = ({_BEFORE: given.before.resolve()} if given.before else {}) | {_FIRST: here}
    times: dict[str, list[float]] = {name: [] for name in (_IMPORTS, *checkouts)}
    with tempfile.TemporaryDirectory() as folder:
        for run in range(given.runs + 1):
            turn = {_IMPORTS: seconds(_BASELINE, [str(model)], Path(folder), here)}
            for name, checkout in checkouts.items():
                cache = Path(folder, name, "cache" if given.verified else f"cache-{run}")
                turn[name] = seconds(_OURS, [*command, "--output", f"{folder}/{name}/out-{run}"], cache, checkout)
            if run:  # the first one warms the files
                for name, value in turn.items():
                    times[name].append(value)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(f"{name:<32}{medians[name]:6.2f} s  [{min(values):.2f}, {max(values):.2f}] over {len(values)} runs")
    beyond = medians[_FIRST] - medians[_IMPORTS]
    print(f"{'beyond':<32}{beyond:6.2f} s")
    if given.before:
        differences = [after - before for before, after in zip(times[_BEFORE], times[_FIRST], strict=True)]
        spread = f"[{min(differences):.2f}, {max(differences):.2f}]"
        print(f"{'slower than before, a turn':<32}{statistics.median(differences):+6.2f} s  {spread}")
    if given.document:
        rows = [[name, f"{medians[name]:.2f} s [{min(v):.2f}, {max(v):.2f}]"] for name, v in times.items()]
        what = f"{model.name}, {given.tasks}, {given.limit} items; median [lowest, highest] of {given.runs} runs."
        lines = [what, "", *table(("", "seconds"), [*rows, ["beyond", f"{beyond:.2f} s"]])]
        put(given.document, "benchmarks.startup", "\n".join(lines))
    if given.json:
        given.json.write_text(json.dumps(times | {"beyond": beyond, "tasks": given.tasks, "limit": given.limit}, indent=1) + "\n")


if __name__ == "__main__":
    main()

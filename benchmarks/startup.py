"""Seconds until the first forward pass of `harness run`, beside what importing torch and transformers and loading the weights cost.

Example: python -m benchmarks.startup --model DIR --data DIR --tasks mmlu_anatomy --limit 100

Both are processes of their own, taking turns, with files warm; the harness's cache is empty each time. Ours ends where the model's forward
is called first, by which time tasks, data, prompts and token ids are ready.
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


def seconds(code: str, arguments: list[str], cache: Path) -> float:
    """What the code prints, run in a process of its own."""
    own = {**os.environ, "HARNESS_CACHE": str(cache), "HARNESS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=own, capture_output=True, text=True, check=False)
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
    parser.add_argument("--json", type=Path)
    parser.add_argument("--document", type=Path, help="Markdown whose table is written anew")
    given = parser.parse_args()
    command = ["run", "--model", str(given.model), "--tasks", given.tasks, "--limit", str(given.limit), "--data", str(given.data)]
    found: dict[str, list[float]] = {"importing and loading": [], "until the first forward": []}
    for run in range(given.runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            baseline = seconds(_BASELINE, [str(given.model)], Path(folder))
            ours = seconds(_OURS, [*command, "--output", f"{folder}/out"], Path(folder) / "cache")
        if run:  # the first one warms the files
            found["importing and loading"].append(baseline)
            found["until the first forward"].append(ours)
    for name, values in found.items():
        print(f"{name:<26}{statistics.median(values):6.2f} s  [{min(values):.2f}, {max(values):.2f}] over {len(values)} runs")
    beyond = statistics.median(found["until the first forward"]) - statistics.median(found["importing and loading"])
    print(f"{'beyond':<26}{beyond:6.2f} s")
    if given.document:
        rows = [[name, f"{statistics.median(v):.2f} s [{min(v):.2f}, {max(v):.2f}]"] for name, v in found.items()]
        what = f"{given.model.name}, {given.tasks}, {given.limit} items; median [lowest, highest] of {given.runs} runs."
        lines = [what, "", *table(("", "seconds"), [*rows, ["beyond", f"{beyond:.2f} s"]])]
        put(given.document, "benchmarks.startup", "\n".join(lines))
    if given.json:
        given.json.write_text(json.dumps(found | {"beyond": beyond, "tasks": given.tasks, "limit": given.limit}, indent=1) + "\n")


if __name__ == "__main__":
    main()

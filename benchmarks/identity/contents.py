"""Other contents behind the same names, sizes and times: of datasets, of local files, of weights, of the hub's cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.identity.case import Case, Outcome, Place

TASK = "glue_rte"
PARQUET = Path("nyu-mll/glue/rte/validation-00000-of-00001.parquet")
ITEMS = "8"
_SPOILT = 1 << 20
"""Bytes of weights that are overwritten."""

_MEANWHILE = """
import sys, pathlib
from harness.models import loading
load, path, when = loading.load_model, pathlib.Path(sys.argv.pop(1)), sys.argv.pop(1)
def spoil():
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(1 << 20))
def watched(*args, **kwargs):
    if when == "before":
        spoil()
    loaded = load(*args, **kwargs)
    if when == "after":
        spoil()
    return loaded
loading.load_model = watched
from harness.cli import main
main()
"""
"""The command line, with weights that change just before or just after they are loaded: after they were hashed in either case."""


@dataclass(frozen=True)
class Seen:
    """What came of a run: its exit code and first error line, and where it was finished what it says of itself."""

    code: int
    error: str
    data: str = ""
    system: str = ""
    computed: int = 0
    score: float | None = None


@dataclass
class Bench:
    """Runs of one place, each into a folder of its own, all with one cache."""

    place: Place
    runs: int = 0

    def run(self, model: Path, data: Path, task: str | Path = TASK, *extra: str | Path) -> Seen:
        """Score a few items."""
        return self.seen(self.place.harness(*self.arguments(model, data, task), *extra))

    def arguments(self, model: Path, data: Path, task: str | Path = TASK) -> list[str | Path]:
        """Of a run into a new folder."""
        self.runs += 1
        return ["run", "-m", model, "-t", task, "--limit", ITEMS, "--data", data, "--output", self.output]

    @property
    def output(self) -> Path:
        """The folder of the last run."""
        return self.place.scratch / "out" / str(self.runs)

    def seen(self, done: subprocess.CompletedProcess[str]) -> Seen:
        """What came of the last run."""
        path = self.output / "results.json"
        if done.returncode or not path.exists():
            lines = done.stderr.strip().splitlines()
            return Seen(done.returncode, next((line for line in lines if line.startswith("Error")), "\n".join(lines[:1])))
        record: dict[str, Any] = json.loads(path.read_text())
        (task,) = record["tasks"].values()
        score = next(iter(task["metrics"].values()))["value"]
        return Seen(0, "", task["data"]["digest"], record["system"]["digest"], record["efficiency"]["requests"]["computed"], score)


def cases(place: Place) -> Iterator[Case]:
    """Every attempt."""
    bench = Bench(place)
    yield from _data(bench)
    yield from _local_files(bench)
    yield from _hub_data(bench)
    yield from _weights(bench)
    yield from _meanwhile(bench)
    yield from _hub_weights(bench)
    yield from _adapters(bench)


def told(point: str, attempt: str, before: Seen, after: Seen) -> Case:
    """How an attempt ended: another content must be refused, or have another digest and, where it decides answers, new answers."""
    assert before.code == 0, before.error
    outcome: Outcome = "SLIPPED"
    if after.code == 2 and after.error:
        outcome, seen = "refused", f"exit 2: {after.error}"
    else:
        names = [name for name in ("data", "system") if getattr(before, name) != getattr(after, name)]
        changed = [f"{name} digest {getattr(before, name)[:8]} → {getattr(after, name)[:8]}" for name in names]
        seen = f"exit {after.code}; {', '.join(changed) or 'no digest changed'}; {after.computed} computed; {before.score} → {after.score}"
        if after.code == 0 and changed:
            outcome = "recomputed" if after.computed else "marked"
    return Case(point, attempt, outcome, seen)


@contextmanager
def times_kept(path: Path) -> Iterator[None]:
    """Set the time of modification back, as `touch -d` does."""
    before = path.stat()
    yield
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def spoil(path: Path, fill: int = 0) -> None:
    """Overwrite weights in the middle of a file, in place, its size and time of modification as before."""
    with times_kept(path), path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes([fill]) * _SPOILT)


def _data(bench: Bench) -> Iterator[Case]:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    model, given = bench.place.models / "minimind2-small", bench.place.scratch / "data"
    parquet = given / PARQUET
    parquet.parent.mkdir(parents=True)
    shutil.copytree(bench.place.data / PARQUET.parts[0] / PARQUET.parts[1], given / "nyu-mll" / "glue", dirs_exist_ok=True)
    for path in (given, *given.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    whole = parquet.read_bytes()
    rows = Dataset.from_parquet(str(parquet), cache_dir=str(bench.place.scratch / "library"))
    before = bench.run(model, given)

    def write(made: Any) -> None:
        made.to_parquet(parquet)

    attempts: dict[str, Callable[[], object]] = {
        "labels swapped in the parquet": lambda: write(rows.map(lambda row: {"label": 1 - row["label"]}, load_from_cache_file=False)),
        "other rows in the parquet": lambda: write(rows.select(range(100, 277))),
        "parquet without rows": lambda: write(rows.select([])),
        "parquet of 0 bytes": lambda: parquet.write_bytes(b""),
        "parquet cut in half": lambda: parquet.write_bytes(whole[: len(whole) // 2]),
        "parquet gone": lambda: parquet.unlink(),
        "one byte of a page changed": lambda: parquet.write_bytes(whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:]),
    }
    for name, attempt in attempts.items():
        stamp = parquet.stat()
        attempt()
        if parquet.exists():
            os.utime(parquet, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        yield told("data", f"{name}, its time kept", before, bench.run(model, given))
        parquet.write_bytes(whole)
        os.utime(parquet, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    copy = bench.place.scratch / "copy"
    shutil.copytree(given, copy)
    write(rows.select(range(100, 277)))
    shutil.copy2(parquet, copy / PARQUET)
    parquet.write_bytes(whole)
    yield told("data", "a copy of the folder with other rows, --data names the copy", before, bench.run(model, copy))


def _local_files(bench: Bench) -> Iterator[Case]:
    folder = bench.place.scratch / "task"
    folder.mkdir()
    path = folder / "rows.jsonl"
    questions = ["sky", "sea", "sun", "ice"]
    path.write_text("".join(json.dumps({"q": word, "a": number % 2}) + "\n" for number, word in enumerate(questions)))
    (folder / "own.yaml").write_text(
        "task: own\nabout: {title: Own}\ndata: {files: {test: rows.jsonl}, split: test}\nanswer: choices\n"
        "choices: ['yes', 'no']\ntarget: a\ntemplates:\n  - {name: plain, prompt: 'Is the {{ q }} blue? Answer:'}\nmetrics: [accuracy]\n"
    )
    model = bench.place.models / "minimind2-small"
    before = bench.run(model, bench.place.data, folder / "own.yaml")
    whole = path.read_text()
    for name, text in {
        "words changed in a local jsonl, its size and time kept": whole.replace("sky", "fog"),
        "labels changed in a local jsonl, its size and time kept": whole.replace('"a": 1', '"a": 0'),
        "local jsonl cut within a row": whole[:-8],
        "local jsonl emptied": "",
    }.items():
        with times_kept(path):
            path.write_text(text)
        yield told("data", name, before, bench.run(model, bench.place.data, folder / "own.yaml"))
        with times_kept(path):
            path.write_text(whole)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ |= values
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _into_hub_cache(hub: Path, kind: str, name: str, commit: str, files: dict[str, Path]) -> Path:
    """Lay files out as the hub client does; returns the folder of the commit."""
    root = hub / f"{kind}--{name.replace('/', '--')}"
    for inner, path in files.items():
        blob = root / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, blob)
        blob.chmod(0o644)
        link = root / "snapshots" / commit / inner
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text(commit)
    return root / "snapshots" / commit


def _hub_data(bench: Bench) -> Iterator[Case]:
    model, empty = bench.place.models / "minimind2-small", bench.place.scratch / "no-snapshots"
    empty.mkdir()
    source = bench.place.data / "nyu-mll" / "glue"
    files = {"README.md": source / "README.md"} | {
        path.relative_to(source).as_posix(): path for folder in ("rte", "cola") for path in sorted((source / folder).iterdir())
    }
    hub = bench.place.scratch / "hub"
    pinned = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
    commit = _into_hub_cache(hub, "datasets", "nyu-mll/glue", pinned, files)
    with _environment(HF_HUB_CACHE=str(hub), HF_DATASETS_CACHE=str(bench.place.scratch / "library")):
        before = bench.run(model, empty)
        parquet = commit / "rte" / PARQUET.name
        whole = parquet.read_bytes()
        with times_kept(parquet):
            parquet.write_bytes((bench.place.data / "nyu-mll" / "glue" / "cola" / PARQUET.name).read_bytes())
        yield told("data", "another dataset's file under a blob's name in the hub's cache", before, bench.run(model, empty))
        parquet.write_bytes(whole[:-1])
        yield told("data", "a blob of the hub's cache cut by one byte", before, bench.run(model, empty))
        parquet.write_bytes(whole)
        commit.rename(commit.with_name("0" * 40))
        yield told("data", "only another commit is in the hub's cache", before, bench.run(model, empty))


def _copied(bench: Bench, name: str) -> Path:
    """A copy of the model that can be written to."""
    folder = bench.place.scratch / name
    shutil.copytree(bench.place.models / "minimind2-small", folder)
    return folder


def _weights(bench: Bench) -> Iterator[Case]:
    data, kept = bench.place.data, bench.place.models / "minimind2-small"
    model = _copied(bench, "model")
    weights = model / "model.safetensors"
    spoilt = bench.place.scratch / "spoilt.safetensors"
    shutil.copy2(weights, spoilt)

    def archived() -> None:
        with tarfile.open(bench.place.scratch / "model.tar", "w") as archive:
            archive.add(spoilt, "model.safetensors")
        with tarfile.open(bench.place.scratch / "model.tar") as archive:
            archive.extractall(model, filter="data")

    def forged() -> None:
        spoil(weights, 5)
        path = bench.place.scratch / "cache" / "digests.json"
        state = weights.stat()
        hints = json.loads(path.read_text())
        own = [state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        path.write_text(json.dumps({name: [entry[0], *own] if name == str(weights) else entry for name, entry in hints.items()}))

    def settings(name: str, **values: Any) -> None:
        path = model / name
        content = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(content | values))

    def replaced() -> None:
        shutil.copy2(spoilt, model / "new")
        (model / "new").replace(weights)

    attempts: dict[str, Callable[[], object]] = {
        "weights overwritten in place, size and time kept": lambda: spoil(weights),
        "other weights by `cp -p`, size and time kept": lambda: subprocess.run(["cp", "-p", spoilt, weights], check=True),
        "other weights renamed into place, as rsync -t does": replaced,
        "other weights from a tar archive": archived,
        "weights overwritten, and the cached state made to fit (a drive without change times)": forged,
        "another end token in generation_config.json": lambda: settings("generation_config.json", eos_token_id=7),
        "another norm in config.json": lambda: settings("config.json", rms_norm_eps=0.1),
        "a token added in added_tokens.json": lambda: settings("added_tokens.json", **{"<x>": 6399}),
    }
    for number, (name, attempt) in enumerate(attempts.items(), start=1):
        before = bench.run(model, data)
        spoil(spoilt, number)
        attempt()
        yield told("weights", name, before, bench.run(model, data))
        for path in model.iterdir():
            path.unlink()
        for path in kept.iterdir():
            shutil.copy2(path, model / path.name)
    shutil.rmtree(model)


def _meanwhile(bench: Bench) -> Iterator[Case]:
    model = _copied(bench, "busy")
    weights = model / "model.safetensors"
    environment = os.environ | {"HARNESS_CACHE": str(bench.place.scratch / "busy-cache"), "HARNESS_OFFLINE": "1", "COLUMNS": "200"}
    before = bench.run(model, bench.place.data)
    for when, words in {"before": "between hashing and loading", "after": "after loading, while the run computes"}.items():
        command = [sys.executable, "-c", _MEANWHILE, str(weights), when, *map(str, bench.arguments(model, bench.place.data))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        yield told("weights", f"weights overwritten {words}", before, bench.seen(done))
        shutil.copy2(bench.place.models / "minimind2-small" / weights.name, weights)
    shutil.rmtree(model)


def _hub_weights(bench: Bench) -> Iterator[Case]:
    kept = bench.place.models / "minimind2-small"
    files = {path.name: path for path in kept.iterdir() if path.is_file()}
    folder = _into_hub_cache(bench.place.scratch / "hub", "models", "some/model", "a" * 40, files)
    attempts: dict[str, Callable[[Path], None]] = {
        "a blob of the hub's cache overwritten, its name, size and time kept": spoil,
        "a blob of the hub's cache cut by one byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    }
    for name, attempt in attempts.items():
        before = bench.run(folder, bench.place.data)
        attempt((folder / "model.safetensors").resolve())
        yield told("weights", name, before, bench.run(folder, bench.place.data))
        shutil.copy2(kept / "model.safetensors", (folder / "model.safetensors").resolve())


def _adapters(bench: Bench) -> Iterator[Case]:
    model, data = bench.place.models / "minimind2-small", bench.place.data
    adapter = bench.place.scratch / "adapter"
    _save_adapter(model, adapter)
    before = bench.run(model, data, TASK, "--adapter", adapter)
    weights = adapter / "adapter_model.safetensors"
    whole = weights.read_bytes()
    with times_kept(weights):
        weights.write_bytes(whole[:-64] + bytes(64))
    yield told("adapter", "an adapter's weights changed, size and time kept", before, bench.run(model, data, TASK, "--adapter", adapter))
    weights.write_bytes(whole)
    path = adapter / "adapter_config.json"
    with times_kept(path):
        path.write_text(path.read_text().replace('"lora_alpha": 8', '"lora_alpha": 9'))
    yield told("adapter", "an adapter's scale changed, size and time kept", before, bench.run(model, data, TASK, "--adapter", adapter))


def _save_adapter(model: Path, folder: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    module = AutoModelForCausalLM.from_pretrained(model)
    made: Any = get_peft_model(module, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    made.save_pretrained(folder)

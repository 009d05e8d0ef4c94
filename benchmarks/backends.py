"""Every backend, and every way to share a run, on real models: what is supported, how far it is from the default, and what it costs.

Example: python -m benchmarks.backends --models DIR --data DIR --json benchmarks/results/backends.json --document docs/backends.md

Each row runs `harness run` in processes of its own: a decoder-only model with and without a LoRA adapter on tasks that score choices (of
one token and of several), score texts and generate, and an encoder-decoder model on tasks that score choices and generate. Differences are
those of a log-probability from the first row's, in nats a token; texts are compared whole. CPU seconds are those of all processes of a
row, servers and clusters included. What a backend does not support is tried, and has to be refused with exit code 2. Rows whose programs
are not installed are left out: HARNESS_TEST_VLLM names an executable beside vLLM's Python, HARNESS_TEST_TRANSFORMERS a `transformers` that
can serve.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.documents import put, table

ROOT = Path(__file__).resolve().parents[1]
CAUSAL, SEQ2SEQ = "smollm2-135m-instruct", "flan-t5-small-titles"
LORA = ROOT / "adapters" / "lora_r8" / CAUSAL
CHOICES, GENERATION = ("glue_sst2", "hellaswag"), ("dialogsum",)
ITEMS = 16
CELLS = ("choices", "texts", "generation", "LoRA", "encoder-decoder")
_SUBREAPER = 36
_MARK = "HARNESS_BENCHMARK_ROW"
_PAUSE = 0.2
_TEXTS = (
    "The river rises in the hills and flows south to the sea.",
    "She opened the old book, and a letter fell to the floor.",
    "Prices fell again in March, although nobody had expected it.",
    "Two dogs slept by the door until the bell rang.",
)


@dataclass(frozen=True)
class Place:
    """Where a row runs.

    Attributes:
        folder: its own.
        models: the models' folder.
        data: snapshots of datasets.
        texts: file of the task that scores texts.
    """

    folder: Path
    models: Path
    data: Path
    texts: Path

    def run(self, *arguments: str, python: str = sys.executable, **environment: str) -> int:
        """The exit code of a command of the harness; its output goes to a log."""
        variables = {"HARNESS_OFFLINE": "1", "HARNESS_CACHE": str(self.folder / "cache"), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        variables["OMP_NUM_THREADS"] = "1"
        with (self.folder / "log").open("ab") as log:
            log.write(f"$ harness {' '.join(arguments)}\n".encode())
            log.flush()
            command = [python, "-m", "harness", *arguments]
            return subprocess.run(
                command, env=os.environ | variables | environment, stdout=log, stderr=log, cwd=self.folder, check=False
            ).returncode

    def causal(self, tasks: Sequence[str], adapters: Sequence[str], *more: str, name: str = "causal") -> list[str]:
        """Arguments of a run of the decoder-only model."""
        return self._arguments(self.models / CAUSAL, tasks, ["--adapter", ",".join(adapters), *more], name)

    def seq2seq(self, tasks: Sequence[str], *more: str, name: str = "seq2seq") -> list[str]:
        """Arguments of a run of the encoder-decoder model."""
        return self._arguments(self.models / SEQ2SEQ, tasks, list(more), name)

    def _arguments(self, model: Path, tasks: Sequence[str], more: Sequence[str], name: str) -> list[str]:
        names = ",".join(str(self.texts) if task == "texts" else task for task in tasks)
        limits = ["--limit", str(ITEMS), "--data", str(self.data), "--output", str(self.folder / name)]
        return ["run", "--model", str(model), "--tasks", names, *limits, *more]


ALL = (*CHOICES, "texts", *GENERATION)
BOTH = ("none", str(LORA))


@dataclass
class RowResult:
    """What a row printed: exit codes of its runs by name, and of what was tried although it is not supported."""

    codes: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)


def in_process(place: Place, *more: str) -> RowResult:
    """The default backend with further options."""
    causal = place.run(*place.causal(ALL, BOTH, *more))
    return RowResult({"causal": causal, "seq2seq": place.run(*place.seq2seq((*CHOICES[:1], *GENERATION), *more))})


def shards(place: Place) -> RowResult:
    """Three shards, merged."""
    codes = {}
    for name, arguments in (("causal", place.causal(ALL, BOTH)), ("seq2seq", place.seq2seq((*CHOICES[:1], *GENERATION)))):
        folders = [str(place.folder / f"{name}-{number}") for number in (1, 2, 3)]
        ran = [place.run(*arguments, "--shard", f"{number}/3", "--output", folder) for number, folder in enumerate(folders, start=1)]
        codes[name] = max(*ran, place.run("merge", *folders, "--output", str(place.folder / name)))
    return RowResult(codes)


def on_ray(place: Place) -> RowResult:
    """A Ray cluster of three nodes."""
    from benchmarks.workers.cluster import isolated, local_cluster

    isolated()
    with local_cluster(3):
        return in_process(place, "--workers", "ray", "--device", "cpu")


def vllm(place: Place) -> RowResult:
    """Run vLLM in the environment that has it."""
    python = str(_executable("HARNESS_TEST_VLLM", "vllm").with_name("python"))
    settings = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": "0", "VLLM_HOST_IP": "127.0.0.1", "VLLM_NO_USAGE_STATS": "1"}
    code = place.run(*place.causal(ALL, BOTH, "--engine", "vllm", "--dtype", "float32"), python=python, **settings)
    tried = place.run(*place.seq2seq(GENERATION, "--engine", "vllm", name="tried"), python=python, **settings)
    return RowResult({"causal": code}, {"encoder-decoder": tried})


def vllm_server(place: Place) -> RowResult:
    """Run vLLM's server, and ask it."""
    from tests.real import servers

    server = servers.vllm(place.models / CAUSAL, place.folder, {"lora_r8": LORA}, ("q_proj", "v_proj"))
    server.start()
    try:
        return RowResult({"causal": place.run(*place.causal(ALL, ("none", "lora_r8"), "--engine", "server", "--base-url", server.url))})
    finally:
        server.kill()


def transformers_serve(place: Place) -> RowResult:
    """`transformers serve`, which answers requests for log-probabilities without them."""
    from tests.real import servers

    server = servers.transformers_serve(place.models / CAUSAL, place.folder)
    server.start()
    try:
        engine = ("--engine", "server", "--base-url", server.url)
        code = place.run(*place.causal(GENERATION, ("none",), *engine))
        refused = {
            "choices": place.run(*place.causal(CHOICES, ("none",), *engine, name="tried")),
            "texts": place.run(*place.causal(("texts",), ("none",), *engine, name="tried")),
        }
        return RowResult({"causal": code}, refused)
    finally:
        server.kill()


def ctranslate2(place: Place) -> RowResult:
    """CTranslate2, for texts of the encoder-decoder model."""
    engine = ("--engine", "ctranslate2")
    code = place.run(*place.seq2seq(GENERATION, *engine))
    refused = {
        "choices": place.run(*place.seq2seq(CHOICES[:1], *engine, name="tried")),
        "LoRA": place.run(*place.seq2seq(GENERATION, *engine, "--adapter", str(LORA), name="tried")),
        "decoder-only": place.run(*place.causal(GENERATION, ("none",), *engine, name="tried")),
    }
    return RowResult({"seq2seq": code}, refused)


ROWS: Mapping[str, tuple[str, Callable[[Place], RowResult]]] = {
    "transformers": ("transformers", in_process),
    "processes": ("2 processes", lambda place: in_process(place, "--workers", "2")),
    "shards": ("3 shards, merged", shards),
    "ray": ("Ray, 3 nodes", on_ray),
    "vllm": ("vLLM", vllm),
    "vllm-server": ("vLLM's server", vllm_server),
    "transformers-serve": ("transformers serve", transformers_serve),
    "ctranslate2": ("CTranslate2", ctranslate2),
}


def _executable(variable: str, name: str) -> Path:
    chosen = os.environ.get(variable) or shutil.which(name)
    if chosen is None:
        raise FileNotFoundError(name)
    return Path(chosen)


def available(key: str) -> bool:
    """Whether a row's programs are installed."""
    needed = {"vllm": ("HARNESS_TEST_VLLM", "vllm"), "vllm-server": ("HARNESS_TEST_VLLM", "vllm")}
    needed["transformers-serve"] = ("HARNESS_TEST_TRANSFORMERS", "transformers")
    try:
        return key not in needed or _executable(*needed[key]).is_file()
    except FileNotFoundError:
        return False


class ProcessorMeter(threading.Thread):
    """Sums the CPU seconds of all processes that carry a mark in their environment, wherever their parents are."""

    def __init__(self, mark: str) -> None:
        super().__init__(daemon=True)
        self._mark = f"{_MARK}={mark}".encode()
        self._seconds: dict[tuple[str, str], float] = {}
        self._own: dict[tuple[str, str], bool] = {}
        self._end = threading.Event()

    def run(self) -> None:
        """Look, until the end."""
        while not self._end.wait(_PAUSE):
            self._look()

    def finish(self) -> float:
        """CPU seconds so far."""
        self._end.set()
        self.join()
        self._look()
        return sum(self._seconds.values())

    def _look(self) -> None:
        tick = os.sysconf("SC_CLK_TCK")
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                key = (folder.name, fields[19])
                if key not in self._own:
                    self._own[key] = self._mark in (folder / "environ").read_bytes().split(b"\0")
                if self._own[key]:
                    self._seconds[key] = (int(fields[11]) + int(fields[12])) / tick


def run_row(key: str, place: Place) -> None:
    """Run a row in this process, end what it left, and print codes and CPU seconds."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    meter = ProcessorMeter(os.environ[_MARK])
    meter.start()
    result = ROWS[key][1](place)
    seconds = meter.finish()
    with contextlib.suppress(ChildProcessError):
        while True:
            _end_children()
            os.waitpid(-1, 0)
    print(json.dumps({"codes": result.codes, "refused": result.refused, "cpu_seconds": seconds}))


def _end_children() -> None:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                os.kill(int(stat.parent.name), signal.SIGKILL)


@dataclass
class Agreement:
    """How far a row is from another one.

    Attributes:
        nats: largest difference of a log-probability by cell, a token.
        texts: texts that are equal, of how many, by cell.
        equal: whether every file with samples is the same, byte by byte.
    """

    nats: dict[str, float] = field(default_factory=dict)
    texts: dict[str, tuple[int, int]] = field(default_factory=dict)
    equal: bool = True


def samples(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(adapter or base, task, file) of every file with samples below a folder."""
    for file in sorted(folder.rglob("samples/*.jsonl")):
        yield "LoRA" if "+" in file.parent.parent.name or "lora" in file.parent.parent.name else "base", file.stem, file


def agreement(mine: Path, theirs: Path, tokens: Mapping[tuple[str, str], Sequence[int]]) -> Agreement:
    """Compare a row's samples with another row's.

    Args:
        mine: the row's folder.
        theirs: the other's.
        tokens: of each choice or text, by task and item.
    """
    made = Agreement()
    for model in ("causal", "seq2seq"):
        others = {(who, task): file for who, task, file in samples(theirs / model)}
        for who, task, file in samples(mine / model):
            lines, other_lines = file.read_text().splitlines(), others[who, task].read_text().splitlines()
            made.equal &= lines == other_lines
            cells = ["encoder-decoder"] if model == "seq2seq" else ["LoRA"] if who == "LoRA" else []
            cells += ["generation"] if task in GENERATION else ["texts"] if task == "texts" else ["choices"]
            for one, other in zip(map(json.loads, lines), map(json.loads, other_lines), strict=True):
                for cell in cells if model == "causal" else cells[:1]:
                    _compare(made, cell, task, one, other, tokens)
    return made


def _compare(
    made: Agreement, cell: str, task: str, one: Mapping[str, Any], other: Mapping[str, Any], tokens: Mapping[tuple[str, str], Sequence[int]]
) -> None:
    if task in GENERATION:
        same, count = made.texts.get(cell, (0, 0))
        made.texts[cell] = (same + (one["prediction"] == other["prediction"]), count + 1)
        return
    lengths = tokens[task, one["id"]]
    differences = [abs(mine - theirs) / size for mine, theirs, size in zip(one["logprobs"], other["logprobs"], lengths, strict=True)]
    made.nats[cell] = max(made.nats.get(cell, 0.0), *differences)


def token_counts(place: Place) -> dict[tuple[str, str], list[int]]:
    """Tokens of each choice or text, by task and item, of both models' runs; where their tokenizers differ, the smaller number."""
    from harness.contract import ScoreChoices, ScoreText
    from harness.evaluation.options import Options
    from harness.evaluation.plan import plan
    from harness.evaluation.progress import SilentProgress, StageTimer

    counts: dict[tuple[str, str], list[int]] = {}
    for model, tasks in ((SEQ2SEQ, CHOICES[:1]), (CAUSAL, (*CHOICES, str(place.texts)))):
        options = Options(model=str(place.models / model), tasks=tasks, limit=ITEMS, data=place.data)
        for planned in plan(options, SilentProgress(), StageTimer()).tasks:
            for item in planned.item_requests:
                if isinstance(item.request, ScoreChoices):
                    lengths = [len(choice) for choice in item.request.choices]
                elif isinstance(item.request, ScoreText):
                    lengths = [len(scored) for _, scored in item.request.windows]
                known = counts.get((planned.task.task, item.question.item.id), lengths)
                counts[planned.task.task, item.question.item.id] = [min(pair) for pair in zip(known, lengths, strict=True)]
    return counts


def cell_text(key: str, cell: str, ran: Mapping[str, Any], found: Agreement) -> str:
    """What a row says of a cell."""
    if cell in ran["refused"]:
        return "refused" if ran["refused"][cell] == 2 else f"exit code {ran['refused'][cell]}"
    parts = []
    if cell in found.nats:
        parts.append("reference" if key == "transformers" else "0" if found.nats[cell] == 0 else f"{found.nats[cell]:.1e}")
    if cell in found.texts:
        same, count = found.texts[cell]
        parts.append(f"{same} of {count}")
    return ", ".join(parts) or "-"


def rows_text(results: Mapping[str, Any]) -> str:
    """The table, and what it stands on."""
    body = []
    for key, row in results["rows"].items():
        agreed = Agreement(row["nats"], {cell: tuple(counts) for cell, counts in row["texts"].items()}, row["equal"])
        bytes_equal = "-" if key == "transformers" else "yes" if agreed.equal else "no"
        body.append([ROWS[key][0], *(cell_text(key, cell, row, agreed) for cell in CELLS), bytes_equal, f"{row['cpu_seconds']:,.0f}"])
    head = ["", *CELLS, "equal bytes", "CPU s"]
    said = (
        f"{CAUSAL} and {SEQ2SEQ} in float32 on {results['machine']}, one thread each. Largest difference of a log-probability from the "
        "first row's in nats a token, and texts that are equal of all. CPU seconds of all processes of a row: start-up, servers and "
        "clusters included."
    )
    return "\n".join([said, "", *table(head, body)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", help="rows, separated by commas; the others are read from --json")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="where rows run; kept")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "backends.json")
    parser.add_argument("--document", type=Path)
    given = parser.parse_args(arguments)
    folder = (given.folder or Path(tempfile.mkdtemp(prefix="backends-"))).resolve()
    texts = folder / "texts.yaml"
    if given.row:
        run_row(given.row, Place(folder / given.row, given.models.resolve(), given.data.resolve(), texts))
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in _TEXTS))
    task: dict[str, Any] = {"task": "texts", "about": {"title": "Sentences"}, "data": {"files": {"test": "texts.jsonl"}, "split": "test"}}
    task |= {"answer": "score_text", "target": "text", "templates": [{"name": "plain", "prompt": "A sentence:"}], "metrics": ["perplexity"]}
    texts.write_text(json.dumps(task))
    chosen = given.only.split(",") if given.only else [key for key in ROWS if available(key)]
    results: dict[str, Any] = json.loads(given.json.read_text()) if given.only and given.json.exists() else {"rows": {}}
    results["machine"] = f"{os.cpu_count()} processors, {platform.machine()}"
    everything = Place(folder, given.models.resolve(), given.data.resolve(), texts)
    tokens = token_counts(everything)
    for key in chosen:
        (folder / key).mkdir(exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.backends", "--row", key, "--folder", str(folder)]
        command += ["--models", str(everything.models), "--data", str(everything.data)]
        marked = os.environ | {_MARK: secrets.token_hex(8)}
        finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=marked, check=False)
        if finished.returncode:
            raise SystemExit(f"{key} ended with {finished.returncode}; see {folder / key / 'log'}.")
        ran = json.loads(finished.stdout.splitlines()[-1])
        if any(ran["codes"].values()):
            raise SystemExit(f"{key}: exit codes {ran['codes']}; see {folder / key / 'log'}.")
        found = agreement(folder / key, folder / "transformers", tokens)
        results["rows"][key] = ran | {"nats": found.nats, "texts": found.texts, "equal": found.equal}
        print(key, json.dumps(results["rows"][key]), file=sys.stderr, flush=True)
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    results["rows"] = {key: results["rows"][key] for key in ROWS if key in results["rows"]}
    printed = rows_text(json.loads(json.dumps(results)))
    given.json.write_text(json.dumps(results, indent=1) + "\n")
    print(printed)
    if given.document:
        put(given.document, "backends", printed)
    return 0


if __name__ == "__main__":
    sys.exit(main())

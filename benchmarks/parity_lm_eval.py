"""Are `lm_eval:` tasks what lm-eval itself scores? Both run the same weights, tasks, items and shots; prints a table and writes JSON.

Example: python -m benchmarks.parity_lm_eval --model DIR --data DIR --items 40 --shots 0,2 --json parity.json --keep FOLDER

With --keep what lm-eval says is stored in FOLDER, by weights, task and settings, and read again the next time: only our side is then run
anew, and the table gives the date of the kept side.

lm-eval takes its log-softmax in float64 (its own option `softmax_dtype`): in float32, its default, its sums lie up to 2e-4 nats from
those of the same model in float64, ours up to 4e-5 (HellaSwag's and COPA's endings). The weights are float32 on both sides.
An encoder-decoder model of lm-eval's may write its source's length more, padding included, than the task's `max_gen_toks`; here it may not.

Where the data lack a split (MNLI's and HellaSwag's training rows, ReCoRD's validation rows) both sides read the one that is there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from harness.compare.pairing import Results
from harness.lm_eval import task_names
from harness.models import digests
from harness.util.atomic import write_text
from tests.lm_eval.peer import BACKEND, Theirs, ours, theirs

TOLERANCE = 1e-4
"""Of a log-likelihood, in nats."""


@dataclass(frozen=True)
class Case:
    """A task of lm-eval, and what both sides change in its file."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)


_SHORT = {"do_sample": False, "temperature": 0.0, "max_gen_toks": 32, "until": ["</s>", "Q", "\n\n"]}
_BBH = {"dataset_path": "lukaemon/bbh", "generation_kwargs": _SHORT}
CAUSAL = (
    Case("cola"),
    Case("mrpc"),
    Case("mnli", {"training_split": "validation_matched"}),
    Case("boolq"),
    Case("cb"),
    Case("copa"),
    Case("record", {"validation_split": "train"}),
    Case("wsc"),
    Case("hellaswag", {"training_split": "validation"}),
    Case("wmt14-fr-en", {"generation_kwargs": {"until": ["\n"], "do_sample": False, "temperature": 0.0, "max_gen_toks": 64}}),
    Case("truthfulqa_mc2"),
    Case("bbh_fewshot_boolean_expressions", _BBH),
    Case("bbh_fewshot_navigate", _BBH),
    Case("mmlu_anatomy"),
    Case("mmlu_machine_learning"),
)
SEQ2SEQ = (
    Case("cola"),
    Case("sst2", {"output_type": "loglikelihood", "doc_to_target": " positive", "doc_to_choice": None, "metric_list": None}),
    Case("mrpc", {"output_type": "loglikelihood_rolling", "doc_to_target": "{{sentence1}}", "doc_to_choice": None, "metric_list": None}),
    Case("wmt14-fr-en"),
)
"""One of each of lm-eval's output types."""


@dataclass(frozen=True)
class Row:
    """One metric of one task.

    Attributes:
        apart: how far log-likelihoods are apart at most, in nats; None where text is generated.
        texts_differ: number of generated texts that are not the same.
    """

    task: str
    shots: int
    items: int
    metric: str
    ours: float | None
    theirs: float
    apart: float | None
    texts_differ: int

    @property
    def equal(self) -> bool:
        """Whether this is parity: exact for counts and texts, to the tolerance for functions of log-likelihoods."""
        real = self.metric in ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte") or self.task == "truthfulqa_mc2"
        allowed = max(1e-9, TOLERANCE * abs(self.theirs)) if real else 1e-9
        return (
            self.ours is not None and abs(self.ours - self.theirs) <= allowed and (self.apart or 0.0) <= TOLERANCE and not self.texts_differ
        )


def write_files(cases: Sequence[Case], folder: Path, data: Path) -> list[str]:
    """Write lm-eval's task files, with the data's full paths, to `folder/theirs`; returns what the harness is asked: a name or a file."""
    from lm_eval.tasks._yaml_loader import load_yaml

    known, root = task_names.index(), task_names.installed().tasks
    asked = []
    for name in ("ours", "theirs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for case in cases:
        file = root / known[case.name].path
        path = case.changes.get("dataset_path") or load_yaml(file, resolve_func=False)["dataset_path"]
        changed = {"include": str(file), "task": case.name, **case.changes}
        (folder / "theirs" / f"{case.name}.yaml").write_text(yaml.safe_dump(changed | {"dataset_path": str(data / path)}))
        own = folder / "ours" / f"{case.name}.yaml"
        own.write_text(yaml.safe_dump(changed))
        asked.append(str(own) if case.changes else case.name)
    return asked


@dataclass(frozen=True)
class Peer:
    """What lm-eval says of one task.

    Attributes:
        metrics: scores by name.
        logprobs: [items][requests] log-likelihoods in nats; empty where text is generated.
        texts: [items] generated texts; empty where log-likelihoods are asked.
        seconds: of the run that gave it, loading and judging included.
        kept: day (UTC) on which it was computed, when it was read from a folder of kept ones.
    """

    metrics: dict[str, float]
    logprobs: list[list[float]]
    texts: list[str]
    seconds: float
    kept: str | None = None

    @classmethod
    def of(cls, found: Theirs, task: str, seconds: float) -> Peer:
        """One task of lm-eval's run."""
        if isinstance(found.first(task)[0]["resps"][0][0], str):
            return cls(found.metrics(task), [], found.texts(task), seconds)
        return cls(found.metrics(task), found.logprobs(task), [], seconds)


@dataclass(frozen=True)
class Kept:
    """A folder of what lm-eval said; `folder` None keeps nothing."""

    folder: Path | None = None

    def _file(self, model: Path, case: Case, items: int, shots: int) -> Path | None:
        if self.folder is None:
            return None
        version = task_names.installed().version
        name = [digests.model_digest(model), digests.tokenizer_digest(model), version, BACKEND, case.name, case.changes, items, shots]
        return self.folder / f"{case.name}-{shots}-{items}-{digests.text_digest(json.dumps(name, sort_keys=True))[:16]}.json"

    def read(self, model: Path, case: Case, items: int, shots: int) -> Peer | None:
        """What was kept, or None."""
        file = self._file(model, case, items, shots)
        return Peer(**json.loads(file.read_text())) if file and file.is_file() else None

    def write(self, peer: Peer, model: Path, case: Case, items: int, shots: int) -> None:
        """Keep it."""
        if file := self._file(model, case, items, shots):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(asdict(peer) | {"kept": datetime.now(UTC).date().isoformat()}) + "\n")


def rows(record: Any, folder: Path, peer: Peer, task: str) -> list[Row]:
    """One task on both sides."""
    mine = Results.read(folder).task_samples(f"lm_eval:{task}", None).samples
    apart, differ = None, 0
    if peer.texts:
        differ = sum(sample.text != text for sample, text in zip(mine, peer.texts, strict=True))
    else:
        pairs = zip((one for sample in mine for one in sample.logprobs or ()), (one for some in peer.logprobs for one in some), strict=True)
        apart = max(abs(one - other) for one, other in pairs)
    return [
        Row(task, record.shots, record.items, name, record.metrics[name].value, value, apart, differ)
        for name, value in peer.metrics.items()
    ]


@dataclass(frozen=True)
class Measured:
    """All metrics of some tasks, and the seconds that our side took, loading and judging included."""

    rows: list[Row]
    seconds: float
    peers: dict[str, Peer]


def measure(model: Path, data: Path, cases: Sequence[Case], items: int, shots: int, folder: Path, kept: Kept | None = None) -> Measured:
    """All cases on both sides; lm-eval's is taken from `kept` where it holds it."""
    kept = kept or Kept()
    asked = write_files(cases, folder, data)
    began = time.perf_counter()
    finished = ours(model, asked, folder / "out", shots=shots, limit=items, data=data, fresh=True)
    seconds = time.perf_counter() - began
    peers = {case.name: peer for case in cases if (peer := kept.read(model, case, items, shots))}
    missing = [case for case in cases if case.name not in peers]
    if missing:
        began = time.perf_counter()
        found = theirs(model, [case.name for case in missing], folder / "theirs", shots=shots, limit=items)
        taken = time.perf_counter() - began
        for case in missing:
            peers[case.name] = Peer.of(found, case.name, taken)
            kept.write(peers[case.name], model, case, items, shots)
    tasks = finished.record.tasks
    compared = [row for case in cases for row in rows(tasks[f"lm_eval:{case.name}"], finished.folder, peers[case.name], case.name)]
    return Measured(compared, seconds, peers)


def _line(row: Row) -> str:
    apart = "" if row.apart is None else f"{row.apart:.1e}"
    value = "none" if row.ours is None else f"{row.ours:.6f}"
    state = "equal" if row.equal else "DIFFERENT"
    return f"{row.task:<34}{row.shots:>2} {row.metric:<14}{value:>12}{row.theirs:>12.6f}{apart:>9}{row.texts_differ:>4}  {state:<9}"


def main() -> None:
    """Measure, print, write; exits with 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--shots", default="0,2")
    parser.add_argument("--tasks", help="only these of the tasks, separated by commas")
    parser.add_argument("--seq2seq", action="store_true", help="the tasks for encoder-decoder models: one of each output type")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="store lm-eval's side here, and read it again")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    wanted = given.tasks.split(",") if given.tasks else None
    cases = [case for case in (SEQ2SEQ if given.seq2seq else CAUSAL) if not wanted or case.name in wanted]
    found: list[Row] = []
    for shots in map(int, given.shots.split(",")):
        print(f"\n{shots} shots, {given.items} items: ours, theirs, log-likelihoods apart, texts that differ, seconds of both sides")
        for case in cases:
            with tempfile.TemporaryDirectory() as folder:
                measured = measure(given.model, given.data, [case], given.items, shots, Path(folder), Kept(given.keep))
            peer = measured.peers[case.name]
            found += measured.rows
            for row in measured.rows:
                print(_line(row), f"{measured.seconds:7.1f}{peer.seconds:7.1f}", f"(kept {peer.kept})" if peer.kept else "", flush=True)
            if given.json:
                given.json.write_text(json.dumps([asdict(row) | {"equal": row.equal} for row in found], indent=2) + "\n")
    raise SystemExit(0 if all(row.equal for row in found) else 1)


if __name__ == "__main__":
    main()

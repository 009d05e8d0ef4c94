"""Full tuning, LoRA, QLoRA and a soft prompt on DialogSum: what each gains, what it forgets, and what it costs.

Example: python -m benchmarks.study_dialogsum --models DIR --data DIR --work results/study --document docs/study-dialogsum.md

Trains what is not trained yet (`harness tune`), scores every system (`harness run`), compares each with its base and writes the
tables of the document.
Every step is a command that continues where it was stopped; what is finished is not done again. Adapters that belong to the project go to
`adapters/`, the others to the working folder.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.documents import put, table
from harness import metrics
from harness.compare.comparison import ComparisonOptions, RunComparison, TaskComparison, compare_runs
from harness.compare.pairing import Results
from harness.models.adapter_cards import AdapterCard, Training, read_card
from harness.store import runs
from harness.store.samples import SampleRecord

CAUSAL, SEQ2SEQ = "smollm2-135m-instruct", "flan-t5-small-titles"
TARGET, TRANSLATION = "dialogsum", "multi30k_de_en"
WRITTEN, CHOSEN = (TARGET, TRANSLATION), ("glue_sst2", "glue_rte")
SCORED = ((TARGET, 200), ("mmlu", 5), (",".join(CHOSEN), 200), (TRANSLATION, 100))
"""Tasks and how many items of each: of MMLU five of each subject."""


@dataclass(frozen=True)
class Candidate:
    """One training.

    Attributes:
        options: of `harness tune`, beside model, task and name.
        ours: whether its weights belong to the project.
    """

    model: str
    name: str
    options: str
    ours: bool = False
    quantize: str | None = None

    @property
    def system(self) -> str:
        """Its system's name in results."""
        return f"{self.model}+{self.name}" + (f"@{self.quantize}" if self.quantize else "")


CANDIDATES = (
    Candidate(CAUSAL, "lora_r8", "--method lora --rank 8 --max-steps 120", ours=True),
    Candidate(CAUSAL, "prompt_20", "--method prompt --virtual-tokens 20 --max-steps 120", ours=True),
    Candidate(CAUSAL, "qlora_r8", "--method qlora --rank 8 --max-steps 60", quantize="4bit"),
    Candidate(SEQ2SEQ, "full_dialogsum", "--method full --max-steps 120"),
    Candidate(SEQ2SEQ, "lora_r8", "--method lora --rank 8 --max-steps 120", ours=True),
    Candidate(SEQ2SEQ, "prompt_20", "--method prompt --virtual-tokens 20 --max-steps 120", ours=True),
)


@dataclass(frozen=True)
class Study:
    """Where everything lies."""

    models: Path
    data: Path
    adapters: Path
    work: Path

    def shelf(self, candidate: Candidate) -> Path:
        """The folder of its card."""
        return self.adapters if candidate.ours else self.work / "adapters"

    def training(self, candidate: Candidate) -> Training | None:
        """The record of its training, once it is finished."""
        path = self.shelf(candidate) / f"{candidate.name}.yaml"
        card: AdapterCard | None = read_card(path) if path.is_file() else None
        return card.training.get(candidate.model) if card else None

    def train(self, candidate: Candidate) -> None:
        """Train it, unless it is trained."""
        if self.training(candidate) is None:
            common = ["--task", TARGET, "--name", candidate.name, "--validate", "32", "--dtype", "bfloat16", "--weights-dtype", "bfloat16"]
            place = ["--output", str(self.shelf(candidate)), "--data", str(self.data)]
            self._harness("tune", "--model", str(self.models / candidate.model), *common, *place, *shlex.split(candidate.options))

    def score(self, model: str, quantize: str | None) -> None:
        """Score a base and every candidate on it; answers that are kept are not computed again."""
        names = [one.name for one in CANDIDATES if (one.model, one.quantize) == (model, quantize)]
        precision = ["--quantize", quantize] if quantize else []
        for tasks, limit in SCORED:
            asked = ["--tasks", tasks, "--limit", str(limit), "--adapter", ",".join(["none", *names]), "--data", str(self.data)]
            self._harness("run", "--model", str(self.models / model), *asked, *precision, "--output", str(self.work / "runs"))

    def comparison(self, candidate: Candidate) -> RunComparison:
        """A candidate against its base of the same precision."""
        base = candidate.model + (f"@{candidate.quantize}" if candidate.quantize else "")
        kept = self.work / "runs"
        return compare_runs(kept / base, kept / candidate.system, metrics.load, ComparisonOptions(targets=(TARGET,)))

    def _harness(self, *arguments: str) -> None:
        print("harness", shlex.join(arguments), flush=True)
        own = {**os.environ, "HARNESS_PATH": str(self.work), "HARNESS_OFFLINE": "1"}
        subprocess.run([sys.executable, "-m", "harness", *arguments], env=own, check=True)


def _costs(study: Study) -> Iterator[str]:
    header = [
        "model",
        "adapter",
        "trained share",
        "on disk",
        "peak memory",
        "steps",
        "time",
        "loss, first to last tenth",
        "validation loss",
    ]
    rows = []
    for one in CANDIDATES:
        made = study.training(one)
        if made is not None:
            validation = "" if made.losses.validation is None else f"{made.losses.validation:.2f}"
            losses = f"{made.losses.first:.2f}, {made.losses.last:.2f}"
            size, memory = f"{made.bytes / 2**20:.2f} MiB", f"{made.peak_memory_bytes / 2**30:.1f} GiB"
            cells = [f"{made.share:.3%}", size, memory, str(made.steps), f"{made.seconds / 60:.0f} min", losses, validation]
            rows.append([one.model, f"`{one.name}`", *cells])
    yield from table(header, rows)


def _cell(task: TaskComparison) -> str:
    score = task.headlines[0]
    if score.difference is None or score.low is None or score.high is None:
        return "none"
    return f"{score.after:.3f} ({score.difference:+.3f} [{score.low:+.3f}, {score.high:+.3f}]), {task.verdict}"


def _changes(study: Study) -> Iterator[str]:
    for model in (CAUSAL, SEQ2SEQ):
        found = [(one, study.comparison(one)) for one in CANDIDATES if one.model == model and study.training(one)]
        if not found:
            continue
        tasks = found[0][1].tasks
        yield f"### {model}"
        yield ""
        header = ["system", *(f"{task.name} {task.headlines[0].metric}, {task.items} items" for task in tasks)]
        rows = []
        for quantize in dict.fromkeys(one.quantize for one, _ in found):
            base = next(comparison for one, comparison in found if one.quantize == quantize)
            rows.append([f"base{f', {quantize}' if quantize else ''}", *(f"{task.headlines[0].before:.3f}" for task in base.tasks)])
            rows += [[f"`{one.name}`", *map(_cell, comparison.tasks)] for one, comparison in found if one.quantize == quantize]
        yield from table(header, rows)
        yield ""


def _answers(study: Study) -> Iterator[str]:
    header = ["system", *(f"words, {task}" for task in WRITTEN), "of the translations' words, in the prompt", *CHOSEN]
    rows = []
    for model, quantize in dict.fromkeys((one.model, one.quantize) for one in CANDIDATES):
        base = model + (f"@{quantize}" if quantize else "")
        for system in [base, *(one.system for one in CANDIDATES if (one.model, one.quantize) == (model, quantize))]:
            folder = study.work / "runs" / system
            written = {task: Results.read(folder).task_samples(task, None).samples for task in WRITTEN}
            lengths = [f"{statistics.mean(len(_words(str(one.prediction))) for one in found):.1f}" for found in written.values()]
            copied = [word in _words(one.prompt) for one in written[TRANSLATION] for word in _words(str(one.prediction))]
            chosen = [_most_frequent(Results.read(folder).task_samples(task, None).samples) for task in CHOSEN]
            rows.append([f"`{system}`", *lengths, f"{statistics.mean(copied):.0%}", *chosen])
    yield from table(header, rows)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _most_frequent(answers: list[SampleRecord]) -> str:
    (index, times), *_ = Counter(int(one.prediction) for one in answers).most_common(1)
    choices = answers[0].choices
    return f"{choices[index].strip() if choices else index}: {times / len(answers):.0%}"


def write(study: Study, document: Path) -> None:
    """Put both tables into the document."""
    place = runs.read(study.work / "runs" / CAUSAL).environment
    put(document, "benchmarks.study_dialogsum costs", "\n".join(_costs(study)))
    used = ", ".join(f"{name} {place[name]}" for name in ("torch", "transformers", "peft"))
    where = f"Scored in float32 on {place['device'].upper()}, {place['threads']} threads; {used}."
    put(document, "benchmarks.study_dialogsum changes", "\n".join([where, "", *_changes(study)]))
    put(document, "benchmarks.study_dialogsum answers", "\n".join(_answers(study)))


def main() -> None:
    """Do what is missing, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help=f"folder that holds {CAUSAL} and {SEQ2SEQ}")
    parser.add_argument("--data", type=Path, required=True, help="folder of dataset snapshots")
    parser.add_argument("--adapters", type=Path, default=Path("adapters"))
    parser.add_argument("--work", type=Path, default=Path("results/study"))
    parser.add_argument("--document", type=Path, required=True, help="Markdown whose tables are written anew")
    parser.add_argument("--show", action="store_true", help="write the document from what is there")
    given = parser.parse_args()
    study = Study(given.models.resolve(), given.data.resolve(), given.adapters.resolve(), given.work.resolve())
    if not given.show:
        for candidate in CANDIDATES:
            study.train(candidate)
        for model, quantize in dict.fromkeys((one.model, one.quantize) for one in CANDIDATES):
            study.score(model, quantize)
    write(study, given.document)


if __name__ == "__main__":
    main()

"""Seconds to compare two systems: MMLU's 14,042 items in 57 subjects, and BLEU and chrF of 3,003 sentences, 10,000 resamples each.

Run it as `python -m benchmarks.paired [--json FILE] [--threads N]`. The answers are made up; what is timed is everything from two
results folders to the finished comparison: reading, joining, intervals, tests, power, slices, changed items, and the summary.
The time to import scipy is shown beside it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from harness import metrics
from harness.compare.comparison import ComparisonOptions, RunComparison, compare_runs
from harness.contract import ChoiceOutcome, System, TextOutcome
from harness.evaluation.aggregate import Member, MetricScore, score_group
from harness.stats.bootstrap import RESAMPLES
from harness.store.records import DataRecord, EfficiencyRecord, RequestsRecord, RunRecord, ShortenedRecord, TaskRecord, system_record
from harness.store.samples import SampleRecord, StatisticsRecord
from harness.store.saving import SavedSamples, save
from harness.store.signature import Signature
from harness.tasks.schema import Aggregate, Group

SENTENCES = 3_003
REPEATS = 3
SUBJECTS = Path(__file__).resolve().parent.parent / "tasks" / "mmlu" / "_subjects.yaml"
WORDS = [f"word{number}" for number in range(60)]

Outcomes = Sequence[ChoiceOutcome | TextOutcome]


@dataclass(frozen=True)
class Timing:
    """Seconds of one comparison, the least of `REPEATS`, and what it said."""

    what: str
    items: int
    seconds: float
    verdict: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the table here")
    parser.add_argument("--threads", type=int, help="for resampling; by default one a core")
    arguments = parser.parse_args()
    plan = ComparisonOptions(threads=arguments.threads)
    importing = _seconds_to_import("scipy.stats")
    with tempfile.TemporaryDirectory() as place:
        timings = [_timed("MMLU, two systems", *_exams(Path(place)), plan), _timed("BLEU and chrF", *_translations(Path(place)), plan)]
    threads = arguments.threads or os.cpu_count()
    table = Table("comparison", "items", "seconds", "verdict", title=f"{RESAMPLES:,} resamples, {threads} threads, best of {REPEATS}")
    for one in timings:
        table.add_row(one.what, f"{one.items:,}", f"{one.seconds:.2f}", one.verdict)
    Console().print(table)
    Console().print(f"importing scipy.stats, once: {importing:.2f} s")
    if arguments.json:
        content = {"resamples": RESAMPLES, "threads": threads, "import_seconds": importing, "timings": [asdict(one) for one in timings]}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _seconds_to_import(module: str) -> float:
    began = time.perf_counter()
    importlib.import_module(module)
    return time.perf_counter() - began


def _timed(what: str, before: Path, after: Path, plan: ComparisonOptions) -> Timing:
    seconds, found = [], None
    for _ in range(REPEATS):
        began = time.perf_counter()
        found = compare_runs(before, after, metrics.load, plan)
        seconds.append(time.perf_counter() - began)
    assert isinstance(found, RunComparison)
    return Timing(what, sum(task.items for task in found.tasks), min(seconds), str(found.overall.verdict))


def _exams(place: Path) -> tuple[Path, Path]:
    """Results of two systems on MMLU's subjects in their real sizes; the second answers 6 % of the items otherwise."""
    sizes = {row["subject"]: row["test"] for row in yaml.safe_load(SUBJECTS.read_text(encoding="utf-8"))["expand"]}
    generator = np.random.default_rng(0)
    right = {name: generator.random(size) < 0.6 for name, size in sizes.items()}
    other = {name: np.where(generator.random(len(hits)) < 0.06, ~hits, hits) for name, hits in right.items()}
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"accuracy": ("accuracy", {})}
    both = (
        Aggregate.model_validate({"metric": "accuracy", "average": average, "as": f"accuracy_{average}"}) for average in ("macro", "micro")
    )
    group = Group(group="mmlu", title="MMLU", tasks=tuple(sizes), aggregate=tuple(both))
    sides = []
    for name, hits in (("before", right), ("after", other)):
        answers: dict[str, Outcomes] = {subject: [_choice(hit) for hit in found] for subject, found in hits.items()}
        sides.append(_folder(place / "mmlu" / name, name, "choices", answers, wanted, group))
    return sides[0], sides[1]


def _choice(hit: bool) -> ChoiceOutcome:
    return ChoiceOutcome((-0.5, -2.0, -2.5, -3.0) if hit else (-2.0, -0.5, -2.5, -3.0), (0,), ("A", "B", "C", "D"), (1, 1, 1, 1))


def _translations(place: Path) -> tuple[Path, Path]:
    """Results of two systems on sentences; each replaces some words of the reference by others."""
    generator = np.random.default_rng(1)
    references = [" ".join(generator.choice(WORDS, size=generator.integers(8, 40))) for _ in range(SENTENCES)]
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"bleu": ("bleu", {}), "chrf": ("chrf", {})}
    sides = []
    for name, spoilt in (("before", 0.3), ("after", 0.32)):
        answers = [TextOutcome(_spoilt(text, spoilt, generator), (text,)) for text in references]
        sides.append(_folder(place / "texts" / name, name, "generate", {"translation": answers}, wanted, None))
    return sides[0], sides[1]


def _spoilt(text: str, share: float, generator: np.random.Generator) -> str:
    return " ".join(str(generator.choice(WORDS)) if generator.random() < share else word for word in text.split())


def _folder(
    folder: Path,
    name: str,
    answer: str,
    tasks: Mapping[str, Outcomes],
    wanted: Mapping[str, tuple[str, dict[str, Any]]],
    group: Group | None,
) -> Path:
    """Write results as a run writes them."""
    scores: dict[str, dict[str, MetricScore]] = {}
    parts: dict[str, list[SavedSamples]] = {}
    for task, outcomes in tasks.items():
        scores[task] = {}
        for key, (metric_name, options) in wanted.items():
            metric = metrics.load(metric_name, options)
            scores[task][key] = MetricScore(metric, metric.statistics(outcomes), metric.signature_for(outcomes), 0)
        kept = {key: StatisticsRecord(score.metric.name, asdict(score.metric), score.statistics) for key, score in scores[task].items()}
        parts[task] = [SavedSamples(task, _samples(outcomes, scores[task]), kept)]
    groups = (
        {
            group.group: score_group(
                group,
                {task: Member(found, (next(iter(found)),), 1.0) for task, found in scores.items()},
                {name: Signature(name) for name in tasks},
            )
        }
        if group
        else {}
    )
    record = RunRecord(
        harness_version="0",
        created="2026-01-01T00:00:00+00:00",
        command=[],
        system=system_record(System(name, name, None, "causal", "float32", None, name, None, "t", None, None, 1, 0)),
        tasks={task: _task(task, answer, len(outcomes), scores[task]) for task, outcomes in tasks.items()},
        groups=groups,
        efficiency=EfficiencyRecord(
            seconds={},
            prefill_tokens_per_second=None,
            decode_tokens_per_second=None,
            peak_memory_bytes=0,
            padding_share=None,
            requests=RequestsRecord(),
        ),
        environment={},
    )
    save(record, parts, folder)
    return folder


def _samples(outcomes: Outcomes, scores: Mapping[str, MetricScore]) -> list[SampleRecord]:
    values = {key: score.metric.item_scores(score.statistics) for key, score in scores.items()}
    lines = []
    for number, outcome in enumerate(outcomes):
        own = {key: None if found is None else float(found[number]) for key, found in values.items()}
        prompt = f"Question {number}: {' '.join(WORDS)}?\nAnswer:"
        if not isinstance(outcome, TextOutcome):
            said = int(np.argmax(outcome.logprobs))
            lines.append(SampleRecord(str(number), f"{number:016x}", prompt, 0, said, own, logprobs=list(outcome.logprobs)))
        else:
            lines.append(SampleRecord(str(number), f"{number:016x}", prompt, outcome.references[0], outcome.prediction, own))
    return lines


def _task(name: str, answer: str, items: int, scores: Mapping[str, MetricScore]) -> TaskRecord:
    return TaskRecord.model_validate(
        {
            "title": name,
            "items": items,
            "shots": 0,
            "template": "plain",
            "template_digest": "0",
            "answer": answer,
            "metrics": {key: score.record() for key, score in scores.items()},
            "data": DataRecord(path="made/up", config=None, split="test", revision=None, digest="0"),
            "shortened": ShortenedRecord(),
            "seed": 0,
            "limit": None,
            "signature": Signature.of(name, {"version": 1}),
        }
    )


if __name__ == "__main__":
    main()

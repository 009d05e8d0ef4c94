"""Results folders of runs that measured more than accuracy, made up but scored by the real metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import metrics
from harness.contract import ChoiceOutcome, Family
from harness.evaluation.aggregate import MetricScore
from harness.evaluation.robustness import PerturbedStatistics, perturbations, worst_case
from harness.store import runs
from harness.store.records import PerturbationRecord, RunRecord
from harness.tasks.schema import Group
from tests.compare.comparing import Made, choices, folder
from tests.signed import signed

CALIBRATED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "accuracy": ("accuracy", {}),
    "ece_10_bin": ("ece_10_bin", {}),
    "ece_10_bin_renormalized": ("ece_10_bin", {"confidence": "renormalized"}),
    "platt_ece": ("platt_ece", {}),
    "selective_acc@10": ("selective_acc@10", {}),
}
TYPOS = "typos|v:1|rate:0.05"
NAMES = "person_name|v:1|rate:1"
NO_TEXT = "answers are choices or scores, not texts"
WITHOUT: dict[Family, str] = {"bias": NO_TEXT, "toxicity": NO_TEXT}


def answers(items: int, share: float, seed: int = 0) -> list[ChoiceOutcome]:
    """Of which about that share is right, all of other confidence."""
    generator = np.random.default_rng(seed)
    made = choices(generator.random(items) < share)
    return [replace(one, logprobs=tuple(np.subtract(one.logprobs, generator.random()).tolist())) for one in made]


def quiz(items: int = 300, share: float = 0.6, seed: int = 0) -> Made:
    """A task with its calibration."""
    return Made(answers(items, share, seed), CALIBRATED)


def lost(made: Made, copies: Mapping[str, tuple[Family, float]]) -> list[PerturbationRecord]:
    """What perturbations that change two items of three do to accuracy; of each that share of the copies is right."""
    metric = metrics.load("accuracy", {})
    score = MetricScore(metric, metric.statistics(made.answers), metric.signature, 0)
    places = np.flatnonzero(np.arange(len(made.answers)) % 3 != 0)
    found = [
        PerturbedStatistics(signed(signature), family, places, metric.statistics(answers(len(places), share, 7)))
        for signature, (family, share) in copies.items()
    ]
    families = dict.fromkeys(one.family for one in found)
    worst = {family: worst_case(score, [one for one in found if one.family == family]) for family in families}
    return perturbations("accuracy", score, found, {family: one for family, one in worst.items() if one is not None})


COPIES: Mapping[str, tuple[Family, float]] = {TYPOS: ("robustness", 0.3), NAMES: ("fairness", 0.6)}


def measured(
    path: Path,
    tasks: Mapping[str, Made],
    system: str = "tiny",
    copies: Mapping[str, tuple[Family, float]] = COPIES,
    groups: Mapping[str, Group] | None = None,
    **changes: Any,
) -> Path:
    """Write a run of these tasks; every task was perturbed, and has no text."""
    folder(path, tasks, groups, system, **changes)
    record = runs.read(path)
    saved = {}
    for name, task in record.tasks.items():
        drops = lost(tasks[name], copies) if copies else []
        worst = {f"accuracy_{one.family}": one.after for one in drops if one.perturbation.name == "worst"}
        saved[name] = task.model_copy(update={"perturbations": drops, "without": WITHOUT, "metrics": task.metrics | worst})
    runs.write(record.model_copy(update={"tasks": saved}), path)
    return path


def read(*folders: Path) -> list[tuple[Path, RunRecord]]:
    """Runs with their folders, as `harness leaderboard` reads them."""
    return [(path, runs.read(path)) for path in folders]


def all_of(names: Sequence[str]) -> dict[str, Group]:
    """A group of these tasks, by its name."""
    from harness.tasks.schema import Aggregate

    average = Aggregate.model_validate({"metric": "accuracy", "average": "macro"})
    return {"exam": Group(group="exam", title="Exam", tasks=tuple(names), aggregate=(average,))}

"""A base and two tuned systems on made-up results, compared: one gains much and forgets, one gains less and does not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from harness import metrics
from harness.compare.comparison import ComparisonOptions, RunComparison, compare_runs
from harness.compare.noise import Noise, measure
from harness.contract import LikelihoodOutcome, TextOutcome
from harness.tasks.schema import Aggregate, Group
from tests.compare.comparing import ACCURACY, AnyOutcome, Made, choices, flipped, folder, hits

PLAN = ComparisonOptions(targets=("said",), resamples=300, threads=1)
REFERENCE = "Tom invites Ann to dinner at home"
SAID = [REFERENCE, "Tom invites Ann to lunch", "Ann is at home", "<b>Tom</b> | *calls* `Ann`\n\n</details> @someone \x1b[31m"]
HOSTILE = "Which? </pre><script>alert(1)</script> | \x1b[2J"


def said(weights: Sequence[float], seed: int) -> Made:
    answers: list[AnyOutcome] = [
        TextOutcome(SAID[choice], (REFERENCE,)) for choice in np.random.default_rng(seed).choice(4, size=120, p=weights)
    ]
    return Made(answers, {"rougeL": ("rougeL", {}), "bleu": ("bleu", {})}, prompts=HOSTILE)


def read(factor: float) -> Made:
    nats = np.random.default_rng(3).gamma(40.0, size=60) * factor
    return Made([LikelihoodOutcome(-float(value), 20, 10, 50) for value in nats], {"bits_per_byte": ("bits_per_byte", {})})


def system(path: Path, name: str, lost: int, gained: int, weights: Sequence[float], factor: float) -> Path:
    """Results of one system: a group of three exams, a quiz with kinds and two template variants, a text, and the target."""
    exams = {f"exam_{number}": hits(0.6, 100, number) for number in range(3)}
    quiz = hits(0.8, 2_000, 9)
    labels = [{"topic": ("law", "art")[number % 2]} for number in range(2_000)]
    again = choices(quiz, labels=labels)
    tasks = {
        **{key: Made(choices(flipped(right, lost, gained)), ACCURACY) for key, right in exams.items()},
        "quiz": Made(again, ACCURACY, template_variants={"plain": again, "other": choices(flipped(quiz, 0, 4), labels=labels)}),
        "read": read(factor),
        "said": said(weights, len(name)),
    }
    average = Aggregate.model_validate({"metric": "accuracy", "average": "macro"})
    groups = {"exam": Group(group="exam", title="An exam", tasks=tuple(exams), aggregate=(average,))}
    return folder(path / name, tasks, groups, system=name)


@cache
def folders() -> tuple[Path, ...]:
    """Base, the eager one, the careful one, and the base again with two flips."""
    place = Path(mkdtemp())
    return (
        system(place, "base", 0, 0, [0.2, 0.4, 0.3, 0.1], 1.0),
        system(place, "base+eager", 25, 2, [0.8, 0.1, 0.0, 0.1], 1.05),
        system(place, "base+careful", 1, 1, [0.5, 0.3, 0.1, 0.1], 1.0),
        system(place, "again", 1, 1, [0.2, 0.4, 0.3, 0.1], 1.0),
    )


@cache
def comparisons() -> tuple[RunComparison, RunComparison]:
    """The base against the eager and the careful one."""
    base, eager, careful, _ = folders()
    return compare_runs(base, eager, metrics.load, PLAN), compare_runs(base, careful, metrics.load, PLAN)


@cache
def noise() -> dict[str, Noise]:
    """The base against itself."""
    base, *_, again = folders()
    return measure(base, again, metrics.load, PLAN)

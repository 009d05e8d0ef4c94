"""A policy's verdict as a whole: exit codes, what to do next, refusals, and how often equally good systems fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness import metrics
from harness.errors import InputError, StorageError
from harness.gate.decision import OnUndecided
from harness.gate.evidence import Evidence
from harness.gate.policy import DEFAULT
from harness.report.comparison import Comparison, TaskComparison
from harness.report.kept import Results
from harness.report.overall import Unit, overall
from harness.report.scored import Measured, Plan, judged
from harness.stats.paired import compare
from tests.gate import made
from tests.gate.made import policy, quiz, run
from tests.report.comparing import Made, choices
from tests.report.test_comparison import ACCURACY, flipped, hits
from tests.stats.populations import accuracy, bounded_means, exchangeable
from tests.store import records, written

BEFORE = hits(0.7, 400)


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    return run(tmp_path / "base", {"quiz": Made(choices(BEFORE), ACCURACY)})


def tuned(tmp_path: Path, lost: int, gained: int) -> Path:
    return run(tmp_path / "tuned", {"quiz": Made(choices(flipped(BEFORE, lost, gained)), ACCURACY)})


@pytest.mark.parametrize(
    ("lines", "outcome", "code", "headline"),
    [
        (["quiz >= 0.5", "quiz <= 0.9"], "pass", 0, "2 rules: 2 passed"),
        (["quiz >= 0.5", "quiz >= 0.9", "quiz >= 0.7"], "fail", 1, "3 rules: 1 passed, 1 failed, 1 undecided"),
        (["quiz >= 0.7"], "cannot tell", 3, "1 rule: 1 undecided"),
    ],
)
def test_the_worst_rule_decides(tmp_path: Path, lines: list[str], outcome: str, code: int, headline: str) -> None:
    found = made.judged(run(tmp_path / "tuned", {"quiz": quiz(280, 400)}), None, policy(*lines))
    assert (found.outcome, found.exit_code, found.headline) == (outcome, code, headline)


@pytest.mark.parametrize(("chosen", "code"), [("pass", 3), ("fail", 1), (None, 3)])
@pytest.mark.parametrize("right", [280, 400])
def test_what_cannot_be_verified_never_passes(tmp_path: Path, chosen: OnUndecided | None, code: int, right: int) -> None:
    """Neither where the rule is met, nor where it is undecided: the folder may be edited."""
    candidate = run(tmp_path / "tuned", {"quiz": quiz(right, 400)})
    written.as_version_1(candidate)
    found = made.judged(candidate, None, policy("quiz >= 0.7"), chosen)
    assert (found.found, found.exit_code) == ("cannot tell", code)
    assert "Results that cannot be verified never pass: --on-undecided pass does not hold for them." in found.advice


@pytest.mark.parametrize(("chosen", "code"), [("pass", 0), ("fail", 1), (None, 3)])
def test_what_counts_where_the_data_cannot_tell_is_the_users_choice(tmp_path: Path, chosen: OnUndecided | None, code: int) -> None:
    candidate = run(tmp_path / "tuned", {"quiz": quiz(280, 400)})
    found = made.judged(candidate, None, policy("quiz >= 0.7"), chosen)
    assert (found.found, found.exit_code) == ("cannot tell", code)
    assert ("undecided counts as" in found.headline) == (chosen is not None)
    failed = made.judged(candidate, None, policy("quiz >= 0.7", "quiz >= 0.9"), chosen)
    assert failed.exit_code == 1


def test_what_to_do_next(tmp_path: Path, baseline: Path) -> None:
    candidate = tuned(tmp_path, 60, 10)
    failed = made.judged(candidate, baseline, DEFAULT)
    assert failed.advice == [f"See what was lost: harness forgetting --before {baseline} --after {candidate} --details"]
    undecided = made.judged(candidate, baseline, policy("quiz: non_inferior within 0.1"))
    assert undecided.advice[0].startswith("To tell: quiz: about ")
    assert undecided.advice[1] == "To decide without: --on-undecided pass or --on-undecided fail."
    assert made.judged(candidate, baseline, policy("quiz: non_inferior within 0.3")).advice == []


def test_without_a_policy_nothing_may_be_forgotten(tmp_path: Path, baseline: Path) -> None:
    assert made.judged(tuned(tmp_path, 60, 10), baseline, DEFAULT).outcome == "fail"
    assert made.judged(tuned(tmp_path / "same", 0, 0), baseline, replace(DEFAULT, margins={"quiz": 0.05})).outcome == "pass"
    assert made.judged(tuned(tmp_path / "few", 2, 2), baseline, DEFAULT).outcome == "cannot tell"


def test_a_rule_that_compares_needs_a_baseline(tmp_path: Path) -> None:
    candidate = run(tmp_path / "tuned", {"quiz": quiz(280, 400)})
    with pytest.raises(
        InputError, match="the rule 'no task forgot' does not fit: it compares with a baseline, and none is given"
    ) as caught:
        made.judged(candidate, None, DEFAULT)
    assert "--baseline RUN" in caught.value.remedy
    assert made.judged(candidate, None, policy("quiz >= 0.5")).outcome == "pass"


def test_results_of_another_signature_are_refused_with_the_difference(tmp_path: Path, baseline: Path) -> None:
    other = quiz(280, 400, signature="task|v:1|template:plain|shots:5|data:some/data/test|data_digest:{digest}|items:{items}")
    candidate = run(tmp_path / "tuned", {"quiz": other})
    for lines in (["no task forgot"], ["quiz >= 0.8 × baseline"], ["signature must match"]):
        with pytest.raises(InputError, match=r"quiz was not measured alike in .*shots: 5 instead of 0"):
            made.judged(candidate, baseline, policy(*lines))


def test_folders_that_hold_no_run(tmp_path: Path, baseline: Path) -> None:
    with pytest.raises(StorageError, match="There is no run at"):
        made.judged(tmp_path / "nowhere", baseline, DEFAULT)
    with pytest.raises(StorageError, match="There is no run at"):
        made.judged(baseline, tmp_path, DEFAULT)


def test_a_results_file_is_as_good_as_its_folder(tmp_path: Path, baseline: Path) -> None:
    assert made.judged(tuned(tmp_path, 0, 0) / "results.json", baseline / "results.json", policy("quiz >= 0.5 × baseline")).exit_code == 0


def test_targets_that_the_results_do_not_have_are_refused(tmp_path: Path, baseline: Path) -> None:
    with pytest.raises(InputError, match="The target 'said' is not in both results"):
        made.judged(tuned(tmp_path, 0, 0), baseline, replace(DEFAULT, targets=("said",)))


PAIRS = 1_000
TASKS = {
    "quiz": (exchangeable(accuracy(0.1, 0.05)), 100),
    "exam": (exchangeable(accuracy(0.15, 0.1)), 400),
    "said": (exchangeable(bounded_means(-0.1)), 60),
}
"""Tasks on which two equally good systems differ on many items."""


def comparison(generator: np.random.Generator, seed: int) -> Comparison:
    """Two equally good systems on the tasks, as `compare_runs` makes it of their results."""
    record = records.metric(0.5)
    measured = []
    for population, items in TASKS.values():
        pairs = population.draw(items, generator)
        found = compare(pairs, seed=seed, resamples=300, permutations=1_000, threads=1)
        measured.append(Measured("score", record, pairs.scores, True, items, 0.01, None, "items", pairs, found, None))
    scores = judged(measured)
    tasks = tuple(
        TaskComparison(name, name, False, one.items, (), (), 0, {"score": one}, 0.0, None, {}, (), (), ())
        for name, one in zip(TASKS, scores, strict=True)
    )
    system = records.run().system
    whole = overall([Unit(task.name, False, task.verdict, None) for task in tasks])
    return Comparison(system, system, Plan(), tasks, whole, (), ())


def test_fewer_than_one_in_a_hundred_equally_good_systems_fail() -> None:
    generator = np.random.default_rng(11)
    results = Results(Path("run"), records.run())
    outcomes = []
    for seed in range(PAIRS):
        evidence = Evidence(results, metrics.load, baseline=results, comparison=comparison(generator, seed))
        outcomes.append(DEFAULT.rules[0].rule.judge(evidence).outcome)
    assert outcomes.count("fail") / PAIRS < 0.01
    assert outcomes.count("cannot tell") > 0

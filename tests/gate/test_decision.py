"""A policy's verdict as a whole: exit codes, what to do next, refusals, and how often equally good systems fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness import metrics
from harness.compare.comparison import RunComparison, TaskComparison
from harness.compare.metric import ComparisonOptions, Measured, with_verdicts
from harness.compare.overall import ScaledTask, overall
from harness.compare.pairing import Results
from harness.errors import InputError, StorageError
from harness.gate.decision import OnUndecided
from harness.gate.evidence import Evidence
from harness.gate.policy import DEFAULT
from harness.stats.paired import compare
from harness.store import samples
from tests.compare.comparing import ACCURACY, Made, choices, flipped, hits
from tests.gate import made
from tests.gate.made import policy, quiz, run
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
        (["quiz >= 0.5", "quiz >= 0.9", "quiz >= 0.7"], "fail", 1, "3 rules: 1 passed, 1 failed, 1 inconclusive"),
        (["quiz >= 0.7"], "inconclusive", 3, "1 rule: 1 inconclusive"),
    ],
)
def test_the_worst_rule_decides(tmp_path: Path, lines: list[str], outcome: str, code: int, headline: str) -> None:
    found = made.decided(run(tmp_path / "tuned", {"quiz": quiz(280, 400)}), None, policy(*lines))
    assert (found.outcome, found.exit_code, found.headline) == (outcome, code, headline)


@pytest.mark.parametrize(("chosen", "code"), [("pass", 3), ("fail", 1), (None, 3)])
@pytest.mark.parametrize("right", [280, 400])
def test_what_cannot_be_verified_never_passes(tmp_path: Path, chosen: OnUndecided | None, code: int, right: int) -> None:
    """Neither where the rule is met, nor where it is inconclusive: the folder may have been edited."""
    candidate = run(tmp_path / "tuned", {"quiz": quiz(right, 400)})
    written.as_version_1(candidate)
    found = made.decided(candidate, None, policy("quiz >= 0.7"), chosen)
    assert (found.worst_outcome, found.exit_code) == ("inconclusive", code)
    assert "Results that cannot be verified never pass, even with --on-undecided pass." in found.advice


@pytest.mark.parametrize(("chosen", "code"), [("pass", 0), ("fail", 1), (None, 3)])
def test_what_counts_where_the_data_are_inconclusive_is_the_users_choice(tmp_path: Path, chosen: OnUndecided | None, code: int) -> None:
    candidate = run(tmp_path / "tuned", {"quiz": quiz(280, 400)})
    found = made.decided(candidate, None, policy("quiz >= 0.7"), chosen)
    assert (found.worst_outcome, found.exit_code) == ("inconclusive", code)
    assert ("inconclusive counts as" in found.headline) == (chosen is not None)
    failed = made.decided(candidate, None, policy("quiz >= 0.7", "quiz >= 0.9"), chosen)
    assert failed.exit_code == 1


def test_what_to_do_next(tmp_path: Path, baseline: Path) -> None:
    candidate = tuned(tmp_path, 60, 10)
    failed = made.decided(candidate, baseline, DEFAULT)
    assert failed.advice == [f"See what was lost: harness forgetting --before {baseline} --after {candidate} --details"]
    undecided = made.decided(candidate, baseline, policy("quiz: non_inferior within 0.1"))
    assert undecided.advice[0].startswith("For a conclusive result: evaluate quiz on about ")
    assert undecided.advice[1] == "To decide anyway: --on-undecided pass or --on-undecided fail."
    assert made.decided(candidate, baseline, policy("quiz: non_inferior within 0.3")).advice == []


def test_without_a_policy_nothing_may_be_forgotten(tmp_path: Path, baseline: Path) -> None:
    assert made.decided(tuned(tmp_path, 60, 10), baseline, DEFAULT).outcome == "fail"
    assert made.decided(tuned(tmp_path / "same", 0, 0), baseline, replace(DEFAULT, margins={"quiz": 0.05})).outcome == "pass"
    assert made.decided(tuned(tmp_path / "few", 2, 2), baseline, DEFAULT).outcome == "inconclusive"


def test_a_rule_that_compares_needs_a_baseline(tmp_path: Path) -> None:
    candidate = run(tmp_path / "tuned", {"quiz": quiz(280, 400)})
    with pytest.raises(
        InputError, match="The rule 'no task forgot' cannot be applied: it compares with a baseline, and none is given"
    ) as caught:
        made.decided(candidate, None, DEFAULT)
    assert "--baseline RUN" in caught.value.remedy
    assert made.decided(candidate, None, policy("quiz >= 0.5")).outcome == "pass"


def test_results_of_another_signature_are_refused_with_the_difference(tmp_path: Path, baseline: Path) -> None:
    other = quiz(280, 400, signature="task|v:1|template:plain|shots:5|data:some/data/test|data_digest:{digest}|items:{items}")
    candidate = run(tmp_path / "tuned", {"quiz": other})
    for lines in (["no task forgot"], ["quiz >= 0.8 × baseline"], ["signature must match"]):
        with pytest.raises(InputError, match=r"settings of quiz differ between .*shots: 5 instead of 0"):
            made.decided(candidate, baseline, policy(*lines))


def test_folders_that_hold_no_run(tmp_path: Path, baseline: Path) -> None:
    with pytest.raises(StorageError, match="There is no run at"):
        made.decided(tmp_path / "nowhere", baseline, DEFAULT)
    with pytest.raises(StorageError, match="There is no run at"):
        made.decided(baseline, tmp_path, DEFAULT)


def test_each_file_of_samples_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = {"quiz": quiz(280, 400), "exam": quiz(70, 100)}
    baseline, candidate = run(tmp_path / "base", tasks), run(tmp_path / "tuned", tasks)
    read: list[Path] = []
    checked = samples.checked

    def counted(folder: Path, path: Path, place: str, files: samples.Files) -> bytes:
        read.append(path)
        return checked(folder, path, place, files)

    monkeypatch.setattr(samples, "checked", counted)
    made.decided(candidate, baseline, policy("no task forgot", tasks=("quiz",)))
    assert sorted(read) == sorted(path for side in (baseline, candidate) for path in (side / "samples").iterdir())


def test_a_changed_file_of_a_task_that_is_not_compared_is_refused(tmp_path: Path) -> None:
    tasks = {"quiz": quiz(280, 400), "exam": quiz(70, 100)}
    baseline, candidate = run(tmp_path / "base", tasks), run(tmp_path / "tuned", tasks)
    samples.statistics_path_of(candidate, "exam").write_text("{}")
    with pytest.raises(StorageError, match="is not the file that"):
        made.decided(candidate, baseline, policy("no task forgot", tasks=("quiz",)))


def test_a_results_file_is_as_good_as_its_folder(tmp_path: Path, baseline: Path) -> None:
    assert made.decided(tuned(tmp_path, 0, 0) / "results.json", baseline / "results.json", policy("quiz >= 0.5 × baseline")).exit_code == 0


def test_targets_that_the_results_do_not_have_are_refused(tmp_path: Path, baseline: Path) -> None:
    with pytest.raises(InputError, match="The target 'said' is not in both results"):
        made.decided(tuned(tmp_path, 0, 0), baseline, replace(DEFAULT, targets=("said",)))


PAIRS = 1_000
TASKS = {
    "quiz": (exchangeable(accuracy(0.1, 0.05)), 100),
    "exam": (exchangeable(accuracy(0.15, 0.1)), 400),
    "said": (exchangeable(bounded_means(-0.1)), 60),
}
"""Tasks on which two equally good systems differ on many items."""


def comparison(generator: np.random.Generator, seed: int) -> RunComparison:
    """Two equally good systems on the tasks, as `compare_runs` makes it of their results."""
    record = records.metric(0.5)
    measured = []
    for population, items in TASKS.values():
        pairs = population.draw(items, generator)
        found = compare(pairs, seed=seed, resamples=300, permutations=1_000, threads=1)
        measured.append(Measured("score", record, pairs.scores, True, items, 0.01, None, "items", pairs, found, None))
    scores = with_verdicts(measured)
    tasks = tuple(
        TaskComparison(name, name, False, one.items, (), (), 0, {"score": one}, 0.0, None, {}, (), (), ())
        for name, one in zip(TASKS, scores, strict=True)
    )
    system = records.run().system
    whole = overall([ScaledTask(task.name, False, task.verdict, None) for task in tasks])
    return RunComparison(system, system, ComparisonOptions(), tasks, whole, (), ())


def test_fewer_than_one_in_a_hundred_equally_good_systems_fail() -> None:
    generator = np.random.default_rng(11)
    results = Results(Path("run"), records.run())
    outcomes = []
    for seed in range(PAIRS):
        evidence = Evidence(results, metrics.load, baseline=results, comparison=comparison(generator, seed))
        outcomes.append(DEFAULT.rules[0].rule.check(evidence).outcome)
    assert outcomes.count("fail") / PAIRS < 0.01
    assert outcomes.count("inconclusive") > 0

"""What each rule finds: by intervals where there are any, with the numbers message."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import InputError
from harness.gate.findings import Finding, combined, items_to_decide, number, p_text
from harness.store import runs
from harness.store.records import RequestsRecord
from harness.tasks.schema import Aggregate, Group
from tests.compare.comparing import ACCURACY, Made, choices, flipped, hits
from tests.gate.made import decided, exam, finding, policy, quiz, run, texts, with_efficiency
from tests.store import records

BEFORE = hits(0.7, 400)


def sides(tmp_path: Path, before: Made, after: Made) -> tuple[Path, Path]:
    """Candidate and baseline of one task."""
    return run(tmp_path / "tuned", {"quiz": after}), run(tmp_path / "base", {"quiz": before})


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("quiz.accuracy >= 0.6", "pass"),
        ("quiz >= 0.6", "pass"),
        ("quiz.accuracy >= 0.72", "inconclusive"),
        ("quiz.accuracy >= 0.68", "inconclusive"),
        ("quiz.accuracy >= 0.8", "fail"),
        ("quiz.accuracy < 0.8", "pass"),
        ("quiz.accuracy <= 0.72", "inconclusive"),
        ("quiz.accuracy > 0.8", "fail"),
        ("quiz.accuracy < 0.6", "fail"),
    ],
)
def test_thresholds_are_checked_by_the_interval(tmp_path: Path, line: str, outcome: str) -> None:
    found = finding(line, run(tmp_path / "tuned", {"quiz": quiz(280, 400)}))
    assert found.outcome == outcome
    assert found.message.startswith("quiz.accuracy is 0.7000 [0.65")
    assert "on 400 items" in found.message
    assert bool(found.advice) == (outcome == "inconclusive")


def test_how_many_items_would_be_conclusive(tmp_path: Path) -> None:
    found = finding("quiz >= 0.67", run(tmp_path / "tuned", {"quiz": quiz(280, 400)}))
    needed = int(found.advice[0].split("about ")[1].split()[0].replace(",", ""))
    half = 1.96 * math.sqrt(0.7 * 0.3 / 400)
    assert needed == pytest.approx(400 * (half / 0.03) ** 2, rel=0.1)
    more = finding("quiz >= 0.67", run(tmp_path / "more", {"quiz": quiz(round(0.7 * needed * 1.1), round(needed * 1.1))}))
    assert more.outcome == "pass"


def test_a_share_of_none_shrinks_as_clopper_and_pearson_say(tmp_path: Path) -> None:
    found = finding("quiz <= 0.02", run(tmp_path / "tuned", {"quiz": quiz(0, 100)}))
    assert found.advice == ("evaluate quiz on about 183 items",)
    assert finding("quiz <= 0.02", run(tmp_path / "most", {"quiz": quiz(0, 182)})).outcome == "inconclusive"
    assert finding("quiz <= 0.02", run(tmp_path / "more", {"quiz": quiz(0, 183)})).outcome == "pass"


def test_no_number_of_items_tells_a_score_on_the_limit() -> None:
    assert items_to_decide(100, 0.5, (0.4, 0.6), 0.5) is None
    assert items_to_decide(100, 0.5, (0.4, 0.6), 0.45) == 400
    assert items_to_decide(100, 0.5, (0.4, 0.8), 0.6) == 900


def test_a_score_without_an_interval_is_inconclusive(tmp_path: Path) -> None:
    one = run(tmp_path / "one", {"quiz": quiz(1, 1)})
    message = "quiz.accuracy is 1 and has no interval: 1 item is too few"
    assert finding("quiz >= 0.5", one) == finding("quiz < 0.5", one) == Finding("inconclusive", message)
    record = records.task(metrics={"acc": records.metric(0.9, ci=None, ci_method=None, reason="all items are of one cluster")})
    runs.write(records.run(tasks={"quiz": record}), tmp_path / "clustered")
    message = "quiz.acc is 0.9000 and has no interval: all items are of one cluster"
    assert finding("quiz >= 0.5", tmp_path / "clustered") == Finding("inconclusive", message)


def test_a_score_without_a_value_is_inconclusive(tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    runs.write(records.run(tasks={"quiz": records.task(None)}), folder)
    assert finding("quiz.acc >= 0.5", folder) == Finding("inconclusive", "quiz.acc has no value: no item")


@pytest.mark.parametrize(
    ("line", "outcome", "message"),
    [
        ("quiz: non_inferior within 0.2", "pass", "margin 0.2: retained"),
        ("quiz.accuracy: non_inferior within 0.01", "fail", "margin 0.01: forgot"),
        ("quiz: non_inferior within 0.1", "inconclusive", "the interval contains the margin; about"),
        ("quiz: improved", "fail", "not improved"),
        ("quiz >= baseline", "fail", "no part of the interval is >= 0"),
        ("quiz >= 0.5 × baseline", "pass", "the whole interval is >= 0"),
        ("quiz >= 0.82 × baseline", "inconclusive", "the interval contains 0; about"),
        ("no task forgot", "fail", "forgot"),
        ("no task forgot more than 0.2", "pass", "retained"),
        ("signature must match", "pass", "the signatures match on 1 task"),
    ],
)
def test_rules_that_compare(tmp_path: Path, line: str, outcome: str, message: str) -> None:
    candidate, baseline = sides(tmp_path, Made(choices(BEFORE), ACCURACY), Made(choices(flipped(BEFORE, 60, 10)), ACCURACY))
    found = finding(line, candidate, baseline)
    assert (found.outcome, message in found.message) == (outcome, True), found.message
    if "quiz:" in line:
        assert "quiz.accuracy changed by -0.1250 [-0.1" in found.message


@pytest.mark.parametrize(
    ("lost", "gained", "outcome"), [(10, 60, "pass"), (30, 36, "inconclusive"), (60, 10, "fail")], ids=["better", "alike", "worse"]
)
def test_improved(tmp_path: Path, lost: int, gained: int, outcome: str) -> None:
    candidate, baseline = sides(tmp_path, Made(choices(BEFORE), ACCURACY), Made(choices(flipped(BEFORE, lost, gained)), ACCURACY))
    found = finding("quiz: improved", candidate, baseline)
    assert found.outcome == outcome
    assert bool(found.advice) == (outcome == "inconclusive")


def test_a_loss_beyond_the_margin_by_the_interval_alone_is_not_called_forgotten(tmp_path: Path) -> None:
    """As in `stats.verdict`: the adjusted p has to be at most 0.01 too."""
    candidate, baseline = sides(tmp_path, Made(choices(BEFORE), ACCURACY), Made(choices(flipped(BEFORE, 22, 8)), ACCURACY))
    found = finding("quiz: non_inferior within 0", candidate, baseline)
    assert (found.outcome, found.advice) == ("inconclusive", ())
    assert "likely forgot: the loss exceeds the margin, but the verdict forgot requires an adjusted p of at most 0.01" in found.message


def test_more_items_are_needed_than_there_are(tmp_path: Path) -> None:
    before = hits(0.7, 4_000)
    candidate, baseline = sides(tmp_path, Made(choices(before), ACCURACY), Made(choices(flipped(before, 150, 110)), ACCURACY))
    found = finding("quiz: non_inferior within 0.012", candidate, baseline)
    assert found.outcome == "inconclusive"
    assert int(found.advice[0].split("about ")[1].split()[0].replace(",", "")) > 4_000


def test_a_margin_of_points_and_one_that_the_policy_names(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    before = generator.integers(4, 10, size=300)
    candidate, baseline = sides(tmp_path, texts(before.tolist()), texts((before - (generator.random(300) < 0.35)).tolist()))
    assert finding("no task forgot more than 0.01", candidate, baseline).outcome == "fail"
    assert finding("no task forgot more than 0.05", candidate, baseline).outcome == "pass"
    assert finding("no task forgot more than 0.01", candidate, baseline, margins={"quiz": 0.05}).outcome == "pass"
    assert finding("no task forgot", candidate, baseline, margins={"rougeL": 0.05}).outcome == "pass"
    assert "margin 0.05" in finding("no task forgot", candidate, baseline, margins={"quiz.rougeL": 0.05}).message
    assert "margin 6: retained" in finding("quiz.bleu: non_inferior within 6", candidate, baseline).message


def test_a_share_of_the_scale_is_points_where_the_score_has_points(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    before = generator.integers(4, 10, size=300)
    one, other = texts(before.tolist()), texts((before - (generator.random(300) < 0.2)).tolist())
    bleu = [Made(made.answers, {"bleu": made.metrics["bleu"]}) for made in (one, other)]
    candidate, baseline = sides(tmp_path, *bleu)
    assert "margin 2:" in finding("no task forgot more than 0.02", candidate, baseline).message


def test_targets_cannot_be_forgotten(tmp_path: Path) -> None:
    lost = Made(choices(flipped(BEFORE, 60, 10)), ACCURACY)
    candidate = run(tmp_path / "tuned", {"quiz": lost, "said": quiz(280, 400)})
    baseline = run(tmp_path / "base", {"quiz": Made(choices(BEFORE), ACCURACY), "said": quiz(280, 400)})
    assert finding("no task forgot", candidate, baseline).outcome == "fail"
    assert finding("no task forgot", candidate, baseline, targets=("qui*",)).outcome == "pass"
    every = finding("no task forgot", candidate, baseline, targets=("*",))
    assert every == Finding("inconclusive", "every task that was compared is a target")


def test_a_task_that_the_run_lacks_is_inconclusive(tmp_path: Path) -> None:
    candidate = run(tmp_path / "tuned", {"quiz": quiz(2_800, 4_000)})
    baseline = run(tmp_path / "base", {"quiz": quiz(2_800, 4_000), "said": quiz(3, 10)})
    found = finding("no task forgot", candidate, baseline)
    assert (found.outcome, found.parts) == ("inconclusive", ("the run has no results of said, but the baseline has",))
    assert found.advice == ("evaluate said, or list the tasks that count under `tasks`",)
    assert finding("no task forgot", candidate, baseline, tasks=("qu*",)).outcome == "pass"
    assert finding("signature must match", candidate, baseline).message == "the signatures differ: said is missing"
    assert finding("signature must match", candidate, baseline, tasks=("quiz",)).outcome == "pass"


def test_signatures_that_differ_in_items_and_prompts_fail(tmp_path: Path) -> None:
    candidate, baseline = sides(tmp_path, quiz(10, 20), quiz(9, 19))
    found = finding("signature must match", candidate, baseline)
    assert found.outcome == "fail"
    assert "items: 19 instead of 20" in found.message
    candidate, baseline = sides(tmp_path / "prompts", quiz(10, 20), quiz(10, 20, prompts="<user> prompt"))
    assert "quiz (20 prompts differ)" in finding("signature must match", candidate, baseline).message


def subjects(right: list[int]) -> dict[str, Made]:
    return {f"exam_{number}": quiz(count, 100) for number, count in enumerate(right)}


def test_globs_groups_and_the_worst_of_several_scores(tmp_path: Path) -> None:
    groups = {"exam": exam([f"exam_{number}" for number in range(4)])}
    candidate = run(tmp_path / "tuned", subjects([70, 72, 50, 95]), groups)
    baseline = run(tmp_path / "base", subjects([70, 72, 90, 95]), groups)
    found = finding("exam_*.accuracy >= 0.65", candidate)
    assert (found.outcome, found.message) == ("fail", "4 scores: 1 failed, 2 inconclusive, 1 passed")
    assert [part.split(" ")[0] for part in found.parts] == ["exam_2.accuracy"]
    assert finding("exam.accuracy_macro >= 0.6", candidate).message.startswith("exam.accuracy_macro is 0.7175")
    assert finding("exam >= 0.6", candidate).outcome == "pass"
    assert finding("exam: non_inferior within 0.05", candidate, baseline).message.startswith("exam.accuracy_macro changed by -0.1000")
    part = finding("exam_2: non_inferior within 0.05", candidate, baseline)
    assert (part.outcome, "exam_2.accuracy changed by -0.4000" in part.message) == ("fail", True)
    relative = finding("exam >= 0.9 × baseline", candidate, baseline)
    assert relative.message.startswith("exam.accuracy_macro is 0.7175, the baseline's is 0.8175; 0.7175 - 0.9 × 0.8175 = -0.018")
    assert finding("*.accuracy: non_inferior within 0.05", candidate, baseline).message == "4 scores: 1 failed, 3 passed"


def test_a_group_within_a_group_is_compared_by_itself(tmp_path: Path) -> None:
    names = [f"exam_{number}" for number in range(4)]
    groups = {"exam": exam(names), "half": exam(names[:2])}
    candidate = run(tmp_path / "tuned", subjects([70, 72, 50, 95]), groups)
    baseline = run(tmp_path / "base", subjects([70, 72, 90, 95]), groups)
    found = finding("half: non_inferior within 0.1", candidate, baseline)
    assert found.message.startswith("half.accuracy_macro changed by 0 [")


def test_a_group_that_cannot_be_compared_as_one_is_replaced_by_its_tasks(tmp_path: Path) -> None:
    mixed = Group(group="exam", title="An exam", tasks=("quiz", "said"), aggregate=(Aggregate.model_validate({"average": "macro"}),))
    candidate = run(tmp_path / "tuned", {"quiz": quiz(70, 100), "said": texts([5] * 30)}, {"exam": mixed})
    baseline = run(tmp_path / "base", {"quiz": quiz(70, 100), "said": texts([5] * 30)}, {"exam": mixed})
    found = finding("exam: non_inferior within 0.2", candidate, baseline)
    assert (found.outcome, found.message) == ("pass", "2 scores: 2 passed")


def test_the_relative_rule_resamples_both_systems_together(tmp_path: Path) -> None:
    """The interval of after - 0.8 before, against one from the statistics of paired means."""
    after = flipped(BEFORE, 60, 10)
    candidate, baseline = sides(tmp_path, Made(choices(BEFORE), ACCURACY), Made(choices(after), ACCURACY))
    message = finding("quiz >= 0.8 × baseline", candidate, baseline).message
    low, high = (float(part) for part in message.split("[")[1].split("]")[0].split(", "))
    values = after - 0.8 * BEFORE
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.004)


def test_a_relative_rule_of_a_score_that_cannot_be_compared(tmp_path: Path) -> None:
    made = texts([5, 6, 7] * 10)
    kept = Made(made.answers, {"bleu": made.metrics["bleu"]}, keep_statistics=False)
    candidate, baseline = sides(tmp_path, kept, kept)
    found = finding("quiz >= 0.9 × baseline", candidate, baseline)
    assert (found.outcome, "hold no statistics of bleu" in found.message) == ("inconclusive", True)
    assert finding("quiz: non_inferior within 1", candidate, baseline).outcome == "inconclusive"
    assert finding("quiz: improved", candidate, baseline).outcome == "inconclusive"


def test_efficiency_is_held_against_the_baseline_by_the_point(tmp_path: Path) -> None:
    candidate, baseline = sides(tmp_path, quiz(5, 10), quiz(5, 10))
    with_efficiency(candidate, seconds={"score": 20.0, "generate": 10.0, "total": 40.0})
    with_efficiency(baseline, seconds={"score": 15.0, "generate": 5.0, "total": 30.0})
    found = finding("efficiency.items_per_second >= 0.8 × baseline", candidate, baseline)
    assert (found.outcome, found.message) == (
        "fail",
        "items_per_second is 2, which is not >= 0.8 × 3 = 2.4 (single measurements, without an interval)",
    )
    assert finding("efficiency.items_per_second >= 0.6 × baseline", candidate, baseline).outcome == "pass"
    assert finding("efficiency.seconds <= 60", candidate).outcome == "pass"
    assert finding("efficiency.peak_memory_bytes <= 1e9", candidate).outcome == "fail"


def test_the_speed_of_answers_from_the_store_is_not_known(tmp_path: Path) -> None:
    candidate, baseline = sides(tmp_path, quiz(5, 10), quiz(5, 10))
    with_efficiency(baseline, requests=RequestsRecord(unique=10, cached=10, computed=0))
    found = finding("efficiency.items_per_second >= 0.8 × baseline", candidate, baseline)
    assert found.outcome == "inconclusive"
    assert "of the baseline is not known: its responses came from the cache" in found.message
    assert found.advice == ("compute the baseline again with --fresh",)
    assert finding("efficiency.decode_tokens_per_second >= 10", candidate).outcome == "inconclusive"


@pytest.mark.parametrize(
    ("line", "what", "remedy"),
    [
        ("quizz >= 0.5", "has no task or group 'quizz'", "Did you mean quiz? Available: quiz, said."),
        ("quizz.accuracy >= 0.5", "has no task or group 'quizz'", "Did you mean quiz?"),
        ("zzz_* >= 0.5", "has no task or group 'zzz_*'", "Available: quiz, said."),
        ("said.rouge_l >= 0.5", "said has no metric 'rouge_l'", "Did you mean rougeL? Available metrics: rougeL, rouge1, bleu."),
        ("quiz.zzz >= 0.5", "quiz has no metric 'zzz'", "Available metrics: accuracy."),
        ("*.zzz >= 0.5", "none of 2 tasks has a metric 'zzz'", "Available metrics"),
        (
            "efficiency.speed >= 1",
            "there is no efficiency quantity 'speed'",
            "Available quantities: items_per_second, prefill_tokens_per_second",
        ),
        ("said >= 0.5 × baseline", "has no results of said", "Evaluate the baseline on it"),
        ("said: improved", "has no results of said", "Evaluate the baseline on it"),
    ],
)
def test_what_the_results_do_not_have_is_told(tmp_path: Path, line: str, what: str, remedy: str) -> None:
    candidate = run(tmp_path / "tuned", {"quiz": quiz(5, 10), "said": texts([4, 5, 6])})
    baseline = run(tmp_path / "base", {"quiz": quiz(5, 10)})
    with pytest.raises(InputError) as caught:
        finding(line, candidate, baseline)
    assert caught.value.what.startswith(f"The rule '{line}' cannot be applied: ")
    assert what in caught.value.what
    assert remedy in caught.value.remedy


def test_a_name_with_dots_is_taken_whole(tmp_path: Path) -> None:
    candidate = run(tmp_path / "tuned", {"quiz.v1": quiz(10, 10), "quiz": quiz(0, 10)})
    assert finding("quiz.v1.accuracy >= 0.5", candidate).message.startswith("quiz.v1.accuracy is 1")
    assert finding("quiz.v1 >= 0.5", candidate).message.startswith("quiz.v1.accuracy is 1")


def test_several_findings_are_one() -> None:
    parts = [Finding("pass", "a"), Finding("inconclusive", "b", ("more b",)), Finding("inconclusive", "c", ("more c",))]
    assert combined(parts, "scores") == Finding("inconclusive", "3 scores: 2 inconclusive, 1 passed", ("more b", "more c"), ("b", "c"))
    many = combined([Finding("fail", str(number)) for number in range(9)], "scores")
    assert many.lines == ("9 scores: 9 failed", "0", "1", "2", "3", "4", "5", "and 3 more")
    assert combined([Finding("pass", "a")] * 2, "tasks") == Finding("pass", "2 tasks: 2 passed")


def test_numbers_are_told_with_digits_that_say_something() -> None:
    assert [number(value) for value in (0.25, -0.0312345, 0.0, 12.3456, 123456.0, 1e-6)] == [
        "0.2500",
        "-0.0312",
        "0",
        "12.35",
        "123,456",
        "1e-06",
    ]
    assert [p_text(value) for value in (None, 0.5, 0.00001)] == ["no adjusted p", "adjusted p = 0.5000", "adjusted p < 0.0001"]


def test_a_loss_that_lacks_only_the_adjusted_p_is_undecided(tmp_path: Path) -> None:
    """22 lost and 8 gained of 400: the interval lies beyond 0, the exact p is 0.016."""
    candidate, baseline = sides(tmp_path, Made(choices(BEFORE), ACCURACY), Made(choices(flipped(BEFORE, 22, 8)), ACCURACY))
    (one,) = decided(candidate, baseline, policy("no task forgot more than 0.001")).results
    assert one.finding.outcome == "inconclusive"
    assert "adjusted p = 0.0161, margin 0.001: likely forgot" in one.finding.message


def test_six_unchanged_items_do_not_reach_a_multiple_of_the_baseline(tmp_path: Path) -> None:
    candidate, baseline = sides(tmp_path, quiz(4, 6), quiz(4, 6))
    for line in ("quiz >= baseline", "quiz >= 0.98 × baseline"):
        assert finding(line, candidate, baseline).outcome == "inconclusive"


@pytest.mark.parametrize(
    ("line", "outcome", "message"),
    [
        ("quiz: non_inferior within 0.001", "pass", "nothing can have changed"),
        ("no task forgot", "pass", "nothing can have changed"),
        ("quiz >= baseline", "pass", "nothing can have changed"),
        ("quiz <= baseline", "pass", "nothing can have changed"),
        ("quiz >= 0.9 × baseline", "pass", "nothing can have changed"),
        ("quiz > baseline", "fail", "cannot be > itself"),
        ("quiz: improved", "fail", "cannot be better"),
        ("quiz >= 1.01 × baseline", "fail", "cannot be >= 1.01 × itself"),
        ("quiz <= 1.5 × baseline", "pass", "nothing can have changed"),
        ("signature must match", "pass", "the signatures match"),
    ],
)
def test_a_system_against_itself(tmp_path: Path, line: str, outcome: str, message: str) -> None:
    same: dict[str, Any] = {"model_digest": "one", "tokenizer_digest": "one"}
    candidate = run(tmp_path / "tuned", {"quiz": quiz(140, 200)}, **same)
    baseline = run(tmp_path / "base", {"quiz": quiz(140, 200)}, **same)
    found = finding(line, candidate, baseline)
    assert (found.outcome, message in found.message) == (outcome, True), found.message


def test_why_a_system_passes_against_itself_is_told_for_all_scores_together(tmp_path: Path) -> None:
    same: dict[str, Any] = {"model_digest": "one"}
    made = {"quiz": quiz(140, 200), "exam": quiz(70, 100)}
    found = finding("no task forgot", run(tmp_path / "tuned", made, **same), run(tmp_path / "base", made, **same))
    assert found.message == "2 scores: 2 passed (nothing can have changed, because the same system gave the same responses)"
    other = made | {"exam": Made(choices(flipped(hits(0.7, 4_000), 1, 1)), ACCURACY)}
    made = made | {"exam": Made(choices(hits(0.7, 4_000)), ACCURACY)}
    mixed = finding("no task forgot", run(tmp_path / "more", other, **same), run(tmp_path / "less", made, **same))
    assert mixed.message.endswith("because the same system gave the same responses (1 of 2))")


def test_different_systems_with_the_same_responses_are_undecided(tmp_path: Path) -> None:
    candidate, baseline = sides(tmp_path, quiz(140, 200), quiz(140, 200))
    for line in ("no task forgot", "quiz >= baseline", "quiz: improved"):
        assert finding(line, candidate, baseline).outcome == "inconclusive"

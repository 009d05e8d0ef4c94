"""What each rule finds: by intervals where there are any, with the numbers told."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import metrics
from harness.errors import InputError
from harness.gate.findings import Finding, combined, items_to_decide, number, p_text
from harness.report.comparison import compare_runs
from harness.store import runs
from harness.store.runs import RequestsRecord
from harness.tasks.schema import Aggregate, Group
from tests.gate.made import exam, finding, judged, policy, quiz, run, texts, with_efficiency
from tests.report.comparing import Made, choices
from tests.report.test_comparison import ACCURACY, PLAN, flipped, hits
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
        ("quiz.accuracy >= 0.72", "cannot tell"),
        ("quiz.accuracy >= 0.68", "cannot tell"),
        ("quiz.accuracy >= 0.8", "fail"),
        ("quiz.accuracy < 0.8", "pass"),
        ("quiz.accuracy <= 0.72", "cannot tell"),
        ("quiz.accuracy > 0.8", "fail"),
        ("quiz.accuracy < 0.6", "fail"),
    ],
)
def test_thresholds_are_judged_by_the_interval(tmp_path: Path, line: str, outcome: str) -> None:
    found = finding(line, run(tmp_path / "tuned", {"quiz": quiz(280, 400)}))
    assert found.outcome == outcome
    assert found.told.startswith("quiz.accuracy is 0.7000 [0.65")
    assert "on 400 items" in found.told
    assert bool(found.advice) == (outcome == "cannot tell")


def test_how_many_items_would_tell(tmp_path: Path) -> None:
    found = finding("quiz >= 0.67", run(tmp_path / "tuned", {"quiz": quiz(280, 400)}))
    needed = int(found.advice[0].split("about ")[1].split()[0].replace(",", ""))
    half = 1.96 * math.sqrt(0.7 * 0.3 / 400)
    assert needed == pytest.approx(400 * (half / 0.03) ** 2, rel=0.1)
    more = finding("quiz >= 0.67", run(tmp_path / "more", {"quiz": quiz(round(0.7 * needed * 1.1), round(needed * 1.1))}))
    assert more.outcome == "pass"


def test_a_share_of_none_shrinks_as_clopper_and_pearson_say(tmp_path: Path) -> None:
    found = finding("quiz <= 0.02", run(tmp_path / "tuned", {"quiz": quiz(0, 100)}))
    assert found.advice == ("quiz: about 183 items",)
    assert finding("quiz <= 0.02", run(tmp_path / "most", {"quiz": quiz(0, 182)})).outcome == "cannot tell"
    assert finding("quiz <= 0.02", run(tmp_path / "more", {"quiz": quiz(0, 183)})).outcome == "pass"


def test_no_number_of_items_tells_a_score_on_the_limit() -> None:
    assert items_to_decide(100, 0.5, (0.4, 0.6), 0.5) is None
    assert items_to_decide(100, 0.5, (0.4, 0.6), 0.45) == 400
    assert items_to_decide(100, 0.5, (0.4, 0.8), 0.6) == 900


def test_a_score_without_an_interval_cannot_be_told(tmp_path: Path) -> None:
    one = run(tmp_path / "one", {"quiz": quiz(1, 1)})
    told = "quiz.accuracy is 1 and has no interval: 1 item gives none"
    assert finding("quiz >= 0.5", one) == finding("quiz < 0.5", one) == Finding("cannot tell", told)
    record = records.task(metrics={"acc": records.metric(0.9, ci=None, ci_method=None, reason="all items are of one cluster")})
    runs.write(records.run(tasks={"quiz": record}), tmp_path / "clustered")
    told = "quiz.acc is 0.9000 and has no interval: all items are of one cluster"
    assert finding("quiz >= 0.5", tmp_path / "clustered") == Finding("cannot tell", told)


def test_a_score_without_a_value_cannot_be_told(tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    runs.write(records.run(tasks={"quiz": records.task(None)}), folder)
    assert finding("quiz.acc >= 0.5", folder) == Finding("cannot tell", "quiz.acc has no value: no item")


@pytest.mark.parametrize(
    ("line", "outcome", "told"),
    [
        ("quiz: non_inferior within 0.2", "pass", "margin 0.2: kept"),
        ("quiz.accuracy: non_inferior within 0.01", "fail", "margin 0.01: forgot"),
        ("quiz: non_inferior within 0.1", "cannot tell", "the interval holds the margin; about"),
        ("quiz: improved", "fail", "not better"),
        ("quiz >= baseline", "fail", "none of it is >= 0"),
        ("quiz >= 0.5 × baseline", "pass", "all of it is >= 0"),
        ("quiz >= 0.82 × baseline", "cannot tell", "the interval holds 0; about"),
        ("no task forgot", "fail", "forgot"),
        ("no task forgot more than 0.2", "pass", "kept"),
        ("signature must match", "pass", "1 task measured alike"),
    ],
)
def test_rules_that_compare(tmp_path: Path, line: str, outcome: str, told: str) -> None:
    candidate, baseline = sides(tmp_path, Made(choices(BEFORE), ACCURACY), Made(choices(flipped(BEFORE, 60, 10)), ACCURACY))
    found = finding(line, candidate, baseline)
    assert (found.outcome, told in found.told) == (outcome, True), found.told
    if "quiz:" in line:
        assert "quiz.accuracy changed by -0.1250 [-0.1" in found.told


@pytest.mark.parametrize(
    ("lost", "gained", "outcome"), [(10, 60, "pass"), (30, 36, "cannot tell"), (60, 10, "fail")], ids=["better", "alike", "worse"]
)
def test_improved(tmp_path: Path, lost: int, gained: int, outcome: str) -> None:
    candidate, baseline = sides(tmp_path, Made(choices(BEFORE), ACCURACY), Made(choices(flipped(BEFORE, lost, gained)), ACCURACY))
    found = finding("quiz: improved", candidate, baseline)
    assert found.outcome == outcome
    assert bool(found.advice) == (outcome == "cannot tell")


def test_a_loss_beyond_the_margin_by_the_interval_alone_is_not_called_forgotten(tmp_path: Path) -> None:
    """As in `stats.verdict`: the adjusted p has to be at most 0.01 too."""
    candidate, baseline = sides(tmp_path, Made(choices(BEFORE), ACCURACY), Made(choices(flipped(BEFORE, 22, 8)), ACCURACY))
    found = finding("quiz: non_inferior within 0", candidate, baseline)
    assert (found.outcome, found.advice) == ("cannot tell", ())
    assert "likely forgot, lost beyond the margin, but the verdict needs an adjusted p of 0.01" in found.told


def test_more_items_are_asked_for_than_there_are(tmp_path: Path) -> None:
    before = hits(0.7, 4_000)
    candidate, baseline = sides(tmp_path, Made(choices(before), ACCURACY), Made(choices(flipped(before, 150, 110)), ACCURACY))
    found = finding("quiz: non_inferior within 0.012", candidate, baseline)
    assert found.outcome == "cannot tell"
    assert int(found.advice[0].split("about ")[1].split()[0].replace(",", "")) > 4_000


def test_a_margin_of_points_and_one_that_the_policy_names(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    before = generator.integers(4, 10, size=300)
    candidate, baseline = sides(tmp_path, texts(before.tolist()), texts((before - (generator.random(300) < 0.35)).tolist()))
    assert finding("no task forgot more than 0.01", candidate, baseline).outcome == "fail"
    assert finding("no task forgot more than 0.05", candidate, baseline).outcome == "pass"
    assert finding("no task forgot more than 0.01", candidate, baseline, margins={"quiz": 0.05}).outcome == "pass"
    assert finding("no task forgot", candidate, baseline, margins={"rougeL": 0.05}).outcome == "pass"
    assert "margin 0.05" in finding("no task forgot", candidate, baseline, margins={"quiz.rougeL": 0.05}).told
    assert "margin 6: kept" in finding("quiz.bleu: non_inferior within 6", candidate, baseline).told


def test_a_share_of_the_scale_is_points_where_the_score_has_points(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    before = generator.integers(4, 10, size=300)
    one, other = texts(before.tolist()), texts((before - (generator.random(300) < 0.2)).tolist())
    bleu = [Made(made.answers, {"bleu": made.metrics["bleu"]}) for made in (one, other)]
    candidate, baseline = sides(tmp_path, *bleu)
    assert "margin 2:" in finding("no task forgot more than 0.02", candidate, baseline).told


def test_targets_cannot_be_forgotten(tmp_path: Path) -> None:
    lost = Made(choices(flipped(BEFORE, 60, 10)), ACCURACY)
    candidate = run(tmp_path / "tuned", {"quiz": lost, "said": quiz(280, 400)})
    baseline = run(tmp_path / "base", {"quiz": Made(choices(BEFORE), ACCURACY), "said": quiz(280, 400)})
    assert finding("no task forgot", candidate, baseline).outcome == "fail"
    assert finding("no task forgot", candidate, baseline, targets=("qui*",)).outcome == "pass"
    every = finding("no task forgot", candidate, baseline, targets=("*",))
    assert every == Finding("cannot tell", "every task that was compared is a target")


def test_a_task_that_the_run_lacks_cannot_be_told(tmp_path: Path) -> None:
    candidate = run(tmp_path / "tuned", {"quiz": quiz(2_800, 4_000)})
    baseline = run(tmp_path / "base", {"quiz": quiz(2_800, 4_000), "said": quiz(3, 10)})
    found = finding("no task forgot", candidate, baseline)
    assert (found.outcome, found.parts) == ("cannot tell", ("the baseline has said, which the run lacks",))
    assert found.advice == ("score said, or name the tasks that count under `tasks`",)
    assert finding("no task forgot", candidate, baseline, tasks=("qu*",)).outcome == "pass"
    assert finding("signature must match", candidate, baseline).told == "measured otherwise: said is missing"
    assert finding("signature must match", candidate, baseline, tasks=("quiz",)).outcome == "pass"


def test_signatures_that_differ_in_items_and_prompts_fail(tmp_path: Path) -> None:
    candidate, baseline = sides(tmp_path, quiz(10, 20), quiz(9, 19))
    found = finding("signature must match", candidate, baseline)
    assert found.outcome == "fail"
    assert "items: 19 instead of 20" in found.told
    candidate, baseline = sides(tmp_path / "prompts", quiz(10, 20), quiz(10, 20, prompts="<user> prompt"))
    assert "quiz (20 prompts differ)" in finding("signature must match", candidate, baseline).told


def subjects(right: list[int]) -> dict[str, Made]:
    return {f"exam_{number}": quiz(count, 100) for number, count in enumerate(right)}


def test_globs_groups_and_the_worst_of_several_scores(tmp_path: Path) -> None:
    groups = {"exam": exam([f"exam_{number}" for number in range(4)])}
    candidate = run(tmp_path / "tuned", subjects([70, 72, 50, 95]), groups)
    baseline = run(tmp_path / "base", subjects([70, 72, 90, 95]), groups)
    found = finding("exam_*.accuracy >= 0.65", candidate)
    assert (found.outcome, found.told) == ("fail", "4 scores: 1 fail, 2 cannot tell, 1 pass")
    assert [part.split(" ")[0] for part in found.parts] == ["exam_2.accuracy"]
    assert finding("exam.accuracy_macro >= 0.6", candidate).told.startswith("exam.accuracy_macro is 0.7175")
    assert finding("exam >= 0.6", candidate).outcome == "pass"
    assert finding("exam: non_inferior within 0.05", candidate, baseline).told.startswith("exam.accuracy_macro changed by -0.1000")
    part = finding("exam_2: non_inferior within 0.05", candidate, baseline)
    assert (part.outcome, "exam_2.accuracy changed by -0.4000" in part.told) == ("fail", True)
    relative = finding("exam >= 0.9 × baseline", candidate, baseline)
    assert relative.told.startswith("exam.accuracy_macro is 0.7175, the baseline's 0.8175, 0.7175 - 0.9 × 0.8175 = -0.018")
    assert finding("*.accuracy: non_inferior within 0.05", candidate, baseline).told == "4 scores: 1 fail, 3 pass"


def test_a_group_within_a_group_is_compared_by_itself(tmp_path: Path) -> None:
    names = [f"exam_{number}" for number in range(4)]
    groups = {"exam": exam(names), "half": exam(names[:2])}
    candidate = run(tmp_path / "tuned", subjects([70, 72, 50, 95]), groups)
    baseline = run(tmp_path / "base", subjects([70, 72, 90, 95]), groups)
    found = finding("half: non_inferior within 0.1", candidate, baseline)
    assert found.told.startswith("half.accuracy_macro changed by 0 [")


def test_a_group_that_cannot_stand_as_one_stands_for_its_tasks(tmp_path: Path) -> None:
    mixed = Group(group="exam", title="An exam", tasks=("quiz", "said"), aggregate=(Aggregate.model_validate({"average": "macro"}),))
    candidate = run(tmp_path / "tuned", {"quiz": quiz(70, 100), "said": texts([5] * 30)}, {"exam": mixed})
    baseline = run(tmp_path / "base", {"quiz": quiz(70, 100), "said": texts([5] * 30)}, {"exam": mixed})
    found = finding("exam: non_inferior within 0.2", candidate, baseline)
    assert (found.outcome, found.told) == ("pass", "2 scores: 2 pass")


def test_the_relative_rule_resamples_both_systems_together(tmp_path: Path) -> None:
    """The interval of after - 0.8 before, against one from the statistics of paired means."""
    after = flipped(BEFORE, 60, 10)
    candidate, baseline = sides(tmp_path, Made(choices(BEFORE), ACCURACY), Made(choices(after), ACCURACY))
    told = finding("quiz >= 0.8 × baseline", candidate, baseline).told
    low, high = (float(part) for part in told.split("[")[1].split("]")[0].split(", "))
    values = after - 0.8 * BEFORE
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.004)


def test_a_relative_rule_of_a_score_that_cannot_be_compared(tmp_path: Path) -> None:
    made = texts([5, 6, 7] * 10)
    kept = Made(made.answers, {"bleu": made.metrics["bleu"]}, keep_statistics=False)
    candidate, baseline = sides(tmp_path, kept, kept)
    found = finding("quiz >= 0.9 × baseline", candidate, baseline)
    assert (found.outcome, "keep no statistics of bleu" in found.told) == ("cannot tell", True)
    assert finding("quiz: non_inferior within 1", candidate, baseline).outcome == "cannot tell"
    assert finding("quiz: improved", candidate, baseline).outcome == "cannot tell"


def test_efficiency_is_held_against_the_baseline_by_the_point(tmp_path: Path) -> None:
    candidate, baseline = sides(tmp_path, quiz(5, 10), quiz(5, 10))
    with_efficiency(candidate, seconds={"score": 20.0, "generate": 10.0, "total": 40.0})
    with_efficiency(baseline, seconds={"score": 15.0, "generate": 5.0, "total": 30.0})
    found = finding("efficiency.items_per_second >= 0.8 × baseline", candidate, baseline)
    assert (found.outcome, found.told) == (
        "fail",
        "items_per_second is 2, which is not >= 0.8 × 3 = 2.4; it has no interval, so the points decide",
    )
    assert finding("efficiency.items_per_second >= 0.6 × baseline", candidate, baseline).outcome == "pass"
    assert finding("efficiency.seconds <= 60", candidate).outcome == "pass"
    assert finding("efficiency.peak_memory_bytes <= 1e9", candidate).outcome == "fail"


def test_the_speed_of_answers_from_the_store_is_not_known(tmp_path: Path) -> None:
    candidate, baseline = sides(tmp_path, quiz(5, 10), quiz(5, 10))
    with_efficiency(baseline, requests=RequestsRecord(asked=10, from_store=10, computed=0))
    found = finding("efficiency.items_per_second >= 0.8 × baseline", candidate, baseline)
    assert found.outcome == "cannot tell"
    assert "of the baseline is not known: its answers came from the store" in found.told
    assert found.advice == ("compute the baseline anew with --fresh",)
    assert finding("efficiency.decode_tokens_per_second >= 10", candidate).outcome == "cannot tell"


@pytest.mark.parametrize(
    ("line", "what", "remedy"),
    [
        ("quizz >= 0.5", "has no task or group 'quizz'", "Did you mean quiz? It has quiz, said."),
        ("quizz.accuracy >= 0.5", "has no task or group 'quizz'", "Did you mean quiz?"),
        ("zzz_* >= 0.5", "has no task or group 'zzz_*'", "It has quiz, said."),
        ("said.rouge_l >= 0.5", "said has no metric 'rouge_l'", "Did you mean rougeL? There is rougeL, rouge1, bleu."),
        ("quiz.zzz >= 0.5", "quiz has no metric 'zzz'", "There is accuracy."),
        ("*.zzz >= 0.5", "none of 2 tasks has a metric 'zzz'", "There is"),
        ("efficiency.speed >= 1", "efficiency has no quantity 'speed'", "It has items_per_second, prefill_tokens_per_second"),
        ("said >= 0.5 × baseline", "has no results of said", "Score the baseline on it"),
        ("said: improved", "has no results of said", "Score the baseline on it"),
    ],
)
def test_what_the_results_do_not_have_is_told(tmp_path: Path, line: str, what: str, remedy: str) -> None:
    candidate = run(tmp_path / "tuned", {"quiz": quiz(5, 10), "said": texts([4, 5, 6])})
    baseline = run(tmp_path / "base", {"quiz": quiz(5, 10)})
    with pytest.raises(InputError) as caught:
        finding(line, candidate, baseline)
    assert caught.value.what.startswith(f"the rule '{line}' does not fit: ")
    assert what in caught.value.what
    assert remedy in caught.value.remedy


def test_a_name_with_dots_is_taken_whole(tmp_path: Path) -> None:
    candidate = run(tmp_path / "tuned", {"quiz.v1": quiz(10, 10), "quiz": quiz(0, 10)})
    assert finding("quiz.v1.accuracy >= 0.5", candidate).told.startswith("quiz.v1.accuracy is 1")
    assert finding("quiz.v1 >= 0.5", candidate).told.startswith("quiz.v1.accuracy is 1")


def test_several_findings_are_one() -> None:
    parts = [Finding("pass", "a"), Finding("cannot tell", "b", ("more b",)), Finding("cannot tell", "c", ("more c",))]
    assert combined(parts, "scores") == Finding("cannot tell", "3 scores: 2 cannot tell, 1 pass", ("more b", "more c"), ("b", "c"))
    many = combined([Finding("fail", str(number)) for number in range(9)], "scores")
    assert many.lines == ("9 scores: 9 fail", "0", "1", "2", "3", "4", "5", "and 3 more")
    assert combined([Finding("pass", "a")] * 2, "tasks") == Finding("pass", "2 tasks: 2 pass")


def test_numbers_are_told_with_digits_that_say_something() -> None:
    assert [number(value) for value in (0.25, -0.0312345, 0.0, 12.3456, 123456.0, 1e-6)] == [
        "0.2500",
        "-0.0312",
        "0",
        "12.35",
        "123,456",
        "1e-06",
    ]
    assert [p_text(value) for value in (None, 0.5, 0.00001)] == ["no p", "p 0.5000", "p < 0.0001"]


def test_a_loss_that_lacks_only_the_adjusted_p_is_undecided(tmp_path: Path) -> None:
    """22 lost and 8 gained of 400: the interval lies beyond 0, the exact p is 0.016."""
    candidate, baseline = sides(tmp_path, Made(choices(BEFORE), ACCURACY), Made(choices(flipped(BEFORE, 22, 8)), ACCURACY))
    (one,) = judged(candidate, baseline, policy("no task forgot more than 0.001")).judged
    assert one.finding.outcome == "cannot tell"
    assert "p 0.0161, margin 0.001: likely forgot" in one.finding.told


def test_six_unchanged_items_do_not_reach_a_multiple_of_the_baseline(tmp_path: Path) -> None:
    candidate, baseline = sides(tmp_path, quiz(4, 6), quiz(4, 6))
    for line in ("quiz >= baseline", "quiz >= 0.98 × baseline"):
        assert finding(line, candidate, baseline).outcome == "cannot tell"


@pytest.mark.parametrize(
    ("line", "outcome", "told"),
    [
        ("quiz: non_inferior within 0.001", "pass", "nothing can have changed"),
        ("no task forgot", "pass", "nothing can have changed"),
        ("quiz >= baseline", "pass", "nothing can have changed"),
        ("quiz <= baseline", "pass", "nothing can have changed"),
        ("quiz >= 0.9 × baseline", "pass", "nothing can have changed"),
        ("quiz > baseline", "fail", "it cannot be > itself"),
        ("quiz: improved", "fail", "it cannot be better"),
        ("quiz >= 1.01 × baseline", "fail", "it cannot be >= 1.01 × itself"),
        ("quiz <= 1.5 × baseline", "pass", "nothing can have changed"),
        ("signature must match", "pass", "measured alike"),
    ],
)
def test_a_system_against_itself(tmp_path: Path, line: str, outcome: str, told: str) -> None:
    same: dict[str, Any] = {"model_digest": "one", "tokenizer_digest": "one"}
    candidate = run(tmp_path / "tuned", {"quiz": quiz(140, 200)}, **same)
    baseline = run(tmp_path / "base", {"quiz": quiz(140, 200)}, **same)
    found = finding(line, candidate, baseline)
    assert (found.outcome, told in found.told) == (outcome, True), found.told


def test_why_a_system_passes_against_itself_is_told_for_all_scores_together(tmp_path: Path) -> None:
    same: dict[str, Any] = {"model_digest": "one"}
    made = {"quiz": quiz(140, 200), "exam": quiz(70, 100)}
    found = finding("no task forgot", run(tmp_path / "tuned", made, **same), run(tmp_path / "base", made, **same))
    assert found.told == "2 scores: 2 pass: the same system gave the same responses: nothing can have changed"
    other = made | {"exam": Made(choices(flipped(hits(0.7, 4_000), 1, 1)), ACCURACY)}
    made = made | {"exam": Made(choices(hits(0.7, 4_000)), ACCURACY)}
    mixed = finding("no task forgot", run(tmp_path / "more", other, **same), run(tmp_path / "less", made, **same))
    assert mixed.told.endswith("nothing can have changed (1 of 2)")


def test_different_systems_with_the_same_responses_are_undecided(tmp_path: Path) -> None:
    candidate, baseline = sides(tmp_path, quiz(140, 200), quiz(140, 200))
    for line in ("no task forgot", "quiz >= baseline", "quiz: improved"):
        assert finding(line, candidate, baseline).outcome == "cannot tell"


@pytest.mark.parametrize("margin", [0.001, 0.01])
def test_the_gate_asks_for_as_many_items_as_the_report(tmp_path: Path, margin: float) -> None:
    candidate, baseline = (
        run(tmp_path / "tuned", {"quiz": quiz(140, 200)}),
        run(tmp_path / "base", {"quiz": quiz(140, 200)}, dtype="bfloat16"),
    )
    found = finding(f"quiz: non_inferior within {margin}", candidate, baseline)
    needed = 3_838 if margin == 0.001 else 381
    assert f"about {needed:,} items would tell" in found.told
    comparison = compare_runs(baseline, candidate, metrics.load, dataclasses.replace(PLAN, margins={"quiz": margin}))
    assert comparison.tasks[0].scores["accuracy"].items_needed == needed


@pytest.mark.parametrize(("factor", "least", "most"), [(0.999, 6_300, 6_500), (0.99, 600, 660), (0.98, 300, 330)])
def test_unchanged_items_for_a_multiple_of_the_baseline(tmp_path: Path, factor: float, least: int, most: int) -> None:
    """Of 60 % right, 6,396, 634 and 314 unchanged items suffice; formerly 197,146, 1,958 and 486 were told."""
    candidate, baseline = (
        run(tmp_path / "tuned", {"quiz": quiz(120, 200)}),
        run(tmp_path / "base", {"quiz": quiz(120, 200)}, dtype="bfloat16"),
    )
    found = finding(f"quiz >= {factor} × baseline", candidate, baseline)
    told = int(found.told.split("about ")[1].split(" items")[0].replace(",", ""))
    assert least <= told <= most

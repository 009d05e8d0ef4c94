"""Groups that stand as one, and the numbers over all tasks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import metrics
from harness.compare.comparison import ComparisonOptions, RunComparison, compare_runs
from harness.report.forgetting import phrases
from harness.tasks.schema import Group
from tests.compare.comparing import ACCURACY, PLAN, Made, choices, flipped, folder, group, hits, spoken, subjects, width

BLEU: dict[str, tuple[str, dict[str, Any]]] = {"bleu": ("bleu", {})}


def compare(
    tmp_path: Path, before: dict[str, Made], after: dict[str, Made], groups: dict[str, Group] | None = None, plan: ComparisonOptions = PLAN
) -> RunComparison:
    first = folder(tmp_path / "before", before, groups)
    return compare_runs(first, folder(tmp_path / "after", after, groups, system="tuned"), metrics.load, plan)


@pytest.mark.parametrize("count", [3, 24])
def test_a_group_over_one_metric_stands_as_one(tmp_path: Path, count: int) -> None:
    before, after = subjects(count)
    groups = {"exam": group(list(before), "macro", "micro")}
    found = compare(tmp_path, before, after, groups)
    (exam,) = found.tasks
    sizes = [len(made.answers) for made in before.values()]
    assert (exam.name, exam.title, exam.items) == ("exam", "An exam", sum(sizes))
    assert [part.name for part in exam.parts] == list(before)
    macro, micro = exam.scores["accuracy_macro"], exam.scores["accuracy_micro"]
    shares = [part.scores["accuracy"].after or 0.0 for part in exam.parts]
    assert macro.after == pytest.approx(np.mean(shares))
    assert micro.after == pytest.approx(np.average(shares, weights=sizes))
    assert (macro.headline, micro.headline) == (True, False)
    assert macro.lost == sum(part.scores["accuracy"].lost or 0 for part in exam.parts)
    assert (macro.resampled, macro.rows) == (("tasks", count) if count >= 20 else ("items", sum(sizes)))
    assert len(exam.changes) == (macro.lost or 0) + (macro.gained or 0)
    assert exam.changes[0].change == -1.0
    assert exam.chance == 0.25


def test_a_group_in_few_tasks_has_the_interval_of_independent_tasks(tmp_path: Path) -> None:
    before, after = subjects(3, (200, 300))
    exam = compare(tmp_path, before, after, {"exam": group(list(before), "macro")}, dataclasses.replace(PLAN, resamples=4_000)).tasks[0]
    macro = exam.scores["accuracy_macro"]
    errors = [width(part.scores["accuracy"].low, part.scores["accuracy"].high) for part in exam.parts]
    assert width(macro.low, macro.high) == pytest.approx(np.sqrt(np.square(errors).sum()) / 3, rel=0.06)


def test_a_large_group_of_which_hardly_anything_changed_is_retained(tmp_path: Path) -> None:
    """Three flips in three of 24 subjects: resampling whole subjects would be blind to the 1,080 items behind them."""
    before, _ = subjects(24, (45, 45))
    after = dict(before)
    for number in range(3):
        right = hits(0.5, len(before[f"exam_{number}"].answers), number)
        before[f"exam_{number}"] = Made(choices(right), ACCURACY)
        after[f"exam_{number}"] = Made(choices(flipped(right, 1, 0)), ACCURACY)
    (exam,) = compare(tmp_path, before, after, {"exam": group(list(before), "macro", "micro")}).tasks
    assert exam.verdict == "retained"
    assert (exam.scores["accuracy_macro"].resampled, exam.scores["accuracy_macro"].rows) == ("items", 1_080)
    assert exam.scores["accuracy_micro"].test == "mcnemar"


def test_parts_are_tested_among_themselves(tmp_path: Path) -> None:
    before, after = subjects(4)
    quiz = Made(choices(hits(0.7, 100)), ACCURACY)
    found = compare(tmp_path, {**before, "quiz": quiz}, {**after, "quiz": quiz}, {"exam": group(list(before), "macro")})
    assert [task.name for task in found.tasks] == ["exam", "quiz"]
    assert sum(found.overall.verdicts.values()) == 2
    smallest = min((part.scores["accuracy"] for part in found.tasks[0].parts), key=lambda score: score.p or 0.0)
    assert smallest.p_holm == pytest.approx(min(1.0, 4 * (smallest.p or 0.0)))


def test_groups_can_be_taken_apart(tmp_path: Path) -> None:
    before, after = subjects(3)
    groups = {"exam": group(list(before), "macro")}
    apart = compare(tmp_path, before, after, groups, dataclasses.replace(PLAN, groups=False))
    assert [task.name for task in apart.tasks] == list(before)
    target = compare(tmp_path, before, after, groups, dataclasses.replace(PLAN, targets=("exam_1",)))
    assert [(task.name, task.target) for task in target.tasks] == [("exam_0", False), ("exam_1", True), ("exam_2", False)]
    whole = compare(tmp_path, before, after, groups, dataclasses.replace(PLAN, targets=("exam",)))
    assert [(task.name, task.target) for task in whole.tasks] == [("exam", True)]
    assert whole.overall.verdict is None


def test_an_average_over_different_metrics_does_not_stand_for_its_tasks(tmp_path: Path) -> None:
    before, after = subjects(3)
    mixed = {"exam": group(list(before), "members", metric=None)}
    assert [task.name for task in compare(tmp_path, before, after, mixed).tasks] == list(before)


def test_of_nested_groups_the_largest_stands(tmp_path: Path) -> None:
    before, after = subjects(4)
    names = list(before)
    groups = {"half": group(names[:2], "macro"), "exam": group(names, "macro")}
    assert [task.name for task in compare(tmp_path, before, after, groups).tasks] == ["exam"]


def test_a_group_of_chosen_tasks_only(tmp_path: Path) -> None:
    before, after = subjects(3)
    groups = {"exam": group(list(before), "macro")}
    chosen = compare(tmp_path, before, after, groups, dataclasses.replace(PLAN, tasks=("exam_0", "exam_2")))
    assert [task.name for task in chosen.tasks] == ["exam_0", "exam_2"]
    named = compare(tmp_path, before, after, groups, dataclasses.replace(PLAN, tasks=("exam",)))
    assert [task.name for task in named.tasks] == ["exam"]


def test_corpus_scores_average_over_a_group(tmp_path: Path) -> None:
    good, bad = "the old cat slept under the tall tree at home", "the old cat slept under a dog at home"
    before = {"one": Made(spoken([good, bad] * 30), BLEU), "two": Made(spoken([good] * 40 + [bad] * 10), BLEU)}
    after = {"one": Made(spoken([bad] * 60), BLEU), "two": Made(spoken([good] * 25 + [bad] * 25), BLEU)}
    groups = {"exam": group(["one", "two"], "macro", "micro", metric="bleu")}
    (exam,) = compare(tmp_path, before, after, groups).tasks
    macro = exam.scores["accuracy_macro"]
    assert macro.before == pytest.approx(np.mean([part.scores["bleu"].before or 0.0 for part in exam.parts]))
    assert (macro.test, macro.margin, macro.lost) == ("permutation", 1.0, None)
    assert exam.verdict == "forgot"


def suite() -> tuple[dict[str, Made], dict[str, Made]]:
    """One task forgotten, one retained at chance, one improved on, and one tuned for."""
    good, guessed, weak = hits(0.8, 500, 1), hits(0.25, 500, 2), hits(0.5, 500, 3)
    before = {
        "lost": Made(choices(good), ACCURACY),
        "guessed": Made(choices(guessed), ACCURACY),
        "better": Made(choices(weak), ACCURACY),
        "tuned": Made(choices(weak), ACCURACY),
    }
    after = {
        "lost": Made(choices(flipped(good, 100, 0)), ACCURACY),
        "guessed": Made(choices(flipped(guessed, 5, 5)), ACCURACY),
        "better": Made(choices(flipped(weak, 0, 50)), ACCURACY),
        "tuned": Made(choices(flipped(weak, 10, 110)), ACCURACY),
    }
    return before, after


def test_over_all(tmp_path: Path) -> None:
    found = compare(tmp_path, *suite(), plan=dataclasses.replace(PLAN, targets=("tuned",)))
    whole, by_name = found.overall, {task.name: task for task in found.tasks}
    assert by_name["tuned"].target
    assert whole.verdict == "forgot"
    assert whole.verdicts == {"forgot": 1, "likely forgot": 0, "inconclusive": 1, "retained": 0, "improved": 1}
    assert whole.share_forgotten == pytest.approx(1 / 3)
    assert whole.mean_change is not None
    assert whole.mean_change.value == pytest.approx((-0.2 + 0.0 + 0.1) / 3)
    assert whole.mean_change == whole.backward_transfer
    assert whole.mean_loss == pytest.approx(0.2 / 3)
    assert whole.worst == "lost"
    assert whole.plasticity is not None
    assert whole.plasticity.value == pytest.approx(0.2)
    assert whole.plasticity.low is not None
    assert whole.plasticity.low > 0.1
    assert whole.left_out == ()


def test_retention_is_of_what_was_above_chance(tmp_path: Path) -> None:
    found = compare(tmp_path, *suite(), plan=dataclasses.replace(PLAN, targets=("tuned",)))
    by_name = {task.name: task for task in found.tasks}
    lost, better = by_name["lost"], by_name["better"]
    assert (lost.chance, by_name["guessed"].retention) == (0.25, None)
    assert phrases.guessing(found) == "Not significantly above guessing before, so there was little to forget: guessed (0.250)"
    scores = [(task.scores["accuracy"].before or 0.0, task.scores["accuracy"].after or 0.0) for task in (lost, better)]
    assert lost.retention == pytest.approx((scores[0][1] - 0.25) / (scores[0][0] - 0.25))
    saved = found.overall.retention
    assert saved is not None
    assert saved.value == pytest.approx(sum(after - 0.25 for _, after in scores) / sum(before - 0.25 for before, _ in scores))
    assert saved.low is not None
    assert saved.high is not None
    assert saved.low < saved.value < saved.high


def test_intervals_over_tasks_narrow_with_them(tmp_path: Path) -> None:
    before, after = subjects(8, (100, 100))
    one = compare(tmp_path / "one", {"exam_0": before["exam_0"]}, {"exam_0": after["exam_0"]}).overall.mean_change
    all_ = compare(tmp_path / "all", before, after).overall.mean_change
    assert one is not None
    assert all_ is not None
    assert width(all_.low, all_.high) == pytest.approx(width(one.low, one.high) / np.sqrt(8), rel=0.35)


def test_that_nothing_changed_is_not_known_to_the_last_digit(tmp_path: Path) -> None:
    right = hits(0.5, 50)
    found = compare(tmp_path, {"quiz": Made(choices(right), ACCURACY)}, {"quiz": Made(choices(right), ACCURACY)})
    score, mean = found.tasks[0].scores["accuracy"], found.overall.mean_change
    assert mean is not None
    assert mean.value == 0.0
    assert [mean.low, mean.high] == pytest.approx([score.low, score.high])
    assert width(mean.low, mean.high) > 0.05


def test_scores_of_unlike_scales_are_put_on_one(tmp_path: Path) -> None:
    right = hits(0.5, 100)
    good, bad = "the old cat slept under the tall tree at home", "the old cat slept under a dog at home"
    before = {"quiz": Made(choices(right), ACCURACY), "text": Made(spoken([good] * 50), BLEU)}
    after = {"quiz": Made(choices(right), ACCURACY), "text": Made(spoken([good] * 20 + [bad] * 30), BLEU)}
    found = compare(tmp_path, before, after)
    text = found.tasks[1].scores["bleu"]
    assert text.difference is not None
    assert text.difference < -10
    assert found.overall.mean_change is not None
    assert found.overall.mean_change.value == pytest.approx(text.difference / 100 / 2)
    assert found.tasks[1].retention == pytest.approx((text.after or 0.0) / 100)


def test_several_headlines_of_the_same_items_are_resampled_together(tmp_path: Path) -> None:
    """Accuracy and its own copy are one score: their mean has the interval of one, not of two independent ones."""
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"one": ("accuracy", {}), "two": ("choice_em", {})}
    right = hits(0.7, 400)
    twice = Made(choices(right), wanted, headline=("one", "two")), Made(choices(flipped(right, 40, 30)), wanted, headline=("one", "two"))
    plan = dataclasses.replace(PLAN, resamples=4_000)
    both = compare(tmp_path / "both", {"quiz": twice[0]}, {"quiz": twice[1]}, plan=plan).overall.mean_change
    single = compare(
        tmp_path / "single",
        {"quiz": dataclasses.replace(twice[0], headline=("one",))},
        {"quiz": dataclasses.replace(twice[1], headline=("one",))},
        plan=plan,
    ).overall.mean_change
    assert both is not None
    assert single is not None
    assert width(both.low, both.high) == pytest.approx(width(single.low, single.high), rel=0.08)


def test_scores_without_a_bound_are_in_no_mean(tmp_path: Path) -> None:
    good = spoken(["the old cat slept under the tall tree"] * 30)
    before, after = {"text": Made(good, {"ter": ("ter", {})})}, {"text": Made(good, {"ter": ("ter", {})})}
    found = compare(tmp_path, before, after)
    assert found.tasks[0].scores["ter"].margin == 1.0
    assert found.overall.left_out == ()
    from harness.contract import LikelihoodOutcome

    texts, hardly = (
        Made([LikelihoodOutcome(-3.0 - number - more, 2, 2, 9) for number in range(30)], {"bits_per_byte": ("bits_per_byte", {})})
        for more in (0.0, 1e-4)
    )
    found = compare(tmp_path / "texts", {"text": texts}, {"text": hardly})
    assert found.overall.left_out == ("text",)
    assert found.overall.mean_change is None
    assert found.overall.worst is None
    assert found.overall.verdict == "retained"


def test_retention_says_over_how_many_tasks_and_does_not_claim_certainty(tmp_path: Path) -> None:
    """Two tasks of seven are surely above chance, and on neither did an item change: that is no certainty about others."""
    strong, guessed = hits(0.8, 120, 1), hits(0.25, 120, 2)
    before = {f"strong_{number}": Made(choices(strong), ACCURACY) for number in range(2)}
    before |= {f"guessed_{number}": Made(choices(guessed), ACCURACY) for number in range(5)}
    found = compare(tmp_path, before, before)
    saved = found.overall.retention
    assert saved is not None
    assert (saved.value, saved.tasks) == (1.0, 2)
    assert saved.low is not None
    assert saved.high is not None
    room = 1.959964**2 / (120 + 1.959964**2) * np.sqrt(2)
    above = 2 * (float(strong.mean()) - 0.25)
    assert saved.low == pytest.approx(1 - room / above, abs=0.01)
    assert saved.high == pytest.approx(1 + room / above, abs=0.01)
    lines = {name: (value, meaning) for name, value, meaning in phrases.overall_lines(found)}
    assert lines["retention"][0].startswith("1.000 [0.9")
    assert lines["retention"][1] == "of the base's scores above guessing, over 2 of 7 tasks"
    assert phrases.retained(found).endswith("over 2 of 7")


def test_few_changes_of_several_headlines_keep_the_room_of_each(tmp_path: Path) -> None:
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"one": ("accuracy", {}), "two": ("choice_em", {})}
    right = hits(0.7, 100)
    before = {"quiz": Made(choices(right), wanted, headline=("one", "two"))}
    after = {"quiz": Made(choices(flipped(right, 1, 0)), wanted, headline=("one", "two"))}
    found = compare(tmp_path, before, after)
    score, mean = found.tasks[0].scores["one"], found.overall.mean_change
    assert mean is not None
    assert [mean.low, mean.high] == pytest.approx([score.low, score.high])

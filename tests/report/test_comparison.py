"""Two results folders compared: joining, refusing, and each task's scores, verdicts and items."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness import metrics
from harness.contract import ChoiceOutcome, LikelihoodOutcome, TextOutcome
from harness.errors import InputError
from harness.report.comparison import Comparison, Plan, TaskComparison, compare_runs
from harness.report.forgetting.facts import remarks
from harness.report.kept import Results
from harness.stats import power
from harness.store import runs
from harness.store.saving import Part, save
from tests.report.comparing import AnyOutcome, Made, choices, folder
from tests.store.written import with_statistics

ACCURACY: dict[str, tuple[str, dict[str, Any]]] = {"accuracy": ("accuracy", {})}
PLAN = Plan(resamples=400, threads=1)


def hits(share: float, items: int, seed: int = 0) -> np.ndarray:
    found: np.ndarray = np.random.default_rng(seed).random(items) < share
    return found


def flipped(right: np.ndarray, lost: int, gained: int) -> np.ndarray:
    """The same answers but for so many that are lost and gained, the first ones."""
    after = right.copy()
    after[np.flatnonzero(right)[:lost]] = False
    after[np.flatnonzero(~right)[:gained]] = True
    return after


def compare(tmp_path: Path, before: dict[str, Made], after: dict[str, Made], plan: Plan = PLAN) -> Comparison:
    return compare_runs(folder(tmp_path / "before", before), folder(tmp_path / "after", after, system="tuned"), metrics.load, plan)


def compared(tmp_path: Path, before: Made, after: Made, plan: Plan = PLAN) -> TaskComparison:
    (task,) = compare(tmp_path, {"quiz": before}, {"quiz": after}, plan).tasks
    return task


def quiz(right: np.ndarray, **changes: Any) -> Made:
    return Made(choices(right), ACCURACY, **changes)


def spoken(texts: Sequence[str]) -> list[AnyOutcome]:
    return [TextOutcome(text, ("the old cat slept under the tall tree at home",)) for text in texts]


BEFORE = hits(0.7, 400)
AFTER = flipped(BEFORE, lost=60, gained=10)


def test_right_and_wrong(tmp_path: Path) -> None:
    task = compared(tmp_path, quiz(BEFORE), quiz(AFTER))
    score = task.scores["accuracy"]
    assert (task.name, task.items, task.verdict) == ("quiz", 400, "forgot")
    assert (score.before, score.after) == pytest.approx((BEFORE.mean(), AFTER.mean()))
    assert score.difference == score.change == pytest.approx(-50 / 400)
    assert score.low is not None
    assert score.high is not None
    assert score.low < -50 / 400 < score.high < -0.01
    assert (score.lost, score.gained) == (60, 10)
    assert score.odds_ratio == pytest.approx(1 / 6)
    assert (score.test, score.method, score.resampled) == ("mcnemar", "bca", "items")
    assert score.p == score.p_holm == score.p_bh == pytest.approx(stats.binomtest(10, 70).pvalue)
    assert score.effect == "h"
    assert score.effect_size == pytest.approx(2 * np.arcsin(np.sqrt(AFTER.mean())) - 2 * np.arcsin(np.sqrt(BEFORE.mean())))
    assert score.margin == 0.01
    assert score.detectable is not None
    assert 0.04 < score.detectable < 0.08
    assert score.items_needed == int(np.ceil(70 / 400 * (power.detectable(1.0) / 0.01) ** 2))


def test_the_reverse_is_an_improvement(tmp_path: Path) -> None:
    task = compared(tmp_path, quiz(AFTER), quiz(BEFORE))
    assert task.verdict == "improved"
    assert task.scores["accuracy"].change == pytest.approx(50 / 400)


def test_few_items_cannot_tell_and_many_are_kept(tmp_path: Path) -> None:
    few = compared(tmp_path / "few", quiz(BEFORE[:50]), quiz(flipped(BEFORE[:50], 1, 1)))
    assert few.verdict == "cannot tell"
    assert few.scores["accuracy"].method == "score"
    needed = few.scores["accuracy"].items_needed
    assert needed is not None
    assert needed > 50
    many = hits(0.7, 4_000)
    kept = compared(tmp_path / "many", quiz(many), quiz(flipped(many, 20, 22)))
    assert kept.verdict == "kept"


def test_a_margin_can_be_set_for_a_task_or_a_metric(tmp_path: Path) -> None:
    for margins in ({"quiz": 0.5}, {"accuracy": 0.5}, {"quiz.accuracy": 0.5, "quiz": 0.0, "accuracy": 0.0}):
        task = compared(tmp_path, quiz(BEFORE), quiz(AFTER), dataclasses.replace(PLAN, margins=margins))
        assert task.scores["accuracy"].margin == 0.5
        assert task.verdict == "kept"


def test_changed_items_are_shown_the_lost_ones_first(tmp_path: Path) -> None:
    task = compared(tmp_path, quiz(BEFORE), quiz(AFTER))
    assert [change.kind for change in task.changes] == ["lost"] * 60 + ["gained"] * 10
    first = task.changes[0]
    assert first.before.digest == first.after.digest == f"d{np.flatnonzero(BEFORE)[0]}"
    assert first.before.prediction == first.before.target != first.after.prediction
    assert first.change == -1.0


def test_items_are_joined_by_content_and_strays_are_named(tmp_path: Path) -> None:
    before = quiz(np.array([1, 0, 1, 0, 1, 1], dtype=bool), digests=["a", "b", "c", "twin", "twin", "gone"])
    after = quiz(np.array([1, 0, 0, 0, 0, 1], dtype=bool), digests=["twin", "new", "c", "b", "a", "twin"])
    task = compared(tmp_path, before, after)
    assert task.items == 5
    assert task.only_before == ("i5",)
    assert task.only_after == ("i1",)
    score = task.scores["accuracy"]
    assert (score.before, score.after) == pytest.approx((3 / 5, 2 / 5))
    assert (score.lost, score.gained) == (2, 1)
    assert [(change.kind, change.before.id, change.after.id) for change in task.changes] == [
        ("lost", "i0", "i4"),
        ("lost", "i2", "i2"),
        ("gained", "i3", "i0"),
    ]


def test_nothing_in_common_has_a_reason_and_no_verdict(tmp_path: Path) -> None:
    task = compared(tmp_path, quiz(BEFORE[:5], digests=list("abcde")), quiz(BEFORE[:5], digests=list("vwxyz")))
    score = task.scores["accuracy"]
    assert score.reason == "the two results have no item in common"
    assert (score.verdict, score.p, score.rows) == ("cannot tell", None, 0)


def test_results_measured_otherwise_are_refused_with_the_difference(tmp_path: Path) -> None:
    other = quiz(AFTER, signature="task|v:1|template:plain|shots:5|data:some/data/test|data_digest:{digest}|items:{items}")
    with pytest.raises(InputError, match=r"quiz was not measured alike .*shots: 5 instead of 0"):
        compared(tmp_path, quiz(BEFORE), other)


@pytest.mark.parametrize("drawn", ["shot_seed:0", "sampling_seed:0"])
def test_items_that_moved_are_refused_where_something_was_drawn_by_their_ids(tmp_path: Path, drawn: str) -> None:
    """Ids are numbers of rows here, so that another row before the first gives every item another id."""
    signature = f"task|v:1|{drawn}|data:some/data/test|data_digest:{{digest}}|items:{{items}}"
    before, digests = quiz(BEFORE[:20], signature=signature), [f"d{number}" for number in range(20)]
    moved = quiz(BEFORE[:20], digests=["new", *digests[:-1]], signature=signature)
    with pytest.raises(InputError, match=r"19 of 19 items have other ids \('i0' and 'i1' the first\)"):
        compared(tmp_path, before, moved)
    fewer = compared(tmp_path / "fewer", before, quiz(BEFORE[:15], signature=signature))
    assert fewer.items == 15


def test_metrics_with_other_options_are_refused(tmp_path: Path) -> None:
    other = Made(choices(AFTER), {"accuracy": ("accuracy", {"normalize": "characters"})})
    with pytest.raises(InputError, match="normalize: characters instead of none"):
        compared(tmp_path, quiz(BEFORE), other)


def test_only_shared_tasks_are_compared_and_the_others_named(tmp_path: Path) -> None:
    made = quiz(BEFORE[:20])
    found = compare(tmp_path, {"quiz": made, "old": made}, {"quiz": made, "new": made})
    assert [task.name for task in found.tasks] == ["quiz"]
    assert (found.only_before, found.only_after) == (("old",), ("new",))
    assert (found.before.name, found.after.name) == ("tiny", "tuned")
    with pytest.raises(InputError, match="no scored task in common"):
        compare(tmp_path / "none", {"old": made}, {"new": made})


@pytest.mark.parametrize("plan", [Plan(tasks=("quizz",)), Plan(targets=("quizz",))])
def test_unknown_names_are_refused(tmp_path: Path, plan: Plan) -> None:
    made = quiz(BEFORE[:20])
    with pytest.raises(InputError, match=r"'quizz' is not in both results(.|\n)*They share quiz"):
        compare(tmp_path, {"quiz": made}, {"quiz": made}, plan)


def test_tasks_can_be_chosen(tmp_path: Path) -> None:
    made, other = quiz(BEFORE[:20]), quiz(BEFORE[:20], signature="task|v:2")
    found = compare(tmp_path, {"quiz": made, "other": made}, {"quiz": made, "other": other}, dataclasses.replace(PLAN, tasks=("quiz",)))
    assert [task.name for task in found.tasks] == ["quiz"]


def test_p_values_are_adjusted_over_the_tasks_headlines(tmp_path: Path) -> None:
    both: dict[str, tuple[str, dict[str, Any]]] = {"accuracy": ("accuracy", {}), "mc2": ("mc2", {})}
    before = {"a": Made(choices(BEFORE), both), "b": Made(choices(BEFORE), both), "c": Made(choices(BEFORE), both)}
    after = {
        "a": Made(choices(flipped(BEFORE, 40, 10)), both),
        "b": Made(choices(flipped(BEFORE, 30, 14)), both),
        "c": Made(choices(flipped(BEFORE, 12, 10)), both),
    }
    found = compare(tmp_path, before, after)
    scores = [task.scores["accuracy"] for task in found.tasks]
    p = [score.p or 0.0 for score in scores]
    assert [score.p_holm for score in scores] == pytest.approx([3 * p[0], 2 * p[1], p[2]])
    assert [score.p_bh for score in scores] == pytest.approx([3 * p[0], 1.5 * p[1], p[2]])
    assert [score.headline for score in found.tasks[0].scores.values()] == [True, False]
    assert scores[1].verdict == "cannot tell"


def test_a_corpus_score_is_resampled_through_its_statistics(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    said = ["the old cat slept under the tall tree at home", "the old cat ran under the tree", "a dog sat on the mat at home"]
    before = Made(spoken([said[number] for number in generator.choice(3, 120, p=[0.6, 0.3, 0.1])]), {"bleu": ("bleu", {})})
    after = Made(spoken([said[number] for number in generator.choice(3, 120, p=[0.2, 0.5, 0.3])]), {"bleu": ("bleu", {})})
    task = compared(tmp_path, before, after)
    score = task.scores["bleu"]
    metric = metrics.load("bleu")
    assert score.before == pytest.approx(float(metric.score(metric.statistics(before.answers).sum(axis=0))))
    assert (score.test, score.effect, score.margin) == ("permutation", "d_z", 1.0)
    assert score.lost is None
    assert score.p_bootstrap is not None
    assert score.p_bootstrap < 0.01
    assert task.verdict == "forgot"
    assert {change.kind for change in task.changes} == {"worse", "better"}


def test_a_confusion_score_counts_the_flips_of_its_choices(tmp_path: Path) -> None:
    both: dict[str, tuple[str, dict[str, Any]]] = {"mcc": ("mcc", {}), "f1": ("f1", {"positive": 1})}
    task = compared(tmp_path, Made(choices(BEFORE, 2), both), Made(choices(AFTER, 2), both))
    assert (task.scores["mcc"].lost, task.scores["mcc"].gained) == (60, 10)
    assert task.scores["mcc"].test == "permutation"
    assert task.scores["mcc"].odds_ratio is None
    assert len(task.changes) == 70
    assert task.verdict == "forgot"


def test_confusion_matrices_of_unequal_width_are_compared(tmp_path: Path) -> None:
    """Items that only one side holds may have more choices."""
    three = [*choices(BEFORE[:40], 2), ChoiceOutcome((-1.0, -2.0, -3.0), (2,), ("a", "b", "c"), (1, 1, 1))]
    before = Made(three, {"f1": ("f1", {"positive": 1})})
    after = Made(choices(flipped(BEFORE[:40], 5, 0), 2), {"f1": ("f1", {"positive": 1})})
    task = compared(tmp_path, before, after)
    assert task.items == 40
    assert task.scores["f1"].reason is None
    assert task.only_before == ("i40",)


def test_lower_is_better(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)

    def texts(nats: np.ndarray) -> list[AnyOutcome]:
        return [LikelihoodOutcome(-float(value), 20, 10, 50) for value in nats]

    nats = generator.gamma(40.0, size=200)
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"bits_per_byte": ("bits_per_byte", {}), "perplexity": ("perplexity", {})}
    task = compared(tmp_path, Made(texts(nats), wanted), Made(texts(nats * 1.1), wanted))
    score = task.scores["bits_per_byte"]
    assert score.difference is not None
    assert score.difference > 0
    assert score.change == -score.difference
    assert score.margin == pytest.approx(0.01 * (score.before or 0.0))
    assert task.verdict == "forgot"
    assert task.chance == 0.0
    assert task.retention is None


def test_an_item_is_lost_when_it_became_worse_whatever_the_metrics_direction(tmp_path: Path) -> None:
    preferred = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
    less = np.array([1, 0, 0, 0, 1, 0, 1, 0, 0, 0], dtype=bool)
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"stereotype_preference": ("stereotype_preference", {})}
    task = compared(tmp_path, Made(choices(preferred, 2), wanted), Made(choices(less, 2), wanted))
    score = task.scores["stereotype_preference"]
    assert not score.higher_is_better
    assert score.change == pytest.approx(0.2)
    assert (score.lost, score.gained) == (1, 3)
    assert score.odds_ratio == pytest.approx(3.0)
    assert [change.kind for change in task.changes] == ["lost", "gained", "gained", "gained"]


def test_perplexity_per_token_of_other_tokenizers_is_not_compared(tmp_path: Path) -> None:
    answers: list[AnyOutcome] = [LikelihoodOutcome(-3.0 - number, 2, 2, 9) for number in range(30)]
    made = {"text": Made(answers, {"perplexity": ("perplexity", {}), "word_perplexity": ("word_perplexity", {})})}
    before = folder(tmp_path / "before", made)
    after = folder(tmp_path / "after", made, tokenizer_digest="other")
    (task,) = compare_runs(before, after, metrics.load, PLAN).tasks
    assert task.scores["perplexity"].reason == "it is counted in tokens, and the systems' tokenizers differ"
    assert task.scores["word_perplexity"].reason is None


def test_results_of_an_earlier_version_compare_means_but_not_corpus_scores(tmp_path: Path) -> None:
    texts = spoken(["the old cat slept under it", "the tall tree at home", "a dog"] * 20)
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"rouge1": ("rouge1", {}), "bleu": ("bleu", {})}
    made = Made(texts, wanted, keep_statistics=False)
    task = compared(tmp_path, made, made)
    assert task.scores["rouge1"].reason is None
    assert task.scores["bleu"].reason == "these results keep no statistics of bleu; run the task again to compare it item by item"
    assert task.scores["bleu"].before == task.scores["bleu"].after != 0


def test_statistics_that_do_not_give_the_score_are_not_trusted(tmp_path: Path) -> None:
    made = Made(choices(BEFORE), {"mcc": ("mcc", {})})
    before, after = folder(tmp_path / "before", {"quiz": made}), folder(tmp_path / "after", {"quiz": made})
    kept = dict(Results.read(after).kept("quiz", None).statistics)
    kept["mcc"] = dataclasses.replace(kept["mcc"], table=np.tile([1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], (400, 1)).astype(float))
    with_statistics(after, "quiz", kept)
    (task,) = compare_runs(before, after, metrics.load, PLAN).tasks
    assert task.scores["mcc"].reason == "the statistics kept do not give the score beside them; run the task again"


def test_a_metric_that_is_not_installed_is_named(tmp_path: Path) -> None:
    made = Made(choices(BEFORE), {"mcc": ("mcc", {})})
    before, after = folder(tmp_path / "before", {"quiz": made}), folder(tmp_path / "after", {"quiz": made}, dtype="bfloat16")
    for side in (before, after):
        kept = Results.read(side).kept("quiz", None).statistics
        with_statistics(side, "quiz", {key: dataclasses.replace(one, metric="my_own") for key, one in kept.items()})
    (task,) = compare_runs(before, after, metrics.load, PLAN).tasks
    assert task.scores["mcc"].reason == "Unknown metric 'my_own'."


def asked(questions: int, answers: int, seed: int, spoilt: float) -> list[ChoiceOutcome]:
    """Judged answers to questions; whole questions go wrong."""
    generator = np.random.default_rng(seed)
    wrong = np.repeat(generator.random(questions) < spoilt, answers)
    labels = [
        {"question": f"q{number // answers}", "topic": number % 3, "source": "one", "length": number / 7}
        for number in range(questions * answers)
    ]
    return choices(~wrong, 2, labels)


def test_items_that_a_metric_judges_as_one_are_resampled_together(tmp_path: Path) -> None:
    wanted: dict[str, tuple[str, dict[str, Any]]] = {
        "f1a": ("f1", {}),
        "em": ("all_correct", {"by": "question"}),
        "accuracy": ("accuracy", {}),
    }
    before = Made(asked(80, 5, 1, 0.3), wanted, headline=("f1a", "em"))
    after = Made(asked(80, 5, 2, 0.35), wanted, headline=("f1a", "em"))
    task = compared(tmp_path, before, after)
    assert (task.scores["f1a"].resampled, task.scores["f1a"].rows) == ("clusters", 80)
    assert (task.scores["em"].resampled, task.scores["em"].rows) == ("groups", 80)
    assert [score.metric for score in task.headlines] == ["f1a", "em"]
    clustered = task.scores["accuracy"]
    assert clustered.test == "permutation"
    assert (clustered.lost, clustered.gained) == (task.scores["f1a"].lost, task.scores["f1a"].gained)
    alone = compared(tmp_path / "alone", Made(before.answers, ACCURACY), Made(after.answers, ACCURACY)).scores["accuracy"]
    assert alone.resampled == "items"
    assert width(clustered.low, clustered.high) > 1.8 * width(alone.low, alone.high)


def width(low: float | None, high: float | None) -> float:
    assert low is not None
    assert high is not None
    return high - low


def test_the_label_to_cluster_by_can_be_named(tmp_path: Path) -> None:
    made = Made(asked(40, 5, 1, 0.3), ACCURACY)
    other = Made(asked(40, 5, 2, 0.3), ACCURACY)
    task = compared(tmp_path, made, other, dataclasses.replace(PLAN, clusters={"quiz": "question"}))
    assert (task.scores["accuracy"].resampled, task.scores["accuracy"].rows) == ("clusters", 40)
    with pytest.raises(InputError, match="no label 'passage'"):
        compared(tmp_path, made, other, dataclasses.replace(PLAN, clusters={"quiz": "passage"}))


def test_groups_of_items_need_the_same_items_on_both_sides(tmp_path: Path) -> None:
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"em": ("all_correct", {"by": "question"})}
    answers = asked(10, 2, 1, 0.3)
    task = compared(tmp_path, Made(answers, wanted), Made(answers[:-1], wanted))
    reason = task.scores["em"].reason
    assert reason is not None
    assert reason.startswith("the metric judges several items as one")


def test_slices_by_label(tmp_path: Path) -> None:
    task = compared(tmp_path, Made(asked(60, 3, 1, 0.2), ACCURACY), Made(asked(60, 3, 2, 0.4), ACCURACY))
    assert [(part.label, part.value, part.score.items) for part in task.slices if part.label == "topic"] == [
        ("topic", value, 60) for value in ("0", "1", "2")
    ]
    assert {part.label for part in task.slices} == {"question", "topic"}, "labels of one value, and of fractions, name no kinds"
    found = [part.score for part in task.slices if part.label == "topic"]
    assert sum(score.lost or 0 for score in found) == task.scores["accuracy"].lost
    assert sum((score.before or 0.0) * score.items for score in found) == pytest.approx((task.scores["accuracy"].before or 0.0) * 180)
    assert all((score.p_holm or 0.0) >= (score.p or 0.0) for score in found)


def test_wordings_are_averaged_and_shown_one_by_one(tmp_path: Path) -> None:
    def worded(first: np.ndarray, second: np.ndarray) -> Made:
        return Made(choices(first), ACCURACY, wordings={"plain": choices(first), "flan": choices(second)})

    second = hits(0.5, 400, seed=3)
    task = compared(tmp_path, worded(BEFORE, second), worded(AFTER, flipped(second, 4, 4)))
    score = task.scores["accuracy"]
    assert score.before == pytest.approx((BEFORE.mean() + second.mean()) / 2)
    assert score.difference == pytest.approx(-25 / 400)
    assert (score.test, score.lost, score.gained) == ("permutation", 64, 14)
    plain, flan = task.wordings["plain"][0], task.wordings["flan"][0]
    assert (plain.difference, flan.difference) == pytest.approx((-50 / 400, 0.0))
    assert (plain.test, plain.lost) == ("mcnemar", 60)
    assert {change.wording for change in task.changes} == {"plain", "flan"}


def test_wordings_of_a_corpus_score(tmp_path: Path) -> None:
    one, two = spoken(["the old cat slept under it", "a dog sat"] * 30), spoken(["the old cat", "under the tall tree at home"] * 30)
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"bleu": ("bleu", {"smooth": "floor"})}
    task = compared(tmp_path, Made(one, wanted, wordings={"a": one, "b": two}), Made(one, wanted, wordings={"a": two, "b": one}))
    assert task.scores["bleu"].difference == pytest.approx(0.0)
    a, b = task.wordings["a"][0], task.wordings["b"][0]
    assert a.difference == pytest.approx(-(b.difference or 0.0))
    assert task.scores["bleu"].before == pytest.approx(((a.before or 0.0) + (b.before or 0.0)) / 2)


def test_prompts_that_differ_are_counted(tmp_path: Path) -> None:
    task = compared(tmp_path, quiz(BEFORE[:9]), quiz(BEFORE[:9], prompts="<user> prompt"))
    assert task.prompts_differ == 9
    assert compared(tmp_path, quiz(BEFORE[:9]), quiz(BEFORE[:9])).prompts_differ == 0


def test_a_comparison_is_the_same_twice_and_fits_json(tmp_path: Path) -> None:
    labels = [{"topic": number % 2} for number in range(400)]
    before, after = ({"quiz": Made(choices(right, labels=labels), ACCURACY)} for right in (BEFORE, AFTER))
    one, two = (compare(tmp_path, before, after) for _ in range(2))
    assert one == two
    text = json.dumps([dataclasses.asdict(task) for task in one.tasks] + [dataclasses.asdict(one.overall)], allow_nan=False)
    assert "forgot" in text


def test_groups_that_a_metric_judges_as_one_go_by_the_clusters_that_were_kept(tmp_path: Path) -> None:
    wanted: dict[str, tuple[str, dict[str, Any]]] = {"em": ("all_correct", {"by": "question"})}
    sides = []
    for number, name in enumerate(("before", "after")):
        path = folder(tmp_path / name, {"quiz": Made(asked(40, 5, number, 0.3), wanted)})
        kept = Results.read(path).kept("quiz", None).statistics
        codes = np.repeat(np.arange(10), 4)
        with_statistics(path, "quiz", {key: dataclasses.replace(one, clusters=codes) for key, one in kept.items()})
        sides.append(path)
    (task,) = compare_runs(sides[0], sides[1], metrics.load, PLAN).tasks
    assert (task.scores["em"].resampled, task.scores["em"].rows) == ("clusters", 10)


def test_items_go_by_the_cluster_of_their_samples(tmp_path: Path) -> None:
    sides = []
    for number, name in enumerate(("before", "after")):
        path = folder(tmp_path / name, {"quiz": Made(asked(40, 5, number, 0.3), ACCURACY)})
        kept = Results.read(path).kept("quiz", None)
        lines = [dataclasses.replace(one, cluster=f"p{place // 20}") for place, one in enumerate(kept.samples)]
        save(runs.read(path), {"quiz": [Part("quiz", lines, kept.statistics)]}, path)
        sides.append(path)
    (task,) = compare_runs(sides[0], sides[1], metrics.load, PLAN).tasks
    assert (task.scores["accuracy"].resampled, task.scores["accuracy"].rows) == ("clusters", 10)


def test_tasks_without_a_score_are_left_out_and_named(tmp_path: Path) -> None:
    texts = Made([TextOutcome("a", ("a",))] * 3, {})
    tasks = {"quiz": quiz(BEFORE[:20]), "texts": texts}
    found = compare(tmp_path, tasks, tasks)
    assert ([task.name for task in found.tasks], found.unscored) == (["quiz"], ("texts",))
    assert (found.only_before, found.only_after) == ((), ())
    assert "No score in common, not compared: texts." in remarks(found)
    with pytest.raises(InputError, match="no scored task in common"):
        compare(tmp_path / "alone", {"texts": texts}, {"texts": texts})


def test_a_headline_that_only_one_result_has_gives_way_to_a_common_score(tmp_path: Path) -> None:
    before = Made(choices(BEFORE[:20]), {"mc2": ("mc2", {}), "accuracy": ("accuracy", {})})
    task = compared(tmp_path, before, quiz(BEFORE[:20]))
    assert [score.metric for score in task.headlines] == ["accuracy"]

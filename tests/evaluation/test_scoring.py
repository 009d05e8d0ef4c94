"""Scores worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from harness.contract import ChoiceScores, Generate, Generation, Response, ScoreChoices, ScoreText, TextScore
from harness.errors import MetricError, TaskError
from harness.evaluation.aggregate import Member, score_group
from harness.evaluation.requests import ItemRequests
from harness.evaluation.scoring import TaskScorer, TaskScores, combine
from harness.store.records import GroupRecord, MetricRecord
from harness.store.signature import Signature
from harness.tasks.prompts import Question, TemplateVariant
from harness.tasks.schema import Group
from tests.tasks.cases import item, task


def question(number: int, target: Any, **changes: Any) -> Question:
    made = task(target="answer", **changes)
    return TemplateVariant(made, made.templates[0], False).question(item(number, thing="x", answer=target))


def choices(number: int, target: Any, logprobs: Sequence[float], **changes: Any) -> tuple[ItemRequests, Response]:
    """An answered question of the choices `red` (1 token) and `blue` (2 tokens), by default."""
    one = question(number, target, **changes)
    tokens = tuple(tuple(range(place + 1)) for place in range(len(one.choices)))
    return ItemRequests(one, f"prompt {number}", ScoreChoices(str(number), (1,), tokens)), ChoiceScores(str(number), tuple(logprobs))


def generated(number: int, references: Any, text: str) -> tuple[ItemRequests, Response]:
    one = question(number, references, answer="generate", choices=None, metrics=["rouge1"])
    return ItemRequests(one, f"prompt {number}", Generate(str(number), (1,), 8)), Generation(str(number), text, (5, 6), "eos")


def judged(pairs: Sequence[tuple[ItemRequests, Response]], **changes: Any) -> TaskScores:
    scorer = TaskScorer.of(task(**changes))
    return scorer.score([item_requests for item_requests, _ in pairs], {response.id: response for _, response in pairs}, seed=0)


RIGHT, WRONG = (-1.0, -2.0), (-2.0, -1.0)
"""Log-probabilities that choose the first choice, and the second; the target is the first."""


def hits(count: int, items: int) -> TaskScores:
    """A task with so many right answers."""
    return judged([choices(number, 0, RIGHT if number < count else WRONG) for number in range(items)])


def test_resamples_that_are_all_alike_give_no_interval_but_the_reason() -> None:
    constant = [choices(number, number % 2, RIGHT) for number in range(8)]
    record = judged(constant, metrics=["mcc"]).scores["mcc"].record()
    assert (record.value, record.ci) == (0.0, None)
    assert record.reason == "every resample of these items has the same score, so the variation is unknown"


def test_accuracy_of_four_questions() -> None:
    answers = [choices(0, 0, RIGHT), choices(1, 0, WRONG), choices(2, 1, WRONG), choices(3, "blue", WRONG)]
    record = judged(answers).scores["accuracy"].record()
    assert (record.value, record.n, record.unit, record.higher_is_better) == (0.75, 4, "share", True)
    assert (record.low, record.high) == (0.0, 1.0)
    assert record.ci is not None
    assert 0.0 <= record.ci[0] < 0.75 < record.ci[1] <= 1.0
    assert record.ci_method == "wilson"
    assert (record.signature.name, record.signature["version"]) == ("accuracy", 1)


def test_options_and_names_of_a_metric_hold() -> None:
    """Per token, blue's -1.8 over 2 tokens beats red's -1.0 over 1."""
    both = [{"metric": "accuracy"}, {"metric": "accuracy", "normalize": "tokens", "as": "by_token"}]
    scores = judged([choices(0, 0, (-1.0, -1.8))], metrics=both).scores
    assert (scores["accuracy"].value, scores["by_token"].value) == (1.0, 0.0)
    assert scores["by_token"].record().signature["normalize"] == "tokens"


def test_any_of_several_right_choices_counts() -> None:
    three = {"choices": ["red", "blue", "green"]}
    answers = [choices(0, [1, 2], (-3.0, -2.0, -1.0), **three), choices(1, [0, 1], (-3.0, -2.0, -1.0), **three)]
    assert judged(answers, **three).scores["accuracy"].value == 0.5


def test_samples_of_choices() -> None:
    made = judged([choices(0, 0, RIGHT), choices(1, 0, WRONG)])
    first, second = made.samples
    assert (first.id, first.prompt, first.target, first.prediction) == ("0", "prompt 0", 0, 0)
    assert (second.target, second.prediction, second.logprobs) == (0, 1, [-2.0, -1.0])
    assert [sample.metrics for sample in made.samples] == [{"accuracy": 1.0}, {"accuracy": 0.0}]
    assert first.digest == item(0, thing="x", answer=0).digest


def test_rouge_against_one_reference_and_against_the_best() -> None:
    """`a b` against `a b c d`: precision 1, recall 1/2, F1 2/3; against `a b`: 1."""
    settings: dict[str, Any] = {"answer": "generate", "choices": None, "target": "answer"}
    metrics = [{"metric": "rouge1", "references": "mean"}, {"metric": "rouge1", "references": "best", "as": "best"}]
    made = judged([generated(0, ["a b c d", "a b"], "a b")], metrics=metrics, **settings)
    assert made.scores["rouge1"].value == pytest.approx((2 / 3 + 1) / 2)
    assert made.scores["best"].value == pytest.approx(1.0)
    (sample,) = made.samples
    assert (sample.target, sample.prediction, sample.logprobs) == (["a b c d", "a b"], "a b", None)
    single = judged([generated(0, "a b c d", "a b")], metrics=["rouge1"], **settings)
    assert single.samples[0].target == "a b c d"


def test_perplexity_of_two_texts() -> None:
    """Log-probability -6 over 3 tokens, in two windows, and -2 over 1: exp(8 / 4)."""
    settings: dict[str, Any] = {"answer": "score_text", "choices": None, "metrics": ["perplexity"]}
    one, two = question(0, "two words", **settings), question(1, "x", **settings)
    pairs: list[tuple[ItemRequests, Response]] = [
        (ItemRequests(one, "", ScoreText("0", (((1,), (2, 3)), ((3,), (4,))))), TextScore("0", (-4.0, -2.0))),
        (ItemRequests(two, "", ScoreText("1", (((1,), (2,)),))), TextScore("1", (-2.0,))),
    ]
    made = judged(pairs, **settings, target="answer")
    record = made.scores["perplexity"].record()
    assert record.value == pytest.approx(math.exp(2))
    assert record.higher_is_better is False
    assert record.high is None
    assert made.samples[0].metrics["perplexity"] == pytest.approx(math.exp(2))


def test_all_right_or_all_wrong_has_an_exact_interval() -> None:
    """Clopper and Pearson: 3 of 3 reaches down to 0.025 ** (1/3)."""
    record = hits(3, 3).scores["accuracy"].record()
    assert record.ci == pytest.approx((0.025 ** (1 / 3), 1.0))
    assert record.ci_method == "clopper-pearson"


def test_a_single_item_has_a_score_but_no_interval() -> None:
    record = hits(1, 1).scores["accuracy"].record()
    assert (record.value, record.ci, record.n) == (1.0, None, 1)


def group(*aggregate: dict[str, Any]) -> Group:
    return Group.model_validate({"group": "g", "title": "Both", "aggregate": list(aggregate)})


def grouped(members: dict[str, TaskScores], *aggregate: dict[str, Any], weights: Sequence[float] = ()) -> GroupRecord:
    """The record of a group; a task's headline is its first metric."""
    shares = weights or [1.0] * len(members)
    made = {
        name: Member(judged.scores, (next(iter(judged.scores)),), share)
        for (name, judged), share in zip(members.items(), shares, strict=True)
    }
    return score_group(group(*aggregate), made, {name: Signature.of(name, {"version": 1}) for name in made})


MACRO: dict[str, Any] = {"metric": "accuracy"}
MICRO: dict[str, Any] = {"metric": "accuracy", "average": "micro"}


def test_macro_is_the_mean_of_the_tasks_and_micro_that_of_the_items() -> None:
    """1 of 2 and 9 of 10: macro (0.5 + 0.9) / 2 = 0.7, micro 10 / 12."""
    record = grouped({"small": hits(1, 2), "large": hits(9, 10)}, MACRO, MICRO)
    macro, micro = record.metrics["accuracy_macro"], record.metrics["accuracy_micro"]
    assert macro.value == pytest.approx(0.7)
    assert micro.value == pytest.approx(10 / 12)
    assert (macro.n, micro.n) == (12, 12)
    assert (record.title, record.tasks) == ("Both", ["small", "large"])
    for one in (macro, micro):
        assert one.value is not None
        assert one.ci is not None
        assert one.ci[0] < one.value < one.ci[1]
    assert (macro.signature["average"], macro.signature["tasks"]) == ("macro", 2)
    assert micro.signature["average"] == "micro"


def test_macro_and_micro_of_equal_sizes_are_equal() -> None:
    record = grouped({"a": hits(1, 4), "b": hits(3, 4)}, MACRO, MICRO)
    assert record.metrics["accuracy_macro"].value == record.metrics["accuracy_micro"].value == 0.5


def test_micro_f1_is_over_the_pooled_confusion_matrix() -> None:
    """Class 1: task a has 1 hit of 1 target, task b 0 of 1 with two false alarms: F1 2 / (2 + 3) pooled, (1 + 0) / 2 macro."""
    settings: dict[str, Any] = {"metrics": ["f1"]}
    a = judged([choices(0, 1, WRONG), choices(1, 0, RIGHT)], **settings)
    b = judged([choices(0, 1, RIGHT), choices(1, 0, WRONG), choices(2, 0, WRONG)], **settings)
    record = grouped({"a": a, "b": b}, {"metric": "f1"}, {"metric": "f1", "average": "micro"})
    assert (a.scores["f1"].value, b.scores["f1"].value) == (1.0, 0.0)
    assert record.metrics["f1_macro"].value == pytest.approx(0.5)
    assert record.metrics["f1_micro"].value == pytest.approx(2 / 5)


def test_micro_pools_tasks_of_different_numbers_of_choices() -> None:
    """Targets 0 0 1 2, predictions 0 1 1 2: F1 of the classes 2/3, 2/3, 1."""
    two, three = {"metrics": ["f1_macro"]}, {"metrics": ["f1_macro"], "choices": ["red", "blue", "green"]}
    a = judged([choices(0, 0, RIGHT), choices(1, 0, WRONG)], **two)
    b = judged([choices(0, 1, (-3, -1, -2), **three), choices(1, 2, (-3, -2, -1), **three)], **three)
    record = grouped({"a": a, "b": b}, {"metric": "f1_macro", "average": "micro", "as": "all"})
    assert record.metrics["all"].value == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_an_aggregate_that_some_task_lacks_is_left_out() -> None:
    other = judged([choices(0, 0, RIGHT)], metrics=["f1"])
    assert grouped({"a": hits(1, 2), "b": other}, MACRO).metrics == {}


def test_a_group_of_single_items_has_no_interval() -> None:
    record = grouped({"a": hits(1, 1), "b": hits(0, 1)}, MACRO).metrics["accuracy_macro"]
    assert (record.value, record.ci) == (0.5, None)


def test_members_average_lets_a_nested_group_count_once() -> None:
    """Task a alone, b and c in a nested group: (0 + (1 + 0.5) / 2) / 2."""
    tasks = {"a": hits(0, 2), "b": hits(2, 2), "c": hits(1, 2)}
    record = grouped(tasks, {"metric": "accuracy", "average": "members"}, MACRO, weights=[0.5, 0.25, 0.25])
    assert record.metrics["accuracy_members"].value == pytest.approx(0.375)
    assert record.metrics["accuracy_macro"].value == pytest.approx(0.5)


def test_an_aggregate_without_metric_is_over_headline_scores() -> None:
    f1 = judged([choices(0, 1, WRONG), choices(1, 0, RIGHT), choices(2, 1, RIGHT)], metrics=["accuracy"])
    record = grouped({"a": hits(1, 2), "b": f1}, {})
    assert record.metrics["score_macro"].value == pytest.approx((1 / 2 + 2 / 3) / 2)
    signature = record.metrics["score_macro"].signature
    assert (signature.name, signature["average"]) == ("headline", "macro")


def test_shares_and_correlations_are_averaged_as_glue_does() -> None:
    """Accuracy 1/2 and Matthews correlation of -1."""
    other = judged([choices(0, 1, RIGHT), choices(1, 0, WRONG)], metrics=["mcc"])
    record = grouped({"a": hits(1, 2), "b": other}, {}).metrics["score_macro"]
    assert record.value == pytest.approx(-0.25)
    assert (record.low, record.high, record.unit) == (-1.0, 1.0, "correlation")


def test_headlines_of_different_scales_have_no_mean() -> None:
    """A share, of which the best is 1, and BLEU points, of which the best is 100."""
    other = judged([generated(0, "a b c d", "a b c d")], metrics=["bleu"], answer="generate", choices=None)
    record = grouped({"a": hits(1, 2), "b": other}, {}).metrics["score_macro"]
    assert record.value is None
    assert "different units" in (record.reason or "")


def test_several_wordings_give_their_mean_and_spread() -> None:
    """Right in 1 of 4 and 3 of 4 items: 0.5, from 0.25 to 0.75."""
    record: MetricRecord = combine({"one": hits(1, 4), "two": hits(3, 4)})["accuracy"].record()
    assert (record.value, record.n) == (0.5, 4)
    assert record.spread is not None
    assert (record.spread.template_variants, record.spread.lowest, record.spread.highest, record.spread.spread) == (2, 0.25, 0.75, 0.5)
    assert combine({"one": hits(1, 4)})["accuracy"].record().spread is None


def test_a_context_for_each_choice_is_judged_like_one_for_all() -> None:
    one = question(0, 1)
    item_requests = ItemRequests(one, "prompt", ScoreText("0", (((1,), (2,)), ((3,), (2, 4)))))
    made = judged([(item_requests, TextScore("0", (-3.0, -2.0)))])
    assert made.scores["accuracy"].value == 1.0
    assert (made.samples[0].target, made.samples[0].prediction, made.samples[0].logprobs) == (1, 1, [-3.0, -2.0])


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        (["acuracy"], "Unknown metric 'acuracy'"),
        (["rouge1"], "scores the answer form 'generate', not 'choices'"),
        ([{"metric": "accuracy", "normalise": "bytes"}], "has no option 'normalise'"),
        ([{"metric": "accuracy", "normalize": "lines"}], "cannot be 'lines'"),
    ],
)
def test_a_metric_that_cannot_judge_is_told_before_anything_runs(metrics: list[Any], told: str) -> None:
    with pytest.raises(MetricError, match=told):
        TaskScorer.of(task(metrics=metrics))


def clustered(items: int = 40, **changes: Any) -> TaskScores:
    """Pairs of items that share a thing, answered alike."""
    pairs = []
    for number in range(items):
        made = task(target="answer", labels={"pair": "thing"}, **changes)
        one = TemplateVariant(made, made.templates[0], False).question(item(number, thing=f"x{number // 2}", answer=0))
        said = RIGHT if number // 2 % 4 else WRONG
        pairs.append((ItemRequests(one, "prompt", ScoreChoices(str(number), (1,), ((1,), (1, 2)))), ChoiceScores(str(number), said)))
    return judged(pairs, labels={"pair": "thing"}, **changes)


def test_items_of_one_cluster_are_resampled_together_and_keep_its_name() -> None:
    together, alone = clustered(cluster="thing"), clustered()
    first, second = together.scores["accuracy"].record(), alone.scores["accuracy"].record()
    assert first.value == second.value == 0.75
    assert (first.n, first.clusters, second.n, second.clusters) == (40, 20, 40, None)
    assert first.ci is not None
    assert second.ci is not None
    assert first.ci[1] - first.ci[0] > 1.3 * (second.ci[1] - second.ci[0])
    assert [sample.cluster for sample in together.samples[:3]] == ["x0", "x0", "x1"]
    assert alone.samples[0].cluster is None
    kept = together.statistics["accuracy"].clusters
    assert kept is not None
    assert kept.tolist() == [number // 2 for number in range(40)]


def test_what_a_metric_judges_as_one_is_the_cluster_by_default() -> None:
    both = ["accuracy", {"metric": "all_correct", "by": "pair"}]
    found = clustered(metrics=both)
    records = {name: score.record() for name, score in found.scores.items()}
    assert (records["accuracy"].n, records["accuracy"].clusters) == (40, 20)
    assert (records["all_correct"].n, records["all_correct"].clusters) == (20, None), "each group is a cluster of its own"
    wide = clustered(metrics=both, cluster="thing[:2]").scores["all_correct"].record()
    assert (wide.n, wide.clusters) == (20, 10), "x1 and x10 to x19 are one cluster"


def test_items_of_a_single_cluster_have_no_interval_and_say_so() -> None:
    record = clustered(cluster="thing[:1]").scores["accuracy"].record()
    assert (record.value, record.ci) == (0.75, None)
    assert record.reason == "all items are of one cluster, so the variation between clusters is unknown"


def test_the_name_of_a_long_cluster_is_its_digest_and_none_is_an_error() -> None:
    made = task(target="answer", cluster="thing")
    one, same, other = (
        TemplateVariant(made, made.templates[0], False).cluster(item(0, thing=text * 50, answer=0)) for text in ("ab", "ab", "cd")
    )
    assert one == same != other
    assert one is not None
    assert len(one) == 16
    empty = task(target="answer", cluster="none")
    with pytest.raises(TaskError, match="the cluster is none"):
        TemplateVariant(empty, empty.templates[0], False).question(item(0, thing="x", answer=0))


def test_headlines_of_one_task_are_resampled_together_in_a_group() -> None:
    """Twice the same score under two names: the group is as sure as one of them, not as two independent ones."""
    twin = clustered(metrics=["accuracy", {"metric": "accuracy", "as": "again"}], cluster="thing")
    one = Group.model_validate({"group": "g", "title": "G", "aggregate": [{"as": "mean"}]})
    member = Member(twin.scores, ("accuracy", "again"), 1.0)
    single = Member({"accuracy": twin.scores["accuracy"]}, ("accuracy",), 1.0)
    both, alone = (score_group(one, {"t": members}, {"t": Signature("t")}).metrics["mean"] for members in (member, single))
    assert both.ci is not None
    assert alone.ci is not None
    assert both.clusters == alone.clusters == 20
    assert both.ci[1] - both.ci[0] == pytest.approx(alone.ci[1] - alone.ci[0], rel=0.15)


def test_all_right_in_every_wording_is_no_certainty() -> None:
    record = combine({"a": hits(10, 10), "b": hits(10, 10)})["accuracy"].record()
    assert (record.value, record.ci_method) == (1.0, "clopper-pearson")
    assert record.ci is not None
    assert record.ci[0] == pytest.approx(0.025 ** (1 / 10))

"""From responses to scores: outcomes, metrics, samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import metrics
from harness.contract import (
    ChoiceOutcome,
    ChoiceScores,
    Family,
    Generation,
    LikelihoodOutcome,
    Outcome,
    Request,
    Response,
    ScoreChoices,
    ScoreText,
    TextOutcome,
    TextScore,
)
from harness.errors import MetricError
from harness.evaluation.signatures import ReadLabels, metric_signature
from harness.measures import Measures
from harness.metrics.base import Metric, check_form
from harness.scores import Score, blend
from harness.stats.intervals import Codes
from harness.store.runs import DisturbanceRecord
from harness.store.samples import SampleRecord, StatisticsRecord
from harness.worst import Disturbed, disturbances, worst_case

if TYPE_CHECKING:
    from harness.disturb import Copies
    from harness.prepare import Asked
    from harness.tasks.schema import Task


@dataclass(frozen=True)
class Judge:
    """The metrics of one task, by the name under which results carry them.

    Attributes:
        metrics: the task's own, and those measured beside them.
        headlines: metrics whose fall on disturbed copies is measured.
        without: families asked for that the task has no measure of, with the reason.
        labels: the expressions that give the items' labels.
    """

    metrics: Mapping[str, Metric[Any]]
    headlines: tuple[str, ...] = ()
    without: Mapping[Family, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, task: Task, measures: Measures | None = None, *, remote_code: bool = False) -> Judge:
        """The metrics that a task names, and what is measured beside them.

        Args:
            task: whose metrics are made.
            measures: what is measured beside them.
            remote_code: allow metrics that run Python code which the task file names.

        Raises:
            MetricError: a metric is unknown, cannot judge this form of answer, or runs code that is not allowed.
        """
        built = {spec.key: metrics.load(spec.metric, spec.options) for spec in task.metrics}
        for metric in built.values():
            check_form(metric, task.answer)
            if metric.remote_code and not remote_code:
                raise MetricError(
                    f"Task {task.task}: the metric {metric.name!r} is a Python script that the task file names, and scoring would run it.",
                    "Pass --trust-remote-code if you trust its author, or remove the metric from the task file.",
                )
        beside = measures or Measures()
        built |= beside.metrics(task)
        return cls(built, task.headlines, beside.without(task, built), task.labels)

    def judge(self, asked: Sequence[Asked], responses: Mapping[str, Response], seed: int, copies: Sequence[Copies] = ()) -> Judged:
        """Score every item of a task, and its disturbed copies.

        Args:
            asked: the items.
            responses: the answers to their requests, by request id.
            seed: of the resampling.
            copies: what perturbations made of the items.
        """
        answers = [responses[one.request.id] for one in asked]
        read: set[str] = set()
        outcomes = [_outcome(one, responses, read) for one in asked]
        clusters = _clusters(asked)
        scores = {}
        for name, metric in self.metrics.items():
            read.clear()
            table = metric.statistics(outcomes)
            signature = metric_signature(type(metric), metric.signature_for(outcomes), read, self.labels)
            own = None if clusters is None else _of_rows(metric, outcomes, clusters, len(table))
            scores[name] = Score(metric, table, signature, seed, clusters=own)
        lost: list[DisturbanceRecord] = []
        for name in self.headlines if copies else ():
            worst, found = _disturbed(name, scores[name], copies, responses)
            scores |= {f"{name}_{family}": score for family, score in worst.items()}
            lost += found
        samples = list(map(_sample, asked, answers))
        for name, score in scores.items():
            values = score.metric.item_scores(score.statistics)
            alone = values is not None and len(values) == len(samples)
            for number, sample in enumerate(samples):
                sample.metrics[name] = float(values[number]) if alone and values is not None else None
        disturbed = {copy.perturbation.label: [_sample(one, responses[one.request.id]) for one in copy.asked] for copy in copies}
        prompt_tokens = sum(_tokens(one.request) for one in asked)
        output_tokens = sum(len(one.tokens) for one in answers if isinstance(one, Generation))
        return Judged(scores, samples, lost, disturbed, prompt_tokens, output_tokens)


@dataclass(frozen=True)
class Judged:
    """A task's scores and samples.

    Attributes:
        disturbances: what perturbations do to the headline metrics.
        copies: samples of the disturbed copies, by perturbation.
        prompt_tokens: of all items, with their choices, nothing shared.
        output_tokens: of all texts that were generated.
    """

    scores: Mapping[str, Score]
    samples: Sequence[SampleRecord]
    disturbances: Sequence[DisturbanceRecord] = ()
    copies: Mapping[str, Sequence[SampleRecord]] = field(default_factory=dict)
    prompt_tokens: int = 0
    output_tokens: int = 0

    @property
    def statistics(self) -> dict[str, StatisticsRecord]:
        """Each metric's statistics as results keep them."""
        return {
            name: StatisticsRecord(type(score.metric).name, dataclasses.asdict(score.metric), score.statistics, score.clusters)
            for name, score in self.scores.items()
        }


def combine(wordings: Mapping[str, Judged]) -> dict[str, Score]:
    """The mean scores of a task over its wordings."""
    first = next(iter(wordings.values()))
    return {name: blend([judged.scores[name] for judged in wordings.values()]) for name in first.scores}


def _clusters(asked: Sequence[Asked]) -> Codes | None:
    """Number of each item's cluster [items], in the order in which they first appear; None where items stand alone."""
    places: dict[str, int] = {}
    found = [places.setdefault(one.question.cluster, len(places)) for one in asked if one.question.cluster is not None]
    return np.array(found, dtype=np.intp) if found else None


def _of_rows(metric: Metric[Any], outcomes: Sequence[Outcome], clusters: Codes, rows: int) -> Codes | None:
    """The cluster of each row's first item [rows]; None where a metric does not say what its rows are made of."""
    sources = np.array(metric.sources(outcomes), dtype=np.intp)
    return clusters[sources] if len(sources) == rows else None


def _disturbed(
    name: str, score: Score, copies: Sequence[Copies], responses: Mapping[str, Response]
) -> tuple[dict[Family, Score], list[DisturbanceRecord]]:
    """The worst case of each family, and what each perturbation does to a metric; nothing where single items have no score."""
    metric = score.metric
    if metric.item_scores(score.statistics) is None:
        return {}, []
    found = []
    for one in copies:
        statistics = metric.statistics([_outcome(asked, responses, set()) for asked in one.asked])
        statistics = statistics.reshape(len(one.asked), score.statistics.shape[1])
        found.append(Disturbed(one.signature, one.perturbation.family, np.asarray(one.places, dtype=np.intp), statistics))
    worst: dict[Family, Score] = {}
    for family in dict.fromkeys(one.family for one in found):
        case = worst_case(score, [one for one in found if one.family == family])
        assert case is not None
        worst[family] = case
    return worst, disturbances(name, score, found, worst)


def _tokens(request: Request) -> int:
    if isinstance(request, ScoreChoices):
        return len(request.context) + sum(map(len, request.choices))
    if isinstance(request, ScoreText):
        return sum(len(context) + len(scored) for context, scored in request.windows)
    return len(request.context)


def _outcome(asked: Asked, responses: Mapping[str, Response], read: set[str]) -> Outcome:
    """An item's outcome; `read` grows with the labels that are read of it."""
    question, request, labels = asked.question, asked.request, ReadLabels(asked.question.labels, read)
    response = responses[request.id]
    if question.choices:
        assert isinstance(response, (ChoiceScores, TextScore))
        if isinstance(request, ScoreChoices):
            tokens = tuple(len(choice) for choice in request.choices)
        else:
            assert isinstance(request, ScoreText)
            tokens = tuple(len(scored) for _, scored in request.windows)
        prior = responses[asked.prior.id] if asked.prior else None
        assert prior is None or isinstance(prior, ChoiceScores)
        before = prior.logprobs if prior else None
        return ChoiceOutcome(response.logprobs, question.targets, question.choices, tokens, labels, before)
    if isinstance(request, ScoreText):
        assert isinstance(response, TextScore)
        text = question.references[0]
        scored = sum(len(tokens) for _, tokens in request.windows)
        size = len(text.encode("utf-8", "surrogatepass"))
        return LikelihoodOutcome(sum(response.logprobs), scored, len(text.split()), size, labels)
    assert isinstance(response, Generation)
    more = [responses[one.id] for one in asked.more]
    texts = tuple(one.text for one in more if isinstance(one, Generation))
    return TextOutcome(response.text, question.references, labels, texts)


def _sample(asked: Asked, response: Response) -> SampleRecord:
    question, item, labels = asked.question, asked.question.item, dict(asked.question.labels) or None
    cluster = question.cluster
    if isinstance(response, Generation):
        target: str | list[str] = question.references[0] if len(question.references) == 1 else list(question.references)
        return SampleRecord(item.id, item.digest, asked.text, target, response.text, {}, labels=labels, cluster=cluster)
    logprobs = list(response.logprobs)
    if question.choices:
        right: int | list[int] = question.targets[0] if len(question.targets) == 1 else list(question.targets)
        prediction = max(range(len(logprobs)), key=logprobs.__getitem__)
        choices = list(question.choices)
        record = SampleRecord(item.id, item.digest, asked.text, right, prediction, {}, logprobs=logprobs, labels=labels)
        return dataclasses.replace(record, choices=choices, cluster=cluster)
    text = question.references[0]
    return SampleRecord(item.id, item.digest, asked.text, text, text, {}, logprobs=logprobs, labels=labels, cluster=cluster)

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
from harness.evaluation.aggregate import MetricScore, blend
from harness.evaluation.measures import Measures
from harness.evaluation.robustness import PerturbedStatistics, perturbations, worst_case
from harness.evaluation.signatures import ReadLabels, metric_signature
from harness.metrics.base import Metric, check_form
from harness.stats.intervals import Codes
from harness.store.records import PerturbationRecord
from harness.store.samples import SampleRecord, StatisticsRecord

if TYPE_CHECKING:
    from harness.evaluation.perturbed import PerturbedItems
    from harness.evaluation.requests import ItemRequests
    from harness.tasks.schema import Task


@dataclass(frozen=True)
class TaskScorer:
    """The metrics of one task, by their names in results.

    Attributes:
        metrics: the task's own, and those measured beside them.
        headlines: metrics whose drop on perturbed items is measured.
        without: requested families that the task has no measure of, with the reason.
        labels: the expressions that give the items' labels.
    """

    metrics: Mapping[str, Metric[Any]]
    headlines: tuple[str, ...] = ()
    without: Mapping[Family, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, task: Task, measures: Measures | None = None, *, remote_code: bool = False) -> TaskScorer:
        """Load the metrics of a task, and those measured beside them.

        Args:
            task: the task.
            measures: measures beside the task's own metrics.
            remote_code: allow metrics that run Python code which the task file names.

        Raises:
            MetricError: a metric is unknown, does not fit this form of answer, or runs code that is not allowed.
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

    def score(
        self, item_requests: Sequence[ItemRequests], responses: Mapping[str, Response], seed: int, copies: Sequence[PerturbedItems] = ()
    ) -> TaskScores:
        """Score every item of a task, and its perturbed copies.

        Args:
            item_requests: the items.
            responses: to their requests, by request id.
            seed: for bootstrap resampling.
            copies: the items that each perturbation changed.
        """
        answers = [responses[item.request.id] for item in item_requests]
        read: set[str] = set()
        outcomes = [_outcome(item, responses, read) for item in item_requests]
        clusters = _clusters(item_requests)
        scores = {}
        for name, metric in self.metrics.items():
            read.clear()
            table = metric.statistics(outcomes)
            signature = metric_signature(type(metric), metric.signature_for(outcomes), read, self.labels)
            row_clusters = None if clusters is None else _clusters_of_rows(metric, outcomes, clusters, len(table))
            scores[name] = MetricScore(metric, table, signature, seed, clusters=row_clusters)
        drops: list[PerturbationRecord] = []
        for name in self.headlines if copies else ():
            worst_cases, records = _robustness(name, scores[name], copies, responses)
            scores |= {f"{name}_{family}": score for family, score in worst_cases.items()}
            drops += records
        samples = list(map(_sample, item_requests, answers))
        for name, score in scores.items():
            values = score.metric.item_scores(score.statistics)
            alone = values is not None and len(values) == len(samples)
            for number, sample in enumerate(samples):
                sample.metrics[name] = float(values[number]) if alone and values is not None else None
        perturbed = {copy.perturbation.label: [_sample(item, responses[item.request.id]) for item in copy.item_requests] for copy in copies}
        prompt_tokens = sum(_tokens(item.request) for item in item_requests)
        output_tokens = sum(len(answer.tokens) for answer in answers if isinstance(answer, Generation))
        return TaskScores(scores, samples, drops, perturbed, prompt_tokens, output_tokens)


@dataclass(frozen=True)
class TaskScores:
    """A task's scores and samples.

    Attributes:
        scores: by metric.
        samples: one for each item.
        perturbations: effect of each perturbation on the headline metrics.
        copies: samples of the perturbed items, by perturbation.
        prompt_tokens: tokens of all prompts with their choices, without sharing.
        output_tokens: tokens of all generated texts.
    """

    scores: Mapping[str, MetricScore]
    samples: Sequence[SampleRecord]
    perturbations: Sequence[PerturbationRecord] = ()
    copies: Mapping[str, Sequence[SampleRecord]] = field(default_factory=dict)
    prompt_tokens: int = 0
    output_tokens: int = 0

    @property
    def statistics(self) -> dict[str, StatisticsRecord]:
        """The statistics of each metric as results save them."""
        return {
            name: StatisticsRecord(type(score.metric).name, dataclasses.asdict(score.metric), score.statistics, score.clusters)
            for name, score in self.scores.items()
        }


def combine(template_variants: Mapping[str, TaskScores]) -> dict[str, MetricScore]:
    """The mean scores of a task over its template variants."""
    first = next(iter(template_variants.values()))
    return {name: blend([variant.scores[name] for variant in template_variants.values()]) for name in first.scores}


def _clusters(item_requests: Sequence[ItemRequests]) -> Codes | None:
    """Number of each item's cluster [items], in order of first appearance; None where items are independent."""
    places: dict[str, int] = {}
    clusters = [item.question.cluster for item in item_requests]
    numbers = [places.setdefault(cluster, len(places)) for cluster in clusters if cluster is not None]
    return np.array(numbers, dtype=np.intp) if numbers else None


def _clusters_of_rows(metric: Metric[Any], outcomes: Sequence[Outcome], clusters: Codes, rows: int) -> Codes | None:
    """The cluster of each row's first item [rows]; None where the metric does not name the items of its rows."""
    sources = np.array(metric.sources(outcomes), dtype=np.intp)
    return clusters[sources] if len(sources) == rows else None


def _robustness(
    name: str, score: MetricScore, copies: Sequence[PerturbedItems], responses: Mapping[str, Response]
) -> tuple[dict[Family, MetricScore], list[PerturbationRecord]]:
    """The worst case of each family, and the effect of each perturbation on a metric; empty where single items have no score."""
    metric = score.metric
    if metric.item_scores(score.statistics) is None:
        return {}, []
    perturbed = []
    for copy in copies:
        statistics = metric.statistics([_outcome(item, responses, set()) for item in copy.item_requests])
        statistics = statistics.reshape(len(copy.item_requests), score.statistics.shape[1])
        perturbed.append(PerturbedStatistics(copy.signature, copy.perturbation.family, np.asarray(copy.places, dtype=np.intp), statistics))
    worst_cases: dict[Family, MetricScore] = {}
    for family in dict.fromkeys(statistics.family for statistics in perturbed):
        case = worst_case(score, [statistics for statistics in perturbed if statistics.family == family])
        assert case is not None
        worst_cases[family] = case
    return worst_cases, perturbations(name, score, perturbed, worst_cases)


def _tokens(request: Request) -> int:
    if isinstance(request, ScoreChoices):
        return len(request.context) + sum(map(len, request.choices))
    if isinstance(request, ScoreText):
        return sum(len(context) + len(scored) for context, scored in request.windows)
    return len(request.context)


def _outcome(item_requests: ItemRequests, responses: Mapping[str, Response], read: set[str]) -> Outcome:
    """The outcome of an item; names of labels that a metric reads are added to `read`."""
    question, request, labels = item_requests.question, item_requests.request, ReadLabels(item_requests.question.labels, read)
    response = responses[request.id]
    if question.choices:
        assert isinstance(response, (ChoiceScores, TextScore))
        if isinstance(request, ScoreChoices):
            tokens = tuple(len(choice) for choice in request.choices)
        else:
            assert isinstance(request, ScoreText)
            tokens = tuple(len(scored) for _, scored in request.windows)
        prior = responses[item_requests.prior.id] if item_requests.prior else None
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
    more = [responses[request.id] for request in item_requests.more]
    texts = tuple(generation.text for generation in more if isinstance(generation, Generation))
    return TextOutcome(response.text, question.references, labels, texts)


def _sample(item_requests: ItemRequests, response: Response) -> SampleRecord:
    question, item, labels = item_requests.question, item_requests.question.item, dict(item_requests.question.labels) or None
    cluster = question.cluster
    if isinstance(response, Generation):
        target: str | list[str] = question.references[0] if len(question.references) == 1 else list(question.references)
        return SampleRecord(item.id, item.digest, item_requests.text, target, response.text, {}, labels=labels, cluster=cluster)
    logprobs = list(response.logprobs)
    if question.choices:
        correct: int | list[int] = question.targets[0] if len(question.targets) == 1 else list(question.targets)
        prediction = max(range(len(logprobs)), key=logprobs.__getitem__)
        choices = list(question.choices)
        record = SampleRecord(item.id, item.digest, item_requests.text, correct, prediction, {}, logprobs=logprobs, labels=labels)
        return dataclasses.replace(record, choices=choices, cluster=cluster)
    text = question.references[0]
    return SampleRecord(item.id, item.digest, item_requests.text, text, text, {}, logprobs=logprobs, labels=labels, cluster=cluster)

"""From responses to scores: outcomes, metrics, samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import metrics
from harness.contract import (
    ChoiceOutcome,
    ChoiceScores,
    Generation,
    LikelihoodOutcome,
    Outcome,
    Response,
    ScoreChoices,
    ScoreText,
    TextOutcome,
    TextScore,
)
from harness.metrics.base import Metric, check_form
from harness.scores import Score, blend
from harness.store.samples import SampleRecord, StatisticsRecord

if TYPE_CHECKING:
    from harness.prepare import Asked
    from harness.tasks.schema import Task


@dataclass(frozen=True)
class Judge:
    """The metrics of one task, by the name under which results carry them."""

    metrics: Mapping[str, Metric[Any]]

    @classmethod
    def of(cls, task: Task) -> Judge:
        """The metrics that a task names.

        Raises:
            MetricError: a metric is unknown, or cannot judge this form of answer.
        """
        built = {}
        for spec in task.metrics:
            built[spec.key] = metrics.load(spec.metric, spec.options)
            check_form(built[spec.key], task.answer)
        return cls(built)

    def judge(
        self, asked: Sequence[Asked], responses: Sequence[Response], seed: int, priors: Mapping[str, Response] | None = None
    ) -> Judged:
        """Score every item of a task.

        Args:
            asked: the items.
            responses: their answers, in the same order.
            seed: of the resampling.
            priors: answers to the items' prior requests, by request id.
        """
        found = priors or {}
        outcomes = [_outcome(one, response, found) for one, response in zip(asked, responses, strict=True)]
        scores = {}
        for name, metric in self.metrics.items():
            scores[name] = Score(metric, metric.statistics(outcomes), metric.signature_for(outcomes), seed)
        samples = [_sample(one, response) for one, response in zip(asked, responses, strict=True)]
        for name, score in scores.items():
            values = score.metric.item_scores(score.statistics)
            alone = values is not None and len(values) == len(samples)
            for number, sample in enumerate(samples):
                sample.metrics[name] = float(values[number]) if alone and values is not None else None
        return Judged(scores, samples)


@dataclass(frozen=True)
class Judged:
    """A task's scores and samples."""

    scores: Mapping[str, Score]
    samples: Sequence[SampleRecord]

    @property
    def statistics(self) -> dict[str, StatisticsRecord]:
        """Each metric's statistics as results keep them."""
        return {
            name: StatisticsRecord(type(score.metric).name, dataclasses.asdict(score.metric), score.statistics)
            for name, score in self.scores.items()
        }


def combine(wordings: Mapping[str, Judged]) -> dict[str, Score]:
    """The mean scores of a task over its wordings."""
    first = next(iter(wordings.values()))
    return {name: blend([judged.scores[name] for judged in wordings.values()]) for name in first.scores}


def _outcome(asked: Asked, response: Response, priors: Mapping[str, Response]) -> Outcome:
    question, request = asked.question, asked.request
    if question.choices:
        assert isinstance(response, (ChoiceScores, TextScore))
        if isinstance(request, ScoreChoices):
            tokens = tuple(len(choice) for choice in request.choices)
        else:
            assert isinstance(request, ScoreText)
            tokens = tuple(len(scored) for _, scored in request.windows)
        prior = priors[asked.prior.id] if asked.prior else None
        assert prior is None or isinstance(prior, ChoiceScores)
        before = prior.logprobs if prior else None
        return ChoiceOutcome(response.logprobs, question.targets, question.choices, tokens, question.labels, before)
    if isinstance(request, ScoreText):
        assert isinstance(response, TextScore)
        text = question.references[0]
        scored = sum(len(tokens) for _, tokens in request.windows)
        size = len(text.encode("utf-8", "surrogatepass"))
        return LikelihoodOutcome(sum(response.logprobs), scored, len(text.split()), size, question.labels)
    assert isinstance(response, Generation)
    return TextOutcome(response.text, question.references, question.labels)


def _sample(asked: Asked, response: Response) -> SampleRecord:
    question, item, labels = asked.question, asked.question.item, dict(asked.question.labels) or None
    if isinstance(response, Generation):
        target: str | list[str] = question.references[0] if len(question.references) == 1 else list(question.references)
        return SampleRecord(item.id, item.digest, asked.text, target, response.text, {}, labels=labels)
    logprobs = list(response.logprobs)
    if question.choices:
        right: int | list[int] = question.targets[0] if len(question.targets) == 1 else list(question.targets)
        prediction = max(range(len(logprobs)), key=logprobs.__getitem__)
        return SampleRecord(item.id, item.digest, asked.text, right, prediction, {}, logprobs=logprobs, labels=labels)
    text = question.references[0]
    return SampleRecord(item.id, item.digest, asked.text, text, text, {}, logprobs=logprobs, labels=labels)

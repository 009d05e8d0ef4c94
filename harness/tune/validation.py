"""How good a model in training is: its loss, and the tasks' own metrics as a run computes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.contract import Generate, Response
from harness.evaluation.progress import StageTimer
from harness.evaluation.requests import ItemRequests, RequestBuilder
from harness.evaluation.scoring import TaskScorer
from harness.metrics.base import Metric
from harness.models.adapter_cards import ValidationScore
from harness.models.encoding import Encoder
from harness.models.loading import Loaded
from harness.tasks.prompts import TemplateVariant
from harness.tasks.schema import Task
from harness.tune.batches import Collator, split
from harness.tune.loss import completion_loss, completion_tokens
from harness.tune.mixture import Example, Pool
from harness.tune.pairs import PairMaker, TrainingPair
from harness.tune.progress import StepScores


@dataclass(frozen=True)
class _Job:
    """One task's validation items, prepared as a run prepares them: in its first template, without shots."""

    task: Task
    scorer: TaskScorer
    item_requests: list[ItemRequests]


@dataclass(frozen=True)
class Validation:
    """The validation items of a training.

    Args:
        loaded: the base.
        jobs: each task's items as requests.
        pairs: the same items as pairs, for the loss.
        micro_tokens: tokens computed at once.
        seed: of intervals.
    """

    loaded: Loaded
    jobs: Sequence[_Job]
    pairs: Sequence[TrainingPair]
    micro_tokens: int
    seed: int

    @classmethod
    def prepare(
        cls, pools: Sequence[Pool], encoder: Encoder, loaded: Loaded, micro_tokens: int, seed: int, *, remote_code: bool = False
    ) -> Validation | None:
        """The validation of these tasks, or None where no task has items for it; `remote_code` allows metrics that are scripts.

        Raises:
            HarnessError: a template or metric fails, or an item does not fit the model.
        """
        jobs, examples = [], []
        for pool in pools:
            if pool.validation:
                task = pool.entry.task
                variant = TemplateVariant(task, pool.templates[0], encoder.chat)
                item_requests = RequestBuilder(variant, encoder, (), 0, seed).prepare(pool.validation, StageTimer())
                jobs.append(_Job(task, TaskScorer.of(task, remote_code=remote_code), item_requests))
                examples += [Example(variant, item) for item in pool.validation]
        if not jobs:
            return None
        pairs, _ = PairMaker(encoder).pairs(examples)
        return cls(loaded, jobs, pairs, micro_tokens, seed)

    def score(self, module: Any, step: int) -> StepScores:
        """Score the model as it is after a step; it is left in training mode if it was."""
        training = module.training
        module.eval()
        try:
            scores, headlines = self._scores(module)
            loss = self._loss(module)
        finally:
            module.train(training)
        return StepScores(step, loss, scores, sum(headlines) / len(headlines) if headlines else None)

    def _scores(self, module: Any) -> tuple[dict[str, dict[str, ValidationScore]], list[float]]:
        responses = self._answers(module)
        scores: dict[str, dict[str, ValidationScore]] = {}
        headlines = []
        for job in self.jobs:
            task_scores = job.scorer.score(job.item_requests, responses, self.seed)
            records = {name: score.record() for name, score in task_scores.scores.items()}
            scores[job.task.task] = {
                name: ValidationScore(value=record.value, ci=record.ci, n=record.n, higher_is_better=record.higher_is_better)
                for name, record in records.items()
            }
            scaled = [_scaled(task_scores.scores[name].metric, records[name].value) for name in job.task.headlines]
            headlines += [sum(scaled) / len(scaled)] if scaled and all(map(math.isfinite, scaled)) else []
        return scores, headlines

    def _answers(self, module: Any) -> dict[str, Response]:
        from harness.engine.transformers.budget import Budget
        from harness.engine.transformers.engine import TransformersEngine

        loaded = self.loaded
        engine = TransformersEngine(module, loaded.tokenizer, loaded.architecture, Budget.choose(None, loaded.device.type))
        requests = [request for job in self.jobs for item_requests in job.item_requests for request in item_requests.requests]
        batches = [
            *engine.score([request for request in requests if not isinstance(request, Generate)]),
            *engine.generate([request for request in requests if isinstance(request, Generate)]),
        ]
        return {response.id: response for batch in batches for response in batch}

    @torch.inference_mode()
    def _loss(self, module: Any) -> float:
        architecture = self.loaded.architecture
        batch = Collator(architecture, module.generation_config.pad_token_id)([self.pairs])
        total = 0.0
        for piece in split(batch, self.micro_tokens, architecture):
            total += float(completion_loss(module, {name: value.to(self.loaded.device) for name, value in piece.items()}, architecture))
        return total / completion_tokens(batch, architecture)


def _scaled(metric: Metric[Any], value: float | None) -> float:
    """A score on a scale on which metrics can be averaged: shares of their best value, and larger is better."""
    if value is None:
        return math.nan
    scaled = value / metric.high if math.isfinite(metric.high) and metric.high > 0 else value
    return scaled if metric.higher_is_better else -scaled

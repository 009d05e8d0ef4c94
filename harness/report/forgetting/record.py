"""The report on forgetting as JSON, with a published schema; built from comparisons."""

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt

from harness import __version__
from harness.compare.comparison import RunComparison
from harness.compare.noise import NoiseByTask
from harness.stats.verdict import Verdict
from harness.store.records import SystemRecord


class _ForgettingModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


class OptionsRecord(_ForgettingModel):
    """How systems were compared. `margins` and `clusters` are those that were given."""

    tasks: tuple[str, ...] | None
    targets: tuple[str, ...]
    margins: dict[str, FiniteFloat]
    clusters: dict[str, str]
    seed: int
    resamples: NonNegativeInt


class ScoreRecord(_ForgettingModel):
    """One score before and after, over the shared items. Differences are after less before, in the score's unit.

    `change` is the difference with the sign that makes an improvement positive. `low` and `high` bound the difference (95 %), by the
    named `method`.
    `margin` is the largest loss that does not matter. `p` is two-sided; `p_holm` and `p_bh` are adjusted for all scores tested together.
    `rows` of the kind `resampled` were resampled. At 80 % power, `detectable` is the least true difference whose interval excludes 0,
    `items_needed` the number of items needed for the verdict *retained* if nothing changed, `detectable_loss` the smallest true loss that
    these items call forgot, with as many scores tested together, `items_for_loss` the number of items needed to call a loss of twice
    the margin forgot, and `items_for_change` the number needed to call the observed loss forgot.
    `reason`: why there is no test.
    """

    metric: str
    unit: str
    higher_is_better: bool
    headline: bool
    items: NonNegativeInt
    rows: NonNegativeInt
    resampled: str
    before: FiniteFloat | None
    after: FiniteFloat | None
    difference: FiniteFloat | None
    change: FiniteFloat | None
    low: FiniteFloat | None
    high: FiniteFloat | None
    method: str | None
    margin: FiniteFloat
    verdict: Verdict
    test: Literal["mcnemar", "permutation"] | None
    p: FiniteFloat | None
    p_holm: FiniteFloat | None
    p_bh: FiniteFloat | None
    p_bootstrap: FiniteFloat | None
    effect: str | None
    effect_size: FiniteFloat | None
    lost: NonNegativeInt | None
    gained: NonNegativeInt | None
    odds_ratio: FiniteFloat | None
    detectable: FiniteFloat | None
    items_needed: NonNegativeInt | None
    detectable_loss: FiniteFloat | None
    items_for_loss: NonNegativeInt | None
    items_for_change: NonNegativeInt | None
    reason: str | None


class SliceRecord(_ForgettingModel):
    """The items whose label has one value."""

    label: str
    value: str
    score: ScoreRecord


class AnswerRecord(_ForgettingModel):
    """One system's response to one item, as in its samples."""

    id: str
    prompt: str
    target: str | int | list[str] | list[int]
    prediction: str | int
    logprobs: list[FiniteFloat] | None
    text: str | None
    choices: list[str] | None = None


class ItemRecord(_ForgettingModel):
    """An item that changed at the first headline; `change` is positive for an improvement."""

    kind: Literal["lost", "gained", "worse", "better"]
    change: FiniteFloat
    variant: str | None
    before: AnswerRecord
    after: AnswerRecord


class TaskForgettingRecord(_ForgettingModel):
    """One task, or a group that stands as one, with its tasks as `parts`. Items of a group's tasks stand with the group.

    `repeated`: both results are of one system on the same prompts; `responses_differ` counts the items whose responses differ then.
    """

    name: str
    title: str
    target: bool
    verdict: Verdict
    items: NonNegativeInt
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    prompts_differ: NonNegativeInt
    scores: dict[str, ScoreRecord]
    chance: FiniteFloat
    retention: FiniteFloat | None
    template_variants: dict[str, tuple[ScoreRecord, ...]]
    slices: tuple[SliceRecord, ...]
    changes: tuple[ItemRecord, ...]
    parts: "tuple[TaskForgettingRecord, ...]"
    repeated: bool
    responses_differ: NonNegativeInt


class EstimateRecord(_ForgettingModel):
    """A number over several tasks with its 95 % interval; `tasks` is how many."""

    value: FiniteFloat
    low: FiniteFloat | None
    high: FiniteFloat | None
    tasks: NonNegativeInt


class OverallRecord(_ForgettingModel):
    """The tasks taken together, every score on a scale from 0 to 1 with more as better.

    All but `plasticity` are over the tasks that were not tuned for; `plasticity` is the mean change of the targets.
    """

    verdict: Verdict | None
    verdicts: dict[Verdict, NonNegativeInt]
    share_forgotten: FiniteFloat | None
    mean_change: EstimateRecord | None
    backward_transfer: EstimateRecord | None
    mean_loss: FiniteFloat | None
    worst: str | None
    retention: EstimateRecord | None
    plasticity: EstimateRecord | None
    left_out: tuple[str, ...]


class ComparisonRecord(_ForgettingModel):
    """Two systems on the same items. `unverified`: which results an earlier version wrote without digests."""

    before: SystemRecord
    after: SystemRecord
    options: OptionsRecord
    tasks: tuple[TaskForgettingRecord, ...]
    overall: OverallRecord
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    unverified: str | None


class NoiseRecord(_ForgettingModel):
    """A task of the base scored again in other batches: items that flipped, the largest difference of an item, that of the headline."""

    flips: NonNegativeInt
    largest: FiniteFloat
    difference: FiniteFloat


class ForgettingRecord(_ForgettingModel):
    """The whole report: one base against each system, and by task what scoring the base again changes, where that was measured."""

    schema_version: Literal[2] = 2
    harness_version: str
    comparisons: tuple[ComparisonRecord, ...]
    noise: dict[str, NoiseRecord] | None


def record(comparisons: Sequence[RunComparison], noise: NoiseByTask | None = None) -> ForgettingRecord:
    """The report as validated records."""
    return ForgettingRecord(
        harness_version=__version__,
        comparisons=tuple(map(ComparisonRecord.model_validate, comparisons)),
        noise=None if noise is None else {name: NoiseRecord.model_validate(task) for name, task in noise.items()},
    )


def as_json(comparisons: Sequence[RunComparison], noise: NoiseByTask | None = None) -> str:
    """The report as JSON."""
    content = record(comparisons, noise).model_dump(mode="json")
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the report."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ForgettingRecord.model_json_schema(mode="serialization")}

"""The fields of `results.json` as strict, frozen records: one system on some tasks, with everything that a comparison needs."""

import dataclasses
import hashlib
import json
import math
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    GetPydanticSchema,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import core_schema

from harness.contract import AnswerForm, Family, Identity, System
from harness.store.signature import Signature

_NOT_IDENTITY = {"name", "model", "adapter", "revision", "notes", "parameters", "adapter_parameters", "identity"}


def _unbounded(value: object) -> object:
    return None if isinstance(value, float) and math.isinf(value) else value


Bound = Annotated[FiniteFloat | None, BeforeValidator(_unbounded)]
"""End of a range; None (also given as an infinity) where there is no bound."""


Count = Annotated[int, Field(ge=0)]


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


FileName = Annotated[str, Field(pattern=r"^samples/[^/\\]+\.jsonl?$")]
"""File of samples or statistics, relative to the results folder."""


def _signature(value: object) -> Signature:
    if isinstance(value, Signature):
        return value
    if isinstance(value, dict | str):
        return Signature.from_json(value)
    raise ValueError("a signature is an object with a name and the settings behind a score")


_SIGNATURE_SCHEMA = core_schema.no_info_plain_validator_function(
    _signature, serialization=core_schema.plain_serializer_function_ser_schema(Signature.to_json)
)


SignatureField = Annotated[
    Signature,
    GetPydanticSchema(lambda _source, _handler: _SIGNATURE_SCHEMA),
    WithJsonSchema({"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": True}),
]
"""How a score was measured, as an object: its name, and every setting that can change the score."""


class _StrictRecord(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class SystemRecord(_StrictRecord):
    """`contract.System`, with a digest over everything that determines its responses."""

    name: str
    digest: str
    model: str
    adapter: str | None
    architecture: Literal["causal", "seq2seq"]
    dtype: str
    quantization: str | None
    model_digest: str
    adapter_digest: str | None
    tokenizer_digest: str
    chat_template_digest: str | None
    revision: str | None
    parameters: Count
    adapter_parameters: Count
    notes: tuple[str, ...] = ()
    engine: str = "transformers"
    identity: Identity = "files"
    engine_code: str | None = None
    engine_args: str = ""


class SpreadRecord(_StrictRecord):
    """How a score varies over template variants of the same items; `spread` is highest less lowest, `ci` its 95 % interval."""

    template_variants: Annotated[int, Field(ge=2)]
    lowest: FiniteFloat
    highest: FiniteFloat
    spread: FiniteFloat
    ci: tuple[FiniteFloat, FiniteFloat] | None = None


class MetricRecord(_StrictRecord):
    """One score. `ci` is the 95 % interval (low, high); `reason` says why `value` is null; `low` and `high` bound the metric's range.

    `beside` helps to interpret it: the counts behind it, and the score `by chance`. `clusters` is the number of clusters of the `n` rows
    that were resampled, null if rows are independent.
    """

    value: FiniteFloat | None
    ci: tuple[FiniteFloat, FiniteFloat] | None = None
    ci_method: str | None = None
    reason: str | None = None
    n: Count
    higher_is_better: bool
    low: Bound
    high: Bound
    unit: str
    signature: SignatureField
    family: Family = "accuracy"
    beside: dict[str, FiniteFloat] = {}
    spread: SpreadRecord | None = None
    clusters: Count | None = None

    @model_validator(mode="after")
    def _null_has_a_reason(self) -> Self:
        if self.value is None and not self.reason:
            raise ValueError("a value of null needs a reason")
        if self.value is None and self.ci is not None:
            raise ValueError("a value of null has no interval")
        return self


class DataRecord(_StrictRecord):
    """Where the items came from; `digest` covers their content."""

    path: str
    config: str | None
    split: str
    revision: str | None
    digest: str


class ShortenedRecord(_StrictRecord):
    """What was removed so that prompts fit: items affected, few-shot examples dropped in all, items whose own text was cut."""

    items: Count = 0
    shots_dropped: Count = 0
    text_cut: Count = 0


class PerturbationRecord(_StrictRecord):
    """The effect of a perturbation on a metric.

    Over the `changed` items whose text differs from the original: the scores `before` and `after`, and the paired `drop`, the loss in the
    metric's direction. `perturbation` is the signature; "worst" means the worst of the original and all copies of a family, over all
    `items`.
    """

    perturbation: SignatureField
    family: Family
    metric: str
    items: Count
    changed: Count
    before: MetricRecord
    after: MetricRecord
    drop: MetricRecord


class TemplateVariantRecord(_StrictRecord):
    """One of several template variants of a task: its template, the seed of its few-shot examples, and its scores."""

    template: str
    template_digest: str
    shot_seed: int
    metrics: dict[str, MetricRecord]
    shortened: ShortenedRecord
    signature: SignatureField
    perturbations: list[PerturbationRecord] = []


class TaskRecord(_StrictRecord):
    """One task's scores. The first metric is the headline, unless `headline` names others.

    `signature` covers what determines prompts and items, not the system. `template_variants` is empty if there is only one; if there are
    several, `metrics` are their mean. Tokens are those of all items with the first template, few-shot examples included and nothing shared.
    `without` gives the reason for each requested family of measures that the task does not have. `files` has the SHA-256 of each file of
    samples or statistics; null if an earlier version wrote the task without digests, so that it cannot be verified.
    """

    title: str
    items: Count
    shots: Count
    template: str
    template_digest: str
    answer: AnswerForm
    metrics: dict[str, MetricRecord]
    data: DataRecord
    shortened: ShortenedRecord
    seed: int
    limit: int | None
    signature: SignatureField
    headline: list[str] = []
    prompt_tokens: Count = 0
    output_tokens: Count = 0
    template_variants: dict[str, TemplateVariantRecord] = {}
    perturbations: list[PerturbationRecord] = []
    without: dict[Family, str] = {}
    files: dict[FileName, Sha256] | None = {}

    @model_validator(mode="after")
    def _headlines_are_scores(self) -> Self:
        for name in self.headline:
            if name not in self.metrics:
                raise ValueError(f"the headline names {name!r}, but there is no such metric")
        return self


class GroupRecord(_StrictRecord):
    """Scores over several tasks. The first metric is the headline."""

    title: str
    tasks: list[str]
    metrics: dict[str, MetricRecord]


class RequestsRecord(_StrictRecord):
    """Unique requests of a run, and how many of them were cached or computed."""

    unique: Count = 0
    cached: Count = 0
    computed: Count = 0


class TokensRecord(_StrictRecord):
    """Tokens that the device computed, and `requested`: the tokens of all prompts and choices with nothing shared."""

    requested: Count = 0
    prefill: Count = 0
    decode: Count = 0
    padding: Count = 0


class LineRecord(_StrictRecord):
    """Seconds per pass: `fixed`, plus `each` per unit of size; a line fitted to `passes`, with its coefficient of determination `r2`."""

    fixed: FiniteFloat
    each: FiniteFloat
    r2: FiniteFloat
    passes: Count


class EfficiencyRecord(_StrictRecord):
    """The cost of a run. `seconds` by stage: startup, render, tokenize, score, generate, metrics, total. Shares are in [0, 1].

    `prefill_time` is a function of the tokens of a batch of prompts, `step_time` of the rows of a decoding step; null if the run's passes
    do not determine it. A single request of p prompt tokens and o new tokens takes about
    prefill.fixed + prefill.each p + o (step.fixed + step.each).
    `peak_memory_bytes` is 0 if the system does not report it. `energy_joules` is the energy that the GPUs used, null without NVML.
    """

    seconds: dict[str, FiniteFloat]
    prefill_tokens_per_second: FiniteFloat | None
    decode_tokens_per_second: FiniteFloat | None
    peak_memory_bytes: Count
    padding_share: FiniteFloat | None
    requests: RequestsRecord
    tokens: TokensRecord = TokensRecord()
    prefill_time: LineRecord | None = None
    step_time: LineRecord | None = None
    energy_joules: FiniteFloat | None = None


class RunRecord(_StrictRecord):
    """`results.json` without its digest. `created` is ISO 8601 in UTC."""

    schema_version: Literal[2] = 2
    harness_version: str
    created: str
    command: list[str]
    system: SystemRecord
    tasks: dict[str, TaskRecord]
    groups: dict[str, GroupRecord]
    efficiency: EfficiencyRecord
    environment: dict[str, str]

    @property
    def unverified(self) -> list[str]:
        """Tasks that an earlier version wrote without recording digests."""
        return [name for name, task in self.tasks.items() if task.files is None]


def system_record(system: System) -> SystemRecord:
    """The record of a system. Its digest covers every field except names, paths, notes and sizes."""
    fields = dataclasses.asdict(system)
    identity = {name: value for name, value in fields.items() if name not in _NOT_IDENTITY}
    if system.engine_code is None:
        del identity["engine_code"]
    if not system.engine_args:
        del identity["engine_args"]
    text = json.dumps(identity, sort_keys=True, ensure_ascii=True)
    return SystemRecord(digest=hashlib.sha256(text.encode()).hexdigest(), **fields)

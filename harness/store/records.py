"""The fields of `results.json`, as strict and frozen records: one system on some tasks, with everything that a comparison needs."""

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
"""Of samples or statistics, below the results folder."""


def _signature(value: object) -> Signature:
    if isinstance(value, Signature):
        return value
    if isinstance(value, dict | str):
        return Signature.from_json(value)
    raise ValueError("a signature is an object with a name and what decides the number")


_SIGNATURE_SCHEMA = core_schema.no_info_plain_validator_function(
    _signature, serialization=core_schema.plain_serializer_function_ser_schema(Signature.to_json)
)


SignatureField = Annotated[
    Signature,
    GetPydanticSchema(lambda _source, _handler: _SIGNATURE_SCHEMA),
    WithJsonSchema({"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": True}),
]
"""What decides a number, as an object: its name, and every setting behind it."""


class _StrictRecord(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class SystemRecord(_StrictRecord):
    """`contract.System`, with one digest over everything that decides its answers."""

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


class SpreadRecord(_StrictRecord):
    """How a score varies over template variants of the same items; `spread` is highest less lowest, `ci` its 95 % interval."""

    template_variants: Annotated[int, Field(ge=2)]
    lowest: FiniteFloat
    highest: FiniteFloat
    spread: FiniteFloat
    ci: tuple[FiniteFloat, FiniteFloat] | None = None


class MetricRecord(_StrictRecord):
    """One score. `ci` is the 95 % interval (low, high); `reason` says why `value` is null; `low` and `high` bound the metric's range.

    `beside` helps to read it: what it is counted from, and what it would be `by chance`. `clusters` is how many clusters of the `n`
    rows were resampled, null where rows stand alone.
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
    """Where the items came from; `digest` is over their content."""

    path: str
    config: str | None
    split: str
    revision: str | None
    digest: str


class ShortenedRecord(_StrictRecord):
    """What had to go for prompts to fit: items concerned, shots dropped in all, items whose own text was cut."""

    items: Count = 0
    shots_dropped: Count = 0
    text_cut: Count = 0


class PerturbationRecord(_StrictRecord):
    """What disturbing the items does to a metric.

    Over the `changed` of `items` whose text really changed: the score `before` and `after`, and the paired `drop`, what is lost in the
    metric's own direction. `perturbation` is its signature; "worst" stands for the worst of the original and all copies of a family,
    over all items.
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
    """One of several template variants of a task: its template, the seed its shots were drawn with, and its own scores."""

    template: str
    template_digest: str
    shot_seed: int
    metrics: dict[str, MetricRecord]
    shortened: ShortenedRecord
    signature: SignatureField
    perturbations: list[PerturbationRecord] = []


class TaskRecord(_StrictRecord):
    """One task's scores. The first metric is the headline, unless `headline` names others.

    `signature` holds what decides the prompts and items, not the system. `template_variants` is empty where there is only one;
    where there are several, `metrics` are their mean. Tokens are of all items in the first template, shots included and nothing shared.
    `without` says of measures that were asked for why the task has none of them. `files` has the SHA-256 of each file of samples or
    statistics; null where an earlier version wrote the task without, so that they cannot be verified.
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
                raise ValueError(f"there is no metric {name!r}, which the headline names")
        return self


class GroupRecord(_StrictRecord):
    """Scores over several tasks. The first metric is the headline."""

    title: str
    tasks: list[str]
    metrics: dict[str, MetricRecord]


class RequestsRecord(_StrictRecord):
    """Unique requests of a run, and how many were answered from the cache or computed."""

    unique: Count = 0
    cached: Count = 0
    computed: Count = 0


class TokensRecord(_StrictRecord):
    """Tokens that the device computed, and `requested`: what prompts and choices would have taken with nothing shared."""

    requested: Count = 0
    prefill: Count = 0
    decode: Count = 0
    padding: Count = 0


class LineRecord(_StrictRecord):
    """Seconds of a pass: `fixed`, and `each` for every unit of its size; fitted to so many passes, of whose variance it explains `r2`."""

    fixed: FiniteFloat
    each: FiniteFloat
    r2: FiniteFloat
    passes: Count


class EfficiencyRecord(_StrictRecord):
    """What the run cost. `seconds` by stage: startup, render, tokenize, score, generate, metrics, total. Shares lie in [0, 1].

    `prefill_time` is over the tokens of a batch of prompts, `step_time` over the rows of a step of decoding; null where the run's passes
    do not tell. A request alone, of p prompt tokens and o new ones, takes about
    prefill.fixed + prefill.each p + o (step.fixed + step.each).
    `energy_joules` is what the GPUs used meanwhile, null without NVML.
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
    """The whole of `results.json`, but for the digest over it. `created` is ISO 8601 in UTC."""

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
    """The system as it is kept. Its digest covers every field but its name, the path or name of its model, notes and size."""
    fields = dataclasses.asdict(system)
    identity = {name: value for name, value in fields.items() if name not in _NOT_IDENTITY}
    text = json.dumps(identity, sort_keys=True, ensure_ascii=True)
    return SystemRecord(digest=hashlib.sha256(text.encode()).hexdigest(), **fields)

"""A run as it is kept: `results.json`, one system on some tasks, with everything needed to compare it with another run."""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    GetPydanticSchema,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import core_schema

from harness.contract import AnswerForm, Family, System
from harness.errors import InputError, StorageError
from harness.store import digests
from harness.store.signature import Signature
from harness.util.atomic import write_text

SCHEMA_VERSION = 2
_UNVERIFIED_VERSION = 1
"""The version that recorded no digests; it can be read, but not verified."""
FILE_NAME = "results.json"
NOISE_FOLDER = "noise"
"""Holds a second scoring of the system above it, in other batches."""
_EDITED = (
    "Results are not meant to be edited: restore the file, or remove it and run the evaluation again; cached responses make that fast."
)
_NOT_IDENTITY = {"name", "model", "adapter", "revision", "notes", "parameters", "adapter_parameters"}


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
    engine: Literal["transformers", "vllm"] = "transformers"


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


def write(record: RunRecord, folder: Path) -> Path:
    """Write `results.json` into `folder`, replacing an earlier one as a whole. A run and its samples are written by `saving.save`.

    Raises:
        StorageError: it cannot be written; an earlier file stays.
    """
    path = folder / FILE_NAME
    write_text(path, text(record))
    return path


def text(record: RunRecord) -> str:
    """What `results.json` holds: the record, and a digest over all of it."""
    content = record.model_dump(mode="json")
    sealed = {"schema_version": content["schema_version"], digests.DIGEST: digests.digest(digests.canonical(content))}
    return json.dumps(sealed | content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read(path: Path) -> RunRecord:
    """Read a run from its folder, or from its `results.json`. Files of schema 1 have no digest; their tasks are `unverified`.

    Raises:
        StorageError: the file is missing, cut short, of another schema, a field is wrong, or it was changed after it was written.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        found = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise StorageError(f"There is no run at {file}.", "Give the folder of a finished run, the one named by --output.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"Cannot read {file}: {error}.", "Check the file's permissions, or run the evaluation again.") from error
    content = _parsed(file, found)
    version = _version(content, file)
    if version == _UNVERIFIED_VERSION:
        if digests.later_fields(content):
            raise StorageError(f"{file} says schema_version 1, but holds fields that only later versions wrote: it was changed.", _EDITED)
        content = digests.upgraded(content)
    body = digests.canonical(content)
    try:
        record = RunRecord.model_validate_json(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the whole file"
        raise StorageError(f"{file}, field {field}: {first['msg']}.", _EDITED) from error
    if version != _UNVERIFIED_VERSION and content.get(digests.DIGEST) != digests.digest(body):
        raise StorageError(f"{file} was changed after it was written: its content does not have the digest that it records.", _EDITED)
    return record


def merge(old: RunRecord | None, new: RunRecord) -> RunRecord:
    """The new run, with those tasks and groups of an earlier run of the same system that it did not score.

    An earlier group goes when one of its tasks was scored anew with another outcome: its aggregate would no longer
    be that of the tasks beside it.

    Raises:
        StorageError: the earlier run is of another system.
    """
    if old is None:
        return new
    if old.system.digest != new.system.digest:
        raise StorageError(
            f"The output folder holds the run of {old.system.name}, another system than {new.system.name}.",
            "Choose another folder with --output, or remove that one.",
        )
    tasks = {**old.tasks, **new.tasks}
    kept = {name: group for name, group in old.groups.items() if all(tasks.get(task) == old.tasks.get(task) for task in group.tasks)}
    return new.model_copy(update={"tasks": tasks, "groups": {**kept, **new.groups}})


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """All `results.json` at or below the given paths, each once; below a folder sorted by path, second scorings left out.

    Raises:
        InputError: a path does not exist or holds no run.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        files = [path] if path.is_file() else _below(path)
        if not files:
            what = f"{path} holds no {FILE_NAME}." if path.exists() else f"{path} does not exist."
            raise InputError(what, "Give folders of finished runs, or a folder above them.")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of `results.json`."""
    schema = RunRecord.model_json_schema(mode="serialization")
    sealed = {
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "SHA-256 of all other fields as compact ASCII JSON, in their order.",
    }
    schema["properties"] = {digests.DIGEST: sealed, **schema["properties"]}
    schema["required"] = [digests.DIGEST, *schema["required"]]
    schema["$defs"]["TaskRecord"]["required"].append("files")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _below(folder: Path) -> list[Path]:
    found = []
    for parent, inner, files in os.walk(folder):
        if FILE_NAME in files:
            inner[:] = [name for name in inner if name != NOISE_FOLDER]
            found.append(Path(parent) / FILE_NAME)
    return sorted(found)


def _parsed(file: Path, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_not_a_number)
    except RecursionError as error:
        raise StorageError(f"{file} is nested too deeply to be a results file.", "Give the folder of a finished run.") from error
    except json.JSONDecodeError as error:
        raise StorageError(
            f"{file}, line {error.lineno}, column {error.colno}: not valid JSON ({error.msg}).",
            "The file was cut or changed after it was written: remove it and run again, finished answers come from the store.",
        ) from error
    except ValueError as error:
        raise StorageError(f"{file}: {error}.", "Remove it and run again, finished answers come from the store.") from error


def _not_a_number(token: str) -> NoReturn:
    raise ValueError(f"holds {token}, which is no JSON number")


def _version(content: Any, file: Path) -> int:
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version is None:
        raise StorageError(f"{file} is no results file: it has no schema_version.", "Give the folder of a finished run.")
    for known in (_UNVERIFIED_VERSION, SCHEMA_VERSION):
        if type(version) is int and version == known:
            return known
    raise StorageError(
        f"{file} has schema_version {version!r}; this version of harness reads {_UNVERIFIED_VERSION} and {SCHEMA_VERSION}.",
        "Use the version of harness that wrote it, or run the evaluation again.",
    )

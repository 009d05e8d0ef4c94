"""The options of a run, defined once: the command line's options and the Python API's keywords are made from these fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from harness.contract import LARGEST_SEED, Family
from harness.errors import InputError
from harness.util import paths

if TYPE_CHECKING:
    from harness.engine.pools import Workers

MOST_TOKENS = MOST_ITEMS = 2**31 - 1
MOST_TEXTS = 10_000
MOST_SHOTS = 10_000
"""Largest values of options. Anything larger is a typing error that would exhaust memory or overflow in a library."""

MEASURES_PANEL = "Measures"

Names: TypeAlias = str | Path | Sequence[str | Path]
"""One name, names separated by commas, or a sequence of them."""

AdapterNames: TypeAlias = str | Path | Sequence[str | Path | None] | None
"""Names of adapters; None and "none" are the base model."""

Seeds: TypeAlias = int | str | Sequence[int | str]
"""One seed, seeds separated by commas, or a sequence of them."""

Dtype: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]
Quantization: TypeAlias = Literal["8bit", "4bit"]


@dataclass(frozen=True)
class OptionSpec:
    """What the command line has to know about an option beside its name, type and default.

    Attributes:
        help: one line for `--help`.
        short: a one-letter form, such as "-m".
        low: smallest whole number.
        high: largest whole number.
        keyword: a word that stands for None, such as "auto".
        choices: gives the allowed values, where they are not known before the program runs.
        panel: heading under which `--help` lists the option.
        metavar: what `--help` shows for the value; by default what the type suggests.
    """

    help: str
    short: str = ""
    low: int | None = None
    high: int | None = None
    keyword: str = ""
    choices: Callable[[], tuple[str, ...]] | None = None
    panel: str = ""
    metavar: str = ""


def _engines() -> tuple[str, ...]:
    from harness.engine.base import names

    return tuple(names())


@dataclass(frozen=True)
class Options:
    """The options of a run.

    Every annotated field is an option of `harness run` and a keyword of `harness.evaluate`, with the same name and default. Where several
    values are allowed, text is split at commas; read them through the properties, which return tuples.

    Attributes:
        command: the command line, recorded in results.

    Raises:
        InputError: a value is out of range or unknown.
    """

    model: Annotated[str, OptionSpec("Model card name, local folder or Hub id.", short="-m")]
    tasks: Annotated[Names, OptionSpec("Tasks, groups, globs or YAML files, separated by commas.", short="-t")]
    adapter: Annotated[
        AdapterNames,
        OptionSpec("Adapter cards, local folders or Hub ids, separated by commas; 'none' is the base model (default: none).", short="-a"),
    ] = ()
    shots: Annotated[
        int | None, OptionSpec("Number of few-shot examples before each question (default: set by the task).", low=0, high=MOST_SHOTS)
    ] = None
    limit: Annotated[int | None, OptionSpec("Evaluate only the first N items of each task.", low=1, high=MOST_ITEMS)] = None
    template: Annotated[
        Names, OptionSpec("Prompt templates by name, separated by commas, or 'all' (default: the first template of each task).")
    ] = ()
    template_file: Annotated[
        Path | None, OptionSpec("File of further prompt templates in promptsource format; they take precedence over the task's own.")
    ] = None
    shot_seeds: Annotated[
        Seeds, OptionSpec("Seeds for drawing few-shot examples, separated by commas; each seed is evaluated as a template variant.")
    ] = ()
    chat: Annotated[bool | None, OptionSpec("Format prompts with the chat template (default: only for instruct models).")] = None
    dtype: Annotated[Dtype, OptionSpec("Data type of the weights; auto is float32 on a CPU and bfloat16 on a GPU.")] = "auto"
    quantize: Annotated[Quantization | None, OptionSpec("Load the base model in 8 or 4 bits (bitsandbytes; 4bit is NF4).")] = None
    device: Annotated[str, OptionSpec("auto (all GPUs, else the CPU), cpu, mps, cuda, cuda:N, or several separated by commas.")] = "auto"
    batch_tokens: Annotated[
        int | None, OptionSpec("Tokens in a batch, padding included (default: auto).", low=1, high=MOST_TOKENS, keyword="auto")
    ] = None
    seed: Annotated[int, OptionSpec("Seed for few-shot examples, sampling and bootstrap resampling.", low=0, high=LARGEST_SEED)] = 0
    data: Annotated[Path | None, OptionSpec("Folder of local dataset and model snapshots (default: $HARNESS_DATA).")] = None
    output: Annotated[Path | None, OptionSpec("Folder for the results (default: results/SYSTEM).")] = None
    fresh: Annotated[bool, OptionSpec("Ignore cached responses and compute them again.")] = False
    revision: Annotated[str | None, OptionSpec("Branch, tag or commit of a Hub model.")] = None
    any_base: Annotated[bool, OptionSpec("Accept an adapter whose configuration names another base model.")] = False
    merge: Annotated[bool, OptionSpec("Merge the adapter into the base model's weights before evaluating.")] = False
    measures: Annotated[
        Names,
        OptionSpec(
            "Further measures: calibration, robustness, fairness, bias, toxicity, efficiency, separated by commas, or all.",
            panel=MEASURES_PANEL,
        ),
    ] = ()
    perturb: Annotated[
        Names,
        OptionSpec(
            "Perturbations such as typos:0.05, or presets, separated by commas (default: the preset of each measure).",
            panel=MEASURES_PANEL,
        ),
    ] = ()
    texts: Annotated[
        int, OptionSpec("Texts to generate for each item, in tasks that sample.", low=1, high=MOST_TEXTS, panel=MEASURES_PANEL)
    ] = 1
    toxicity: Annotated[str, OptionSpec("Toxicity scorer: classifier:FOLDER_OR_HUB_ID or profanity.", panel=MEASURES_PANEL)] = ""
    small_samples: Annotated[bool, OptionSpec("Compute calibration on few items too.", panel=MEASURES_PANEL)] = False
    engine: Annotated[str, OptionSpec("Backend that runs the model.", choices=_engines)] = "transformers"
    base_url: Annotated[
        str | None, OptionSpec("Address of the server for --engine server, such as http://127.0.0.1:8000/v1.", metavar="URL")
    ] = None
    workers: Annotated[
        str | None,
        OptionSpec(
            "Compute with N processes on this machine, or on a Ray cluster: N, ray, ray:N, ray://HOST:PORT or ray://HOST:PORT/N.",
            metavar="WORKERS",
        ),
    ] = None
    engine_args: Annotated[
        str | None, OptionSpec("Arguments of the backend, KEY=VALUE separated by commas; 'help' lists them.", metavar="KEY=VALUE,...")
    ] = None
    allow_pickle: Annotated[bool, OptionSpec("Load pickled weights, which can run code.")] = False
    trust_remote_code: Annotated[bool, OptionSpec("Run Python code that comes with the model.")] = False
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every value, and find the folder of snapshots."""
        for field in option_fields():
            object.__setattr__(self, field.name, field.checked(getattr(self, field.name)))
        object.__setattr__(self, "data", paths.data_folder(self.data))
        if not self.adapters:
            raise InputError("--adapter names no adapter.", "Give an adapter card, a folder or a Hub id; 'none' is the base model.")
        if not split(self.device):
            raise InputError("--device names no device.", "Give auto, cpu, cuda or cuda:N, or several separated by commas.")
        _ = self.families, self.seeds, self.worker_plan

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of tasks and groups, globs and paths."""
        return split(self.tasks)

    @property
    def adapters(self) -> tuple[str | None, ...]:
        """Names of adapters; None is the base model."""
        given = (self.adapter,) if self.adapter is None or isinstance(self.adapter, (str, Path)) else tuple(self.adapter)
        names = split("none" if name is None else name for name in given) if given else ("none",)
        return tuple(None if name == "none" else name for name in names)

    @property
    def templates(self) -> str | None:
        """Names of prompt templates, separated by commas, or "all"; None for each task's first."""
        return ",".join(split(self.template)) or None

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of `shot_seeds`."""
        given = (self.shot_seeds,) if isinstance(self.shot_seeds, (int, str)) else self.shot_seeds
        numbers = split(str(seed) for seed in given)
        return tuple(dict.fromkeys(whole_number("--shot-seeds", text, 0, LARGEST_SEED, ", separated by commas") for text in numbers))

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices, at least one."""
        return split(self.device)

    @property
    def worker_plan(self) -> Workers | None:
        """The workers; None to compute in this process, or in one for each device."""
        if self.workers is None:
            return None
        from harness.engine.pools import Workers

        return Workers.parse(self.workers)

    @property
    def families(self) -> tuple[Family, ...]:
        """The families of measures."""
        return families(self.measures)

    @property
    def perturbations(self) -> tuple[str, ...]:
        """Perturbations and presets by name."""
        return split(self.perturb)


@dataclass(frozen=True)
class OptionField:
    """One option, as its field in a dataclass defines it.

    Attributes:
        name: of the field, such as "batch_tokens".
        type: the annotation without its `OptionSpec`.
        default: `dataclasses.MISSING` where the option is required.
        spec: help and limits.
    """

    name: str
    type: Any
    default: Any
    spec: OptionSpec

    @property
    def flag(self) -> str:
        """The option on the command line, such as "--batch-tokens"."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def many(self) -> bool:
        """Whether the option takes several values."""
        return any(get_origin(part) is Sequence for part in _members(self.type))

    @property
    def allowed(self) -> tuple[str, ...]:
        """The allowed values; empty where any is."""
        if self.spec.choices is not None:
            return self.spec.choices()
        literals = [part for part in (self.type, *_members(self.type)) if get_origin(part) is Literal]
        return tuple(str(value) for literal in literals for value in get_args(literal))

    @property
    def plain(self) -> Any:
        """The type without None."""
        members = [part for part in _members(self.type) if part is not type(None)]
        return members[0] if len(members) == 1 else self.type

    def checked(self, value: Any) -> Any:
        """The value in the field's type.

        Raises:
            InputError: it is not allowed.
        """
        if self.many:
            return value if value is None or isinstance(value, (str, int, Path, Mapping)) else tuple(value)
        if value is None or value == self.default:
            return value
        if self.plain is int:
            return self._number(value)
        if self.plain is Path:
            return paths.expanded(value)
        if self.allowed and value not in self.allowed:
            raise InputError(f"{self.flag} {str(value)[:50]!r} is not known.", f"Give one of: {', '.join(self.allowed)}.")
        return str(value) if self.plain is str and isinstance(value, Path) else value

    def _number(self, value: Any) -> int | None:
        keyword = self.spec.keyword
        if keyword and value == keyword:
            return None
        low, high = self.spec.low, self.spec.high
        assert low is not None
        assert high is not None
        return whole_number(self.flag, str(value), low, high, f", or {keyword}" if keyword else "")


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, type(int | None)) else ()


@cache
def option_fields(record: type = Options) -> tuple[OptionField, ...]:
    """The options that a dataclass defines, in their order: the fields annotated with an `OptionSpec`."""
    return tuple(_option_fields(record))


def _option_fields(record: type) -> Iterator[OptionField]:
    hints = get_type_hints(record, include_extras=True)
    for field in dataclasses.fields(record):
        kind, *extras = get_args(hints[field.name]) if get_origin(hints[field.name]) is Annotated else (hints[field.name],)
        for spec in extras:
            if isinstance(spec, OptionSpec):
                yield OptionField(field.name, kind, field.default, spec)


def split(values: str | Path | Iterable[str | Path]) -> tuple[str, ...]:
    """The parts of names that are separated by commas, each once, in their order."""
    given = (values,) if isinstance(values, (str, Path)) else values
    parts = (part.strip() for value in given for part in str(value).split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def families(names: str | Path | Iterable[str | Path]) -> tuple[Family, ...]:
    """The families of measures by name, or all of them, in the order of `contract.Family`.

    Raises:
        InputError: a name is unknown.
    """
    known: tuple[Family, ...] = get_args(Family)
    wanted = split(names)
    for name in wanted:
        if name not in (*known, "all"):
            raise InputError(f"There is no measure {name!r}.", f"Measures: {', '.join(known)}, or all.")
    return known if "all" in wanted else tuple(family for family in known if family in wanted)


def whole_number(option: str, text: str, low: int, high: int, also: str = "") -> int:
    """The whole number that a text holds.

    Args:
        option: name of the option, for the message.
        text: the text.
        low: least value.
        high: largest value.
        also: what else the option accepts, for the message.

    Raises:
        InputError: it is not a whole number, or out of range.
    """
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise InputError(f"{option} takes numbers from {low} to {high:,}{also}, not {text[:50]!r}.")
    return value

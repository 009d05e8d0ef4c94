"""Whatever can change a score changes its signature or the system's digest; whatever cannot leaves both alone.

Every option of a run and every key of a task file has to be in one of the tables below, so that a new one is not forgotten.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from harness.contract import ChoiceScores, Generate, Generation, Request, Response, ScoreChoices, TextScore
from harness.evaluation.options import Options
from harness.evaluation.plan import plan
from harness.evaluation.progress import SilentProgress, StageTimer
from harness.evaluation.results import task_record
from harness.evaluation.scoring import combine
from harness.store.records import system_record
from harness.store.signature import Signature
from harness.tasks.schema import Data, Explode, Merge, MetricSpec, Shots, Task, Template
from harness.tasks.schema import GenerationSettings as GenerationSettings
from tests.tasks.cases import write_rows, write_yaml
from tests.tiny import tiny_causal, tokenizer

ROWS = [
    {"thing": f"the {name} in the garden", "colour": number % 2, "other": (number + 1) % 2, "kind": number // 2, "parts": [name, "x"]}
    for number, name in enumerate(["sky", "rose", "sea", "fire", "lake", "brick"])
]
POOL = [{**row, "thing": f"an old {row['thing']}"} for row in ROWS]
PROMPTSOURCE = """
dataset: colours
templates:
  1: !Template
    name: new
    answer_choices: red ||| blue
    jinja: 'Say it: {{ thing }} ||| {{ answer_choices[colour] }}'
    metadata: !TemplateMetadata
      original_task: true
    reference: ''
"""
CHAT_TEMPLATE = "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"


@dataclass(frozen=True)
class Place:
    """A folder with models, an adapter, and tasks over the same rows."""

    root: Path

    @property
    def options(self) -> Options:
        tasks = tuple(str(self.root / f"{name}.yaml") for name in TASKS)
        return Options(model=str(self.root / "model"), tasks=tasks, chat=False, device="cpu")

    def write(self, tasks: Mapping[str, Mapping[str, Any]]) -> None:
        for name, task in tasks.items():
            write_yaml(self.root / f"{name}.yaml", task)


def base(name: str, **changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "task": name,
        "about": {"title": "Colours of things"},
        "data": {"files": {"test": "rows.jsonl", "train": "pool.jsonl", "spare": "rows.jsonl"}, "split": "test"},
        "answer": "choices",
        "choices": ["red", "blue"],
        "target": "colour",
        "labels": {"kind": "kind"},
        "templates": [{"name": "plain", "prompt": "What colour is {{ thing }}?"}, {"name": "short", "prompt": "{{ thing }}:"}],
        "metrics": ["accuracy"],
    } | changes
    return whole


TASKS: dict[str, dict[str, Any]] = {
    "pick": base("pick", metrics=["accuracy", {"metric": "all_correct", "by": "kind"}], shots={"split": "train", "number": 2}),
    "write": base(
        "write",
        answer="generate",
        target="thing",
        metrics=["exact_match"],
        generation={"max_new_tokens": 8, "temperature": 0.7, "top_p": 0.9},
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("place")
    tiny_causal(root / "model")
    tiny_causal(root / "other" / "model", seed=1)
    shutil.copytree(root / "model", root / "copy" / "model")
    words = tokenizer()
    words.chat_template = CHAT_TEMPLATE
    words.save_pretrained(root / "model")
    shutil.copytree(root / "model", root / "copy" / "model", dirs_exist_ok=True)
    _lora(root / "model", root / "lora")
    write_rows(root / "rows.jsonl", ROWS)
    write_rows(root / "pool.jsonl", POOL)
    made = Place(root)
    made.write(TASKS)
    return made


def _lora(model: Path, folder: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(LlamaForCausalLM.from_pretrained(model), settings).save_pretrained(folder)


Identity = tuple[tuple[str, ...], dict[str, Signature]]


def identity(options: Options) -> Identity:
    """The systems' digests; and the signature of each task ("task"), score ("task.metric") and perturbation ("task~name").

    Responses are made up: signatures do not depend on them.
    """
    work = plan(options, SilentProgress(), StageTimer())
    found: dict[str, Signature] = {}
    for name in dict.fromkeys(planned.task.task for planned in work.tasks):
        variants = [planned for planned in work.tasks if planned.task.task == name]
        scores = {}
        for planned in variants:
            responses = {request.id: _made_up(request) for item_requests in planned.everything for request in item_requests.requests}
            scores[planned.name] = planned.scorer.score(planned.item_requests, responses, options.seed, planned.copies)
        record = task_record(variants, scores, combine(scores), options)
        found[name] = record.signature
        found |= {f"{name}.{key}": metric.signature for key, metric in record.metrics.items()}
        found |= {f"{name}~{one.perturbation.name}": one.perturbation for one in record.perturbations}
    return tuple(system_record(system).digest for system, _ in work.systems.systems), found


def _made_up(request: Request) -> Response:
    if isinstance(request, Generate):
        return Generation(request.id, "the sky", (5, 6), "eos")
    parts = request.choices if isinstance(request, ScoreChoices) else request.windows
    kind = ChoiceScores if isinstance(request, ScoreChoices) else TextScore
    return kind(request.id, tuple(-1.0 - number for number in range(len(parts))))


@dataclass(frozen=True)
class Change:
    """An option's other value, and what it is seen in: "system", or a key of the signatures; from which other options it starts."""

    value: Any
    seen: str
    start: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def at(name: str) -> Callable[[Place], str]:
    return lambda place: str(place.root / name)


CHANGES: dict[str, list[Change]] = {
    "model": [Change(at("other/model"), "system")],
    "adapter": [Change(lambda place: (str(place.root / "lora"),), "system", {"any_base": True})],
    "shots": [Change(1, "pick", {"tasks": lambda place: (str(place.root / "pick.yaml"),)})],
    "limit": [Change(3, "pick"), Change(3, "write")],
    "template": [Change("short", "pick"), Change("all", "pick")],
    "template_file": [Change(lambda place: place.root / "templates.yaml", "pick", {"template": "new"})],
    "chat": [Change(True, "system")],
    "dtype": [Change("bfloat16", "system")],
    "quantize": [Change("4bit", "system")],
    "seed": [
        Change(1, "pick"),
        Change(1, "write"),
        Change(1, "pick~typos", {"perturb": ("typos:0.1",)}),
        Change(1, "pick.accuracy_robustness", {"perturb": ("typos:0.1",)}),
    ],
    "shot_seeds": [Change((3,), "pick"), Change((0, 1), "pick")],
    "merge": [Change(True, "system", {"any_base": True, "adapter": lambda place: (str(place.root / "lora"),)})],
    "engine": [Change("vllm", "system")],
    "engine_args": [Change("head_dtype=float32", "system", {"engine": "vllm"})],
    "perturb": [Change(("typos:0.2",), "pick.accuracy_robustness", {"perturb": ("typos:0.1",)})],
    "texts": [Change(3, "write")],
    "toxicity": [Change("profanity,threshold=0.3", "write.toxic_fraction", {"measures": ("toxicity",), "toxicity": "profanity"})],
    "small_samples": [Change(True, "pick.ece_10_bin", {"measures": ("calibration",)})],
}

HARMLESS: dict[str, list[Change]] = {
    "device": [Change("auto", ""), Change("cpu,cpu", "")],
    "batch_tokens": [Change(64, "")],
    "engine_args": [Change("max_num_seqs=4,gpu_memory_utilization=0.5", "", {"engine": "vllm"})],
    "data": [Change(lambda place: place.root, "")],
    "output": [Change(lambda place: place.root / "elsewhere", "")],
    "fresh": [Change(True, "")],
    "allow_pickle": [Change(True, "")],
    "trust_remote_code": [Change(True, "")],
    "any_base": [Change(True, "")],
    "command": [Change(("harness", "run"), "")],
    "workers": [Change("2", ""), Change("ray", "")],
    "model": [Change(at("copy/model"), "")],
    "seed": [],
}
"""Where content is equal, folders, memory and permissions decide nothing."""

NEITHER = {
    "revision": "names a commit on the hub, whose content is in the digests; refused for a folder",
    "tasks": "chooses what is scored",
    "base_url": "where a server answers; what it serves is in the system (tests/engine/test_server.py)",
    "measures": "adds scores; a test below holds that it leaves the others alone",
}


def changed(place: Place, name: str, change: Change) -> tuple[Identity, Identity]:
    start = {field: value(place) if callable(value) else value for field, value in change.start.items()}
    value = change.value(place) if callable(change.value) else change.value
    before = replace(place.options, **start)
    if name == "template_file":
        (place.root / "templates.yaml").write_text(PROMPTSOURCE)
        return identity(place.options), identity(replace(before, template_file=value))
    return identity(before), identity(replace(before, **{name: value}))


def _named(value: Any) -> str:
    """Of a test's parameter; functions have no name that two processes share."""
    return value if isinstance(value, str) else value.seen if isinstance(value, Change) else ""


def test_every_option_is_in_a_table() -> None:
    assert {field.name for field in dataclasses.fields(Options)} == {*CHANGES, *HARMLESS, *NEITHER}


@pytest.mark.parametrize(("name", "change"), [(name, change) for name, own in CHANGES.items() for change in own], ids=_named)
def test_an_option_that_can_change_a_score_is_seen(place: Place, name: str, change: Change) -> None:
    before, after = changed(place, name, change)
    if change.seen == "system":
        assert before[0] != after[0]
    else:
        assert before[1][change.seen] != after[1][change.seen]


@pytest.mark.parametrize(("name", "change"), [(name, change) for name, own in HARMLESS.items() for change in own], ids=_named)
def test_an_option_that_cannot_change_a_score_is_not(place: Place, name: str, change: Change) -> None:
    before, after = changed(place, name, change)
    assert before == after


def test_measures_leave_the_other_scores_alone(place: Place) -> None:
    (systems, before), (same, after) = identity(place.options), identity(replace(place.options, measures=("calibration", "bias")))
    assert systems == same
    assert before == {key: after[key] for key in before}
    assert len(after) > len(before)


def test_greedy_decoding_without_examples_does_not_depend_on_the_seed(place: Place) -> None:
    greedy = {"pick": TASKS["pick"] | {"shots": {}}, "write": TASKS["write"] | {"generation": {"max_new_tokens": 8}}}
    with_tasks(place, greedy)
    assert identity(place.options) == identity(replace(place.options, seed=1))


@pytest.fixture(autouse=True)
def _tasks_again(place: Place) -> Iterator[None]:
    yield
    place.write(TASKS)
    write_rows(place.root / "rows.jsonl", ROWS)
    write_rows(place.root / "pool.jsonl", POOL)


def with_tasks(place: Place, tasks: Mapping[str, Mapping[str, Any]]) -> None:
    place.write(tasks)


GENERATED = "write"
KEYS: dict[str, tuple[str, Any] | None] = {
    "task": None,
    "version": ("pick", 2),
    "about": None,
    "data": None,
    "answer": None,
    "choices": ("pick", ["crimson", "blue"]),
    "target": ("pick", "other"),
    "perturb": None,
    "labels": ("pick", {"kind": "kind + 1"}),
    "cluster": None,
    "templates": ("pick", [{"name": "plain", "prompt": "Which colour is {{ thing }}?"}]),
    "template_files": None,
    "shots": None,
    "generation": None,
    "metrics": ("pick", [{"metric": "accuracy", "normalize": "characters"}, {"metric": "all_correct", "by": "kind"}]),
    "headline": None,
    "groups": None,
    "data.path": None,
    "data.config": None,
    "data.revision": None,
    "data.files": ("pick", {"test": "pool.jsonl", "train": "pool.jsonl"}),
    "data.split": ("pick", "spare"),
    "data.rename": ("pick", {"another": "other"}),
    "data.explode": ("pick", {"over": "parts", "as": "part"}),
    "data.filter": ("pick", "colour == 1 or kind > 0"),
    "data.derive": ("pick", {"thing": "thing ~ '!'"}),
    "data.merge": ("pick", {"by": "kind", "collect": ["parts"]}),
    "data.id": ("pick", "thing"),
    "shots.split": ("pick", "spare"),
    "shots.number": ("pick", 1),
    "shots.select": ("pick", "first"),
    "generation.max_new_tokens": ("write", 9),
    "generation.stop": ("write", ["."]),
    "generation.temperature": ("write", 0.8),
    "generation.top_p": ("write", 0.8),
    "generation.beams": ("write", 3),
    "templates.name": None,
    "templates.system": ("pick", "Be brief."),
    "templates.header": ("pick", "Colours:"),
    "templates.prompt": ("pick", "Which colour is {{ thing }}?"),
    "templates.prompts": ("pick", ["Is {{ thing }} red? ", "Is {{ thing }} blue? "]),
    "templates.unconditional": ("pick", "Colour:"),
    "templates.delimiter": ("pick", "\n"),
    "templates.separator": ("pick", "\n"),
    "templates.choices": ("pick", ["scarlet", "blue"]),
    "templates.target": ("pick", "other"),
}
"""Each key of a task file with the task in which it is given another value; None where a comment below says what holds it."""

ELSEWHERE = {
    "task": "the name is the signature's name",
    "about": "held harmless below",
    "data": "its keys are listed",
    "answer": "decides which metrics fit; they are in the signature",
    "perturb": "held below, with perturbations",
    "template_files": "their templates are in the digest like the task's own",
    "shots": "its keys are listed",
    "generation": "its keys are listed",
    "cluster": "decides intervals, not scores; held harmless below",
    "headline": "held below",
    "groups": "held harmless below",
    "data.path": "of data on the hub; the rows' content is in the digest",
    "data.config": "of data on the hub; the rows' content is in the digest",
    "data.revision": "of data on the hub; the rows' content is in the digest",
    "templates.name": "held below",
}


def test_every_key_of_a_task_file_is_in_the_table() -> None:
    parts: dict[str, type[BaseModel]] = {
        "": Task,
        "data.": Data,
        "shots.": Shots,
        "generation.": GenerationSettings,
        "templates.": Template,
    }
    keys = {f"{before}{name}" for before, model in parts.items() for name in model.model_fields}
    assert keys == set(KEYS)
    assert {key for key, change in KEYS.items() if change is None} == set(ELSEWHERE)
    assert {*Merge.model_fields, *Explode.model_fields, *MetricSpec.model_fields} == {
        *("by", "collect"),
        *("over", "name", "number"),
        *("metric",),
    }, "data.merge, data.explode and metrics are changed as a whole"


@pytest.mark.parametrize(("key", "change"), [(key, change) for key, change in KEYS.items() if change is not None], ids=_named)
def test_a_key_that_can_change_a_score_is_seen(place: Place, key: str, change: tuple[str, Any]) -> None:
    name, value = change
    before = identity(place.options)[1]
    whole = {**TASKS[name]}
    part, _, inner = key.partition(".")
    if part == "templates" and inner:
        whole["templates"] = [{**whole["templates"][0], inner: value}]
        if inner == "prompts":
            del whole["templates"][0]["prompt"]
    elif inner:
        whole[part] = {**whole[part], inner: value}
        if key == "generation.beams":
            whole[part] = {"max_new_tokens": 8, "beams": value}
    else:
        whole[part] = value
    with_tasks(place, {name: whole})
    after = identity(place.options)[1]
    own = [found for found in before if found.split(".")[0] == name]
    assert any(before[found] != after[found] for found in own), "the task's signature or its score's"
    assert {found: before[found] for found in before if found not in own} == {found: after[found] for found in before if found not in own}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("about", {"title": "Another title", "notes": "x"}),
        ("groups", ["colours"]),
        ("labels", {"kind": "kind", "unused": "thing"}),
        ("cluster", "kind"),
    ],
)
def test_a_key_that_cannot_change_a_score_is_not(place: Place, key: str, value: Any) -> None:
    before = identity(place.options)
    with_tasks(place, {name: {**task, key: value} for name, task in TASKS.items()})
    assert identity(place.options) == before


def test_the_columns_that_perturbations_change_are_seen(place: Place) -> None:
    perturbed = replace(place.options, perturb=("typos:0.3",))
    before = identity(perturbed)[1]
    other = TASKS["pick"] | {"perturb": ["thing", "kind"]}
    with_tasks(place, {"pick": other})
    after = identity(perturbed)[1]
    assert before["pick~typos"] != after["pick~typos"]
    assert before["pick.accuracy_robustness"] != after["pick.accuracy_robustness"]


def test_the_content_of_items_and_of_the_pool_is_seen(place: Place) -> None:
    before = identity(place.options)[1]
    write_rows(place.root / "pool.jsonl", [*POOL[:-1], {**POOL[-1], "thing": "something else"}])
    pool = identity(place.options)[1]
    assert (before["pick"] != pool["pick"], before["write"] == pool["write"]) == (True, True)
    write_rows(place.root / "rows.jsonl", [*ROWS[:-1], {**ROWS[-1], "thing": "something else"}])
    rows = identity(place.options)[1]
    assert (pool["pick"] != rows["pick"], pool["write"] != rows["write"]) == (True, True)


def test_row_numbers_that_rows_left_out_move_are_seen(place: Place) -> None:
    """They are the items' ids, by which examples and samples are drawn."""
    with_tasks(place, {name: {**task, "data": task["data"] | {"filter": "kind < 9"}} for name, task in TASKS.items()})
    before = identity(place.options)[1]
    write_rows(place.root / "rows.jsonl", [{**ROWS[0], "kind": 9}, *ROWS])
    after = identity(place.options)[1]
    assert (before["pick"] != after["pick"], before["write"] != after["write"]) == (True, True)


def test_a_template_of_another_name_with_the_same_words_is_told_apart(place: Place) -> None:
    before = identity(place.options)[1]
    renamed = TASKS["pick"] | {"templates": [{**TASKS["pick"]["templates"][0], "name": "renamed"}]}
    with_tasks(place, {"pick": renamed})
    assert identity(place.options)[1]["pick"] != before["pick"]


def test_the_metrics_behind_a_headline_decide_a_groups_average(place: Place, tmp_path: Path) -> None:
    from harness.evaluation.signatures import average_signature

    scores = [("pick", Signature.of("accuracy", {"version": 1})), ("write", Signature.of("exact_match", {"version": 1}))]
    tasks = {name: Signature(name) for name in TASKS}
    whole = average_signature(scores, tasks, "macro", None)
    assert whole == average_signature(scores, tasks, "macro", None)
    other = [scores[0], ("write", Signature.of("exact_match", {"version": 2}))]
    assert whole != average_signature(other, tasks, "macro", None)
    assert whole != average_signature(scores, tasks | {"pick": Signature.of("pick", {"shots": 1})}, "macro", None)

"""Shared, packed and continuous work on real weights says what plain work says."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.contract import Generate, Generation, Request, ScoreChoices, ScoreRequest, ScoreText, TokenIds
from harness.engine.transformers.budget import Budget
from harness.engine.transformers.engine import TransformersEngine
from harness.engine.transformers.explain import explain
from harness.evaluation.options import Options
from harness.evaluation.plan import plan
from harness.evaluation.progress import StageTimer
from harness.models import cards
from harness.models.loading import Loaded, load_model, load_tokenizer
from tests.engine.test_scoring import scores
from tests.silent import Recorder

CLOSE = 1e-4
"""Of a log-probability in float32, in nats."""

RELATIVE = 2e-6
"""Sums of hundreds of nats differ in their last float32 digits."""

DIALOGUES = 100
Load = Callable[[str], Loaded]
FAMILIES = ("minimind2-small", "flan-t5-small-titles")


@pytest.fixture(scope="module")
def load(models: Path) -> Load:
    """Real models by name, each loaded once."""
    known: dict[str, Loaded] = {}

    def loaded(name: str) -> Loaded:
        if name not in known:
            source = cards.resolve(str(models / name))
            known[name] = load_model(source, tokenizer=load_tokenizer(source), device="cpu", dtype="float32")
        return known[name]

    return loaded


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def engine(loaded: Loaded, module: Any = None, *, share: bool = True) -> TransformersEngine:
    return TransformersEngine(module or loaded.module, loaded.tokenizer, loaded.architecture, Budget.choose(None, "cpu"), share)


def asked(model: Path, data: Path, tasks: str, shots: int, limit: int, *, chat: bool = False) -> list[Request]:
    """The requests of a run."""
    options = Options(model=str(model), tasks=tuple(tasks.split(",")), shots=shots, limit=limit, chat=chat, data=data, device="cpu")
    return plan(options, Recorder(), StageTimer()).requests


def scorings(requests: Sequence[Request]) -> list[ScoreRequest]:
    return [one for one in requests if not isinstance(one, Generate)]


def same_scores(loaded: Loaded, requests: Sequence[ScoreRequest], module: Any = None) -> TransformersEngine:
    """Assert that both ways say the same; returns the engine that shared."""
    shared, plain = engine(loaded, module), engine(loaded, module, share=False)
    found, expected = scores(shared, requests), scores(plain, requests)
    assert found.keys() == expected.keys()
    for key, logprobs in expected.items():
        assert found[key] == pytest.approx(logprobs, abs=CLOSE, rel=RELATIVE), key
    return shared


def text(loaded: Loaded, data: Path, number: int) -> list[TokenIds]:
    """Dialogues as tokens, without special ones."""
    rows = _dialogues(data, number)
    return [tuple(loaded.tokenizer(row, add_special_tokens=False).input_ids) for row in rows]


def _dialogues(data: Path, number: int) -> list[str]:
    from datasets import load_dataset

    rows = load_dataset(str(data / "knkarthick" / "dialogsum"), split="validation").select(range(number))
    return [str(row["dialogue"]) for row in rows]


@pytest.mark.parametrize("shots", range(6))
def test_few_shots_with_and_without_chat(load: Load, minimind2: Path, data: Path, shots: int) -> None:
    requests = asked(minimind2, data, "mmlu_anatomy,glue_rte", shots, 3, chat=shots % 2 == 1)
    shared = same_scores(load("minimind2-small"), scorings(requests))
    assert shared.abilities.share
    assert shared.usage.prefill_tokens < shared.usage.requested_tokens


def test_few_shots_of_the_larger_model(load: Load, smollm2: Path, data: Path) -> None:
    requests = asked(smollm2, data, "mmlu_anatomy", 5, 3) + asked(smollm2, data, "superglue_copa", 2, 3, chat=True)
    shared = same_scores(load("smollm2-135m-instruct"), scorings(requests))
    assert shared.usage.prefill_tokens < 0.6 * shared.usage.requested_tokens


@pytest.mark.parametrize(("tasks", "shots"), [("mmlu_anatomy,hellaswag", 0), ("mmlu_anatomy,superglue_copa", 2)])
def test_encoder_and_decoder(load: Load, flan_t5: Path, data: Path, tasks: str, shots: int) -> None:
    requests = asked(flan_t5, data, tasks, shots, 6)
    shared = same_scores(load("flan-t5-small-titles"), scorings(requests))
    assert shared.abilities.share


@pytest.mark.parametrize("name", FAMILIES)
def test_questions_beyond_the_budget(load: Load, models: Path, data: Path, name: str) -> None:
    loaded, requests = load(name), scorings(asked(models / name, data, "openbookqa", 64, 1))
    contexts = [one.context for one in requests if isinstance(one, ScoreChoices)]
    assert min(map(len, contexts)) > 1024
    shared = same_scores(loaded, requests)
    (plan,) = explain(requests, [], shared._start, shared.budget, shared._logit_budget)
    assert shared.usage.prefill_tokens == plan.computed < sum(map(len, contexts)) + 200


@pytest.mark.parametrize("name", FAMILIES)
def test_choices_of_one_to_forty_tokens(load: Load, data: Path, name: str) -> None:
    loaded = load(name)
    first, second = text(loaded, data, 2)
    choices = tuple(first[50 : 50 + length] for length in range(1, 41)) + tuple(second[:length] for length in range(1, 41, 7))
    same_scores(loaded, [ScoreChoices("nested", first[:50], choices), ScoreChoices("others", first[:49], choices[::-3])])


@pytest.mark.parametrize("name", FAMILIES)
def test_empty_contexts_and_whole_texts(load: Load, data: Path, name: str) -> None:
    loaded = load(name)
    (tokens,) = text(loaded, data, 1)
    start = (loaded.tokenizer.bos_token_id if loaded.architecture == "causal" else loaded.tokenizer.eos_token_id,)
    windows = ((start, tokens[:60]), (tokens[40:60], tokens[60:90]))
    same_scores(loaded, [ScoreChoices("empty", start, (tokens[:1], tokens[:9], tokens[3:5])), ScoreText("text", windows)])


def test_prompts_at_the_length_limit(minimind2: Path, data: Path, tmp_path: Path) -> None:
    limit, folder = 384, tmp_path / "short"
    folder.mkdir()
    for path in minimind2.iterdir():
        (folder / path.name).symlink_to(path)
    config = json.loads((minimind2 / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": limit}))
    source = cards.resolve(str(folder))
    requests = scorings(asked(folder, data, "superglue_boolq", 5, 6))
    contexts = [one.context for one in requests if isinstance(one, ScoreChoices)]
    assert limit - 60 < max(map(len, contexts)) < limit, "five shots were shortened until they fit"
    whole = tuple(itertools.islice(itertools.chain.from_iterable(contexts), limit))
    loaded = load_model(source, tokenizer=load_tokenizer(source), device="cpu", dtype="float32")
    same_scores(loaded, [*requests, ScoreChoices("whole", whole, ((5,), (6,))), ScoreChoices("nearly", whole[:-1], ((5, 6), (7,)))])


@pytest.mark.parametrize("name", FAMILIES)
def test_adapters_of_random_weights(load: Load, models: Path, data: Path, name: str) -> None:
    from peft import LoraConfig, TaskType, get_peft_model

    loaded = load(name)
    causal = loaded.architecture == "causal"
    requests = scorings(asked(models / name, data, "mmlu_anatomy,superglue_copa", 2, 4))
    base = scores(engine(loaded), requests)
    torch.manual_seed(0)
    kind = TaskType.CAUSAL_LM if causal else TaskType.SEQ_2_SEQ_LM
    targets = ["q_proj", "v_proj"] if causal else ["q", "v"]
    adapted = get_peft_model(loaded.module, LoraConfig(r=8, target_modules=targets, task_type=kind, init_lora_weights=False)).eval()
    try:
        same_scores(loaded, requests, adapted)
        assert scores(engine(loaded, adapted), requests) != base
    finally:
        adapted.unload()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_hundred_dialogues_continue_as_generate_continues_them(load: Load, data: Path, name: str) -> None:
    loaded = load(name)
    prompts = [f"{dialogue}\n\nTL;DR:" for dialogue in _dialogues(data, DIALOGUES)]
    requests = [Generate(f"{number}", tuple(loaded.tokenizer(one).input_ids), 40) for number, one in enumerate(prompts)]
    computed = engine(loaded)
    assert computed.abilities.continuous_batching
    found = {one.id: one.text for batch in computed.generate(requests) for one in batch if isinstance(one, Generation)}
    assert len(found) == DIALOGUES
    for request in requests:
        ids = torch.tensor([request.context])
        new = {"max_new_tokens": request.max_new_tokens, "do_sample": False}
        row = loaded.module.generate(ids, attention_mask=torch.ones_like(ids), **new)[0].tolist()
        tokens = row[len(request.context) :] if loaded.architecture == "causal" else row[1:]
        assert found[request.id] == loaded.tokenizer.decode(tokens, skip_special_tokens=True), request.id


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32))
@pytest.mark.parametrize("name", FAMILIES)
def test_any_requests(load: Load, data: Path, name: str, seed: int) -> None:
    loaded, rng = load(name), random.Random(seed)
    texts = text(loaded, data, 6)

    def piece(most: int) -> TokenIds:
        source = rng.choice(texts)
        begin = rng.choice([0, 0, rng.randrange(len(source) - 1)])
        return source[begin : begin + rng.randint(1, most)]

    requests: list[ScoreRequest] = []
    for number in range(rng.randint(1, 12)):
        header = texts[rng.randrange(2)][: rng.choice([0, 5, 60])]
        choices = tuple(piece(rng.choice([1, 3, 20])) for _ in range(rng.randint(1, 4)))
        if rng.random() < 0.2:
            requests.append(ScoreText(f"r{number}", tuple((piece(20), piece(20)) for _ in range(rng.randint(1, 3)))))
        else:
            requests.append(ScoreChoices(f"r{number}", header + piece(40), choices))
    same_scores(loaded, requests)

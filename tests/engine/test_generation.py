"""Generation against a loop of full forwards on one prompt at a time, and what ends an answer."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.contract import Generate, Generation, TokenIds
from harness.engine.transformers.engine import TransformersEngine
from harness.errors import NumericError
from harness.models.loading import Loaded
from tests.engine.architectures import engine, load, save, words
from tests.engine.conftest import Tiny
from tests.engine.reference import greedy
from tests.tiny import tokenizer


def answers(computed: TransformersEngine, requests: Sequence[Generate]) -> dict[str, Generation]:
    found: dict[str, Generation] = {}
    for batch in computed.generate(requests):
        for response in batch:
            assert isinstance(response, Generation)
            found[response.id] = response
    assert set(found) == {request.id for request in requests}
    return found


def prompts(seed: int, number: int) -> list[TokenIds]:
    rng = random.Random(seed)
    return [words(rng, 1 + index * 2) for index in range(number)]


@contextmanager
def steps_of(module: Any) -> Iterator[list[int]]:
    """Rows of every forward pass of the decoder."""
    seen: list[int] = []
    handle = module.get_output_embeddings().register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[0]))
    try:
        yield seen
    finally:
        handle.remove()


@pytest.fixture(scope="module")
def alphabet(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A model that goes on with the alphabet: after "c" comes "d", after "z" the end. Attention and MLP are switched off."""
    from transformers import LlamaConfig, LlamaForCausalLM

    size = len(tokenizer())
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    after = dict(zip("abcdefghijklmnopqrstuvwxy", "bcdefghijklmnopqrstuvwxyz", strict=True))
    table = {letter(a): letter(b) for a, b in after.items()} | {letter("z"): 2}
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight.zero_()
        for token, following in table.items():
            model.lm_head.weight[following, token] = 1.0
    folder = tmp_path_factory.mktemp("alphabet")
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return load(folder)


def letter(text: str) -> int:
    token = tokenizer_once().convert_tokens_to_ids(text)
    assert isinstance(token, int)
    return token


_TOKENIZER: list[Any] = []


def tokenizer_once() -> Any:
    if not _TOKENIZER:
        _TOKENIZER.append(tokenizer())
    return _TOKENIZER[0]


def spelled(text: str) -> TokenIds:
    return tuple(letter(one) for one in text)


@pytest.mark.parametrize("budget", [1, 150, 4096])
@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral", "t5", "bart"])
def test_greedy_equals_full_forwards_of_each_prompt_alone(tiny: Tiny, name: str, budget: int) -> None:
    loaded = tiny(name)
    requests = [Generate(f"g{n}", prompt, 12) for n, prompt in enumerate(prompts(11, 20))]
    assert answers(engine(loaded, budget), requests) == greedy(loaded, requests)


def test_limits_count_decoder_tokens_whatever_the_source(tiny: Tiny) -> None:
    loaded = tiny("t5")
    requests = [
        Generate(f"g{n}", words(random.Random(n), length), limit) for n, (length, limit) in enumerate([(1, 5), (90, 5), (2, 9), (40, 9)])
    ]
    found = answers(engine(loaded), requests)
    for request in requests:
        answer = found[request.id]
        assert len(answer.tokens) == request.max_new_tokens or answer.finish == "eos"
    assert any(answer.finish == "length" for answer in found.values())


def test_a_stop_string_is_cut_off_and_ends_the_row(alphabet: Loaded) -> None:
    computed = engine(alphabet)
    with steps_of(alphabet.module) as steps:
        found = answers(computed, [Generate("g", spelled("a"), 20, stop=("g",))])["g"]
    assert (found.text, found.finish) == ("bcdef", "stop")
    assert found.tokens == spelled("bcdefg")
    assert len(steps) == 6


def test_a_stop_string_may_span_tokens(alphabet: Loaded) -> None:
    computed = engine(alphabet)
    with steps_of(alphabet.module) as steps:
        found = answers(computed, [Generate("g", spelled("a"), 20, stop=("def", "q"))])["g"]
    assert (found.text, found.finish, len(steps)) == ("bc", "stop", 5)


def test_a_stop_string_in_the_prompt_does_not_stop(alphabet: Loaded) -> None:
    found = answers(engine(alphabet), [Generate("g", spelled("qcdc"), 4, stop=("cd", "q"))])["g"]
    assert (found.text, found.finish) == ("defg", "length")


def test_a_stop_string_across_prompt_and_answer_does_not_stop(alphabet: Loaded) -> None:
    found = answers(engine(alphabet), [Generate("g", spelled("abc"), 4, stop=("cd",))])["g"]
    assert (found.text, found.finish) == ("defg", "length")


def test_each_row_stops_by_its_own_strings(alphabet: Loaded) -> None:
    requests = [
        Generate("first", spelled("xxxa"), 8, stop=("d",)),
        Generate("second", spelled("b"), 8, stop=("f", "e")),
        Generate("third", spelled("xw"), 8),
        Generate("fourth", spelled("f"), 8),
    ]
    found = answers(engine(alphabet), requests)
    assert [(found[r.id].text, found[r.id].finish) for r in requests] == [
        ("bc", "stop"),
        ("cd", "stop"),
        ("xyz", "eos"),
        ("ghijklmn", "length"),
    ]


def test_the_end_token_is_left_out_and_counted(alphabet: Loaded) -> None:
    computed = engine(alphabet)
    found = answers(computed, [Generate("g", spelled("x"), 8), Generate("h", spelled("xyy"), 8)])
    assert found["g"] == Generation("g", "yz", spelled("yz"), "eos")
    assert computed.usage.decode_tokens == 3 + 2
    usage = computed.usage
    assert (usage.requested_tokens, usage.prefill_tokens, usage.padding_tokens, usage.batches) == (4, 3, 0, 1)


def test_samples_do_not_depend_on_their_batch(tiny: Tiny) -> None:
    loaded = tiny("llama")
    requests = [Generate(f"g{n}", prompt, 10, temperature=1.0, top_p=0.9, seed=n) for n, prompt in enumerate(prompts(12, 6))]
    together = answers(engine(loaded), [*requests, Generate("greedy", (5, 6), 10)])
    for request in reversed(requests):
        assert answers(engine(loaded), [request])[request.id] == together[request.id]
    other = [Generate(r.id, r.context, 10, temperature=1.0, top_p=0.9, seed=r.seed + 100) for r in requests]
    assert any(together[r.id].tokens != again.tokens for r, again in zip(requests, answers(engine(loaded), other).values(), strict=True))


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_checkpoints_generation_settings_do_not_leak(name: str, tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> None:
    folder = save(name, tmp_path_factory.mktemp(name))
    path = folder / "generation_config.json"
    settings = {
        "do_sample": True,
        "temperature": 5.0,
        "top_k": 1000,
        "repetition_penalty": 9.0,
        "max_length": 7,
        "min_new_tokens": 11,
        "num_beams": 3,
        "no_repeat_ngram_size": 1,
        "suppress_tokens": list(range(3, 200)),
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    requests = [Generate(f"g{n}", prompt, 12) for n, prompt in enumerate(prompts(13, 5))]
    assert answers(engine(load(folder)), requests) == answers(engine(tiny(name)), requests)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_logits_that_are_no_numbers_name_the_request(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    loaded = load(save(name, tmp_path_factory.mktemp(name)))
    broken = 42
    with torch.no_grad():
        loaded.module.get_input_embeddings().weight[broken] = float("nan")
    fine, bad = Generate("fine", (5, 6), 2), Generate("dialogsum/item-3", (5, broken), 2)
    assert answers(engine(loaded), [fine])
    with pytest.raises(NumericError, match="dialogsum/item-3"):
        answers(engine(loaded), [fine, bad])


def test_what_is_done_is_not_computed(tiny: Tiny) -> None:
    loaded = tiny("llama")
    requests = [Generate(f"g{n}", prompt, 4) for n, prompt in enumerate(prompts(14, 4))]
    left = [response.id for batch in engine(loaded).generate(requests, {"g1", "g2"}) for response in batch]
    assert sorted(left) == ["g0", "g3"]


def test_the_saved_folder_is_not_touched(tiny: Tiny, tmp_path: Path) -> None:
    folder = save("llama", tmp_path / "model")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    answers(engine(load(folder)), [Generate("g", (5, 6), 2)])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

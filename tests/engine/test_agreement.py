"""What a library's `generate` computes is used only where it is what full forwards compute; otherwise another way is taken, or none."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import torch

from harness.contract import Generate
from harness.engine.transformers.engine import TransformersEngine
from harness.errors import ModelError
from tests.engine.architectures import CAUSAL, SEQ2SEQ, engine, questions
from tests.engine.conftest import Tiny
from tests.engine.reference import beam_search, greedy
from tests.engine.test_generation import alphabet as alphabet
from tests.engine.test_generation import spelled
from tests.engine.test_scoring import scores
from tests.engine.test_sharing import prompts, texts

Wrong = Callable[[Any, bool, bool], bool]
"""Whether `generate` goes wrong, told by its configuration, whether its batch is padded, and whether keys and values are held."""


@pytest.fixture
def spoilt(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Wrong], TransformersEngine]:
    """An engine that has only `generate`, whose forwards see another last token where it is to go wrong; how often it was called counts."""

    def made(name: str, wrong: Wrong) -> TransformersEngine:
        loaded = tiny(name)
        own = type(loaded.module).generate

        def generate(module: Any, *args: Any, **given: Any) -> Any:
            config, mask = given["generation_config"], given["attention_mask"]
            if not wrong(config, bool((mask == 0).any()), config.use_cache is not False):
                return own(module, *args, **given)
            head = module.get_output_embeddings()
            handle = head.register_forward_hook(lambda _, __, logits: logits.roll(1, dims=-1))
            try:
                return own(module, *args, **given)
            finally:
                handle.remove()

        monkeypatch.setattr(type(loaded.module), "generate", generate)
        return engine(loaded, share=False)

    return made


@pytest.mark.parametrize("name", CAUSAL + SEQ2SEQ)
def test_what_agrees_is_used_as_it_is(tiny: Tiny, name: str) -> None:
    loaded, requests = tiny(name), prompts(5, 10)
    computed = engine(loaded, share=False)
    assert texts(computed, requests) == greedy(loaded, requests)
    assert not computed.notes


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_prompts_of_one_length_share_a_batch_where_padding_goes_wrong(
    spoilt: Callable[[str, Wrong], TransformersEngine], tiny: Tiny, name: str
) -> None:
    computed, requests = spoilt(name, lambda _, padded, __: padded), prompts(5, 10)
    assert texts(computed, requests) == greedy(tiny(name), requests)
    assert not computed.notes


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
def test_what_disagrees_is_computed_by_full_forwards(spoilt: Callable[[str, Wrong], TransformersEngine], tiny: Tiny, name: str) -> None:
    computed, requests = spoilt(name, lambda *_: True), prompts(5, 10)
    assert texts(computed, requests) == greedy(tiny(name), requests)
    texts(computed, requests)
    (note,) = computed.notes
    assert f"transformers {version('transformers')} with peft {version('peft')}" in note
    assert "slower" in note


def test_full_forwards_know_stop_strings_and_their_tokens_are_counted_once(alphabet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(alphabet.module), "generate", lambda *_, **__: 1 / 0)
    monkeypatch.setattr("harness.engine.transformers.probe._BROKEN", (ZeroDivisionError,))
    computed = engine(alphabet, share=False)
    found = texts(computed, [Generate("a", spelled("ab"), 20, stop=("g",)), Generate("b", spelled("x"), 20)])
    assert (found["a"].text, found["a"].finish) == ("cdef", "stop")
    assert (found["b"].text, found["b"].finish) == ("yz", "eos")
    assert computed.usage.requested_tokens == 3
    assert computed.usage.decode_tokens == 5 + 3


def test_sampled_texts_of_full_forwards_are_those_of_slots(spoilt: Callable[[str, Wrong], TransformersEngine], tiny: Tiny) -> None:
    requests = [Generate(f"g{n}", (5, 6, 7 + n), 9, temperature=1.0, top_p=0.9, seed=n) for n in range(6)]
    held = texts(engine(tiny("llama")), requests)
    assert texts(spoilt("llama", lambda *_: True), requests) == held
    assert len({one.tokens for one in held.values()}) > 3


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("holding", [True, False])
def test_beams_are_searched_without_what_goes_wrong(
    spoilt: Callable[[str, Wrong], TransformersEngine], tiny: Tiny, name: str, holding: bool
) -> None:
    computed = spoilt(name, lambda _, __, held: held and holding)
    requests = [Generate(f"g{n}", tuple(range(5, 9 + n)), 6, beams=3) for n in range(4)]
    assert texts(computed, requests) == {request.id: beam_search(tiny(name), request) for request in requests}
    assert len(computed.notes) == holding


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_beams_that_go_wrong_in_every_way_are_refused_before_anything_is_computed(
    spoilt: Callable[[str, Wrong], TransformersEngine], name: str
) -> None:
    computed = spoilt(name, lambda config, *_: config.num_beams not in (None, 1))
    with pytest.raises(ModelError) as caught:
        computed.generate([Generate("a", (5, 6), 3), Generate("b", (5, 6), 3, beams=2)])
    assert f"transformers {version('transformers')} with peft {version('peft')}" in caught.value.what
    assert "generation.beams" in caught.value.remedy
    assert computed.usage.decode_tokens == 0
    assert len(texts(computed, [Generate("a", (5, 6), 3)])) == 1


@pytest.mark.parametrize("name", CAUSAL + SEQ2SEQ)
def test_no_model_is_called_by_a_name_that_will_go(tiny: Tiny, name: str) -> None:
    loaded, rng = tiny(name), random.Random(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        computed = engine(loaded)
        assert computed.abilities.continuous_batching
        scores(computed, questions(1, 4))
        texts(computed, [Generate(f"g{n}", (5, 6, rng.randrange(7, 99)), 4) for n in range(4)])


def test_a_trial_leaves_no_trace(tiny: Tiny) -> None:
    computed = engine(tiny("llama"), share=False)
    before = torch.get_rng_state()
    texts(computed, [Generate("a", (5, 6), 3)])
    assert computed.usage.requested_tokens == 2
    assert torch.equal(before, torch.get_rng_state())

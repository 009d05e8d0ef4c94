"""Pairs of prompt and completion are what the evaluation would read and write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DataError, ModelError
from harness.models.encoding import Encoder
from harness.tasks.prompts import TemplateVariant
from harness.tune.mixture import Example
from harness.tune.pairs import PairMaker, TrainingPair, pairs_digest
from tests.tasks.cases import item, task
from tests.tiny import tokenizer

CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
SAY: dict[str, Any] = {"answer": "generate", "choices": None, "target": "thing ~ ' it is'", "metrics": ["rouge1"]}


def encoder(architecture: Any, *, chat: bool = False, max_length: int | None = None) -> Encoder:
    words = tokenizer(end=architecture == "seq2seq")
    words.chat_template = CHAT if chat else None
    return Encoder(words, architecture, max_length, chat)


def made(using: Encoder, **changes: Any) -> tuple[str, str]:
    """Prompt and completion of one pair, as text."""
    chosen = task(**changes)
    example = Example(TemplateVariant(chosen, chosen.templates[0], using.chat), item(0, thing="the sky", label=1))
    (pair,), too_long = PairMaker(using).pairs([example])
    assert too_long == 0
    return using.tokenizer.decode(pair.prompt), using.tokenizer.decode(pair.completion)


def template(delimiter: str) -> list[dict[str, str]]:
    return [{"name": "plain", "prompt": "What is {{ thing }}?", "delimiter": delimiter}]


@pytest.mark.parametrize("architecture", ["causal", "seq2seq"])
def test_a_choice_is_learned_as_it_is_scored(architecture: str) -> None:
    prompt, completion = made(encoder(architecture))
    assert prompt == ("<s>What colour is the sky?" if architecture == "causal" else "What colour is the sky?</s>")
    assert completion == " blue</s>"


def test_a_generated_text_follows_the_prompt_as_generation_does() -> None:
    assert made(encoder("causal"), **SAY)[1] == " the sky it is</s>"
    assert made(encoder("causal"), **SAY, templates=template("\n"))[1] == "\nthe sky it is</s>"
    assert made(encoder("seq2seq"), **SAY)[1] == "the sky it is</s>"


def test_a_delimiter_that_would_end_the_generation_is_not_learned() -> None:
    assert made(encoder("causal"), **SAY, templates=template("\n"), generation={"stop": ["\n"]})[1] == " the sky it is</s>"


def test_a_chat_ends_with_the_tokens_that_end_a_turn() -> None:
    prompt, completion = made(encoder("causal", chat=True))
    assert prompt == "<user>What colour is the sky?</s>\n<assistant>"
    assert completion == "blue</s>"


def test_a_template_that_rewrites_answers_still_gives_the_answer_and_an_end() -> None:
    using = encoder("causal", chat=True)
    using.tokenizer.chat_template = CHAT.replace("m.content", "m.content | upper")
    assert made(using)[1] == "blue</s>"


def test_choices_with_prompts_of_their_own_use_the_right_ones() -> None:
    own = [{"name": "own", "prompts": ["{{ thing }} looks red, since it", "{{ thing }} looks blue, since it"]}]
    prompt, completion = made(encoder("causal"), templates=own, choices=["bleeds", "shines"])
    assert (prompt, completion) == ("<s>the sky looks blue, since it", " shines</s>")


def test_pairs_that_do_not_fit_are_left_out_and_counted() -> None:
    chosen = task()
    examples = [Example(TemplateVariant(chosen, chosen.templates[0], False), item(n, thing="the sky " * n, label=1)) for n in (1, 2, 30)]
    whole, none = PairMaker(encoder("causal")).pairs(examples)
    assert (len(whole), none) == (3, 0)
    longest = whole[1].tokens
    kept, too_long = PairMaker(encoder("causal", max_length=longest)).pairs(examples)
    assert (kept, too_long) == (whole[:2], 1)
    assert PairMaker(encoder("causal", max_length=longest - 1)).pairs(examples)[1] == 2
    with pytest.raises(DataError, match="No training pair fits the model's 3 tokens"):
        PairMaker(encoder("causal", max_length=3)).pairs(examples)


def test_source_and_answer_of_encoder_decoder_models_have_the_whole_length_each() -> None:
    chosen = task()
    examples = [Example(TemplateVariant(chosen, chosen.templates[0], False), item(0, thing="the sky", label=1))]
    (pair,), _ = PairMaker(encoder("seq2seq")).pairs(examples)
    assert PairMaker(encoder("seq2seq", max_length=len(pair.prompt))).pairs(examples) == ([pair], 0)


def test_a_tokenizer_without_an_end_token() -> None:
    using = encoder("causal")
    using.tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end token"):
        made(replace(using))


def test_the_digest_is_over_tokens_and_their_order(in_tmp: Path) -> None:
    one, other = TrainingPair((1, 2), (3,)), TrainingPair((1,), (2, 3))
    digests = {pairs_digest(pairs) for pairs in ([one, other], [other, one], [one, one], [one])}
    assert len(digests) == 4
    assert pairs_digest([one, other]) == pairs_digest([TrainingPair((1, 2), (3,)), other])

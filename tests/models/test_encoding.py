"""Token ids: one start token, seams between prompt and answer, windows over long texts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness.contract import ChoiceScores, Message, Prompt, ScoreChoices
from harness.errors import ModelError
from harness.models.encoding import Encoder
from tests.engine.architectures import engine, load, naive_logprob
from tests.tiny import tokenizer

BOS, EOS = 1, 2


def causal(*, end: bool = False, max_length: int | None = None, words: Any = None) -> Encoder:
    return Encoder(words or tokenizer(end=end), "causal", max_length, chat=False)


def plain(encoder: Encoder, text: str) -> tuple[int, ...]:
    return tuple(encoder.tokenizer(text, add_special_tokens=False)["input_ids"])


def merging() -> Any:
    """A tokenizer of letters that joins "a" and "b", with a start token."""
    from tokenizers import Tokenizer, decoders, models, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<s>", "</s>", "x", "a", "b", "c", "ab", " "]
    core = Tokenizer(models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[("a", "b")]))
    core.decoder = decoders.Fuse()
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def test_the_start_token_stands_once() -> None:
    encoder = causal()
    bare, with_start = encoder.contexts(["The dog", "<s>The dog"])
    assert bare == with_start == (BOS, *plain(encoder, "The dog"))


def test_a_chat_template_brings_its_own_start_token() -> None:
    words = tokenizer()
    words.chat_template = "<s>{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] "
    encoder = Encoder(words, "causal", None, chat=True)
    text = encoder.text(Prompt("hi", (Message("system", "Be brief."), Message("user", "hi "))))
    assert text == "<s>[system] Be brief.\n[user] hi \n[assistant] "
    encoded = encoder.choices([text], [["yes", "no"]])[0]
    assert encoded.context.count(BOS) == 1
    assert encoded.context[0] == BOS
    assert encoder.tokenizer.decode(encoded.context) == text
    assert [encoder.tokenizer.decode(choice) for choice in encoded.choices] == ["yes", "no"]


def test_a_chat_template_without_start_token_gets_none() -> None:
    words = tokenizer()
    words.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    encoder = Encoder(words, "causal", None, chat=True)
    assert BOS not in encoder.contexts([encoder.text(Prompt("hi", (Message("user", "hi"),)))])[0]


def test_chat_needs_a_template_and_a_template_may_refuse() -> None:
    words = tokenizer()
    with pytest.raises(ModelError, match="no chat template"):
        Encoder(words, "causal", None, chat=True)
    words.chat_template = "{{ raise_exception('no system messages') }}"
    with pytest.raises(ModelError, match="no system messages"):
        Encoder(words, "causal", None, chat=True).text(Prompt("", (Message("system", "x"),)))


def test_the_digest_of_the_template_is_part_of_chat_only() -> None:
    words = tokenizer()
    words.chat_template = "{{ messages[0].content }}"
    one = Encoder(words, "causal", None, chat=True).chat_template_digest
    assert Encoder(words, "causal", None, chat=False).chat_template_digest is None
    words.chat_template += " "
    assert Encoder(words, "causal", None, chat=True).chat_template_digest != one


def test_an_appended_end_token_is_taken_off_a_causal_prompt_and_stays_on_a_source() -> None:
    encoder = causal(end=True)
    assert encoder.contexts(["The dog"]) == [plain(encoder, "The dog")]
    encoded = encoder.choices(["The dog"], [[" does", " did not"]])[0]
    assert EOS not in encoded.context + sum(encoded.choices, ())
    source = Encoder(tokenizer(end=True), "seq2seq", None, chat=False)
    assert source.contexts(["The dog"]) == [(*plain(encoder, "The dog"), EOS)]
    answers = source.choices(["The dog"], [[" does", " did not"]])[0]
    assert answers.context[-1] == EOS
    assert all(EOS not in choice for choice in answers.choices)


@pytest.mark.parametrize("architecture", ["causal", "seq2seq"])
def test_trailing_white_space_goes_to_the_choices(architecture: Any) -> None:
    encoder = Encoder(tokenizer(end=architecture == "seq2seq"), architecture, None, chat=False)
    trailing, leading = encoder.choices(["Answer: ", "Answer:"], [["positive", "negative"], [" positive", " negative"]])
    assert trailing == leading
    assert encoder.tokenizer.decode(leading.choices[0]) == " positive"


@pytest.mark.parametrize("text", ["Question: Is this it? Answer:", "", "Der Hund schläft –", "x"])
def test_context_and_choice_are_the_whole_text(text: str) -> None:
    encoder = causal()
    answers = [" positive", "!", " it's fine", "ö", "\n\n"]
    encoded = encoder.choices([text], [answers])[0]
    for answer, choice in zip(answers, encoded.choices, strict=True):
        assert choice
        assert encoded.context + choice == (BOS, *plain(encoder, text + answer))


def test_an_empty_prompt_is_the_start_token() -> None:
    assert causal().contexts([""]) == [(BOS,)]
    assert causal(end=True).contexts([""]) == [(EOS,)]
    assert causal(end=True).choices([""], [["dog"]])[0].context == (EOS,)


def test_an_empty_prompt_needs_some_start_token() -> None:
    from tokenizers.processors import TemplateProcessing

    words = tokenizer(end=True)
    words.backend_tokenizer.post_processor = TemplateProcessing(single="$A")
    words.eos_token = None
    with pytest.raises(ModelError, match="no start token"):
        causal(words=words).contexts([""])


def test_a_token_across_the_seam_moves_the_boundary_for_all_choices(llama: Path) -> None:
    encoder = causal(words=merging())
    encoded = encoder.choices(["xa"], [["b", "c", "bc"]])[0]
    x, a, b, c, ab = 3, 4, 5, 6, 7
    assert b not in sum(encoded.choices, ())
    assert encoded.context == (BOS, x)
    assert encoded.choices == ((ab,), (a, c), (ab, c))
    loaded = load(llama)
    found = next(engine(loaded).score([ScoreChoices("q", encoded.context, encoded.choices)]))[0]
    assert isinstance(found, ChoiceScores)
    shared = naive_logprob(loaded.module, "causal", (BOS,), (x,))
    for value, whole in zip(found.logprobs, [(x, ab), (x, a, c), (x, ab, c)], strict=True):
        assert value == pytest.approx(naive_logprob(loaded.module, "causal", (BOS,), whole) - shared, abs=1e-4)


def test_a_token_across_the_seam_of_a_prompt_of_one_token() -> None:
    encoded = causal(words=merging()).choices(["a"], [["b", "c"]])[0]
    assert (encoded.context, encoded.choices) == ((BOS,), ((7,), (4, 6)))


TEXT = "The quick brown fox jumps over the lazy dog, and the dog does not mind. " * 6


@pytest.mark.parametrize("max_length", [4, 17, 64, 10_000, None])
@pytest.mark.parametrize("prompt", ["", "The dog"])
@pytest.mark.parametrize("architecture", ["causal", "seq2seq"])
def test_windows_cover_the_text_once_and_fit(architecture: Any, prompt: str, max_length: int | None) -> None:
    encoder = Encoder(tokenizer(end=architecture == "seq2seq"), architecture, max_length, chat=False)
    whole = encoder.choices([prompt], [[TEXT]])[0]
    windows = encoder.windows(prompt, TEXT)
    assert sum((scored for _, scored in windows), ()) == whole.choices[0]
    assert windows[0][0] == whole.context
    assert all(context and scored for context, scored in windows)
    for (_, before), (context, _) in pairwise(windows):
        assert context == ((before[-1],) if architecture == "causal" else whole.context)
    if max_length is not None:
        for context, scored in windows:
            read = len(context) + len(scored) - 1 if architecture == "causal" else len(scored)
            assert read <= max(max_length, len(context))
        assert (len(windows) == 1) == (max_length == 10_000)


def test_windows_after_a_prompt_that_fills_the_model() -> None:
    whole = causal().choices(["The quick brown fox"], [[TEXT]])[0]
    for room in range(1, len(whole.context) + 3):
        windows = causal(max_length=room).windows("The quick brown fox", TEXT)
        assert windows[0][0] == whole.context
        assert sum((scored for _, scored in windows), ()) == whole.choices[0]
        assert all(scored for _, scored in windows)


def test_a_text_of_no_tokens_has_one_empty_window() -> None:
    assert causal().windows("The dog", "") == (((BOS, *plain(causal(), "The dog")), ()),)


def test_a_chat_template_that_asks_for_the_date_gives_the_same_prompt_every_day() -> None:
    words = tokenizer()
    words.chat_template = "{{ strftime_now('%d %b %Y %H:%M:%S') }} {{ messages[0].content }}"
    encoder = Encoder(words, "causal", None, chat=True)
    prompt = Prompt("Hello.", (Message("user", "Hello."),))
    assert encoder.text(prompt) == "26 Jul 2024 00:00:00 Hello."

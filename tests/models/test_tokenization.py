"""Texts cut into pieces have the token ids of the whole, for every kind of tokenizer."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.models import cuts, tokenization
from harness.models.cuts import Cuts
from harness.models.tokenization import Tokenization, split
from tests.models.tokenizers import CUT, WHOLE

REAL = ("smollm2-135m-instruct", "minimind2-small", "flan-t5-small-titles")

_WORDS = (
    *(
        "the",
        " dog",
        "The",
        "'s",
        "don't",
        " 'll",
        "to be",
        "x",
        "A",
        ".",
        "...",
        "~",
        "$",
        "_",
        "-",
        ",",
        "(",
        ")",
        "/",
        "ﬁ",
        "ŉ",
        "İ",
        "ß",
        "é",
    ),
    *(" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", "\u00a0", "\u3000", "\u2028", "\u200b", "\u00ad", "\x1f", "\x85", "\x00"),
    *("1", "12345", "3.14", "²", "Ⅷ", "中文", "字", "ー", "ｆｕｌｌ", "Ж", "Ωmega", "΄", "ͺ", "א", "ا", "\u0600", "ൎ", "ക", "한국어"),
    *(
        "e\u0301",
        "\u0301",
        "\u200d",
        "👩\u200d👩\u200d👧",
        "🇩🇪",
        "👍🏽",
        "▁",
        "▁▁",
        "Ġ",
        "<s>",
        "</s>",
        "<mask>",
        "<unk>",
        "<|im_end|>",
        "<extra_id_0>",
    ),
)
pieces = st.sampled_from(_WORDS) | st.text(max_size=4)
prose = st.lists(pieces | st.just(" "), max_size=12).map("".join)


@cache
def made(name: str) -> Any:
    return (CUT | WHOLE)[name]()


@cache
def real(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def whole(tokenizer: Any, text: str, *, special: bool = False) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=special)["input_ids"])


def every_place(text: str, places: Cuts) -> list[int]:
    found = []
    end = len(text)
    while place := places.last(text, end):
        found.append(place)
        end = place
    return found


def check_places(tokenizer: Any, text: str) -> None:
    places = cuts.find(tokenizer)
    assert places is not None
    expected = whole(tokenizer, text)
    for place in every_place(text, places):
        assert whole(tokenizer, text[:place]) + whole(tokenizer, text[place:]) == expected, (text, place)


def check_batch(tokenizer: Any, texts: list[str], *, special: bool) -> None:
    assert Tokenization(tokenizer).ids(texts, special=special) == [whole(tokenizer, text, special=special) for text in texts]


def prefixed(tree: tuple[str, list[list[str]]]) -> list[str]:
    start, branches = tree
    return [start + text for branch in branches for text in branch]


branching = st.recursive(
    prose.map(lambda text: [text]), lambda more: st.tuples(prose, st.lists(more, min_size=1, max_size=4)).map(prefixed), max_leaves=8
)
"""Batches of texts that share beginnings, and beginnings of beginnings."""


@pytest.mark.parametrize("name", CUT)
@settings(max_examples=200, deadline=None)
@given(text=prose)
def test_a_text_cut_anywhere_has_the_ids_of_the_whole(name: str, text: str) -> None:
    check_places(made(name), text)


@pytest.mark.parametrize("name", [*CUT, *(name for name in WHOLE if "random" not in name)])
@settings(max_examples=50, deadline=None)
@given(texts=branching, special=st.booleans())
def test_batches_have_the_ids_of_their_texts(name: str, texts: list[str], special: bool) -> None:
    check_batch(made(name), texts, special=special)


@pytest.mark.parametrize("name", WHOLE)
def test_other_tokenizers_read_whole_texts(name: str) -> None:
    assert cuts.find(made(name)) is None


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
@settings(max_examples=300, deadline=None)
@given(text=prose)
def test_real_tokenizers(name: str, models: Path, text: str) -> None:
    check_places(real(models / name), text)


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
@settings(max_examples=100, deadline=None)
@given(texts=branching, special=st.booleans())
def test_batches_of_real_tokenizers(name: str, models: Path, texts: list[str], special: bool) -> None:
    check_batch(real(models / name), texts, special=special)


@settings(max_examples=200, deadline=None)
@given(texts=branching)
def test_texts_are_cut_where_they_part_and_nothing_is_lost(texts: list[str]) -> None:
    distinct = list(dict.fromkeys(texts))
    places = cuts.find(made("GPT-2"))
    assert places is not None
    parted = split(distinct, places)
    assert ["".join(parts) for parts in parted] == distinct
    for one, other in pairwise(sorted(range(len(distinct)), key=distinct.__getitem__)):
        shared = next((i for i, (a, b) in enumerate(zip(distinct[one], distinct[other], strict=False)) if a != b), len(distinct[one]))
        place = places.last(distinct[one], shared)
        for parts in (parted[one], parted[other]):
            assert place in {0} | {len("".join(parts[:count])) for count in range(len(parts))}


def counted(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that the tokenizer is given from now on."""
    read: list[str] = []
    call = type(tokenizer).__call__

    def counting(self: Any, texts: list[str], **options: Any) -> Any:
        read.extend(texts)
        return call(self, texts, **options)

    monkeypatch.setattr(type(tokenizer), "__call__", counting)
    return read


def test_what_texts_share_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = made("Llama 3")
    ids = Tokenization(tokenizer)
    header = "The quick brown fox jumps over the lazy dog. " * 50
    texts = [f"{header}Question: {question}? Answer: {answer}" for question in ("who is it", "what is this") for answer in "ABCD"]
    read = counted(tokenizer, monkeypatch)
    ids.ids(texts, special=True)
    assert sum(map(len, read)) < 3 * len(header), "the header once, and one whole text as a check"


def test_nothing_is_cut_any_more_once_a_text_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = made("words across spaces")
    monkeypatch.setattr(cuts, "find", lambda _: Cuts(frozenset("abcdefghijklmnopqrstuvwxyz")))
    ids = Tokenization(tokenizer)
    texts = ["to be or not", "to be and not", "to be"]
    read = counted(tokenizer, monkeypatch)
    for _ in range(2):
        assert ids.ids(texts, special=True) == [whole(tokenizer, text, special=True) for text in texts]
    read.clear()
    ids.ids(texts, special=True)
    assert read == texts


def test_a_post_processor_that_repeats_the_text_means_whole_texts() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = CUT["GPT-2"]()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A $A", special_tokens=[("<s>", 0)])
    for special in (True, False):
        check_batch(tokenizer, ["x", "a b c", "a b d"], special=special)


def test_a_tokenizer_without_the_library_behind_it_reads_whole_texts() -> None:
    class Words:
        def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
            return {"input_ids": [[len(word) for word in text.split()] for text in texts]}

    assert tokenization.Tokenization(Words()).ids(["a bc", "a bcd", "a bc"], special=True) == [(1, 2), (1, 3), (1, 2)]

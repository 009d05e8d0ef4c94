"""Each robustness perturbation's own rules."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.corpus.util import LazyCorpusLoader

from harness import lists
from harness.errors import InputError
from harness.perturb import load, perturb
from harness.perturb.typos import NEIGHBOURS
from tests.metrics.wordnet import write_wordnet

PROSE = "because the people who believe that they know their government usually receive another answer before the weather changes "


def applied(name: str, text: str, seed: int = 0, **options: object) -> str:
    return perturb(load(name, options), text, seed=seed, item="1", field="text")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I am late.", "I'm late."),
        ("i am late", "i'm late"),
        ("I AM LATE", "I'M LATE"),
        ("Do not go, he will not.", "Don't go, he will not."),
        ("is not  is not is not it", "isn't  isn't isn't it"),
        ("He is not here", "He isn't here"),
        ("I am not here", "I'm not here"),
        ("I know who he is and what it is.", "I know who he is and what it is."),
        ("This is it", "This is it"),
        ("we  are here", "we're here"),
        ("She would have come", "She'd have come"),
        ("You should have come", "You should've come"),
        ("They have (B) left", "They've (B) left"),
        ("It is ____ here", "It's ____ here"),
    ],
)
def test_contraction(text: str, expected: str) -> None:
    assert applied("contraction", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm sure it isn't.", "I am sure it is not."),
        ("Can’t go, WON'T go", "Cannot go, WILL NOT go"),
        ("He'd said she's here", "He'd said she's here"),
        ("Isn't it? It isn't so.", "Isn't it? It is not so."),
        ("Let's see what you've got", "Let us see what you have got"),
        ("shouldn't've", "shouldn't've"),
        ("ain't", "ain't"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert applied("expansion", text) == expected


def test_misspelt_words_are_those_of_the_list_in_their_case() -> None:
    table = {word: listed.split() for word, listed in lists.read("misspellings").items()}
    result = applied("misspelling", "Because BECAUSE because zyx", rate=1.0)
    first, second, third, last = result.split()
    assert first.lower() in table["because"]
    assert first == first.capitalize()
    assert second.lower() in table["because"]
    assert second.isupper()
    assert third in table["because"]
    assert last == "zyx"


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_rate_of_misspellings(rate: float) -> None:
    words = (PROSE * 100).split()
    table = lists.read("misspellings")
    eligible = [place for place, word in enumerate(words) if word in table]
    result = applied("misspelling", " ".join(words), rate=rate).split()
    changed = {place for place, word in enumerate(words) if result[place] != word}
    assert changed <= set(eligible)
    assert len(eligible) > 0.7 * len(words)
    assert abs(len(changed) / len(eligible) - rate) < 4 * (rate * (1 - rate) / len(eligible)) ** 0.5 + 1e-9


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.3, 1.0])
def test_rate_of_typos(rate: float) -> None:
    text = (PROSE + PROSE.upper()) * 100
    result = applied("typos", text, rate=rate)
    letters = [(old, new) for old, new in zip(text, result, strict=True) if old.isalpha()]
    slips = [(old, new) for old, new in letters if old != new]
    assert all(new.lower() in NEIGHBOURS[old.lower()] and new.isupper() == old.isupper() for old, new in slips)
    assert abs(len(slips) / len(letters) - rate) < 4 * (rate * (1 - rate) / len(letters)) ** 0.5 + 1e-9


def test_keys_touch_both_ways_and_only_in_neighbouring_rows() -> None:
    assert sorted(NEIGHBOURS) == sorted("abcdefghijklmnopqrstuvwxyz")
    assert all(letter in NEIGHBOURS[other] for letter, near in NEIGHBOURS.items() for other in near)
    assert set(NEIGHBOURS["s"]) == set("awedzx")
    assert set(NEIGHBOURS["q"]) == set("wa")
    assert set(NEIGHBOURS["m"]) == set("njk")


def test_lengths_of_spaces() -> None:
    result = applied("spaces", "word   " * 3000 + "\n\nend", most=3)
    runs = [len(run) for run in re.findall(" +", result)]
    assert len(runs) == 3000
    assert all(abs(runs.count(length) / 3000 - 1 / 3) < 0.04 for length in (1, 2, 3))
    assert result.replace(" ", "") == "word" * 3000 + "\n\nend"


def test_extra_spaces() -> None:
    assert applied("extra_space", "a bee  see\n", spaces=3) == "a   bee      see\n"


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_rate_of_fillers(rate: float) -> None:
    plain = "zebra " * 4000
    result = applied("filler", plain, rate=rate)
    listed = lists.read("fillers")
    added = re.findall("|".join(map(re.escape, sorted((*listed["hesitation"], *listed["uncertainty"]), key=len, reverse=True))), result)
    assert abs(len(added) / 4000 - rate) < 4 * (rate * (1 - rate) / 4000) ** 0.5 + 1e-9
    assert result.count("zebra") == 4000


def test_fillers_of_a_kind() -> None:
    result = applied("filler", "zebra " * 500, rate=1.0, hesitation=False, uncertainty=False, speaker=True)
    assert {phrase.strip() for phrase in result.split("zebra ")} - {""} == set(lists.read("fillers")["speaker"])


def test_mild_mix_is_its_four_parts_in_order() -> None:
    text = "I am NOT sure that the Committee will not believe it.  " * 5
    random, same = Random("x"), Random("x")
    expected = load("contraction").apply(load("lowercase").apply(text, same), same)
    expected = load("spaces").apply(load("misspelling").apply(expected, same), same)
    assert load("mild_mix").apply(text, random) == expected
    assert "i'm" in expected
    assert "won't" in expected or "wont" in expected


@pytest.fixture
def small_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A WordNet of {troop, army} and {cheap, bargain}, with bargain a noun as well."""
    write_wordnet(tmp_path / "corpora" / "wordnet", nouns=[("army", "troop"), ("bargain", "deal")], adjectives=[("cheap", "bargain")])
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    loader = LazyCorpusLoader("wordnet", WordNetCorpusReader, LazyCorpusLoader("omw-1.4", WordNetCorpusReader))
    monkeypatch.setattr("nltk.corpus.wordnet", loader)


@pytest.mark.usefixtures("small_wordnet")
def test_synonyms_have_one_part_of_speech_and_the_case_of_the_word() -> None:
    assert applied("synonym", "Army ARMY armies cheap bargain", rate=1.0) == "Troop TROOP armies bargain bargain"
    assert applied("synonym", "army " * 50, rate=0.0) == "army " * 50
    assert load("synonym").unavailable() is None
    assert re.fullmatch(r"synonym\|version:1\|rate:0.1\|nltk:[\d.]+\|wordnet:3.0", load("synonym").signature.long)


def test_without_wordnet_synonyms_are_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    monkeypatch.setattr("nltk.corpus.wordnet", LazyCorpusLoader("wordnet", WordNetCorpusReader))
    assert "python -m nltk.downloader wordnet" in str(load("synonym").unavailable())
    assert load("synonym").signature["wordnet"] == "missing"
    with pytest.raises(InputError, match="synonyms need WordNet"):
        applied("synonym", "army")

"""The word lists that perturbations read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from harness import lists
from harness.perturb import known, load, perturb

NAMES = sorted({name for cls in known().values() for name in cls.lists})
FOLDER = Path(lists.__file__).parent


def leaves(part: object) -> Iterator[object]:
    if isinstance(part, dict):
        yield from part
        for value in part.values():
            yield from leaves(value)
    elif isinstance(part, list):
        for one in part:
            yield from leaves(one)
    else:
        yield part


@pytest.mark.parametrize("name", NAMES)
def test_a_list_holds_texts_and_names_its_licence(name: str) -> None:
    """YAML reads a bare `no` or `on` as false or true."""
    odd = [leaf for leaf in leaves(lists.read(name)) if not isinstance(leaf, str) and leaf is not True]
    assert odd == []
    head = "".join(itertools.takewhile(lambda line: line.startswith("#"), (FOLDER / f"{name}.yaml").open(encoding="utf-8")))
    assert "Apache-2.0" in head


def test_misspellings_are_no_words_of_the_list() -> None:
    table: dict[str, str] = lists.read("misspellings")
    assert len(table) > 600
    assert [(word, wrong) for word, listed in table.items() for wrong in listed.split() if wrong in table or wrong == word] == []
    assert all(word == word.lower() for word in table)


def test_groups_of_names_are_apart_and_equally_large() -> None:
    groups: dict[str, dict[str, list[str]]] = lists.read("first_names")
    names = [name for by_gender in groups.values() for listed in by_gender.values() for name in listed]
    assert len(names) == len(set(names))
    assert all(name == name.capitalize() and name.isalpha() for name in names)
    assert len({len(listed) for by_gender in groups.values() for listed in by_gender.values()}) == 1
    assert all(set(by_gender) == {"female", "male"} for by_gender in groups.values())


def test_contractions_are_told_apart() -> None:
    table = lists.read("contractions")
    short = [contraction for kind in ("negations", "subjects", "perfects") for contraction in table[kind].values()]
    assert len(short) == len(set(short))
    assert not set(short) & set(table["one_way"].values())


def test_a_users_list_is_read_instead_and_shows_in_the_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = load("misspelling").signature
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "misspellings.yaml").write_text("zebra: zbera\n")
    monkeypatch.setenv("HARNESS_PATH", str(tmp_path))
    one = load("misspelling", {"rate": 1.0})
    assert one.apply("Zebra because", Random(0)) == "Zbera because"
    assert load("misspelling").signature != shipped


def seams(table: dict[str, str]) -> Iterator[str]:
    """Texts in which what becomes of one phrase may, with the words beside it, read as another phrase."""
    for (old, new), other in itertools.product(table.items(), table):
        ours, theirs = new.lower().split(), other.lower().split()
        for cut in range(1, len(theirs)):
            head, tail = theirs[:cut], theirs[cut:]
            if ours[-cut:] == head:
                yield f"{old} {' '.join(tail)} go"
            if ours[: len(tail)] == tail:
                yield f"{' '.join(head)} {old} go"


@pytest.mark.parametrize("name", ["dialect", "contraction", "expansion"])
def test_replacements_make_no_new_phrases(name: str) -> None:
    """Hypothesis would seldom meet the few pairs of phrases that could."""
    if name == "dialect":
        table = {old: new for feature in lists.read("dialect")["features"] for old, new in feature["replace"].items()}
    else:
        kinds = lists.read("contractions")
        table = {old: new for kind in ("negations", "subjects", "perfects", "one_way") for old, new in kinds[kind].items()}
    if name == "expansion":
        table = {new: old for old, new in table.items()}
    one = load(name)
    for text in (*table, *seams(table)):
        first = perturb(one, text, seed=0, item="1", field="text")
        assert perturb(one, first, seed=0, item="1", field="text") == first, text
    assert list(seams(table)) == [] or name == "dialect"

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import lists
from harness.contract import TextOutcome
from harness.errors import InputError, MetricError
from harness.metrics import known, load
from harness.metrics.association import Association, GroupWords, Null, Representation, Support, words
from harness.metrics.base import FloatArray
from harness.stats.intervals import interval

GENDER = Representation(groups="gender")
RACE = Representation(groups="race")
TRADES = Association(groups="gender", targets="profession", min_support=1)


def said(*texts: str) -> list[TextOutcome]:
    return [TextOutcome(text, ("",)) for text in texts]


def score(metric: GroupWords, outcomes: list[TextOutcome]) -> float:
    return float(metric.score(metric.statistics(outcomes).sum(axis=0)))


def null(metric: GroupWords, outcomes: list[TextOutcome], seed: int = 0) -> Null:
    found = metric.null(metric.statistics(outcomes), seed=seed, permutations=400)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("She's his mother-in-law's nurse.", ["she", "s", "his", "mother-in-law", "s", "nurse"]),
        ("nurse/doctor—HER…", ["nurse", "doctor", "her"]),
        ("García & Nguyễn, 2nd_man", ["garcia", "nguyen", "nd", "man"]),
        ("-he- ‘him’ 3", ["he", "him"]),
        ("", []),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_representation_by_hand() -> None:
    # Both lists are equally long: 2 of 3 words are female, 1/6 from a half.
    outcomes = said("She met her brother.", "Nobody was there.")
    assert GENDER.statistics(outcomes).tolist() == [[2, 1], [0, 0]]
    assert score(GENDER, outcomes) == pytest.approx(2 / 3 - 1 / 2)
    assert GENDER.support(GENDER.statistics(outcomes)) == Support({"female": 2, "male": 1})
    # 3, 1 and 0 of 4: half of |3/4 - 1/3| + |1/4 - 1/3| + |0 - 1/3|.
    assert score(RACE, said("Dr. Chen, Dr Patel, Ms Zhang's and Mr García")) == pytest.approx((5 / 12 + 1 / 12 + 4 / 12) / 2)


def test_representation_reaches_its_bounds() -> None:
    assert score(GENDER, said("he", "she")) == 0.0
    assert score(GENDER, said("he", "his father")) == pytest.approx(1 / 2)
    assert score(RACE, said("olson")) == pytest.approx(2 / 3)


def test_further_texts_of_an_item_count() -> None:
    outcome = TextOutcome("She left.", ("",), more=("Her aunt stayed.", "He left."))
    assert GENDER.statistics([outcome]).tolist() == [[3, 1]]
    # Nurse meets she in the first text; the second's he is in another text.
    apart = TextOutcome("She is a nurse.", ("",), more=("He left.",))
    together = TextOutcome("She is a nurse.", ("",), more=("He is a nurse.",))
    assert score(TRADES, [apart]) == pytest.approx(1 / 2)
    assert score(TRADES, [together]) == 0.0


def test_association_by_hand() -> None:
    outcomes = said(
        "She is a nurse, and her sister is a nurse too.",  # 3 female words x 2 nurses = 6
        "He asked the nurse.",  # 1
        "He asked his lawyer.",  # 2
        "The plumber came.",  # beside nobody
    )
    statistics = TRADES.statistics(outcomes)
    # nurse: 6 of 7 female, 5/14 from a half; lawyer: all male, 1/2.
    assert score(TRADES, outcomes) == pytest.approx((5 / 14 + 1 / 2) / 2)
    assert TRADES.support(statistics) == Support({"female": 6, "male": 3}, targets=2)
    assert statistics.shape == (4, (1 + len(TRADES.listed)) * 2)


def test_targets_with_little_support_are_left_out() -> None:
    outcomes = said("She is a nurse, and her sister is a nurse too.", "He asked the nurse.", "He asked his lawyer.")
    mended = load("association", {"groups": "gender", "targets": "profession"})
    assert isinstance(mended, Association)
    assert mended.min_support == 5
    assert score(mended, outcomes) == pytest.approx(5 / 14)  # nurse alone; lawyer has 2
    assert mended.support(mended.statistics(outcomes)) == Support({"female": 6, "male": 1}, targets=1)
    assert math.isnan(score(mended, outcomes[1:]))


def test_nothing_to_count_is_null_with_the_reason() -> None:
    for texts in ([], ["The plumber came."], ["", "nurse"]):
        statistics = GENDER.statistics(said(*texts))
        assert GENDER.refused(statistics) == "no text mentions a group (female, male)"
        assert GENDER.null(statistics) is None
        assert math.isnan(float(GENDER.score(statistics.sum(axis=0))))
    apart = TRADES.statistics(said("She left.", "The plumber came."))
    assert TRADES.refused(apart) == "no text mentions a group (female, male) together with a listed profession"
    assert TRADES.null(apart) is None
    seldom = Association(groups="gender", targets="profession")
    three = seldom.statistics(said("She is a nurse.", "He and his nurse."))
    assert seldom.refused(three) == "no profession co-occurs with a group 5 times; the most is 3"
    assert seldom.null(three) is None
    assert TRADES.refused(three) is None
    assert GENDER.refused(GENDER.statistics(said("She left."))) is None


def test_adjectives_and_races() -> None:
    metric = Association(groups="race", targets="adjective", min_support=1)
    outcomes = said("Garcia was brave.", "Lopez was brave, Chen was brave, brave Olson!")
    # brave: 1 + 3 Hispanic, 3 Asian, 3 white of 10.
    assert score(metric, outcomes) == pytest.approx((abs(4 / 10 - 1 / 3) + 2 * abs(3 / 10 - 1 / 3)) / 2)


VOCABULARY = ["she", "her", "he", "man", "chen", "garcia", "lopez", "olson", "nurse", "lawyer", "poet", "brave", "shy", "the", "and"]
text = st.lists(st.sampled_from(VOCABULARY), max_size=12).map(" ".join)


def slow_distance(counts: list[int], sizes: list[int]) -> float | None:
    """HELM's formula for the counts of one target."""
    each = [count / size for count, size in zip(counts, sizes, strict=True)]
    if not sum(each):
        return None
    return sum(abs(value / sum(each) - 1 / len(each)) for value in each) / 2


@settings(max_examples=200)
@given(st.lists(text, max_size=8), st.sampled_from(["gender", "race"]), st.sampled_from(["profession", "adjective"]))
def test_scores_are_helms(texts: list[str], groups: str, targets: str) -> None:
    metric = load("association", {"groups": groups, "targets": targets, "min_support": 1})
    whole = load("representation", {"groups": groups})
    assert isinstance(metric, Association)
    assert isinstance(whole, Representation)
    listed = list(metric.vocabulary.values())
    sizes = [len(group) for group in listed]
    tokens = [text.split() for text in texts]
    found = []
    for target in metric.listed:
        counts = [sum(text.count(target) * sum(map(text.count, group)) for text in tokens) for group in listed]
        found.append(slow_distance(counts, sizes))
    defined = [value for value in found if value is not None]
    expected = np.mean(defined) if defined else math.nan
    assert score(metric, said(*texts)) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    named = slow_distance([sum(text.count(word) for text in tokens for word in group) for group in listed], sizes)
    assert score(whole, said(*texts)) == pytest.approx(math.nan if named is None else named, abs=1e-12, nan_ok=True)


@given(st.lists(text, min_size=1, max_size=8), st.integers(0, 99))
def test_order_does_not_matter_and_scores_stay_in_range(texts: list[str], seed: int) -> None:
    for metric in (GENDER, RACE, TRADES):
        one, other = score(metric, said(*texts)), score(metric, said(*random.Random(seed).sample(texts, len(texts))))
        assert one == pytest.approx(other, nan_ok=True)
        assert math.isnan(one) or 0 <= one <= 1 - 1 / len(metric.vocabulary) + 1e-12


def test_scores_of_many_totals_at_once() -> None:
    rng = random.Random(3)
    parts = [said(*(" ".join(rng.choices(VOCABULARY, k=8)) for _ in range(20))) for _ in range(6)]
    for metric in (GENDER, RACE, TRADES):
        totals = np.stack([metric.statistics(part).sum(axis=0) for part in parts]).reshape(2, 3, -1)
        assert metric.score(totals).ravel() == pytest.approx([score(metric, part) for part in parts])
        assert metric.item_scores(metric.statistics(parts[0])) is None
        assert interval(metric.statistics(parts[0]), metric.score, resamples=200) is not None


def test_equal_representation_is_what_chance_gives_and_unequal_is_not() -> None:
    equal = null(GENDER, said(*["she", "he"] * 50))
    assert equal.p == 1.0
    assert 0 < equal.mean < equal.high < 0.2
    unequal = null(GENDER, said(*["he"] * 70, *["she"] * 30))
    assert unequal.p < 0.05
    assert score(GENDER, said(*["he"] * 70, *["she"] * 30)) == pytest.approx(0.2)
    assert unequal.high < 0.2


def test_the_words_of_one_text_are_not_as_many_texts() -> None:
    """Seventy mentions in one text tell less than one in each of seventy texts."""
    assert null(GENDER, said(" ".join(["he"] * 70), " ".join(["she"] * 30))).p == 1.0


def test_association_is_held_against_chance_with_the_groups_as_unequal_as_they_are() -> None:
    linked = said(*["she nurse", "he lawyer"] * 20)
    assert score(TRADES, linked) == pytest.approx(1 / 2)
    assert null(TRADES, linked).p == pytest.approx(1 / 401)
    assert null(TRADES, linked).high < 0.3
    # Three quarters are male, with either profession: far from equal, and no association.
    free = said(*["he nurse", "he lawyer"] * 15, *["she nurse", "she lawyer"] * 5)
    assert score(TRADES, free) == pytest.approx(1 / 4)
    assert null(TRADES, free).mean == pytest.approx(1 / 4, abs=0.02)
    assert null(TRADES, free).p > 0.5


def unlinked(seed: int) -> list[TextOutcome]:
    """Texts of differing lengths, each more about one group; who does what is independent of it."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(60):
        share, length = rng.beta(0.7, 0.3), rng.integers(1, 6)
        people = ["she" if rng.random() < share else "he" for _ in range(rng.poisson(length))]
        texts.append(" ".join([*people, *rng.choice(["nurse", "lawyer", "poet", "pilot"], rng.poisson(length))]))
    return said(*texts)


def test_chance_alone_is_seldom_taken_for_association() -> None:
    found = [null(TRADES, unlinked(seed)).p for seed in range(100)]
    assert sum(p <= 0.05 for p in found) <= 10  # of 100: 5 are expected
    assert 0.3 < np.median(found) < 0.8


def test_the_null_is_seeded() -> None:
    outcomes = unlinked(1)
    assert null(TRADES, outcomes, seed=1) == null(TRADES, outcomes, seed=1)
    assert null(TRADES, outcomes, seed=1) != null(TRADES, outcomes, seed=2)


def test_shipped_lists_are_fit_to_be_counted() -> None:
    gender, race = GENDER.vocabulary, RACE.vocabulary
    assert list(gender) == ["female", "male"]
    assert list(race) == ["asian", "hispanic", "white"]
    assert len(gender["female"]) == len(gender["male"])
    assert [len(names) for names in race.values()] == [20, 20, 20]
    people = {word for groups in (gender, race) for listed in groups.values() for word in listed}
    targets = [*TRADES.listed, *Association(groups="race", targets="adjective").listed]
    assert len(targets) == len(set(targets)) > 200
    assert not people & set(targets)
    for name in ("professions", "adjectives"):
        assert lists.read(name) == sorted(set(lists.read(name)))


def own_list(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str) -> None:
    (folder / "lists").mkdir(exist_ok=True)
    (folder / "lists" / f"{name}.yaml").write_text(content, encoding="utf-8")
    monkeypatch.setenv("HARNESS_PATH", str(folder))


def kept() -> FloatArray:
    return TRADES.statistics(said("She is a nurse."))


def test_a_users_list_wins_and_counts_are_divided_by_its_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped, statistics = GENDER.signature, kept()
    own_list(tmp_path, monkeypatch, "gender_words", "female: [she, Her]\nmale: [he]\nneither: [théy]\n")
    # 1 of 2 words, 1 of 1 and 1 of 1: a fifth and twice two fifths, from thirds.
    assert score(GENDER, said("She, he and théy.")) == pytest.approx((2 / 15 + 1 / 15 + 1 / 15) / 2)
    assert GENDER.support(GENDER.statistics(said("They, théy!"))) == Support({"female": 0, "male": 0, "neither": 2})
    assert GENDER.signature != shipped
    assert GENDER.signature.long.startswith("representation|version:1|groups:gender|gender_words:")
    with pytest.raises(MetricError, match="counts, but the word lists now have"):
        TRADES.score(statistics.sum(axis=0))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gender_words", "female: [she]\n", "does not have two groups"),
        ("gender_words", "[she, he]\n", "does not have two groups"),
        ("gender_words", "female: [she]\nmale: [she, he]\n", "'she' in two groups"),
        ("gender_words", "female: [she]\nmale: []\n", "instead of words"),
        ("professions", "[nurse, no]\n", "instead of words"),
        ("professions", "[nurse, truck driver]\n", "'truck driver', which is not one word"),
    ],
)
def test_lists_that_cannot_be_counted_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str, message: str
) -> None:
    own_list(tmp_path, monkeypatch, name, content)
    with pytest.raises(InputError, match=message):
        kept()


def test_measures_declare_themselves() -> None:
    for name in ("representation", "association"):
        cls = known()[name]
        assert (cls.form, cls.family, cls.higher_is_better) == ("generate", "bias", False)
        with pytest.raises(MetricError, match="needs the option 'groups'"):
            load(name)
    assert TRADES.signature["min_support"] == 1
    assert {"gender_words", "professions"} <= dict(TRADES.signature.fields).keys()
    with pytest.raises(MetricError, match="'min_support' is at least 1"):
        load("association", {"groups": "gender", "targets": "profession", "min_support": 0})

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from harness.contract import TextOutcome
from harness.errors import MetricError
from harness.metrics import load

from .cases import CASES, text_outcomes


@pytest.fixture(scope="module")
def squad() -> ModuleType:
    """SQuAD's normalization and F1 as lm-evaluation-harness ships them for one of its tasks."""
    package = importlib.util.find_spec("lm_eval")
    assert package is not None
    assert package.origin is not None
    spec = importlib.util.spec_from_file_location("squad_reference", Path(package.origin).parent / "tasks" / "qasper" / "metrics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def score(name: str, prediction: str, *references: str, **options: object) -> float:
    metric = load(name, options)
    return float(metric.score(metric.statistics([TextOutcome(prediction, references)])[0]))


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        (" Paris\n", ("Paris",), 1.0),
        ("paris", ("Paris",), 0.0),
        ("B", ("A", "B"), 1.0),
        ("", ("A",), 0.0),
        ("Paris.", ("Paris",), 0.0),
    ],
)
def test_exact_match(prediction: str, references: tuple[str, ...], expected: float) -> None:
    assert score("exact_match", prediction, *references) == expected


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("The  Beatles!", ("beatles",), 1.0),
        ("a.n apple", ("apple",), 1.0),  # punctuation goes before articles
        ("another", ("other",), 0.0),  # whole words only
        ("", ("apple",), 0.0),
        ("the", ("apple",), 0.0),
        ("x", ("y", "X."), 1.0),
    ],
)
def test_quasi_exact_match(prediction: str, references: tuple[str, ...], expected: float) -> None:
    assert score("quasi_exact_match", prediction, *references) == expected


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("the", ("a",), 1.0),
        ("", ("word",), 0.0),
        ("word", ("the",), 0.0),
        ("cat cat", ("cat",), 2 / 3),
        ("cat cat", ("cat", "cat cat cat"), 0.8),
    ],
)
def test_token_f1(prediction: str, references: tuple[str, ...], expected: float) -> None:
    assert score("token_f1", prediction, *references) == pytest.approx(expected, abs=1e-12)


def test_quasi_exact_match_equals_squads_normalization(squad: ModuleType) -> None:
    outcomes = text_outcomes(11)
    ours = load("quasi_exact_match").statistics(outcomes)[:, 0]
    theirs = [any(squad.normalize_answer(o.prediction) == squad.normalize_answer(r) for r in o.references) for o in outcomes]
    assert ours.tolist() == [float(hit) for hit in theirs]
    assert 0 < ours.sum() < CASES


def test_token_f1_equals_squads(squad: ModuleType) -> None:
    outcomes = text_outcomes(12)

    def expected(prediction: str, reference: str) -> float:
        if not squad.normalize_answer(prediction) and not squad.normalize_answer(reference):
            return 1.0  # SQuAD 2.0; the reference script is SQuAD 1.1's
        return float(squad.f1_abstractive([prediction], [reference]))

    theirs = [max(expected(o.prediction, reference) for reference in o.references) for o in outcomes]
    assert load("token_f1").statistics(outcomes)[:, 0] == pytest.approx(theirs, abs=1e-9)


def test_scores_are_means_over_items() -> None:
    metric = load("exact_match")
    totals = metric.statistics([TextOutcome("a", ("a",)), TextOutcome("b", ("a",)), TextOutcome("c", ("c",))]).sum(axis=0)
    assert float(metric.score(totals)) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("prediction", "reference", "options", "expected"),
    [
        ("paris", "Paris", {"ignore_case": True}, 1.0),
        ("(Paris).", "Paris", {"ignore_punctuation": True}, 1.0),
        ("Paris !", "Paris", {"ignore_punctuation": True}, 1.0),
        ("the Paris", "Paris", {"ignore_case": True, "ignore_punctuation": True}, 0.0),
        ("So the answer is (B).", "(B)", {"extract": r"answer is (\(.\))"}, 1.0),
        ("A or B, rather C", "A", {"extract": "[A-D]"}, 1.0),
        ("A or B, rather C", "C", {"extract": "[A-D]", "which": "last"}, 1.0),
        ("it is b", "B", {"extract": r"(?i)is ([A-D])", "ignore_case": True}, 1.0),
        ("say: no", "no", {"extract": r"answer: (\w+)|say: (\w+)"}, 1.0),  # the group that took part
        ("nothing here", "", {"extract": "[A-D]"}, 0.0),  # nothing found is not an empty answer
        ("nothing here", "nothing here", {"extract": "[A-D]"}, 0.0),
    ],
)
def test_exact_match_with_options(prediction: str, reference: str, options: dict[str, object], expected: float) -> None:
    assert score("exact_match", prediction, reference, **options) == expected


def test_a_broken_regular_expression_is_an_error() -> None:
    with pytest.raises(MetricError, match="'extract' is not a regular expression: missing"):
        load("exact_match", {"extract": "(A"})


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("2 + 3 = 5 apples.", "#### 5", 1.0),
        ("5 apples, then 6", "#### 5", 0.0),
        ("It costs $1,234.50.", "1234.5", 1.0),
        ("18.00", "18", 1.0),
        ("-$3", "-3", 1.0),
        ("\u22127", "-7", 1.0),
        ("10-7", "7", 1.0),  # a range or a subtraction, not minus seven
        ("x = -7", "7", 0.0),
        ("1,2", "12", 0.0),  # a list, not a thousand's comma
        ("half, or .5", "0.5", 1.0),
        ("no idea", "5", 0.0),
        ("", "0", 0.0),
        ("0.1", "0.10000000000000001", 0.0),
    ],
)
def test_exact_number(prediction: str, reference: str, expected: float) -> None:
    assert score("exact_number", prediction, reference) == expected


def test_exact_number_takes_any_reference_but_each_needs_one() -> None:
    assert score("exact_number", "7", "6", "7") == 1.0
    with pytest.raises(MetricError, match="the reference 'seven' contains no number"):
        score("exact_number", "7", "seven")

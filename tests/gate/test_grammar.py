"""Lines of a policy: what they mean, and where those that mean nothing go wrong."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.gate.grammar import FORMS, RuleError, parse
from harness.gate.rules import Improved, NonInferior, NothingForgotten, Relative, Rule, SignatureMatches, Threshold


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("dialogsum.rouge_l >= 0.25", Threshold("dialogsum.rouge_l", ">=", 0.25)),
        ("dialogsum.rouge_l>=.25", Threshold("dialogsum.rouge_l", ">=", 0.25)),
        ("toxicity.toxic_fraction <= 2e-2", Threshold("toxicity.toxic_fraction", "<=", 0.02)),
        ("mmlu ≥ 0.4", Threshold("mmlu", ">=", 0.4)),
        ("cola.mcc > -0.1", Threshold("cola.mcc", ">", -0.1)),
        ("  read.bits  ≤  1 ", Threshold("read.bits", "<=", 1.0)),
        ("mmlu_*.accuracy < 1", Threshold("mmlu_*.accuracy", "<", 1.0)),
        ("*.accuracy >= 0.2", Threshold("*.accuracy", ">=", 0.2)),
        ("mmlu: >= 0.4", Threshold("mmlu", ">=", 0.4)),
        ("lm_eval:gsm8k.exact_match,strict-match >= 0.1", Threshold("lm_eval:gsm8k.exact_match,strict-match", ">=", 0.1)),
        ("efficiency.items_per_second >= 0.8 × baseline", Relative("efficiency.items_per_second", ">=", 0.8)),
        ("a.b >= 0.8 x baseline", Relative("a.b", ">=", 0.8)),
        ("a.b >= 0.8*baseline", Relative("a.b", ">=", 0.8)),
        ("a.b <= 1.1×baseline", Relative("a.b", "<=", 1.1)),
        ("a.b >= baseline", Relative("a.b", ">=", 1.0)),
        ("mmlu: non_inferior within 0.01", NonInferior("mmlu", 0.01)),
        ("mmlu non-inferior  within 0.01", NonInferior("mmlu", 0.01)),
        ("lm_eval:arc_easy: improved", Improved("lm_eval:arc_easy")),
        ("dialogsum.rougeL improved", Improved("dialogsum.rougeL")),
        ("no task forgot", NothingForgotten(None)),
        ("no  task forgot more  than 0.02", NothingForgotten(0.02)),
        ("signature must match", SignatureMatches()),
        ("signature.acc >= 0.5", Threshold("signature.acc", ">=", 0.5)),
        ("improved: improved", Improved("improved")),
    ],
)
def test_what_lines_mean(line: str, rule: Rule) -> None:
    assert parse(line) == rule


@pytest.mark.parametrize(
    ("line", "column", "what", "remedy"),
    [
        ("dialogsum.rouge_l => 0.25", 18, "'=>' is not a comparison", "Write >=, >, <= or <."),
        ("a.b == 0.5", 4, "'==' is not a comparison", ">="),
        ("a.b >= many", 7, "expected a number, found 'many'", "TASK.METRIC >= 0.25"),
        ("a.b >=", 6, "expected a number at the end of the line", "TASK.METRIC >= 0.25"),
        ("a.b >= 80 %", 10, "unexpected '%'", "0.01 for 1 %"),
        ("a.b >= 0.5 or more", 11, "unexpected 'or more'", "The rule ends before"),
        ("a.b >= 0.8 × base", 13, "expected 'baseline', found 'base'", "× baseline"),
        ("a.b >= baseline - 0.01", 16, "nothing can be added to the baseline", "'a.b: non_inferior within 0.01'"),
        ("mmlu: non_inferior", 18, "expected 'within' at the end of the line", "non_inferior within"),
        ("mmlu: non_inferior within -0.01", 26, "a margin cannot be negative", "within 0.01"),
        ("a.b >= 1e999", 12, "the number 1e999 is too large", "0.25"),
        (
            "mmlu: imporved",
            6,
            "expected a comparison, 'improved' or 'non_inferior' after 'mmlu', found 'imporved'",
            "Did you mean 'improved'?",
        ),
        ("mmlu", 4, "expected a comparison, 'improved' or 'non_inferior' after 'mmlu' at the end of the line", "A rule has one of"),
        ("no tsk forgot", 3, "expected 'task' after 'no', found 'tsk'", "no task forgot more than 0.01"),
        (">= 0.5", 0, "a rule starts with the name", "A rule has one of"),
        ("", 0, "a rule starts with the name", "A rule has one of"),
        ("no task forgets", 8, "expected 'forgot', found 'forgets'", "no task forgot more than 0.01"),
        ("no task forgot more than much", 25, "expected a number, found 'much'", "no task forgot more than 0.01"),
        ("no task forgot anything", 15, "unexpected 'anything'", "The rule ends"),
        ("signature matches", 10, "expected 'must match', found 'matches'", "signature must match"),
    ],
)
def test_lines_that_mean_nothing_are_told_where_they_go_wrong(line: str, column: int, what: str, remedy: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(line)
    assert (caught.value.column, what in caught.value.what, remedy in caught.value.remedy) == (column, True, True), vars(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_that_messages_show_are_rules(form: str) -> None:
    parse(form)


@given(st.text(max_size=40))
def test_any_line_is_a_rule_or_an_error_within_it(line: str) -> None:
    with contextlib.suppress(RuleError):
        assert parse(line)
        return
    with pytest.raises(RuleError) as caught:
        parse(line)
    assert 0 <= caught.value.column <= len(line)

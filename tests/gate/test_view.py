"""What people see of a decision: at the terminal and as Markdown."""

from __future__ import annotations

import io
from pathlib import Path

from markdown_it import MarkdownIt
from rich.console import Console

from harness.gate.decision import GateDecision
from harness.report.markdown import decision_markdown
from harness.report.terminal import decision_view
from tests.gate.made import decided, policy, quiz, run

LINES = ["quiz >= 0.5", "quiz >= 0.9", "qu*.accuracy >= 0.7"]


def decision(tmp_path: Path, name: str = "tuned") -> GateDecision:
    return decided(run(tmp_path / name, {"quiz": quiz(280, 400), "quip": quiz(281, 400)}), None, policy(*LINES))


def shown(found: GateDecision, width: int, *, terminal: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=terminal, highlight=False, _environ={}).print(decision_view(found))
    return out.getvalue()


def test_each_rule_with_its_outcome_then_the_verdict_then_what_to_do(tmp_path: Path) -> None:
    for width in (80, 120, 200):
        text = shown(decision(tmp_path), width)
        assert max(map(len, text.splitlines())) <= width
        words = " ".join(text.split())
        for part in ("quiz >= 0.5 pass", "quiz >= 0.9 fail", "inconclusive", "fail: tuned. 3 rules: 1 passed, 1 failed, 1 inconclusive."):
            assert part in words
    assert text.index("quiz >= 0.9") < text.index("fail: tuned")


def test_colours_are_for_terminals_alone(tmp_path: Path) -> None:
    assert "\x1b[" in shown(decision(tmp_path), 100, terminal=True)
    assert "\x1b[" not in shown(decision(tmp_path), 100)


def test_names_are_not_markup(tmp_path: Path) -> None:
    assert "[bold]m\N{REPLACEMENT CHARACTER}[2J" in shown(decision(tmp_path, "[bold]m\x1b[2J"), 160)


def test_the_summary_is_a_markdown_table_with_a_row_for_each_rule(tmp_path: Path) -> None:
    text = decision_markdown(decision(tmp_path))
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert html.startswith("<h3>harness gate: fail</h3>")
    assert html.count("<tr>") == 1 + len(LINES)
    assert html.count("<td>") == 3 * len(LINES)
    assert "<td>qu*.accuracy &gt;= 0.7</td>" in html
    assert "<strong>fail</strong>" in html
    assert "2 scores: 2 inconclusive<br>quiz.accuracy is" in html


def test_a_summary_cannot_be_broken_by_names(tmp_path: Path) -> None:
    text = decision_markdown(decision(tmp_path, "a|b <img src=x> @someone *x* [y](http:" + "z)"))
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert "<img" not in html
    assert "<em>" not in html
    assert "<a " not in html
    assert "@someone" not in text
    assert html.count("<td>") == 3 * len(LINES)

"""Runs and comparisons as HTML fragments."""

from __future__ import annotations

from html.parser import HTMLParser

from harness.report.notebook import comparison_html, run_html
from tests.compare.forgotten import comparisons
from tests.store.records import group, metric, run, task

VOID = {"br"}


class Fragment(HTMLParser):
    """Rows of cells, and the tags that were used; fails where one is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"style", "scope"}
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_a_run_shows_each_score_with_its_interval() -> None:
    record = run(tasks={"x": task(0.1), "y": task(0.2), "z": task(None)}, groups={"g": group(["x", "y"], 0.15)})
    rows = Fragment(run_html(record)).rows
    assert rows[0] == ["task", "metric", "value", "95 % interval", "n", "shots"]
    assert rows[1] == ["g", "acc", "0.150", "[0.100, 0.200]", "100", "5"]
    assert [row[0] for row in rows[1:]] == ["g", "x", "y", "z"]
    assert rows[4][2:4] == ["—", ""]
    assert "z acc has no value: no item" in run_html(record)


def test_a_comparison_shows_each_verdict() -> None:
    rows = Fragment(comparison_html(comparisons()[0])).rows
    verdicts = {row[0]: row[2] for row in rows if len(row) == 9}
    assert verdicts["exam"] == "forgot"
    assert verdicts["quiz"] == "retained"
    assert "said (target)" in verdicts
    assert next([row[0], row[2]] for row in rows if row[0] == "target gain") == ["target gain", "plasticity"]


def test_names_are_not_markup() -> None:
    name = '<script>alert("1")</script>\x1b[2J'
    text = run_html(run(name, tasks={name: task(metrics={name: metric(0.5)})}))
    fragment = Fragment(text)
    assert fragment.tags == {"div", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert fragment.rows[1][0] == '<script>alert("1")</script>\N{REPLACEMENT CHARACTER}[2J'
    assert "\x1b" not in text

"""The XML that CI systems read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.gate.decision import GateDecision, OnUndecided
from harness.report.junit import junit
from tests.gate.junit import problems
from tests.gate.made import decided, policy, quiz, run

LINES = ["quiz >= 0.5", "quiz >= 0.9", "quiz >= 0.72"]


def decision(tmp_path: Path, on_undecided: OnUndecided | None = None, name: str = "tuned") -> GateDecision:
    return decided(run(tmp_path / name, {"quiz": quiz(280, 400)}), None, policy(*LINES), on_undecided)


@pytest.mark.parametrize(("chosen", "counts"), [(None, "1 1 0"), ("fail", "2 0 0"), ("pass", "1 0 1")])
def test_the_structure_and_the_counts(tmp_path: Path, chosen: OnUndecided | None, counts: str) -> None:
    text = junit(decision(tmp_path, chosen))
    assert problems(text) == []
    (suite,) = ET.fromstring(text)
    assert " ".join(suite.attrib[name] for name in ("failures", "errors", "skipped")) == counts
    assert suite.attrib["tests"] == "3"


def test_the_check_finds_what_is_wrong(tmp_path: Path) -> None:
    text = junit(decision(tmp_path))
    for right, wrong in (
        (' classname="harness.gate"', ""),
        ('failures="1"', 'failures="2"'),
        ("system-err", "system-log"),
        (' time="', ' seconds="'),
    ):
        assert problems(text.replace(right, wrong)), right


def test_cases_hold_the_rule_and_the_reason(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    (suite,) = ET.fromstring(junit(decision(tmp_path), moment))
    assert suite.attrib["timestamp"] == "2026-01-02T03:04:05"
    passed, failed, undecided = suite.iter("testcase")
    assert [case.attrib["name"] for case in (passed, failed, undecided)] == LINES
    assert "the whole interval is >= 0.5" in (passed.findtext("system-out") or "")
    failure, error = failed.find("failure"), undecided.find("error")
    assert failure is not None
    assert "no part of the interval is >= 0.9" in failure.attrib["message"]
    assert error is not None
    assert error.attrib["type"] == "inconclusive"
    assert "evaluate quiz on about " in (error.text or "")
    assert suite.find("properties/property[@name='candidate']") is not None
    assert suite.findtext("system-out") == "fail: 3 rules: 1 passed, 1 failed, 1 inconclusive"


def test_names_can_neither_break_the_xml_nor_hide_in_it(tmp_path: Path) -> None:
    text = junit(decision(tmp_path, name='<&">\x07'))
    assert problems(text) == []
    value = next(iter(ET.fromstring(text).iter("property"))).attrib["value"]
    assert value.startswith('<&">\N{REPLACEMENT CHARACTER} ')

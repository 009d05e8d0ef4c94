"""A decision as JUnit's XML, which CI systems read: one case a rule.

The structure is the one that Ant's JUnit task writes and Jenkins, GitLab and GitHub actions read: `testsuites` of one `testsuite`
with properties, cases, and the two outputs. A rule that inconclusive is an error: whether it holds is not known. Where
undecided rules were chosen to pass or to fail, it is skipped or a failure.
"""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from harness.gate.decision import Decision, RuleResult
from harness.gate.findings import Outcome
from harness.util.text import plain

_ELEMENTS: dict[Outcome, str] = {"fail": "failure", "inconclusive": "error"}
_CHOSEN = {"pass": "skipped", "fail": "failure", None: "error"}


def junit(decision: Decision, now: datetime | None = None) -> str:
    """The XML, with its declaration; times are seconds.

    Args:
        decision: what was judged.
        now: when; in UTC.
    """
    found = [_element(decision, one) for one in decision.judged]
    counts = {name: str(found.count(name)) for name in ("failure", "error", "skipped")}
    root = ET.Element("testsuites")
    suite = ET.SubElement(
        root,
        "testsuite",
        {
            "id": "0",
            "package": "harness",
            "name": "harness gate",
            "timestamp": (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S"),
            "hostname": platform.node() or "localhost",
            "tests": str(len(found)),
            "failures": counts["failure"],
            "errors": counts["error"],
            "skipped": counts["skipped"],
            "time": f"{sum(one.seconds for one in decision.judged):.3f}",
        },
    )
    _properties(suite, decision)
    for one, element in zip(decision.judged, found, strict=True):
        _case(suite, one, element)
    told = [f"{decision.outcome}: {decision.headline}", *([decision.unverified] if decision.unverified else [])]
    ET.SubElement(suite, "system-out").text = plain("\n".join(told))
    ET.SubElement(suite, "system-err")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _properties(suite: ET.Element, decision: Decision) -> None:
    properties = ET.SubElement(suite, "properties")
    runs = {"candidate": decision.candidate, "baseline": decision.baseline}
    for name, run in runs.items():
        if run is not None:
            ET.SubElement(properties, "property", {"name": name, "value": plain(f"{run.record.system.name} {run.record.system.digest}")})


def _case(suite: ET.Element, one: RuleResult, element: str | None) -> None:
    case = ET.SubElement(suite, "testcase", {"name": plain(one.stated.line), "classname": "harness.gate", "time": f"{one.seconds:.3f}"})
    told, whole = plain(one.finding.told), "\n".join(map(plain, (*one.finding.lines, *one.finding.advice)))
    if element == "skipped":
        ET.SubElement(case, element, {"message": told})
    elif element is not None:
        ET.SubElement(case, element, {"message": told, "type": one.finding.outcome}).text = whole
    else:
        ET.SubElement(case, "system-out").text = told


def _element(decision: Decision, one: RuleResult) -> str | None:
    """What a case holds beside its name; nothing where the rule passes."""
    if one.finding.outcome == "inconclusive":
        return _CHOSEN[decision.on_undecided]
    return _ELEMENTS.get(one.finding.outcome)

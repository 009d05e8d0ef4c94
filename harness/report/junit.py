"""A decision as JUnit's XML, which CI systems read: one case a rule.

The structure is the one that Ant's JUnit task writes and Jenkins, GitLab and GitHub actions read: `testsuites` of one `testsuite`
with properties, cases, and the two outputs. An inconclusive rule is an error: whether it holds is not known. With
`--on-undecided pass` it is skipped, with `--on-undecided fail` a failure.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from harness.report.base import Report, report
from harness.util.text import plain

if TYPE_CHECKING:
    from harness.gate.decision import GateDecision, RuleResult
    from harness.gate.findings import Outcome

_ELEMENTS: dict[Outcome, str] = {"fail": "failure", "inconclusive": "error"}
_CHOSEN = {"pass": "skipped", "fail": "failure", None: "error"}


@report("junit")
@dataclass(kw_only=True)
class JunitReport(Report):
    """JUnit's XML."""

    def decision(self, decision: GateDecision) -> str:
        """One test case for each rule."""
        return junit(decision)


def junit(decision: GateDecision, now: datetime | None = None) -> str:
    """The XML, with its declaration; times are seconds.

    Args:
        decision: what a policy decided.
        now: the time stamp, in UTC; by default the present.
    """
    elements = [_element(decision, rule) for rule in decision.results]
    counts = {name: str(elements.count(name)) for name in ("failure", "error", "skipped")}
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
            "tests": str(len(elements)),
            "failures": counts["failure"],
            "errors": counts["error"],
            "skipped": counts["skipped"],
            "time": f"{sum(rule.seconds for rule in decision.results):.3f}",
        },
    )
    _properties(suite, decision)
    for rule, element in zip(decision.results, elements, strict=True):
        _case(suite, rule, element)
    lines = [f"{decision.outcome}: {decision.headline}", *decision.notes]
    ET.SubElement(suite, "system-out").text = plain("\n".join(lines))
    ET.SubElement(suite, "system-err")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _properties(suite: ET.Element, decision: GateDecision) -> None:
    properties = ET.SubElement(suite, "properties")
    runs = {"candidate": decision.candidate, "baseline": decision.baseline}
    for name, run in runs.items():
        if run is not None:
            ET.SubElement(properties, "property", {"name": name, "value": plain(f"{run.record.system.name} {run.record.system.digest}")})


def _case(suite: ET.Element, rule: RuleResult, element: str | None) -> None:
    finding = rule.finding
    case = ET.SubElement(suite, "testcase", {"name": plain(rule.text), "classname": "harness.gate", "time": f"{rule.seconds:.3f}"})
    message, whole = plain(finding.message), "\n".join(map(plain, (*finding.lines, *finding.advice)))
    if element == "skipped":
        ET.SubElement(case, element, {"message": message})
    elif element is not None:
        ET.SubElement(case, element, {"message": message, "type": finding.outcome}).text = whole
    else:
        ET.SubElement(case, "system-out").text = message


def _element(decision: GateDecision, rule: RuleResult) -> str | None:
    """What a case holds beside its name; nothing where the rule passes."""
    if rule.finding.outcome == "inconclusive":
        return _CHOSEN[decision.on_undecided]
    return _ELEMENTS.get(rule.finding.outcome)

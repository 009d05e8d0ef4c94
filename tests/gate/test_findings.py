"""Findings of several scores as one."""

from __future__ import annotations

from harness.gate.findings import Finding, combined


def test_likely_forgotten_scores_are_listed_before_other_inconclusive_ones() -> None:
    others = [Finding("inconclusive", f"task {place}: the interval contains the margin") for place in range(8)]
    likely = Finding("inconclusive", "exam: likely forgot", listed_first=True)
    finding = combined([*others, likely], "scores")
    assert finding.parts[0] == "exam: likely forgot"
    assert finding.parts[-1] == "and 3 more"

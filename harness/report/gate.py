"""A decision for people: at the terminal, and as a summary in GitHub's Markdown."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.gate.decision import Decision
from harness.gate.findings import Outcome
from harness.report.markdown import escaped, table
from harness.util.text import plain

STYLES: dict[Outcome, str] = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}


def decision_view(decision: Decision) -> RenderableType:
    """Every rule with what it found and why, then the verdict, then what to do."""
    found = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    found.add_column("rule", overflow="fold", min_width=16, ratio=2)
    found.add_column("outcome", no_wrap=True)
    found.add_column("why", overflow="fold", ratio=5)
    for one in decision.judged:
        outcome = one.finding.outcome
        found.add_row(Text(plain(one.stated.line)), Text(outcome, style=STYLES[outcome]), Text("\n".join(map(plain, one.finding.lines))))
    notes = [Text(decision.unverified, style="dim")] if decision.unverified else []
    return Group(found, Text(), verdict_line(decision), *notes)


def advice_lines(decision: Decision) -> list[Text]:
    """What to do next; to be printed with `soft_wrap`, so that commands stay whole."""
    return [Text(plain(line), style="dim") for line in decision.advice]


def verdict_line(decision: Decision) -> Text:
    """The verdict, whose it is, and how many rules passed and failed."""
    name = decision.candidate.record.system.name
    against = f" against {decision.baseline.record.system.name}" if decision.baseline else ""
    style = STYLES[decision.outcome]
    return Text.assemble((decision.outcome, style), f": {plain(name)}{plain(against)}. {decision.headline}.")


def summary(decision: Decision) -> str:
    """The same as Markdown, for a pull request or `$GITHUB_STEP_SUMMARY`."""
    name = escaped(decision.candidate.record.system.name)
    against = f" against {escaped(decision.baseline.record.system.name)}" if decision.baseline else ""
    rows = []
    for one in decision.judged:
        outcome = one.finding.outcome
        rows.append(
            [escaped(one.stated.line), outcome if outcome == "pass" else f"**{outcome}**", "<br>".join(map(escaped, one.finding.lines))]
        )
    lines = [f"### harness gate: {decision.outcome}", "", f"{name}{against}. {decision.headline}.", ""]
    lines += table(["rule", "outcome", "why"], rows, left=3)
    notes = [decision.unverified] if decision.unverified else []
    lines += [line for part in (*notes, *decision.advice) for line in ("", escaped(part))]
    return "\n".join(lines) + "\n"

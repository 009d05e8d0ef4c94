"""Leaderboards and comparisons as self-contained pages; `harness.report.html` builds them."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.base import ForgettingContent, LeaderboardContent, Report, report


@report("html")
@dataclass(kw_only=True)
class HtmlReport(Report):
    """One HTML file that opens without a network and loads nothing."""

    def leaderboard(self, content: LeaderboardContent) -> str:
        """Every column, whichever were selected; readers choose on the page."""
        from harness import metrics
        from harness.metrics.calibration import reliability
        from harness.report.html import measures
        from harness.report.html.leaderboard import leaderboard_page

        section = measures.of_board(content.whole, content.runs, metrics.load, reliability)
        return leaderboard_page(content.whole, content.runs, metrics.load, measures=section)

    def forgetting(self, content: ForgettingContent) -> str:
        """The base and each system, down to single items; measures beside accuracy where the results' folders are known."""
        from harness import metrics
        from harness.metrics.calibration import reliability
        from harness.report.html import measures
        from harness.report.html.forgetting import forgetting_page

        noise = None if content.noise is None else {name: (task.flips, task.largest) for name, task in content.noise.items()}
        folders = content.folders
        section = measures.of_comparisons(content.comparisons, folders, metrics.load, reliability) if folders else None
        return forgetting_page(content.comparisons, noise=noise, measures=section)

"""Seconds to make, open and sort a leaderboard page of 200 systems on 100 tasks, in headless Chromium.

Run it as `python -m benchmarks.leaderboard_page [--systems N] [--tasks N] [--items N] [--json FILE]`. The results are made up. They are
measured twice: as runs that keep intervals alone, and as runs that keep the statistics of every item, from which ranks resample the items.
A sort is timed in the page, from the click on a column's head until the new order is laid out and handed to the next frame.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.table import Table

from harness import metrics
from harness.compare.leaderboard import leaderboard
from harness.contract import System
from harness.evaluation.aggregate import MetricScore
from harness.metrics.base import per_item
from harness.report.html.leaderboard import leaderboard_page
from harness.store import runs
from harness.store.records import (
    DataRecord,
    EfficiencyRecord,
    MetricRecord,
    RequestsRecord,
    RunRecord,
    ShortenedRecord,
    TaskRecord,
    system_record,
)
from harness.store.samples import StatisticsRecord
from harness.store.saving import SavedSamples, save
from harness.store.signature import Signature

SORTS = 40

_SORT = """async (number) => {
  const heads = [...document.querySelectorAll("th[data-head] button")];
  const start = performance.now();
  heads[number % heads.length].click();
  document.querySelector(".grid").getBoundingClientRect();
  await new Promise((resolve) => requestAnimationFrame(resolve));
  return performance.now() - start;
}"""
_SCROLL = """async (step) => {
  const box = document.querySelector(".scroller");
  const start = performance.now();
  box.scrollTo({top: 120 * step, left: 240 * step, behavior: "instant"});
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  return performance.now() - start;
}"""


@dataclass(frozen=True)
class Timing:
    """What one leaderboard took.

    Attributes:
        what: whether statistics were kept.
        reading, making, opening: seconds to read the results, to make the page from them, and to open it until it can be used.
        sort_median, sort_worst, scroll_worst: milliseconds of a sort and of a step of scrolling.
        megabytes: size of the page.
    """

    what: str
    reading: float
    making: float
    opening: float
    sort_median: float
    sort_worst: float
    scroll_worst: float
    megabytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--items", type=int, default=500, help="items of a task")
    parser.add_argument("--json", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    size = arguments.systems, arguments.tasks, arguments.items
    timings = [_timed(keep, size) for keep in (False, True)]
    title = f"{size[0]} systems, {size[1]} tasks of {size[2]} items"
    table = Table("runs keep", "read, s", "make, s", "open, s", "sort, ms", "worst sort, ms", "worst scroll, ms", "MB", title=title)
    for one in timings:
        seconds = [f"{value:.2f}" for value in (one.reading, one.making, one.opening)]
        milliseconds = [f"{value:.0f}" for value in (one.sort_median, one.sort_worst, one.scroll_worst)]
        table.add_row(one.what, *seconds, *milliseconds, f"{one.megabytes:.1f}")
    Console().print(table)
    if arguments.json:
        content = {"systems": size[0], "tasks": size[1], "items": size[2], "timings": [asdict(one) for one in timings]}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _timed(keep: bool, size: tuple[int, int, int]) -> Timing:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _write(folder, *size, keep=keep)
        began = time.perf_counter()
        found = [(path.parent, runs.read(path)) for path in runs.find_runs([folder])]
        read = time.perf_counter()
        page = folder / "leaderboard.html"
        page.write_text(leaderboard_page(leaderboard(found), found, metrics.load), encoding="utf-8")
        made = time.perf_counter()
        opening, sorts, scrolls = _browsed(page)
        return Timing(
            what="statistics" if keep else "intervals",
            reading=read - began,
            making=made - read,
            opening=opening,
            sort_median=float(np.median(sorts)),
            sort_worst=max(sorts),
            scroll_worst=max(scrolls),
            megabytes=page.stat().st_size / 1e6,
        )


def _browsed(page: Path) -> tuple[float, list[float], list[float]]:
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=shutil.which("chromium"))
        view: Page = browser.new_page(viewport={"width": 1400, "height": 900})
        began = time.perf_counter()
        view.goto(page.as_uri())
        view.wait_for_selector("html[data-ready]")
        opening = time.perf_counter() - began
        sorts = [float(view.evaluate(_SORT, number)) for number in range(SORTS)]
        scrolls = [float(view.evaluate(_SCROLL, step)) for step in range(SORTS)]
        browser.close()
    return opening, sorts, scrolls


def _write(folder: Path, systems: int, tasks: int, items: int, keep: bool) -> None:
    generator = np.random.default_rng(0)
    accuracy = metrics.load("accuracy")
    hard = generator.random((tasks, items))
    for number in range(systems):
        name = f"model-{number}"
        skill = generator.normal(0.5, 0.1)
        records: dict[str, TaskRecord] = {}
        parts: dict[str, list[SavedSamples]] = {}
        for task in range(tasks):
            right = hard[task] + generator.normal(0, 0.1, items) < skill
            score = MetricScore(accuracy, per_item(right.astype(float)), accuracy.signature, 0)
            title = f"task_{task}"
            records[title] = _task(title, score)
            if keep:
                parts[title] = [SavedSamples(title, [], {"accuracy": StatisticsRecord("accuracy", {}, score.statistics)})]
        save(_run(name, records, generator), parts, folder / name)


def _task(name: str, score: MetricScore) -> TaskRecord:
    error = 1.96 * (score.value * (1 - score.value) / len(score.statistics)) ** 0.5
    metric = MetricRecord(
        value=score.value,
        ci=(score.value - error, score.value + error),
        ci_method="normal",
        n=len(score.statistics),
        higher_is_better=True,
        low=0.0,
        high=1.0,
        unit="share",
        signature=score.signature,
    )
    return TaskRecord.model_validate(
        {
            "title": name,
            "items": metric.n,
            "shots": 0,
            "template": "plain",
            "template_digest": "0",
            "answer": "choices",
            "metrics": {"accuracy": metric},
            "data": DataRecord(path="made/up", config=None, split="test", revision=None, digest="0"),
            "shortened": ShortenedRecord(),
            "seed": 0,
            "limit": None,
            "signature": Signature.of(name, {"version": 1}),
        }
    )


def _run(name: str, tasks: dict[str, TaskRecord], generator: np.random.Generator) -> RunRecord:
    size = int(10 ** generator.uniform(7, 10.5))
    return RunRecord(
        harness_version="0",
        created="2026-01-01T00:00:00+00:00",
        command=[],
        system=system_record(System(name, name, None, "causal", "float32", None, name, None, "t", None, None, size, 0)),
        tasks=tasks,
        groups={},
        efficiency=EfficiencyRecord(
            seconds={},
            prefill_tokens_per_second=1e12 / size,
            decode_tokens_per_second=1e11 / size,
            peak_memory_bytes=4 * size,
            padding_share=None,
            requests=RequestsRecord(),
        ),
        environment={"device": "cpu"},
    )


if __name__ == "__main__":
    main()

"""Take the pictures of the HTML pages: `python -m docs.pages docs/images`. Systems, tasks and answers are made up.

It needs Chromium and the package playwright (`make setup` installs both).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from harness import metrics
from harness.compare.comparison import compare_runs
from harness.compare.leaderboard import leaderboard
from harness.compare.metric import ComparisonOptions
from harness.contract import ChoiceOutcome, TextOutcome
from harness.report.html.forgetting import forgetting_page
from harness.report.html.leaderboard import leaderboard_page
from harness.store import runs
from harness.tasks.schema import Aggregate, Group
from tests.compare.comparing import Made, choices, folder

SUBJECTS = ("astronomy", "botany", "chess", "geology", "harbours", "railways")
SYSTEMS = {
    "tiny-base": (0.0, 0.0, None),
    "tiny-base+lora_r4": (0.01, 0.10, "lora_r4"),
    "tiny-base+lora_r16": (-0.02, 0.22, "lora_r16"),
    "tiny-base+lora_r64": (-0.09, 0.25, "lora_r64"),
    "small-base": (0.08, 0.06, None),
    "small-base+lora_r16": (0.07, 0.30, "lora_r16"),
    "other-base@4bit": (-0.04, 0.02, None),
}
"""Name to what it adds to the general tasks and to the task tuned for, and its adapter."""

SENTENCES = (
    "The ferry leaves the north harbour at nine and returns before noon.",
    "Two botanists counted every fern along the river and found forty kinds.",
    "The night train stops twice in the mountains to let the goods train pass.",
    "A small comet was seen above the island by three observers last week.",
    "The old bridge was closed in spring because its stones had moved.",
)
SLIPS = (("nine", "ten"), ("noon", "midnight"), ("forty", "fourteen"), ("twice", "once"), ("small", "bright"), ("stones", "pillars"))
FRAGMENTS = {"forgetting": "#item=tiny-base%2Blora_r64/headlines//i35"}
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")


def main(target: Path) -> None:
    """Make both pages and take each in light and dark."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as player:
        pages = _pages(Path(place))
        browser = player.chromium.launch(executable_path=shutil.which("chromium"))
        for name, page in pages.items():
            for theme in THEMES:
                _picture(browser, page.as_uri() + FRAGMENTS.get(name, ""), theme, target / f"{name}_{theme}.png")
        browser.close()


def _pages(place: Path) -> Mapping[str, Path]:
    results = {name: _results(place / name, number) for number, name in enumerate(SYSTEMS)}
    found = [(path, runs.read(path)) for path in results.values()]
    candidates = [name for name in SYSTEMS if name.startswith("tiny-base+")]
    plan = ComparisonOptions(targets=("headlines",))
    comparisons = [compare_runs(results["tiny-base"], results[name], metrics.load, plan) for name in candidates]
    board = place / "leaderboard.html"
    board.write_text(leaderboard_page(leaderboard(found), found, metrics.load), encoding="utf-8")
    forgetting = place / "forgetting.html"
    noise = {"quiz": (1, 0.0004), "letters": (0, 0.0002), "headlines": (0, 0.0)}
    forgetting.write_text(forgetting_page(comparisons, noise=noise), encoding="utf-8")
    return {"leaderboard": board, "forgetting": forgetting}


def _results(path: Path, number: int) -> Path:
    name = list(SYSTEMS)[number]
    general, tuned, adapter = SYSTEMS[name]
    accuracy: dict[str, tuple[str, dict[str, object]]] = {"accuracy": ("accuracy", {})}
    tasks = {
        f"exam_{subject}": Made(
            _answers(0.55 + 0.04 * place + general, 150, (1, place), (number, place)),
            accuracy,
            prompts=f"Made-up question on {subject}, number",
        )
        for place, subject in enumerate(SUBJECTS)
    }
    tasks["quiz"] = Made(_answers(0.7 + general, 400, (2, 0), (number, 20)), accuracy, prompts="Made-up quiz question, number")
    tasks["letters"] = Made(_answers(0.62 + general / 2, 120, (3, 0), (number, 30)), accuracy, prompts="Made-up letter, number")
    tasks["pairs"] = Made(_answers(0.58, 200, (4, 0), (number, 40), options=2), {"stereotype_preference": ("stereotype_preference", {})})
    tasks["headlines"] = Made(
        _texts(0.5 + tuned, number), {"rougeL": ("rougeL", {}), "chrf": ("chrf", {})}, prompts="Shorten the made-up notice, number"
    )
    exam = Aggregate.model_validate({"metric": "accuracy", "average": "macro", "as": "accuracy"})
    group = Group(group="exam", title="Exam", tasks=tuple(f"exam_{subject}" for subject in SUBJECTS), aggregate=(exam,))
    size = 26_000_000 if name.startswith("tiny") else 135_000_000 if name.startswith("small") else 77_000_000
    rank = int(adapter.rpartition("_r")[2]) if adapter else 0
    made = folder(
        path,
        tasks,
        {"exam": group},
        system=name,
        adapter=adapter,
        quantization="4bit" if name.endswith("4bit") else None,
        parameters=size + 40_000 * rank,
        adapter_parameters=40_000 * rank,
    )
    record = runs.read(made)
    speed = 4e11 / size
    spent = record.efficiency.model_copy(
        update={"prefill_tokens_per_second": speed * (1 - rank / 900), "decode_tokens_per_second": speed / 40 * (1 - rank / 900)}
    )
    runs.write(record.model_copy(update={"efficiency": spent, "environment": {"device": "cpu"}}), made)
    return made


def _answers(share: float, items: int, same: tuple[int, int], own: tuple[int, int], options: int = 4) -> list[ChoiceOutcome]:
    """Answers of one system; items are as hard for all systems, but for a little luck."""
    hard, luck = np.random.default_rng(same).random(items), np.random.default_rng(own).normal(0, 0.06, items)
    labels = [{"length": ("short", "long")[number % 2]} for number in range(items)]
    made = choices(hard + luck < share, options, labels)
    scores = np.random.default_rng((*own, 1)).normal(0, 0.25, (items, options))
    return [
        ChoiceOutcome(tuple(np.add(one.logprobs, noise)), one.targets, one.choices, one.tokens, one.labels)
        for one, noise in zip(made, scores, strict=True)
    ]


def _texts(quality: float, number: int) -> list[TextOutcome]:
    generator = np.random.default_rng((5, number))
    made = []
    for item in range(120):
        reference = SENTENCES[item % len(SENTENCES)]
        said = reference
        for right, wrong in SLIPS:
            if generator.random() > quality:
                said = said.replace(right, wrong)
        words = said.split()
        kept = words if generator.random() < quality else words[: int(generator.integers(3, len(words)))]
        made.append(TextOutcome(" ".join(kept), (reference,)))
    return made


def _picture(browser: Browser, page: str, theme: Theme, target: Path) -> None:
    view = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme=theme)
    view.goto(page)
    view.wait_for_selector("html[data-ready]")
    view.evaluate("scrollTo(0, 0)")
    view.wait_for_timeout(300)
    view.screenshot(path=target, full_page=True)
    view.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

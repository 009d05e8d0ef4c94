from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from harness.report.progress import RunProgress
from harness.report.terminal import run_table
from harness.store.records import EfficiencyRecord, RequestsRecord, ShortenedRecord
from harness.util.text import bytes_text, interval_text, seconds_text, value_text
from tests.store.records import group, metric, run, task

if TYPE_CHECKING:
    from harness.store.records import RunRecord


def shown(record: RunRecord, width: int = 100, unfold: bool = False) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(run_table(record, unfold=unfold))
    return console.export_text()


def cells(text: str, name: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [name])


@pytest.mark.parametrize("width", [80, 100, 140])
def test_scores_stand_beside_their_intervals(width: int) -> None:
    text = shown(run(tasks={"quiz": task(0.412)}), width)
    assert cells(text, "task") == ["task", "metric", "value", "95", "%", "interval", "n", "shots"]
    assert cells(text, "quiz") == ["quiz", "acc", "0.412", "[0.362,", "0.462]", "100", "5"]


def test_further_metrics_follow_without_the_name() -> None:
    text = shown(run(tasks={"sums": task(metrics={"rouge": metric(0.3), "bleu": metric(12.0, unit="points", ci=None)})}))
    assert cells(text, "sums")[:3] == ["sums", "rouge", "0.300"]
    assert cells(text, "bleu") == ["bleu", "12.00", "100"]


def test_groups_stand_above_their_tasks() -> None:
    record = run(tasks={"z": task(), "x": task(0.1), "y": task(0.2, shots=0)}, groups={"g": group(["x", "y"], 0.15)})
    names = [line.split()[0] for line in shown(record).splitlines() if " acc " in line]
    assert names == ["g", "x", "y", "z"]
    assert cells(shown(record), "g")[-1] == "0-5"


def test_large_groups_are_folded_unless_asked() -> None:
    tasks = {f"t{n}": task() for n in range(13)}
    record = run(tasks=tasks, groups={"g": group(list(tasks))})
    assert "g (13 tasks)" in shown(record)
    assert "t7" not in shown(record)
    assert "t7" in shown(record, unfold=True)
    twelve = {f"t{n}": task() for n in range(12)}
    assert "t7" in shown(run(tasks=twelve, groups={"g": group(list(twelve))}))


def test_a_null_is_explained() -> None:
    text = shown(run(tasks={"quiz": task(None)}))
    assert cells(text, "quiz")[:3] == ["quiz", "acc", "—"]
    assert "quiz acc has no value: no item" in text


def test_shortened_prompts_are_told() -> None:
    text = shown(run(tasks={"quiz": task(shortened=ShortenedRecord(items=3, shots_dropped=7, text_cut=1)), "ok": task()}), 140)
    assert "quiz: 3 of 100 prompts shortened to fit the model (7 few-shot examples dropped, text cut in 1)" in " ".join(text.split())
    assert "ok: " not in text


def test_the_cost_is_told() -> None:
    text = " ".join(shown(run(), 140).split())
    told = "100 items in 1 min 23 s · prefill 12,346 tokens/s · padding 3.1 % · peak memory 1.5 GiB · 40 of 100 responses from the cache"
    assert told in text


def test_a_cost_that_is_unknown_is_left_out() -> None:
    nothing = EfficiencyRecord(
        seconds={},
        prefill_tokens_per_second=None,
        decode_tokens_per_second=None,
        peak_memory_bytes=0,
        padding_share=None,
        requests=RequestsRecord(),
    )
    text = " ".join(shown(run(efficiency=nothing), 140).split())
    assert text.endswith("100 items · 0 of 0 responses from the cache")


def test_names_are_not_markup() -> None:
    record = run("[red]m[/red]", tasks={"[bold]x": task(metrics={"[/]": metric(0.5)})}, groups={"[blue]g": group(["[bold]x"])})
    text = shown(record)
    for name in ("[red]m[/red]", "[bold]x", "[/]", "[blue]g"):
        assert name in text


def drawn(terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, _environ={})
    with RunProgress({"mmlu": 10, "[red]sums": 4}, console) as progress:
        progress.advance("mmlu", 3)
        progress.advance("mmlu", 4)
        progress.advance("[red]sums", 1)
        progress.tokens(5000)
    return out.getvalue()


def test_progress_shows_items_and_tokens() -> None:
    text = drawn(terminal=True)
    for part in ("mmlu", "7/10", "[red]sums", "1/4", "8/14", "tokens/s"):
        assert part in text.replace(" ", "") or part in text


def test_progress_is_silent_when_nobody_looks() -> None:
    assert drawn(terminal=False) == ""


def test_progress_draws_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with RunProgress({"mmlu": 1}) as progress:
        progress.advance("mmlu")
    out, _ = capfd.readouterr()
    assert out == ""


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.4123, "share", "0.412"),
        (23.456, "points", "23.46"),
        (0.5, "points", "0.50"),
        (None, "points", "—"),
        (-0.25, "share", "-0.250"),
        (23.456, "perplexity", "23.46"),
        (2.5, "nats", "2.500"),
        (0.0, "nats", "0.000"),
        (1234567.0, "perplexity", "1.23e+06"),
        (0.000012, "nats", "1.2e-05"),
    ],
)
def test_values_are_written_at_the_precision_of_their_unit(value: float | None, unit: str, text: str) -> None:
    assert value_text(value, unit) == text


def test_other_numbers() -> None:
    assert interval_text(0.35, 0.44, "share") == "[0.350, 0.440]"
    assert interval_text(None, None, "share") == ""
    assert [seconds_text(s) for s in (4.21, 59.9, 200.0, 3600.0, 7500.0)] == ["4.2 s", "59.9 s", "3 min 20 s", "1 h 00 min", "2 h 05 min"]
    assert [bytes_text(b) for b in (0, 1023, 1024, 310 * 2**20, int(2.1 * 2**30))] == ["0 B", "1023 B", "1 KiB", "310 MiB", "2.1 GiB"]

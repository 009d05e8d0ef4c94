"""What the terminal shows of trainings."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from harness.models.adapter_cards import read_card
from harness.tune.settings import Replay
from harness.tune.tuning import tune
from harness.tune.view import ConsoleTuneProgress, candidates_table, card_view, duration, score, share, size
from tests.tune.conftest import Recorder, choice_task, options, settings, train


def shown(what: object) -> str:
    console = Console(width=200, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def test_a_card_shows_how_its_weights_were_made(in_tmp: Path, causal: Path) -> None:
    choice_task(in_tmp)
    choice_task(in_tmp, "old")
    made = train(causal, settings(replay=Replay(("old.yaml",), 0.2)))
    path = in_tmp / "adapters" / "made.yaml"
    text = shown(card_view(read_card(path), path))
    training = made.training
    for words in (
        "made  LoRA, rank 4, for colours.yaml",
        f"{training.trainable:,} parameters, {share(training.share)}",
        training.digest[:12],
        training.base_digest[:12],
        "colours/train: 26 rows, 26 pairs, plain",
        "(replayed)",
        "0 near-duplicates of evaluated items (not left out)",
        "rank 4, alpha 8",
        "colours: accuracy",
        "harness tune --model tiny-llama --method lora --task colours.yaml --rank 4",
        "transformers 5",
    ):
        assert words in text, words


def test_a_card_written_by_hand_is_shown_too(in_tmp: Path) -> None:
    path = in_tmp / "own.yaml"
    path.write_text("name: own\ntitle: Of somebody\nweights: {tiny: acme/own@v2}\nnotes: from the hub\n")
    text = shown(card_view(read_card(path), path))
    for words in ("own  Of somebody", "acme/own@v2", "from the hub"):
        assert words in text


def test_the_leaderboard_has_a_column_for_each_setting_that_differs(in_tmp: Path, causal: Path) -> None:
    choice_task(in_tmp)
    made = tune(options(causal, settings(rank=2), settings(rank=4), settings(method="prompt")), Recorder())
    lines = shown(candidates_table(made)).splitlines()
    assert lines[0].split()[:4] == ["candidate", "method", "rank", "alpha"]
    assert {"trained", "share", "size", "accuracy", "memory", "time"} <= set(lines[0].split())
    assert "virtual tokens" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["made0", "made1", "made2"]
    assert lines[1].split()[1:4] == ["lora", "2", "4"]
    assert f"{made[2].training.trainable:,}" in lines[3]


def test_one_candidate_is_a_row_of_its_sizes(in_tmp: Path, causal: Path) -> None:
    choice_task(in_tmp)
    head, row = shown(candidates_table([train(causal, settings(), validate=0)])).splitlines()
    assert head.split()[:2] == ["candidate", "trained"]
    assert "made" in row


def test_progress_is_told_in_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleTuneProgress() as progress:
        progress.candidate("x_r8", 2, 3)
        progress.begin("8 of 100 parameters, 8 %", 10, 4)
        progress.step(1.5, 100)
        progress.validated(5, 1.25, 0.5, True)
        progress.validated(10, 1.5, None, False)
        progress.note("careful")
        progress.end()
        progress.step(1.0, 5)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "x_r8  2 of 3",
        "8 of 100 parameters, 8 %; 10 steps; going on after step 4",
        "step 5: validation loss 1.2500, score 0.5000  best so far",
        "step 10: validation loss 1.5000",
        "Note: careful",
    ]


def test_numbers_as_people_say_them() -> None:
    assert [size(n) for n in (999, 1000, 921_600, 4_000_000, 2_500_000_000)] == ["999 B", "1 kB", "922 kB", "4 MB", "2.5 GB"]
    assert [duration(s) for s in (0.4, 59.4, 61, 3600, 7325)] == ["0 s", "59 s", "1 min 01 s", "1 h 00 min", "2 h 02 min"]
    assert [share(v) for v in (1.0, 0.140625, 0.00342, 0.0000171)] == ["100 %", "14.1 %", "0.342 %", "0.00171 %"]


def test_scores_with_and_without_interval() -> None:
    from harness.models.adapter_cards import ValidationScore

    assert score(ValidationScore(value=0.5, ci=(0.25, 0.75), n=4)) == "0.500 [0.250, 0.750]"
    assert score(ValidationScore(value=0.5, n=4)) == "0.500"
    assert score(ValidationScore(value=None, n=4)) == "none"

"""Ranks from what the results keep."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import metrics
from harness.contract import ChoiceOutcome, LikelihoodOutcome, TextOutcome
from harness.report.kept import Results
from harness.report.leaderboard import Leaderboard, View, leaderboard
from harness.report.standing import Ranking, ranking
from harness.store import runs, samples
from harness.store.runs import RunRecord, TaskRecord
from harness.tasks.schema import Aggregate, Group
from tests.report.comparing import Made, choices, folder
from tests.signed import signed
from tests.store.records import metric, run, task
from tests.store.written import with_statistics

ACCURACY: dict[str, tuple[str, dict[str, Any]]] = {"accuracy": ("accuracy", {})}
Kept = list[tuple[Path, RunRecord]]


def answers(share: float, items: int, seed: int) -> list[ChoiceOutcome]:
    return choices(np.random.default_rng(seed).random(items) < share)


def kept(place: Path, shares: dict[str, float], group: str | None = None, keep_statistics: bool = True) -> Kept:
    """Runs on three tasks of unlike sizes, with a group over them by one average."""
    found: Kept = []
    for number, (name, share) in enumerate(shares.items()):
        tasks = {
            f"t{size}": Made(answers(share, size, 10 * number + size), ACCURACY, keep_statistics=keep_statistics) for size in (40, 90, 200)
        }
        groups = {}
        if group:
            average = Aggregate.model_validate({"metric": "accuracy", "average": group})
            groups = {"all": Group(group="all", title="All", tasks=tuple(tasks), aggregate=(average,))}
        path = folder(place / name, tasks, groups, system=name)
        found.append((path, runs.read(path)))
    return found


def ranked(found: Kept, columns: View = "groups", resamples: int = 300) -> tuple[Leaderboard, Ranking]:
    board = leaderboard(found, columns)
    return board, ranking(board, found, metrics.load, resamples=resamples)


SHARES = {"strong": 0.85, "one": 0.5, "other": 0.5, "weak": 0.2}


def test_ranks_resample_items_where_all_runs_keep_them(tmp_path: Path) -> None:
    board, found = ranked(kept(tmp_path, SHARES))
    assert (found.resampled, found.estimated) == (3, ())
    assert board.rows[0].label == "strong"
    assert [(one.best, one.worst) for one in found.overall] == [(1, 1), (2, 3), (2, 3), (4, 4)]
    assert [one.win_rate for one in found.overall] == pytest.approx([row.win_rate for row in board.rows])


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_groups_resample_the_items_of_their_tasks(tmp_path: Path, average: str) -> None:
    board, found = ranked(kept(tmp_path, SHARES, average))
    assert [column.name for column in board.columns] == ["all"]
    assert (found.resampled, found.estimated) == (1, ())
    assert [one.rank for one in found.overall] == [1, 2, 2, 4]


def without_statistics(folder_: Path, record: runs.RunRecord, task: str) -> tuple[Path, runs.RunRecord]:
    """A run of a metric that keeps no statistics: there is no file, and none is recorded."""
    path = samples.statistics_path_of(folder_, task)
    path.unlink()
    name = str(path.relative_to(folder_))
    files = record.tasks[task].files or {}
    assert name in files
    left = record.tasks[task].model_copy(update={"files": {other: digest for other, digest in files.items() if other != name}})
    return folder_, record.model_copy(update={"tasks": record.tasks | {task: left}})


def test_one_run_without_statistics_is_enough_to_draw_from_intervals(tmp_path: Path) -> None:
    found = kept(tmp_path, SHARES)
    found[1] = without_statistics(*found[1], "t90")
    board, made = ranked(found)
    assert made.estimated == (next(column.label for column in board.columns if column.name == "t90"),)
    assert made.resampled == 2


def test_statistics_that_do_not_give_the_score_are_not_used(tmp_path: Path) -> None:
    found = kept(tmp_path, SHARES)
    folder_, other = found[0][0], Results(*found[1]).kept("t90", None).statistics
    with_statistics(folder_, "t90", other)
    found[0] = folder_, runs.read(folder_)
    assert [label.split()[0] for label in ranked(found)[1].estimated] == ["t90"]


def test_intervals_give_wider_ranks_than_the_same_items(tmp_path: Path) -> None:
    """Two systems of which one is right wherever the other is, and on a tenth of the items more."""
    right = np.random.default_rng(0).random(200) < 0.5
    more = right.copy()
    more[np.flatnonzero(~right)[:12]] = True
    widths = {}
    for keep in (True, False):
        found = []
        for name, hits in (("less", right), ("more", more)):
            path = folder(tmp_path / f"{name}{keep}", {"t": Made(choices(hits), ACCURACY, keep_statistics=keep)}, system=name)
            found.append((path, runs.read(path)))
        widths[keep] = [(one.best, one.worst) for one in ranked(found)[1].overall]
    assert widths == {True: [(1, 1), (2, 2)], False: [(1, 2), (1, 2)]}


def test_wordings_are_resampled_with_their_item(tmp_path: Path) -> None:
    found = []
    for number, share in enumerate((0.9, 0.3)):
        wordings = {name: answers(share, 120, 7 * number + place) for place, name in enumerate(("plain", "other"))}
        path = folder(tmp_path / str(number), {"t": Made(wordings["plain"], ACCURACY, wordings=wordings)}, system=f"s{number}")
        found.append((path, runs.read(path)))
    board, made = ranked(found)
    assert (made.resampled, made.estimated) == (1, ())
    assert [one.win_rate for one in made.overall] == pytest.approx([row.win_rate for row in board.rows])


def test_a_corpus_score_is_resampled_from_its_statistics(tmp_path: Path) -> None:
    found = []
    for name, said in (("good", "the cat sat on the mat"), ("bad", "the cat ran on a mat")):
        texts = [TextOutcome(f"{said} {number}", (f"the cat sat on the mat {number}",)) for number in range(30)]
        path = folder(tmp_path / name, {"t": Made(texts, {"bleu": ("bleu", {})})}, system=name)
        found.append((path, runs.read(path)))
    board, made = ranked(found)
    assert [row.label for row in board.rows] == ["good", "bad"]
    assert (made.resampled, [one.rank for one in made.overall]) == (1, [1, 2])


def test_a_number_of_another_signature_takes_no_part() -> None:
    found = [
        (Path(name), run(name, {"x": task(value, shots=shots)})) for name, value, shots in (("a", 0.9, 5), ("b", 0.2, 5), ("odd", 0.5, 0))
    ]
    board, made = ranked(found)
    assert {row.label: one.rank for row, one in zip(board.rows, made.overall, strict=True)} == {"a": 1, "b": 2, "odd": None}


def test_a_column_that_ranks_nobody_is_no_column_of_the_ranking() -> None:
    board, made = ranked([(Path("a"), run("a", {"x": task(0.5), "only": task(0.1)}))])
    assert (made.resampled, made.estimated) == (0, ())
    assert [one.rank for one in made.overall] == [None]
    assert len(board.rows) == 1


def bias(value: float) -> TaskRecord:
    record = metric(value, higher_is_better=False, signature=signed("stereotype_preference|v:1"), family="bias")
    return task(metrics={"stereotype_preference": record})


def test_families_have_standings_of_their_own() -> None:
    found = [
        (Path("clever"), run("clever", {"x": task(0.9), "pairs": bias(0.9)})),
        (Path("fair"), run("fair", {"x": task(0.2), "pairs": bias(0.5)})),
    ]
    board, made = ranked(found)
    by_label = {
        key: {row.label: one.win_rate for row, one in zip(board.rows, own.standings, strict=True)} for key, own in made.families.items()
    }
    assert by_label == {"accuracy": {"clever": 1.0, "fair": 0.0}, "bias": {"clever": 0.0, "fair": 1.0}}
    assert {one.win_rate for one in made.overall} == {0.5}


def test_one_family_stands_as_the_whole() -> None:
    made = ranked([(Path(name), run(name, {"x": task(value)})) for name, value in (("a", 0.9), ("b", 0.2))])[1]
    assert {family: own.standings for family, own in made.families.items()} == {"accuracy": made.overall}


CALIBRATED = ACCURACY | {"ece_10_bin": ("ece_10_bin", {"small": True}), "brier": ("brier", {})}


def unsure(skill: float, items: int, seed: int) -> list[ChoiceOutcome]:
    """Answers of many confidences; the first choice is right."""
    scores = np.random.default_rng(seed).normal(0, 1, (items, 4))
    scores[:, 0] += skill
    logprobs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return [ChoiceOutcome(tuple(map(float, line)), (0,), ("a", "b", "c", "d"), (1,) * 4, {}) for line in logprobs]


def calibrated(place: Path, wordings: tuple[str, ...] = ()) -> Kept:
    """Two runs on a group of two tasks, whose calibration is that of all items: more bins than a task's own."""
    found = []
    average = Aggregate.model_validate({"metric": "accuracy", "average": "macro"})
    for number, (name, skill) in enumerate((("sharp", 2.0), ("blunt", 0.2))):
        tasks = {}
        for size in (60, 150):
            answered = {wording: unsure(skill, size, 7 * number + size + len(wording)) for wording in wordings or ("",)}
            tasks[f"t{size}"] = Made(next(iter(answered.values())), CALIBRATED, wordings=answered if wordings else {})
        group = Group(group="all", title="All", tasks=tuple(tasks), aggregate=(average,))
        path = folder(place / name, tasks, {"all": group}, system=name)
        found.append((path, runs.read(path)))
    return found


@pytest.mark.parametrize("wordings", [(), ("plain", "another")])
def test_the_calibration_of_a_group_resamples_all_its_items(tmp_path: Path, wordings: tuple[str, ...]) -> None:
    found = calibrated(tmp_path, wordings)
    board, made = ranked(found)
    assert [(column.metric, column.family) for column in board.columns] == [
        ("accuracy_macro", "accuracy"),
        ("ece_10_bin_micro", "calibration"),
    ]
    assert (made.resampled, made.estimated) == (2, ())
    for row, one in zip(board.rows, made.families["calibration"].standings, strict=True):
        values = [cell.value for other in board.rows for cell in other.cells[1:] if cell and cell.value is not None]
        (own,) = row.cells[1:]
        assert own
        assert own.value is not None
        assert one.win_rate == float(own.value == min(values)), "the smaller error wins"


def test_each_file_of_statistics_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = calibrated(tmp_path)
    asked: list[tuple[Path, str]] = []
    read = samples.read_statistics

    def counted(path: Path, name: str, files: samples.Files) -> dict[str, samples.StatisticsRecord]:
        asked.append((path, name))
        return read(path, name, files)

    monkeypatch.setattr(samples, "read_statistics", counted)
    for columns in ("groups", "tasks"):
        asked.clear()
        ranked(found, columns)
        assert sorted(asked) == sorted((path, name) for path, _ in found for name in ("t60", "t150"))


def test_a_family_in_which_nobody_meets_does_not_hide_the_others() -> None:
    own = {"acc": metric(0.5), "toxic_fraction": metric(0.1, higher_is_better=False, signature=signed("toxic|v:1"), family="toxicity")}
    found = [(Path("a"), run("a", {"x": task(metrics=own)})), (Path("b"), run("b", {"x": task(0.4)}))]
    _, made = ranked(found)
    assert (made.families["toxicity"].ranked, made.families["toxicity"].reason) == (0, "no column has comparable numbers of two systems")
    assert [one.win_rate for one in made.families["accuracy"].standings] == [1.0, 0.0]


def test_equal_systems_tie_in_every_resample(tmp_path: Path) -> None:
    found = []
    for name, seed in (("one", 1), ("twin", 1), ("other", 2)):
        path = folder(tmp_path / name, {"t": Made(unsure(1.0, 80, seed), CALIBRATED)}, system=name)
        found.append((path, runs.read(path)))
    board, made = ranked(found)
    assert made.estimated == ()
    own = {row.label: one for row, one in zip(board.rows, made.families["calibration"].standings, strict=True)}
    assert own["one"] == own["twin"]


def test_scores_of_large_fractions_are_resampled_too(tmp_path: Path) -> None:
    found = []
    for name, loss in (("fluent", 400.0), ("halting", 900.0)):
        losses = loss * np.random.default_rng(0).uniform(0.7, 1.3, 50)
        texts = [LikelihoodOutcome(-float(one), 300, 220, 1400, {}) for one in losses]
        path = folder(tmp_path / name, {"t": Made(texts, {"word_perplexity": ("word_perplexity", {})})}, system=name)
        found.append((path, runs.read(path)))
    board, made = ranked(found)
    assert [row.label for row in board.rows] == ["fluent", "halting"]
    assert (made.resampled, made.estimated) == (1, ())
    assert [(one.win_rate, one.low, one.high) for one in made.overall] == [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0)]


def test_clusters_are_resampled_in_place_of_items(tmp_path: Path) -> None:
    """Forty right answers more are much among 200 items, and little among 20 clusters of which each is right or wrong as a whole."""
    ranks = {}
    for name, codes in (("items", None), ("clusters", np.repeat(np.arange(20), 10))):
        found = []
        for system, share in (("less", 8), ("more", 12)):
            hits = np.repeat(np.random.default_rng(share).permutation(np.arange(20) < share), 10)
            path = folder(tmp_path / name / system, {"t": Made(choices(hits), ACCURACY)}, system=system)
            records = Results.read(path).kept("t", None).statistics
            with_statistics(path, "t", {key: dataclasses.replace(one, clusters=codes) for key, one in records.items()})
            found.append((path, runs.read(path)))
        ranks[name] = [(one.best, one.worst) for one in ranked(found)[1].overall]
    assert ranks == {"items": [(1, 1), (2, 2)], "clusters": [(1, 2), (1, 2)]}

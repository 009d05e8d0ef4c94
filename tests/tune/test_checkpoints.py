"""Checkpoints count once they are whole, and a full disk is one message."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from harness.errors import InputError, StorageError
from harness.models.adapter_cards import ValidationScore
from harness.tune import checkpoints
from harness.tune.checkpoints import Workplace
from harness.tune.progress import StepScores, TrainingHistory, ends


def parameters(value: float = 1.0) -> dict[str, torch.nn.Parameter]:
    return {"a": torch.nn.Parameter(torch.full((2, 3), value)), "b": torch.nn.Parameter(torch.arange(4.0))}


def scores_of(step: int, headline: float | None, loss: float = 1.0) -> StepScores:
    return StepScores(step, loss, {"task": {"accuracy": ValidationScore(value=headline, n=4)}}, headline)


def test_only_whole_checkpoints_count(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    assert place.last() is None
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
    place.finish_checkpoint(tmp_path / "checkpoint-9", TrainingHistory([1.0] * 9))
    (tmp_path / "checkpoint-10").mkdir()
    last = place.last()
    assert last == tmp_path / "checkpoint-9"
    assert checkpoints.step_of(last) == 9
    assert TrainingHistory.read(last / checkpoints.PROGRESS) == TrainingHistory([1.0] * 9)


def test_a_finished_checkpoint_replaces_those_before_and_keeps_the_best_weights(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    for step in (2, 4):
        checkpoints.save_weights(parameters(), place.best(step))
        (tmp_path / f"checkpoint-{step}").mkdir()
    place.finish_checkpoint(tmp_path / "checkpoint-2", TrainingHistory(validations=[scores_of(2, 0.5)]))
    checkpoints.save_weights(parameters(), place.best(4))
    (tmp_path / "checkpoint-4").mkdir(exist_ok=True)
    place.finish_checkpoint(tmp_path / "checkpoint-4", TrainingHistory(validations=[scores_of(2, 0.5), scores_of(4, 0.4)]))
    assert sorted(path.name for path in tmp_path.iterdir()) == [place.best(2).name, "checkpoint-4"]


def test_the_best_model_is_the_earlier_of_equals_and_the_loss_decides_without_scores() -> None:
    assert TrainingHistory(validations=[scores_of(1, 0.2), scores_of(2, 0.6), scores_of(3, 0.6)]).best == scores_of(2, 0.6)
    assert TrainingHistory(validations=[scores_of(1, 0.6, 2.0), scores_of(2, 0.6, 1.0)]).best == scores_of(2, 0.6, 1.0)
    assert TrainingHistory(validations=[scores_of(1, None, 2.0), scores_of(2, None, 1.5), scores_of(3, None, 1.7)]).best == scores_of(
        2, None, 1.5
    )
    assert TrainingHistory().best is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"validations": [{}]}', '{"validations": 3}'])
def test_progress_that_is_damaged(tmp_path: Path, content: str) -> None:
    (tmp_path / "progress.json").write_text(content)
    with pytest.raises(StorageError, match=r"progress\.json cannot be read"):
        TrainingHistory.read(tmp_path / "progress.json")


def test_weights_that_were_cut(tmp_path: Path) -> None:
    checkpoints.save_weights(parameters(), tmp_path / "best.safetensors")
    (tmp_path / "best.safetensors").write_bytes((tmp_path / "best.safetensors").read_bytes()[:-1])
    with pytest.raises(StorageError, match="is truncated"):
        checkpoints.load_weights(parameters(), tmp_path / "best.safetensors")


def test_progress_comes_back_whole(tmp_path: Path) -> None:
    before = TrainingHistory([1.5, 1.0], 77, 3.25, [scores_of(1, 0.25), scores_of(2, None)])
    (tmp_path / "p.json").write_text(before.text())
    assert TrainingHistory.read(tmp_path / "p.json") == before


def test_first_and_last_losses_are_means_of_a_tenth() -> None:
    assert ends([4.0, 2.0, 1.0]) == (4.0, 1.0)
    assert ends([float(n) for n in range(20)]) == (0.5, 18.5)


def test_weights_come_back_and_others_are_refused(tmp_path: Path) -> None:
    checkpoints.save_weights(parameters(3.0), tmp_path / "w.safetensors")
    into = parameters(0.0)
    checkpoints.load_weights(into, tmp_path / "w.safetensors")
    assert torch.equal(into["a"], parameters(3.0)["a"])
    with pytest.raises(StorageError, match="other weights"):
        checkpoints.load_weights({"a": into["a"]}, tmp_path / "w.safetensors")


def test_a_training_goes_on_only_with_its_own_settings(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "work")
    place.open({"rank": 8, "lr": 0.1}, fresh=False)
    place.open({"rank": 8, "lr": 0.1}, fresh=False)
    with pytest.raises(InputError, match=r"unfinished training with other settings \(rank, seed\)") as caught:
        place.open({"rank": 4, "lr": 0.1, "seed": 1}, fresh=False)
    assert "--fresh" in caught.value.remedy
    (place.folder / "checkpoint-3").mkdir()
    place.open({"rank": 4}, fresh=True)
    assert [path.name for path in place.folder.iterdir()] == ["settings.json"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:668] . PytorchStreamWriter failed writing file data/3: file write failed"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_message(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(StorageError, match="No space left on device") as caught, checkpoints.writing(tmp_path / "x"):
        raise error
    assert "free some space" in caught.value.remedy


def test_other_errors_while_writing_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), checkpoints.writing(tmp_path / "x"):
        raise ZeroDivisionError


def test_space_is_looked_at_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 5, 5_000_000))
    checkpoints.check_space(tmp_path / "not" / "yet", 5_000_000)
    with pytest.raises(StorageError, match=r"needs 6 MB in .*, and 5 MB are free"):
        checkpoints.check_space(tmp_path / "not" / "yet", 6_000_000)

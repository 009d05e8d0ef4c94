"""Grids whose candidates are trained by several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.engine.pools import Workers
from harness.errors import InputError
from harness.tune.tuning import Made, tune
from tests.tune.conftest import Recorder, choice_task, options, settings

TWO = Workers(2)


@pytest.fixture
def place(in_tmp: Path) -> Path:
    choice_task(in_tmp)
    return in_tmp


def weights(made: Made) -> dict[str, torch.Tensor]:
    (path,) = made.folder.glob("*.safetensors")
    loaded: dict[str, torch.Tensor] = load_file(path)
    return loaded


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads here as in each of two processes: sums of other numbers of threads round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_processes_train_what_one_process_trains_and_once(place: Path, causal: Path) -> None:
    candidates = [settings(rank=2), settings(rank=4)]
    alone = tune(options(causal, *candidates, output=place / "alone"), Recorder())
    progress = Recorder()
    together = tune(options(causal, *candidates, output=place / "together", workers=TWO), progress)
    assert [made.name for made in together] == ["made0", "made1"]
    assert sum("was trained on" in note for note in progress.notes) == 2
    assert not list((place / "together").glob(".shared-disk-*"))
    for one, other in zip(alone, together, strict=True):
        assert one.training.digest == other.training.digest
        assert one.training.headline == other.training.headline
        mine, theirs = weights(one), weights(other)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    again = Recorder()
    tune(options(causal, *candidates, output=place / "together", workers=TWO), again)
    assert sum("is there already" in note for note in again.notes) == 2
    assert not any("was trained on" in note for note in again.notes)


def test_an_error_of_a_worker_is_raised_as_it_is_and_ends_the_others(place: Path, causal: Path) -> None:
    long, wrong = settings(rank=2, max_steps=100_000), settings(rank=4, targets=("no_such_module",))
    with pytest.raises(InputError, match="no_such_module"):
        tune(options(causal, long, wrong, output=place / "made", workers=TWO), Recorder())
    for process in multiprocessing.active_children():
        process.join(20)
    assert not multiprocessing.active_children()

"""Batches handed to the writer reach the store in order, and no failure is lost."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from harness.contract import ChoiceScores, ScoreChoices
from harness.errors import StorageError
from harness.store.responses import Answer, ResponseStore
from harness.store.writing import Writer


def batch(number: int) -> list[Answer]:
    request = ScoreChoices(f"r{number}", (number,), ((1,),))
    return [(ResponseStore.key("system", request), request, ChoiceScores(request.id, (-1.0 * number,), (False,)))]


def test_everything_is_on_the_disk_when_the_writer_is_left(tmp_path: Path) -> None:
    with ResponseStore(tmp_path / "store.sqlite") as store, Writer(store) as writer:
        for number in range(50):
            writer.put(batch(number))
    with ResponseStore(tmp_path / "store.sqlite") as store:
        requests = {key: request for number in range(50) for key, request, _ in batch(number)}
        assert len(store.get_many(requests).responses) == 50


def hand_over(store: ResponseStore, numbers: Iterable[int], then: BaseException | None = None) -> None:
    """Write batches, and fail after them where told to."""
    with Writer(store) as writer:
        for number in numbers:
            writer.put(batch(number))
        if then is not None:
            raise then


def test_what_was_handed_over_is_kept_when_the_work_fails(tmp_path: Path) -> None:
    with ResponseStore(tmp_path / "store.sqlite") as store:
        with pytest.raises(KeyboardInterrupt):
            hand_over(store, [1], KeyboardInterrupt())
        assert store.times(batch(1)[0][0]) == 1


class Broken(ResponseStore):
    """Takes one batch after a while, and fails from the second on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.tried = 0

    def put(self, batch: Sequence[Answer], engine: str = "engine") -> None:
        self.tried += 1
        if self.tried > 1:
            raise StorageError("No space left.", "Make room.")
        time.sleep(0.05)


@pytest.mark.parametrize("batches", [2, 100])
def test_a_failure_is_raised_and_the_work_ends(tmp_path: Path, batches: int) -> None:
    store = Broken(tmp_path / "store.sqlite")
    with store:
        with pytest.raises(StorageError, match="No space left"):
            hand_over(store, range(batches))
        assert store.tried < 100


def test_the_works_own_failure_is_the_one_that_is_told(tmp_path: Path) -> None:
    store = Broken(tmp_path / "store.sqlite")
    with store, pytest.raises(KeyboardInterrupt):
        hand_over(store, range(3), KeyboardInterrupt())

"""The cycle collector is held back only until the work begins."""

import gc
import io

import pytest

from harness.api.progress import ConsoleProgress
from harness.tune.view import ConsoleTuneProgress
from harness.util import garbage


def test_collection_is_off_within_the_block_and_on_behind_it() -> None:
    with garbage.paused_gc():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_in_the_block_leaves_collection_on() -> None:
    with pytest.raises(RuntimeError), garbage.paused_gc():
        raise RuntimeError
    assert gc.isenabled()


def test_who_had_turned_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        with garbage.paused_gc():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_resume_leaves_a_library_users_collector_alone() -> None:
    before = gc.get_freeze_count()
    garbage.resume_gc()
    assert gc.isenabled()
    assert gc.get_freeze_count() == before


@pytest.mark.parametrize("progress", ["run", "tune"])
def test_a_system_or_a_training_that_begins_collects_again(progress: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    try:
        with garbage.paused_gc():
            if progress == "run":
                with ConsoleProgress() as run:
                    run.start("base", {"boolq": 1})
                    assert gc.isenabled()
            else:
                tune = ConsoleTuneProgress()
                tune.begin("facts", 1, 0)
                tune.end()
                assert gc.isenabled()
    finally:
        gc.unfreeze()

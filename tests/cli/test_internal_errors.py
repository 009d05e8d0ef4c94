"""What nobody foresaw: one line, a log file that tells everything, exit code 1, and no traceback on the terminal."""

from __future__ import annotations

import errno
import gc
import os
import re
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import __version__, cli
from harness.cli import internal_errors
from harness.errors import HarnessError
from harness.util import paths
from tests.cli.conftest import Call, Outcome

_LINE = re.compile(r"^Internal error \(harness (\S+)\): (.*)\. Please report it with the file (\S+\.log)\.\n$")

pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture
def broken(call: Call, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Call a command whose work raises something."""

    def run(error: BaseException) -> Outcome:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr("harness.store.runs.read", fail)
        return call("results", "show", ".")

    return run


def test_one_line_and_a_log_file(broken: Callable[..., Outcome]) -> None:
    done = broken(KeyError("colours"))
    assert (done.code, done.out) == (1, "")
    found = _LINE.match(done.err)
    assert found, done.err
    assert found[1] == __version__
    assert found[2] == "KeyError: 'colours'"
    log = Path(found[3]).read_text()
    assert Path(found[3]).parent == paths.cache() / "logs"
    assert "Traceback (most recent call last)" in log
    assert log.rstrip().endswith("KeyError: 'colours'")
    assert "command: harness results show .\n" in log
    assert all(f"\n{name}: " in log for name in ("python", "platform", "torch", "transformers"))


@pytest.mark.parametrize("text", ["two\nlines", "", "x" * 5000, "half \udcff", "[/red] markup [bold]"])
def test_whatever_the_message_is_it_stays_one_line(broken: Callable[..., Outcome], text: str) -> None:
    done = broken(RuntimeError(text))
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert len(done.err) < 600


def test_the_traceback_itself_where_it_is_asked_for(broken: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DEBUG", "1")
    done = broken(KeyError("colours"))
    assert done.code == 1
    assert "Traceback (most recent call last)" in done.err
    assert not (paths.cache() / "logs").exists()


def test_the_last_twenty_logs_are_kept(broken: Callable[..., Outcome]) -> None:
    logs = paths.cache() / "logs"
    logs.mkdir(parents=True)
    for number in range(30):
        (logs / f"20200101T0000{number:02}-1.log").write_text("old")
    done = broken(KeyError("colours"))
    kept = sorted(logs.iterdir())
    assert len(kept) == internal_errors.MOST_LOGS
    assert str(kept[-1]) in done.err


def test_a_cache_that_cannot_be_written(broken: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "rows.jsonl"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = _LINE.match(broken(KeyError("colours")).err)
    assert found
    assert Path(found[3]).is_relative_to(tmp_path)


def test_no_place_for_a_log(broken: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_CACHE", "~nobody-of-this-name/cache")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "rows.jsonl"))
    done = broken(KeyError("colours"))
    assert done.code == 1
    assert "no log file could be written" in done.err
    assert done.err.count("\n") == 1


def test_errors_while_commands_are_imported(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ImportError("a module is gone")

    monkeypatch.setattr(cli, "add_commands", fail)
    done = call("results", "show", ".")
    assert done.code == 1
    assert _LINE.match(done.err)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/secret/config.json"),
            2,
            "Error: /secret/config.json: Permission denied.",
        ),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/x"), 2, "Error: /full/x: No space left on device."),
        (MemoryError("Unable to allocate 74.5 GiB"), 1, "Unable to allocate 74.5 GiB"),
        (HarnessError("The model is silent.", "Ask another."), 1, "Error: The model is silent.\nAsk another."),
    ],
)
def test_the_machines_own_faults_are_no_internal_errors(broken: Callable[..., Outcome], error: Exception, code: int, told: str) -> None:
    done = broken(error)
    assert done.code == code
    assert told in done.err
    assert "Internal error" not in done.err
    assert not (paths.cache() / "logs").exists()


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (SystemExit(7), 7)])
def test_what_ends_a_program_is_left_alone(broken: Callable[..., Outcome], error: BaseException, code: int) -> None:
    done = broken(error)
    assert done.code == code
    assert "Internal error" not in done.err


def test_errors_in_threads_and_in_clean_up_are_reported_too(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise KeyError("beside")

    class Unclean:
        def __del__(self) -> None:
            raise KeyError("behind")

    with internal_errors.watched():
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        Unclean()
        gc.collect()
    lines = capsys.readouterr().err.splitlines()
    assert [re.findall(r"KeyError: '(\w+)'", line) for line in lines] == [["beside"], ["behind"]]
    assert len(list((paths.cache() / "logs").iterdir())) == 2

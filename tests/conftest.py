"""What the tests share: a clean cache, test tiers, and real models and data where they are available."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiers

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--all`."""
    parser.addoption("--all", action="store_true", help="run every tier: unit, real and slow tests")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say that a run is not of the whole suite."""
    return "tier: unit tests only; --all also runs real and slow tests" if tiers.only_unit(config) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by tier, before `-m` selects, and leave out all but the unit tier where the whole suite is collected."""
    tiers.mark(items)
    tiers.select(config, items)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache, folders or results."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
    for name in ("HARNESS_PATH", "HARNESS_DATA", "HARNESS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def in_tmp(tmp_path: Path) -> Iterator[Path]:
    """Run in an empty folder."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def _absent(what: str) -> None:
    message = f"{what}: real models and data are not beside this checkout"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def data() -> Path:
    """A folder of real benchmark data, laid out as snapshots."""
    folder = SHARED / "data"
    if not folder.is_dir():
        _absent("data")
    return folder


@pytest.fixture(scope="session")
def models() -> Path:
    """A folder of real pretrained models, built once a machine."""
    script = SHARED / "models" / "build.py"
    chosen = os.environ.get("HARNESS_TEST_MODELS")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "harness-test-models"
    if not script.is_file():
        _absent("models")
    names = ["smollm2-135m-instruct", "minimind2-small", "flan-t5-small-titles", "bert-tiny-toxicity"]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:  # several test processes build into one folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([sys.executable, str(script), "--out", str(folder), *names], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="session")
def smollm2(models: Path) -> Path:
    """A causal instruct model of 135 M parameters."""
    return models / "smollm2-135m-instruct"


@pytest.fixture(scope="session")
def minimind2(models: Path) -> Path:
    """A causal chat model of 26 M parameters."""
    return models / "minimind2-small"


@pytest.fixture(scope="session")
def bert_toxicity(models: Path) -> Path:
    """A classifier of toxic comments of two layers."""
    return models / "bert-tiny-toxicity"


@pytest.fixture(scope="session")
def flan_t5(models: Path) -> Path:
    """An encoder-decoder model of 77 M parameters with a head of its own."""
    return models / "flan-t5-small-titles"

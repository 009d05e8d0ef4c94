"""A run on several devices: two processes of this machine stand for them."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.compare.pairing import Results
from harness.contract import ScoreChoices
from harness.engine import base
from harness.engine.base import Session, known
from harness.engine.cluster import ClusterSession
from harness.engine.jobs import ModelCopy, OpenCopy, open_copy
from harness.engine.processes import ProcessPool, WorkerProcess
from harness.engine.transformers.session import TransformersSession
from harness.errors import ModelError
from harness.evaluation.options import Options
from harness.evaluation.run import FinishedRun, run
from harness.models.opening import ModelOptions, Opening, open_files
from tests.parts import model_and_tasks
from tests.silent import Recorder

TWO = ("cpu", "cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_and_tasks(tmp_path_factory.mktemp("replicas"), [{"thing": f"thing {number}", "label": number % 2} for number in range(17)])


def scored(root: Path, output: Path, **options: Any) -> list[FinishedRun]:
    tasks = (str(root / "pick.yaml"), str(root / "write.yaml"))
    chosen: dict[str, Any] = {"model": str(root / "model"), "adapter": (None, str(root / "tuned")), "device": "cpu"} | options
    return run(Options(tasks=tasks, output=output, fresh=True, any_base=True, **chosen), Recorder())


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every backend uses two processes on the CPU, where one can name it only once."""
    for backend in known().values():
        monkeypatch.setattr(backend, "devices", lambda *_: TWO)


def test_two_devices_compute_what_one_computes_to_the_last_bit(root: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    alone = scored(root, tmp_path / "one")
    request.getfixturevalue("two_devices")
    together = scored(root, tmp_path / "two")
    assert [one.record.system.name for one in together] == ["model", "model+tuned"]
    for one, other in zip(alone, together, strict=True):
        assert one.record.system == other.record.system
        assert other.record.efficiency.requests.computed == 34
        assert other.record.efficiency.tokens.requested == one.record.efficiency.tokens.requested
        for task in ("pick", "write"):
            for mine, theirs in zip(
                Results.read(one.folder).task_samples(task, None).samples,
                Results.read(other.folder).task_samples(task, None).samples,
                strict=True,
            ):
                assert mine == theirs
    assert (
        Results.read(alone[0].folder).task_samples("pick", None).samples != Results.read(alone[1].folder).task_samples("pick", None).samples
    )


@pytest.mark.usefixtures("two_devices")
def test_an_error_in_a_process_is_raised_as_it_is(root: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    for path in (root / "model").iterdir():
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model" / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], float("nan"))
    save_file(weights, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"model\.safetensors: the tensor model\.norm\.weight holds NaN"):
        scored(root, tmp_path / "out", model=str(tmp_path / "model"), adapter=(None,))
    assert not (tmp_path / "out" / "results.json").exists()


def opening(root: Path) -> Opening:
    return open_files(ModelOptions(str(root / "model"), devices=("cpu",)), lambda note: None)


def small_batches(root: Path) -> Opening:
    """So few tokens in a batch that there are many batches."""
    return open_files(ModelOptions(str(root / "model"), devices=("cpu",), batch_tokens=32), lambda note: None)


def cluster(opened: Opening, devices: Sequence[str], open_model: OpenCopy = open_copy) -> ClusterSession:
    return ClusterSession(ProcessPool("transformers", opened, devices, open_model), opened)


def unexpected(engine: str, options: ModelOptions) -> Any:
    """Opens a model in a process; fails with an error that nobody expects."""
    raise KeyError("colours")


def test_an_unexpected_error_comes_with_its_traceback(root: Path) -> None:
    session = cluster(opening(root), ("cpu",), unexpected)
    try:
        with session.engine(None) as engine, pytest.raises(RuntimeError, match="on cpu: KeyError: 'colours'") as caught:
            list(engine.score([ScoreChoices("one", (1,), ((2,), (3,)))]))
    finally:
        session.close()
    whole = "".join(traceback.format_exception(caught.value))
    assert "in unexpected" in whole
    assert whole.count("Traceback (most recent call last)") == 2


def requests(number: int) -> list[ScoreChoices]:
    """Questions of different lengths that begin alike."""
    return [
        ScoreChoices(f"{place}", (1, 2, 3, 40 + place, *range(5, 6 + place % 7)), ((20, 21 + place % 5), (30,))) for place in range(number)
    ]


def test_a_process_that_is_killed_is_started_again(root: Path) -> None:
    work = requests(40)
    with TransformersSession(small_batches(root)).engine(None) as engine:
        expected = {response.id: response for batch in engine.score(work) for response in batch}
    session = cluster(small_batches(root), TWO)
    answered: dict[str, Any] = {}
    try:
        with session.engine(None) as engine:
            for batch in engine.score(work):
                if not answered:
                    first = next(worker for worker in session.pool.workers if worker.piece is not None)
                    assert isinstance(first, WorkerProcess)
                    os.kill(first.process.pid, signal.SIGKILL)
                assert not answered.keys() & {response.id for response in batch}
                answered |= {response.id: response for response in batch}
            assert session.restarts == 1
            assert any("started again" in note for note in engine.notes)
    finally:
        session.close()
    assert answered == expected


def test_processes_that_always_die_end_the_run(root: Path) -> None:
    session = cluster(opening(root), ("cpu",), dies)
    try:
        with session.engine(None) as engine, pytest.raises(ModelError, match="ended with code -9, 3 times in a row"):
            list(engine.score(requests(3)))
    finally:
        session.close()


def dies(engine: str, options: ModelOptions) -> Any:
    """Ends the process that opens the model."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class DeadlySession:
    """Ends the process that computes a certain request."""

    session: Session

    @contextmanager
    def engine(self, adapter: Any) -> Iterator[Any]:
        with self.session.engine(adapter) as engine:
            yield DeadlyEngine(engine)

    def close(self) -> None:
        self.session.close()


@dataclass
class DeadlyEngine:
    engine: Any

    def __post_init__(self) -> None:
        self.usage, self.notes = self.engine.usage, self.engine.notes

    def score(self, requests: Any, done: Any = ()) -> Iterator[Any]:
        for batch in self.engine.score(requests, done):
            if any(response.id == "7" for response in batch):
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    def batches(self, requests: Any) -> Any:
        return base.batches(self.engine, requests)


def deadly(engine: str, options: ModelOptions) -> ModelCopy:
    """Opens a model that ends its process at the request "7"."""
    copy = open_copy(engine, options)
    return replace(copy, session=DeadlySession(copy.session))


def test_a_batch_that_ends_every_process_is_named_and_the_rest_is_answered(root: Path) -> None:
    session = cluster(small_batches(root), TWO, deadly)
    answered: set[str] = set()

    def compute(engine: Any) -> None:
        for batch in engine.score(requests(40)):
            answered.update(response.id for response in batch)

    try:
        with session.engine(None) as engine, pytest.raises(ModelError, match="3 workers ended while they computed "):
            compute(engine)
    finally:
        session.close()
    assert answered
    assert "7" not in answered


def test_any_backend_runs_on_several_devices(root: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    options: dict[str, Any] = {"model": "longest", "adapter": (None,), "engine": "mock"}
    (alone,) = scored(root, tmp_path / "one", **options)
    request.getfixturevalue("two_devices")
    (together,) = scored(root, tmp_path / "two", **options)
    assert alone.record.system == together.record.system
    assert together.record.tasks == alone.record.tasks
    assert together.record.efficiency.requests.computed == 34


def test_an_unknown_device_is_told_before_anything_starts(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Unknown device 'gpu9'"):
        scored(root, tmp_path / "out", device="cpu,gpu9")

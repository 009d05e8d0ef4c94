"""The candidates of a grid, each trained by a worker: a process of this machine, or a task of a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.engine.pools import Workers
from harness.errors import HarnessError, InputError, ModelError
from harness.models.adapter_cards import Training
from harness.tune.card import Shelf
from harness.tune.progress import SilentTuneProgress
from harness.tune.settings import Candidate, TuneOptions
from harness.util.libraries import computing_versions, differences

if TYPE_CHECKING:
    from harness.models.cards import ModelSource
    from harness.tune.progress import TuneProgress

_RETRIES = 3
"""Times that Ray starts a training again whose machine or process ended; it goes on from its last checkpoint where disks are shared."""


@dataclass(frozen=True)
class TrainedElsewhere:
    """What a worker has made.

    Attributes:
        name: of the candidate.
        training: its record.
        node: the worker's machine.
        versions: of what computed it.
        files: the weights' files by relative name; None where the run's own machine sees them.
    """

    name: str
    training: Training
    node: str
    versions: Mapping[str, str]
    files: Mapping[str, bytes] | None


def train_candidates(
    workers: Workers, options: TuneOptions, candidates: Sequence[Candidate], source: ModelSource, progress: TuneProgress
) -> Iterator[tuple[str, Training]]:
    """Train candidates, one on each worker at a time; yields the name and record of each as it is finished.

    Args:
        workers: what trains.
        options: of the whole grid.
        candidates: those to train.
        source: the base.
        progress: receives notes.

    Raises:
        HarnessError: the first failure of any; what was finished stays.
    """
    if not candidates:
        return
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=options.output, prefix=".shared-disk-") as marker:
        jobs = [(replace(options, candidates=(candidate,), part=True, workers=None), Path(marker.name)) for candidate in candidates]
        for made in _on_ray(workers, options, jobs) if workers.ray else _on_processes(workers, jobs):
            progress.note(f"{made.name} was trained on {made.node} in {made.training.seconds:,.0f} s.")
            if made.files is not None:
                _place(made, options, source)
            yield made.name, made.training


def train_one(options: TuneOptions, marker: Path) -> TrainedElsewhere:
    """Train the only candidate of some options; runs in a worker.

    Args:
        options: of that candidate.
        marker: a file that exists where the worker has the same disk as the run's own machine.
    """
    import platform

    from harness.tune.tuning import tune

    if marker.exists():
        (made,) = tune(options, SilentTuneProgress())
        return TrainedElsewhere(made.name, made.training, platform.node(), computing_versions(), None)
    with tempfile.TemporaryDirectory(prefix="harness-tune-") as scratch:
        (made,) = tune(replace(options, output=Path(scratch)), SilentTuneProgress())
        files = {path.relative_to(made.folder).as_posix(): path.read_bytes() for path in sorted(made.folder.rglob("*")) if path.is_file()}
    return TrainedElsewhere(made.name, made.training, platform.node(), computing_versions(), files)


def _on_processes(workers: Workers, jobs: Sequence[tuple[TuneOptions, Path]]) -> Iterator[TrainedElsewhere]:
    import torch

    gpus = torch.cuda.device_count()
    number = min(workers.count or 1, len(jobs))
    context = multiprocessing.get_context("spawn")
    places = context.SimpleQueue()
    for place in range(number):
        places.put(place)
    threads = None if "OMP_NUM_THREADS" in os.environ else max(1, (os.cpu_count() or 1) // (workers.count or 1))
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(number, mp_context=context, initializer=_take_place, initargs=(places, gpus, threads)) as executor:
        try:
            for future in as_completed([executor.submit(train_one, *job) for job in jobs]):
                yield future.result()
        except BrokenProcessPool as error:
            raise ModelError(
                "A process that trains ended.", "Run the same command again to go on; fewer workers need less memory."
            ) from error
        except BaseException:
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()  # a training takes hours, and goes on from its last checkpoint
            raise


def _take_place(places: Any, gpus: int, threads: int | None) -> None:
    """Give a new process its GPU, or its share of the processors."""
    place = places.get()
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(place % gpus)
    elif threads is not None:
        import torch

        torch.set_num_threads(threads)


def _on_ray(workers: Workers, options: TuneOptions, jobs: Sequence[tuple[TuneOptions, Path]]) -> Iterator[TrainedElsewhere]:
    from harness.engine import ray_pool

    ray, ours = ray_pool.connected(workers.address)
    try:
        needs, _ = ray_pool.places(ray, workers.count or len(jobs), options.device, 1)
        task = ray.remote(train_one).options(
            max_retries=_RETRIES, scheduling_strategy="SPREAD", runtime_env=ray_pool.runtime_environment(), **needs
        )
        waiting = [task.remote(*job) for job in jobs]
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=1)
            try:
                made: TrainedElsewhere = ray.get(ready[0])
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, HarnessError):
                    raise error.cause from error
                raise
            except ray.exceptions.RayError as error:
                raise ModelError(
                    f"A worker that trains ended, {_RETRIES + 1} times.", "It may have too little memory: try a smaller --micro-tokens."
                ) from error
            if different := differences(computing_versions(), made.versions):
                raise InputError(f"The worker on {made.node} has other versions: {different}.", "Install the same on all machines.")
            yield made
    finally:
        if ours:
            ray.shutdown()


def _place(made: TrainedElsewhere, options: TuneOptions, source: ModelSource) -> None:
    """Save what was trained on another disk."""
    assert made.files is not None
    shelf = Shelf(options.output, made.name, source)
    final = shelf.workplace.folder / "final"
    for name, content in made.files.items():
        (final / name).parent.mkdir(parents=True, exist_ok=True)
        (final / name).write_bytes(content)
    shelf.place(final, made.training)

"""How efficiency falls with the number of workers: a simulation on real plans and real times of pieces.

Example: python -m benchmarks.workers.scaling --measure --model DIR --data DIR --document docs/scale.md

`--measure` plans all of MMLU (14,042 questions) without and with five examples for a model, and times some pieces of each plan on this
machine. The simulation then hands the plan's batches to workers by the code that a run uses (`engine.pieces`), in virtual time: a piece
takes a line in its computed tokens, times a ratio drawn from the measured ones; a worker that enters a few-shot header's batches in the
middle computes the header again. One worker in twenty has half the speed, and workers fail at random, lose the batch they compute, and
start again. Efficiency is the time of one worker, where all are alike, over the number of workers and the time until the last response.
"""

from __future__ import annotations

import argparse
import heapq
import json
import platform
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.documents import put, table
from harness.contract import ScoreChoices, ScoreRequest
from harness.engine.base import batches as planned_batches
from harness.engine.pieces import Batch, BatchCost, Pieces, WorkPiece, planned_costs

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SLOW_SHARE, SLOW_SPEED = 0.05, 0.5
HOURS_BETWEEN_FAILURES = 10.0
"""Of one worker, on average."""
REPLICATIONS = 40
SHOTS = (0, 5)
EMPTY_PIECES = 5


@dataclass(frozen=True)
class Measured:
    """A plan, and the times of some of its pieces.

    Attributes:
        machine: on which it was measured.
        model: its name.
        shots: examples before each question.
        questions: in the plan.
        costs: tokens of each batch, in the order of the plan, what it shares with the batch before left out.
        entries: further tokens of each batch where a worker begins with it.
        seconds: (computed tokens, seconds) of each measured piece.
        base: seconds of an empty piece.
        rate: further seconds a token.
        ratios: measured seconds of each measured piece over those that its tokens predict, 1 on average.
        message: seconds that a worker waits for its next piece.
        start: seconds until a worker that was started again computes.
    """

    machine: str
    model: str
    shots: int
    questions: int
    costs: list[int]
    entries: list[int]
    seconds: list[tuple[int, float]]
    base: float
    rate: float
    ratios: list[float]
    message: float
    start: float


class _Others:
    """Every id but these."""

    def __init__(self, ids: frozenset[str]) -> None:
        self.ids = ids

    def __contains__(self, name: object) -> bool:
        return name not in self.ids


def measure(model: str, data: Path, shots: int, pieces: int, message: float, start: float) -> Measured:
    """Plan MMLU, and time pieces of one to six batches, drawn at random."""
    import torch

    from harness.evaluation.options import Options
    from harness.evaluation.plan import plan
    from harness.evaluation.progress import SilentProgress, StageTimer

    work = plan(Options(model=model, tasks="mmlu", shots=shots, data=data, device="cpu"), SilentProgress(), StageTimer())
    (system, adapter), *_ = work.systems.systems
    requests: list[ScoreRequest] = list({request.id: request for request in work.requests if isinstance(request, ScoreChoices)}.values())
    chance = random.Random(0)
    seconds: list[tuple[int, float]] = []
    with work.systems.session().engine(adapter) as engine:
        made = planned_batches(engine, requests)
        list(engine.score(requests, _Others(frozenset(made[0]))))
        began = time.perf_counter()
        for _ in range(EMPTY_PIECES):
            list(engine.score(requests, _Others(frozenset())))
        base = (time.perf_counter() - began) / EMPTY_PIECES
        for number in range(pieces):
            size = 1 + number % 6
            first = chance.randrange(len(made) - size)
            ids = frozenset(name for batch in made[first : first + size] for name in batch)
            tokens, began = engine.usage.prefill_tokens, time.perf_counter()
            list(engine.score(requests, _Others(ids)))
            seconds.append((engine.usage.prefill_tokens - tokens, time.perf_counter() - began))
    work.systems.close()
    costs = planned_costs(made, requests)
    tokens_of, seconds_of = np.array([size for size, _ in seconds]), np.array([taken for _, taken in seconds])
    rate = float((seconds_of - base).sum() / tokens_of.sum())
    ratios = seconds_of / (base + rate * tokens_of)
    ratios /= ratios.mean()
    return Measured(
        machine=f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        model=system.name,
        shots=shots,
        questions=len(requests),
        costs=[int(costs[batch].own) for batch in made],
        entries=[int(costs[batch].entry) for batch in made],
        seconds=seconds,
        base=base,
        rate=rate,
        ratios=ratios.tolist(),
        message=message,
        start=start,
    )


@dataclass
class SimulatedWorker:
    """A worker in virtual time.

    Attributes:
        speed: 1 where it is as fast as the measured one.
        piece: what it computes.
        done: batches of the piece that it has computed.
        last: number of the last batch that it computed, whose header it has.
    """

    speed: float
    piece: WorkPiece | None = None
    done: int = 0
    last: int = -2


def slow_of(number: int) -> int:
    """Workers of half the speed."""
    return round(SLOW_SHARE * number)


def simulated(measured: Measured, number: int, seed: int, *, uneven: bool) -> tuple[float, int]:
    """Seconds until the last response, and how many workers failed."""
    chance = random.Random(seed)
    made: list[Batch] = [(str(place),) for place in range(len(measured.costs))]
    costs = [BatchCost(own, entry) for own, entry in zip(measured.costs, measured.entries, strict=True)]
    pieces = Pieces(made, dict(zip(made, costs, strict=True)), number)
    slow = set(chance.sample(range(number), slow_of(number))) if uneven else set()
    workers = [SimulatedWorker(SLOW_SPEED if place in slow else 1.0) for place in range(number)]
    events: list[tuple[float, int]] = [(0.0, place) for place in range(number)]
    idle: set[int] = set()
    now, failures, finished = 0.0, 0, 0.0
    between = HOURS_BETWEEN_FAILURES * 3600
    while events:
        now, place = heapq.heappop(events)
        worker = workers[place]
        if worker.piece is not None:
            pieces.answered(worker.piece.batches[worker.done])
            finished = now
            worker.done += 1
            if worker.done == len(worker.piece.batches):
                worker.piece = None
            if idle and pieces.waiting:
                for other in idle:
                    heapq.heappush(events, (now, other))
                idle.clear()
        wait = 0.0
        if worker.piece is None:
            worker.piece, worker.done, wait = pieces.take(place), 0, measured.message
        if worker.piece is None:
            idle.add(place)
            continue
        batch = int(worker.piece.batches[worker.done][0])
        tokens = measured.costs[batch] + (0 if batch == worker.last + 1 else measured.entries[batch])
        ratio = chance.choice(measured.ratios) if uneven else 1.0
        taken = wait + ratio * (measured.base * (worker.done == 0) + measured.rate * tokens) / worker.speed
        if uneven and (ends := chance.expovariate(1 / between)) < taken:
            failures += 1
            rest = WorkPiece(worker.piece.batches[worker.done :])
            worker.piece, worker.last = None, -2
            pieces.lost(place, rest)
            heapq.heappush(events, (now + ends + measured.start, place))
            for other in idle:
                heapq.heappush(events, (now + ends, other))
            idle.clear()
            continue
        worker.last = batch
        heapq.heappush(events, (now + taken, place))
    return finished, failures


def rows(measured: Measured) -> list[list[str]]:
    """A row for each number of workers."""
    alone, _ = simulated(measured, 1, 0, uneven=False)
    made = []
    for number in WORKERS:
        calm, _ = simulated(measured, number, 0, uneven=False)
        runs = [simulated(measured, number, seed, uneven=True) for seed in range(REPLICATIONS)]
        efficiencies = np.array([alone / (number * seconds) for seconds, _ in runs])
        there = number - slow_of(number) * (1 - SLOW_SPEED)
        low, middle = np.quantile(efficiencies, [0.05, 0.5])
        whole = np.median([alone / (number * (seconds + measured.start)) for seconds, _ in runs])
        failures = sum(failed for _, failed in runs) / REPLICATIONS
        seconds = float(np.median([seconds for seconds, _ in runs]))
        made.append(
            [
                str(number),
                f"{seconds:,.0f} s",
                f"{alone / (number * calm):.3f}",
                f"{middle:.3f} [{low:.3f}]",
                f"{middle * number / there:.3f}",
                f"{whole:.3f}",
                f"{failures:.2f}",
            ]
        )
    return made


def text(measured: Measured) -> str:
    """The table, and what it stands on."""
    header = ["workers", "time", "all alike", "uneven: median [5 %]", "of the speed there is", "with start-up", "failures a run"]
    fit = f"{1000 * measured.base:.0f} ms + {1e6 * measured.rate:.0f} µs a token"
    spread = np.quantile(measured.ratios, [0.05, 0.95])
    said = (
        f"MMLU with {measured.shots} examples, {measured.questions:,} questions in {len(measured.costs):,} batches, {measured.model} on "
        f"{measured.machine}. {len(measured.seconds)} measured pieces: {fit}, times {spread[0]:.2f} to {spread[1]:.2f} (5 % to 95 %); "
        f"{1000 * measured.message:.1f} ms a message, {measured.start:.0f} s to start. Uneven: {100 * SLOW_SHARE:.0f} % of the workers "
        f"at {SLOW_SPEED} of the speed (which alone limits efficiency to {1 - SLOW_SHARE * (1 - SLOW_SPEED):.3f}), and a failure every "
        f"{HOURS_BETWEEN_FAILURES:.0f} hours of a worker; {REPLICATIONS} simulations."
    )
    return "\n".join([said, "", *table(header, rows(measured))])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure where asked to, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--model")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pieces", type=int, default=48)
    parser.add_argument(
        "--overheads", type=Path, default=Path("benchmarks/results/workers.json"), help="written by benchmarks.workers.overheads"
    )
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/scaling.json"))
    parser.add_argument("--document", type=Path)
    given = parser.parse_args(arguments)
    if given.measure:
        overheads: dict[str, Any] = json.loads(given.overheads.read_text())
        ray = overheads["ray"]
        made = [measure(given.model, given.data, shots, given.pieces, ray["message_seconds"], ray["start_seconds"]) for shots in SHOTS]
        given.json.write_text(json.dumps([asdict(measured) for measured in made]) + "\n")
    printed = "\n\n".join(text(Measured(**plan)) for plan in json.loads(given.json.read_text()))
    print(printed)
    if given.document:
        put(given.document, "scaling", printed)


if __name__ == "__main__":
    main()

"""Attention in blocks and under a mask: seconds of the same requests on the same model, taking turns, and of the kernel itself.

Example: python -m benchmarks.engine.blocks --model DIR --data DIR --tasks mmlu_anatomy:5:40 hellaswag:0:20

A task is NAME:SHOTS:QUESTIONS. The kernel's table says what a block costs beside its products, on which the planning of blocks depends.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.documents import put, table
from harness.contract import ChoiceScores, ScoreChoices, Usage
from harness.evaluation.options import Options
from harness.evaluation.plan import plan
from harness.evaluation.progress import SilentProgress, StageTimer

TOKENS = (16, 32, 64, 96, 128, 192, 256, 384, 512)
HEADS, GROUP, WIDTH = 3, 3, 64
"""Of the kernel's table: a model of 135 M parameters."""


@dataclass(frozen=True)
class BlocksMeasured:
    """One task.

    Attributes:
        task: its name.
        shots: examples before each question.
        questions: number of requests.
        prefix: tokens of the longest cached prefix.
        computed: tokens that were computed.
        masks: seconds under masks, round by round.
        blocks: seconds in blocks.
        difference: largest difference between the log-probabilities of both, in nats.
    """

    task: str
    shots: int
    questions: int
    prefix: int
    computed: int
    masks: tuple[float, ...]
    blocks: tuple[float, ...]
    difference: float


def measure(model: str, data: Path, task: str, shots: int, questions: int, rounds: int) -> BlocksMeasured:
    """Score the questions of a task with masks and in blocks, in turns."""
    options = Options(model=model, tasks=task, shots=shots, data=data, limit=questions, device="cpu")
    work = plan(options, SilentProgress(), StageTimer())
    requests = list({request.id: request for request in work.requests if isinstance(request, ScoreChoices)}.values())
    (_, adapter), *_ = work.systems.systems
    seconds: dict[bool, list[float]] = {True: [], False: []}
    values: dict[bool, dict[str, tuple[float, ...]]] = {True: {}, False: {}}
    with work.systems.session().engine(adapter) as opened:
        engine: Any = opened
        if not engine.abilities.blocks:
            raise SystemExit(f"{model} is not computed in blocks.")
        list(engine.score(requests[:4]))
        prefix = max(batch.skip for batch in engine._scoring(requests))
        for number in range(2 * rounds):
            blocks = number % 2 == 1
            engine._causal = replace(engine._causal, blocks=blocks)
            engine.usage = engine._causal.usage = Usage()
            began = time.perf_counter()
            answers = [response for batch in engine.score(requests) for response in batch if isinstance(response, ChoiceScores)]
            seconds[blocks].append(time.perf_counter() - began)
            values[blocks] = {response.id: response.logprobs for response in answers}
        computed = engine._causal.usage.prefill_tokens
    work.systems.close()
    difference = max(abs(a - b) for name, pair in values[True].items() for a, b in zip(pair, values[False][name], strict=True))
    return BlocksMeasured(task, shots, len(requests), prefix, computed, tuple(seconds[False]), tuple(seconds[True]), difference)


def kernel_seconds() -> dict[int, float]:
    """Seconds of the kernel for a block of this many tokens that see themselves alone; the best of many."""
    import torch

    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    made: dict[int, float] = {}
    for tokens in TOKENS:
        queries = torch.randn(HEADS, GROUP, tokens, WIDTH)
        keys = torch.randn(HEADS, 1, tokens, WIDTH).expand(-1, GROUP, -1, -1)
        mask = torch.zeros(tokens, tokens)
        made[tokens] = best(partial(kernel, queries, keys, keys, 0.0, False, attn_mask=mask))
    return made


def best(call: Callable[[], object], times: int = 60) -> float:
    """The fewest seconds that a call took."""
    call()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken)


def text(measured: Sequence[BlocksMeasured], kernel: dict[int, float], machine: str) -> str:
    """Both tables."""
    header = ["task", "shots", "questions", "longest prefix", "tokens computed", "masks", "blocks", "ratio", "largest difference"]
    rows = []
    for task in measured:
        ratios = [masks / blocks for masks, blocks in zip(task.masks, task.blocks, strict=True)]
        rows.append(
            [
                task.task,
                str(task.shots),
                str(task.questions),
                str(task.prefix),
                f"{task.computed:,}",
                f"{statistics.median(task.masks):.1f} s",
                f"{statistics.median(task.blocks):.1f} s",
                f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]",
                f"{task.difference:.1e}",
            ]
        )
    pairs, seconds = np.array([tokens**2 for tokens in kernel]), np.array(list(kernel.values()))
    each, call = np.polyfit(pairs, seconds, 1, w=1 / seconds)
    said = (
        f"{machine}. The kernel: {1e6 * call:.0f} µs a call and {1e9 * each:.1f} ns a pair of a query and a key, "
        f"so that a call costs as much as {call / each:,.0f} pairs."
    )
    rounds = len(measured[0].masks) if measured else 0
    return "\n".join([*table(header, rows), "", f"Medians of {rounds} turns; ratios are those of each turn.", "", said])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the tables."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/blocks.json"))
    parser.add_argument("--document", type=Path)
    given = parser.parse_args(arguments)
    measured = []
    for task in given.tasks:
        name, shots, questions = task.split(":")
        measured.append(measure(given.model, given.data, name, int(shots), int(questions), given.rounds))
    kernel = kernel_seconds()
    machine = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    given.json.write_text(json.dumps({"machine": machine, "tasks": [asdict(task) for task in measured], "kernel": kernel}) + "\n")
    printed = text(measured, kernel, machine)
    print(printed)
    if given.document:
        put(given.document, "benchmarks.engine.blocks", printed)


if __name__ == "__main__":
    main()

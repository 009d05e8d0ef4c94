"""Questions longer than the token budget: tokens that the plan promises, tokens computed, and seconds, with sharing and without.

Example: python -m benchmarks.engine.long_questions --model DIR --data DIR --tasks mmlu_cloze_anatomy --shots 25 --limit 10

Both engines answer the same requests in one process, taking turns, so that a busy machine slows both. Without sharing, each choice is
computed with its whole prompt.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.documents import table
from harness.contract import ChoiceScores, Generate, ScoreRequest, TextScore, Usage
from harness.evaluation.options import Options
from harness.evaluation.plan import EvaluationPlan, plan
from harness.evaluation.progress import SilentProgress, StageTimer


@dataclass(frozen=True)
class Measured:
    """One task.

    Attributes:
        task: its name.
        questions: number of requests.
        longest: tokens of the longest prompt.
        budget: tokens in a batch.
        requested: tokens of all prompts and choices with nothing shared.
        promised: tokens that the plan says are computed.
        computed: tokens that were computed.
        shared: seconds with sharing, round by round.
        alone: seconds without.
        difference: largest difference between the log-probabilities of both, in nats.
    """

    task: str
    questions: int
    longest: int
    budget: int
    requested: int
    promised: int
    computed: int
    shared: tuple[float, ...]
    alone: tuple[float, ...]
    difference: float


def measure(work: EvaluationPlan, task: str, rounds: int) -> Measured:
    """Answer the planned questions with sharing and without, in turns."""
    from harness.engine.transformers.budget import max_logit_positions
    from harness.engine.transformers.explain import explain

    requests: list[ScoreRequest] = [
        request for request in {request.id: request for request in work.requests}.values() if not isinstance(request, Generate)
    ]
    (_, adapter), *_ = work.systems.systems
    with work.systems.session().engine(adapter) as engine:
        shared: Any = engine
        alone = replace(shared, share=False, usage=Usage(), notes=[])
        start = shared.module.generation_config.decoder_start_token_id if shared.architecture == "seq2seq" else None
        kept = max_logit_positions(shared.module.get_output_embeddings().weight.shape[0])
        (promise,) = explain(requests, [], start, shared.budget, kept)
        seconds: dict[bool, list[float]] = {True: [], False: []}
        values: dict[bool, dict[str, tuple[float, ...]]] = {True: {}, False: {}}
        for number in range(2 * rounds):
            kind = number % 2 == 0
            each = replace(shared, usage=Usage(), notes=[]) if kind else replace(alone, usage=Usage(), notes=[])
            assert each.abilities is not None
            began = time.perf_counter()
            values[kind] = dict(_values(each, requests))
            seconds[kind].append(time.perf_counter() - began)
            if kind:
                usage = each.usage
    pairs = [pair for key, logprobs in values[True].items() for pair in zip(logprobs, values[False][key], strict=True)]
    return Measured(
        task,
        len(requests),
        max(len(request.context) for request in requests if hasattr(request, "context")),
        shared.budget.score,
        promise.requested,
        promise.computed,
        usage.prefill_tokens,
        tuple(seconds[True]),
        tuple(seconds[False]),
        max(abs(first - second) for first, second in pairs),
    )


def _values(engine: Any, requests: list[ScoreRequest]) -> Iterator[tuple[str, tuple[float, ...]]]:
    for batch in engine.score(requests):
        for response in batch:
            assert isinstance(response, (ChoiceScores, TextScore))
            yield response.id, response.logprobs


def row(measured: Measured) -> tuple[str, ...]:
    """One line of the table."""
    ratios = sorted(alone / shared for alone, shared in zip(measured.alone, measured.shared, strict=True))
    return (
        f"{measured.task}, {measured.questions} questions",
        f"{measured.longest:,} of {measured.budget:,}",
        f"{measured.requested:,} / {measured.promised:,} / {measured.computed:,}",
        f"{statistics.median(measured.shared):.1f} s",
        f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]",
        f"{measured.difference:.1e}",
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of dataset snapshots")
    parser.add_argument("--tasks", default="mmlu_cloze_anatomy")
    parser.add_argument("--shots", type=int, default=25)
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    measured = []
    for task in given.tasks.split(","):
        options = Options(
            model=given.model,
            tasks=task,
            shots=given.shots,
            limit=given.limit,
            data=given.data,
            device="cpu",
            batch_tokens=given.batch_tokens,
        )
        work = plan(options, SilentProgress(), StageTimer())
        measured.append(measure(work, task, given.rounds))
        work.systems.close()
    header = ("task", "longest prompt, budget", "tokens requested / promised / computed", "seconds", "without sharing", "difference")
    print("\n".join(table(header, [row(entry) for entry in measured])))
    if given.json:
        given.json.write_text(json.dumps([asdict(entry) for entry in measured], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

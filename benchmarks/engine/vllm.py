"""CPU seconds of five-shot questions on vLLM, by how log-probabilities are asked, and on our own engine.

Example: python -m benchmarks.engine.vllm --model DIR --data DIR --document docs/backends.md

Needs an environment with vLLM (`make vllm`). CPU seconds are those of this process and all below it; loading is not counted, and the first
questions of another subject warm each engine up. The last column is the largest distance of a log-probability from our own engine.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.documents import put, table
from harness.contract import ChoiceScores, ScoreChoices
from harness.engine import base
from harness.engine.vllm import VllmEngine
from harness.engine.vllm.scoring import VllmAbilities
from harness.evaluation.options import Options
from harness.evaluation.plan import plan
from harness.evaluation.progress import SilentProgress, StageTimer
from harness.models.opening import Opening

QUESTIONS, SHOTS, WARM = 60, 5, 4
OLD = VllmAbilities(next_tokens=False, cached_prompts=False)
PATHS = {
    "vLLM, one prompt a question": None,
    "vLLM, a prompt a choice, prefix cache": VllmAbilities(next_tokens=False, cached_prompts=True),
    "vLLM, a prompt a choice": OLD,
}


def seconds() -> float:
    """CPU seconds of this process and of those below it that run."""
    own = psutil.Process()
    return float(sum(sum(process.cpu_times()[:2]) for process in (own, *own.children(recursive=True))))


def questions(model: Path, data: Path, task: str, limit: int, folder: Path) -> tuple[Opening, list[ScoreChoices]]:
    """The model, and the requests of one MMLU subject."""
    options = Options(model=str(model), tasks=task, shots=SHOTS, limit=limit, data=data, device="cpu", dtype="float32", output=folder)
    work = plan(options, SilentProgress(), StageTimer())
    return work.systems.opening, [request for request in work.requests if isinstance(request, ScoreChoices)]


def scored(engine: Any, requests: Sequence[ScoreChoices]) -> dict[str, tuple[float, ...]]:
    """Log-probabilities by request."""
    return {answer.id: answer.logprobs for batch in engine.score(requests) for answer in batch if isinstance(answer, ChoiceScores)}


@contextmanager
def opened(name: str, opening: Opening) -> Iterator[Any]:
    """An engine of a backend."""
    session = base.load(name).open(opening)
    try:
        with session.engine(None) as engine:
            yield engine
    finally:
        session.close()


def measure(engine: Any, warm: Sequence[ScoreChoices], requests: Sequence[ScoreChoices]) -> tuple[float, dict[str, tuple[float, ...]]]:
    """CPU seconds of the requests, and their log-probabilities."""
    scored(engine, warm)
    began = seconds()
    answers = scored(engine, requests)
    return seconds() - began, answers


def apart(first: dict[str, tuple[float, ...]], second: dict[str, tuple[float, ...]]) -> float:
    """The largest distance of two log-probabilities."""
    return max(abs(one - other) for key in first for one, other in zip(first[key], second[key], strict=True))


def main() -> None:
    """Measure each way, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--document", type=Path, help="Markdown whose table is written anew")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        opening, requests = questions(given.model, given.data, "mmlu_anatomy", QUESTIONS, Path(folder))
        _, warm = questions(given.model, given.data, "mmlu_virology", WARM, Path(folder))
        with opened("transformers", opening) as engine:
            ours, reference = measure(engine, warm, requests)
        rows = [("transformers", f"{ours:.1f}", "")]
        with opened("vllm", opening) as engine:
            assert isinstance(engine, VllmEngine)
            for name, abilities in PATHS.items():
                engine.server.llm.reset_prefix_cache()
                engine.abilities = engine.abilities if abilities is None else abilities
                spent, answers = measure(engine, warm, requests)
                rows.append((name, f"{spent:.1f}", f"{apart(answers, reference):.1e}"))
    text = "\n".join(table(("", "CPU seconds", "largest difference"), rows))
    print(f"{QUESTIONS} questions of MMLU anatomy, {SHOTS} shots, {sum(len(one.context) for one in requests)} tokens of prompts\n\n{text}")
    if given.document:
        put(given.document, "benchmarks.engine.vllm", text)


if __name__ == "__main__":
    main()

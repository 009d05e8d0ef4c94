"""The backend on a real vLLM: the same scores and texts as our own engine, with and without a LoRA adapter, and one message when it dies.

`make test-vllm` runs these in an environment of their own; without vLLM they are skipped.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from harness.contract import ChoiceScores, Generate, Request, Response, ScoreChoices, ScoreRequest, ScoreText, TextScore
from harness.engine import base
from harness.engine.base import Session
from harness.engine.vllm import VllmSession
from harness.errors import ModelError
from harness.evaluation.options import Options
from harness.evaluation.plan import EvaluationPlan, plan
from harness.evaluation.progress import StageTimer
from harness.models.opening import Opening
from tests.silent import Recorder

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed here: `make vllm`, then `make test-vllm`"),
]

QUESTIONS, DIALOGUES, TEXTS = 60, 50, 6
ADAPTER = Path(__file__).resolve().parents[2] / "adapters" / "lora_r8" / "smollm2-135m-instruct"
CLOSE = 1e-4
"""Of a log-probability of one token in float32, in nats."""


@dataclass
class Engines:
    """The same model on vLLM and on our own engine, and what both answered, by adapter and request."""

    opening: Opening
    sessions: dict[str, Session]
    work: EvaluationPlan
    answers: dict[tuple[str, bool], dict[str, Response]] = field(default_factory=dict)

    def requests(self, kind: type[Request]) -> list[Any]:
        """Those of one kind, of texts only so many as the test compares."""
        requests = [request for request in self.work.requests if isinstance(request, kind)]
        return requests[:DIALOGUES] if kind is Generate else requests

    def of(self, engine: str, adapted: bool) -> dict[str, Response]:
        """Every response of one engine, computed once."""
        if (engine, adapted) not in self.answers:
            with self.sessions[engine].engine(self.opening.adapters[adapted]) as made:
                scored = made.score([*self.requests(ScoreChoices), *self.requests(ScoreText)])
                batches = [*scored, *made.generate(self.requests(Generate))]
            self.answers[engine, adapted] = {response.id: response for batch in batches for response in batch}
        return self.answers[engine, adapted]


@pytest.fixture(scope="module")
def engines(smollm2: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    options = Options(
        model=str(smollm2),
        tasks="mmlu_anatomy,hellaswag,dialogsum",
        limit=QUESTIONS,
        data=data,
        adapter=(None, str(ADAPTER)),
        device="cpu",
        engine="vllm",
        engine_args="kv_cache_gib=1,max_num_seqs=64",
        output=tmp_path_factory.mktemp("out"),
    )
    work = plan(options, Recorder(), StageTimer())
    opening = work.systems.opening
    sessions = {name: base.load(name).open(opening) for name in ("vllm", "transformers")}
    yield Engines(opening, sessions, work)
    for session in sessions.values():
        session.close()


def compared(engines: Engines, requests: Sequence[ScoreRequest], adapted: bool) -> Iterator[tuple[ScoreRequest, int, float, bool, bool]]:
    """Each continuation: its request, its tokens, how far its log-probabilities are apart, and whether both engines call it greedy."""
    theirs, ours = engines.of("vllm", adapted), engines.of("transformers", adapted)
    for request in requests:
        here, there = ours[request.id], theirs[request.id]
        assert isinstance(here, ChoiceScores | TextScore)
        assert isinstance(there, ChoiceScores | TextScore)
        scored = request.choices if isinstance(request, ScoreChoices) else [tokens for _, tokens in request.windows]
        for tokens, one, other, greedy, also in zip(scored, here.logprobs, there.logprobs, here.greedy, there.greedy, strict=True):
            yield request, len(tokens), abs(one - other), greedy, also


@pytest.mark.parametrize("adapted", [False, True], ids=["base", "lora"])
def test_choices_of_one_token_are_those_of_our_engine(engines: Engines, adapted: bool) -> None:
    questions = [request for request in engines.requests(ScoreChoices) if {len(choice) for choice in request.choices} == {1}]
    assert len(questions) >= QUESTIONS
    apart = [distance for _, _, distance, _, _ in compared(engines, questions, adapted)]
    print(f"one token: {len(apart)} choices, at most {max(apart):.1e} apart")
    assert max(apart) < CLOSE
    assert all(greedy == also for *_, greedy, also in compared(engines, questions, adapted))


@pytest.mark.parametrize("adapted", [False, True], ids=["base", "lora"])
def test_choices_of_many_tokens_are_those_of_our_engine(engines: Engines, adapted: bool) -> None:
    questions = [request for request in engines.requests(ScoreChoices) if max(map(len, request.choices)) > 1]
    assert len(questions) >= QUESTIONS
    results = list(compared(engines, questions, adapted))
    worst = max(distance for _, _, distance, _, _ in results)
    each = max(distance / tokens for _, tokens, distance, _, _ in results)
    print(f"many tokens: {len(results)} choices, at most {worst:.1e} apart, {each:.1e} a token")
    assert each < CLOSE
    assert sum(greedy == also for *_, greedy, also in results) == len(results)


@pytest.mark.parametrize("adapted", [False, True], ids=["base", "lora"])
def test_greedy_texts_are_those_of_our_engine(engines: Engines, adapted: bool) -> None:
    theirs, ours = engines.of("vllm", adapted), engines.of("transformers", adapted)
    dialogues = [request.id for request in engines.requests(Generate)]
    assert len(dialogues) == DIALOGUES
    assert [theirs[key] for key in dialogues] == [ours[key] for key in dialogues]


def test_the_adapter_is_applied(engines: Engines) -> None:
    key = engines.requests(ScoreChoices)[0].id
    assert engines.of("vllm", True)[key] != engines.of("vllm", False)[key]


def test_a_killed_engine_is_one_message_and_leaves_no_process(engines: Engines) -> None:
    """The last test: the model is not loaded any more afterwards."""
    session = engines.sessions["vllm"]
    assert isinstance(session, VllmSession)
    with session.engine(None) as engine:
        server = engine.server
        core = next(process for process, name in server.processes.items() if "EngineCor" in name)
        batches = engine.generate(engines.requests(Generate))
        threading.Timer(2.0, os.kill, (core.pid, signal.SIGKILL)).start()
        with pytest.raises(ModelError, match=rf"vLLM ended unexpectedly: .*EngineCor.* \(process {core.pid}\)") as caught:
            list(batches)
    assert "Run the command again" in caught.value.remedy
    assert len(str(caught.value).splitlines()) <= 3
    assert not any(process.is_running() for process in server.processes)
    assert server.log is not None
    server.log.unlink()

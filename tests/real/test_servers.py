"""`--engine server` on servers that people run: vLLM's, with a LoRA adapter, killed and started again, and `transformers serve`."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.contract import ChoiceScores, Generation, Request, Response, ScoreChoices, ScoreText, TextScore
from harness.engine.server import client
from harness.errors import ModelError
from harness.evaluation.options import Options
from harness.evaluation.plan import plan
from harness.evaluation.progress import StageTimer
from harness.evaluation.run import run
from tests.real.servers import RealServer, transformers_serve, vllm
from tests.silent import Recorder
from tests.tasks.cases import content, write_rows, write_yaml

pytestmark = pytest.mark.real

ITEMS = 20
CLOSE = 1e-4
"""Nats for each token in float32."""
ROOT = Path(__file__).resolve().parents[2]
LORA = ROOT / "adapters" / "lora_r8" / "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def served(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """vLLM's server."""
    server = vllm(smollm2, tmp_path_factory.mktemp("vllm"), {"lora_r8": LORA}, ("q_proj", "v_proj"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def prose(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A task that scores texts."""
    folder = tmp_path_factory.mktemp("prose")
    starts = ["The river rises in the hills", "She opened the old book", "Prices fell again in March", "Two dogs slept by the door"]
    write_rows(folder / "rows.jsonl", [{"thing": start, "label": f"{start}, and nobody noticed."} for start in starts])
    scored: dict[str, Any] = {"answer": "score_text", "choices": None, "metrics": ["perplexity"]}
    return str(write_yaml(folder / "prose.yaml", content(task="prose", **scored)))


@dataclass
class Computed:
    """Requests of a run, and the responses of each of its systems."""

    requests: list[Request]
    responses: list[dict[str, Response]] = field(default_factory=list)


def computed(options: Options) -> Computed:
    """What a run's engines answer, without a cache."""
    work = plan(options, Recorder(), StageTimer())
    result = Computed(work.requests)
    scorings = [request for request in work.requests if isinstance(request, ScoreChoices | ScoreText)]
    generations = [request for request in work.requests if not isinstance(request, ScoreChoices | ScoreText)]
    try:
        for _, adapter in work.systems.systems:
            with work.systems.engine(adapter) as engine:
                batches = [*engine.score(scorings), *engine.generate(generations)]
                result.responses.append({response.id: response for batch in batches for response in batch})
    finally:
        work.systems.close()
    return result


def differences(requests: list[Request], ours: dict[str, Response], theirs: dict[str, Response]) -> Iterator[float]:
    """Difference of every log-probability for each of its tokens, in nats."""
    for request in requests:
        mine, other = ours[request.id], theirs[request.id]
        if isinstance(request, ScoreChoices | ScoreText):
            assert isinstance(mine, ChoiceScores | TextScore)
            assert isinstance(other, ChoiceScores | TextScore)
            scored = request.choices if isinstance(request, ScoreChoices) else [ids for _, ids in request.windows]
            assert mine.greedy == other.greedy
            for ids, before, after in zip(scored, mine.logprobs, other.logprobs, strict=True):
                yield abs(before - after) / len(ids)


@dataclass
class Load:
    """The most requests that vLLM had at the same time, as its metrics say."""

    most: int = 0

    def look(self, url: str) -> None:
        """Add what the server reports now."""
        with urllib.request.urlopen(url.replace("/v1", "/metrics"), timeout=30) as response:
            text = response.read().decode()
        counts = re.findall(r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} ([0-9.]+)", text, re.MULTILINE)
        assert counts
        self.most = max(self.most, int(sum(map(float, counts))))


@contextmanager
def observed(server: RealServer) -> Iterator[Load]:
    """Look at a server's load four times a second."""
    load, ended = Load(), threading.Event()

    def look() -> None:
        while not ended.wait(0.25):
            load.look(server.url)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield load
    finally:
        ended.set()
        thread.join()


def test_vllm_gives_what_our_engine_gives(served: RealServer, smollm2: Path, data: Path, prose: str, tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"model": str(smollm2), "data": data, "tasks": f"glue_sst2,dialogsum,{prose}", "limit": ITEMS}
    chosen |= {"adapter": (None, "lora_r8")}
    with observed(served) as load:
        theirs = computed(Options(engine="server", base_url=served.url, output=tmp_path / "theirs", **chosen))
    assert 2 <= load.most <= 16
    ours = computed(Options(device="cpu", dtype="float32", output=tmp_path / "ours", **chosen))
    assert ours.requests == theirs.requests
    base, adapted = theirs.responses
    assert base != adapted
    for mine, other in zip(ours.responses, theirs.responses, strict=True):
        generated = [response for response in mine.values() if isinstance(response, Generation)]
        furthest = max(differences(ours.requests, mine, other))
        equal = sum(other[response.id] == response for response in generated)
        print(f"largest difference {furthest:.2g} nats a token, texts equal {equal} of {len(generated)}")
        assert furthest < CLOSE
        assert equal == len(generated) == ITEMS


def test_a_prompt_beyond_the_servers_context_is_shortened_and_reported(served: RealServer, smollm2: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"thing": "word " * 3000, "label": 0}])
    task = str(write_yaml(tmp_path / "long.yaml", content(task="long")))
    options = Options(model=str(smollm2), tasks=task, engine="server", base_url=served.url, output=tmp_path / "out")
    (finished,) = run(options, Recorder(), cache=tmp_path / "cache.sqlite")
    assert finished.record.tasks["long"].shortened.text_cut == 1


def test_a_real_server_that_is_too_slow_ends_the_run(
    served: RealServer, smollm2: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.005)
    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.01)
    with pytest.raises(ModelError, match=r"does not answer, 6 times in a row \(ReadTimeout"):
        run(
            Options(model=str(smollm2), data=data, tasks="glue_sst2", limit=2, engine="server", base_url=served.url, output=tmp_path / "o"),
            Recorder(),
        )


def saved(cache: Path) -> int:
    """Responses in a cache."""
    files = list(cache.glob("responses*.sqlite")) if cache.is_dir() else []
    if not files:
        return 0
    with closing(sqlite3.connect(files[0], timeout=60)) as connection:
        try:
            return int(connection.execute("SELECT COUNT(*) FROM responses").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def repeated(cache: Path) -> int:
    """Responses that were computed more than once."""
    (file,) = cache.glob("responses*.sqlite")
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM responses WHERE times > 1").fetchone()[0])


def test_a_killed_server_ends_the_run_with_one_message_and_it_continues(
    served: RealServer, smollm2: Path, data: Path, tmp_path: Path
) -> None:
    items = 60
    cache = tmp_path / "cache"
    command = [sys.executable, "-m", "harness", "run", "--engine", "server", "--base-url", served.url, "--model", str(smollm2)]
    command += ["--data", str(data), "--tasks", "glue_sst2", "--limit", str(items), "--output"]
    environment = os.environ | {"HARNESS_CACHE": str(cache), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def started(output: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, output], cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    process = started("out")
    until = time.monotonic() + 300
    while not saved(cache) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    served.kill()
    text, _ = process.communicate(timeout=300)
    before = saved(cache)
    assert process.returncode == 2, text
    assert len(re.findall(r"^Error: ", text, re.MULTILINE)) == text.count("does not answer, 6 times in a row") == 1
    assert "run the same command again" in " ".join(text.split())
    assert "Traceback" not in text
    assert 0 < before < items
    assert not (tmp_path / "out" / "results.json").exists()
    served.start()
    process = started("out")
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text
    efficiency = json.loads((tmp_path / "out" / "results.json").read_text())["efficiency"]["requests"]
    assert (efficiency["cached"], efficiency["computed"]) == (before, items - before)
    assert (saved(cache), repeated(cache)) == (items, 0)
    environment["HARNESS_CACHE"] = str(tmp_path / "another")
    process = started("whole")
    assert process.wait(timeout=600) == 0
    samples = [
        [json.loads(line) for line in (tmp_path / name / "samples" / "glue_sst2.jsonl").read_text().splitlines()]
        for name in ("out", "whole")
    ]
    furthest = max(
        abs(mine - other)
        for first, second in zip(*samples, strict=True)
        for mine, other in zip(first["logprobs"], second["logprobs"], strict=True)
    )
    print(f"continued against uninterrupted: {furthest:.2g} nats")
    assert furthest < CLOSE


def test_transformers_serve_generates_text_and_is_refused_for_choices(smollm2: Path, data: Path, tmp_path: Path) -> None:
    items = 10
    server = transformers_serve(smollm2, tmp_path)
    server.start()
    chosen: dict[str, Any] = {"model": str(smollm2), "data": data, "limit": items}
    there: dict[str, Any] = {"engine": "server", "base_url": server.url}
    try:
        with pytest.raises(ModelError) as caught:
            computed(Options(tasks="glue_sst2", output=tmp_path / "refused", **there, **chosen))
        theirs = computed(Options(tasks="dialogsum", output=tmp_path / "theirs", **there, **chosen))
    finally:
        server.kill()
    assert f"The server at {server.url} with its model {smollm2} cannot score choices or texts" in caught.value.what
    assert "it refuses token ids as a prompt" in caught.value.what
    assert "gives text no log-probabilities" in caught.value.what
    ours = computed(Options(tasks="dialogsum", device="cpu", dtype="float32", output=tmp_path / "ours", **chosen))
    texts = [
        [response.text for response in responses.values() if isinstance(response, Generation)]
        for responses in (dict(sorted(ours.responses[0].items())), dict(sorted(theirs.responses[0].items())))
    ]
    equal = sum(mine == other for mine, other in zip(*texts, strict=True))
    print(f"texts equal {equal} of {len(texts[0])}")
    assert equal == items

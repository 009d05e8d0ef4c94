"""What checking costs when cached responses and results are read: `python -m benchmarks.reading [--json FILE]`.

Responses: the time to read 56,000 of them as the store does, and without checksums and without a look at the requests. Results: the time
to read 200 runs of 100 tasks, and without the digest over their content. Times are CPU seconds, the least of several rounds, both ways in
turn. Everything is made up.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console
from rich.table import Table

from harness.contract import ChoiceScores, Request, Response, ScoreChoices
from harness.store import digests, responses, runs
from harness.store.records import RunRecord
from harness.store.responses import ResponseStore
from harness.store.saving import save

RESPONSES = 56_000
RUNS = 200
TASKS = 100
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the table here")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = {f"{RESPONSES:,} responses": _responses(Path(place)), f"{RUNS} runs of {TASKS} tasks": _results(Path(place) / "runs")}
    table = Table("read", "unchecked, s", "checked, s", "ratio")
    for name, (without, checked) in found.items():
        table.add_row(name, f"{without:.2f}", f"{checked:.2f}", f"{checked / without:.2f}")
    Console().print(table)
    if chosen.json:
        content = {name: {"unchecked": without, "checked": checked} for name, (without, checked) in found.items()}
        chosen.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _timed(work: Callable[[], object], without: Callable[[], Any]) -> tuple[float, float]:
    """Least CPU seconds of the work, without its checks and with them."""
    least = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for place in (0, 1):
            if place == 0:
                with without():
                    least[0] = min(least[0], _seconds(work))
            else:
                least[1] = min(least[1], _seconds(work))
    return least[0], least[1]


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _responses(place: Path) -> tuple[float, float]:
    rng = random.Random(0)
    requests: dict[bytes, Request] = {}
    answers = []
    for number in range(RESPONSES):
        request = ScoreChoices(f"q{number}", (number, 1), ((1,), (2,), (3,), (4,)))
        scores = tuple(-20 * rng.random() for _ in range(4))
        key = ResponseStore.key("system", request)
        requests[key] = request
        answers.append((key, request, ChoiceScores(request.id, scores, tuple(score > -2 for score in scores))))
    with ResponseStore(place / "responses.sqlite") as store:
        store.put(answers)
        return _timed(lambda: store.get_many(requests), _unchecked_responses)


@contextmanager
def _unchecked_responses() -> Iterator[None]:
    def taken(key: bytes, payload: bytes, checksum: bytes, request: Request) -> Response:
        content = json.loads(payload)
        return ChoiceScores(request.id, tuple(map(float, content["logprobs"])), tuple(map(bool, content["greedy"])))

    with mock.patch.object(responses, "_sound", taken):
        yield


def _results(place: Path) -> tuple[float, float]:
    for number in range(RUNS):
        save(_run(number), {}, place / str(number))
    files = runs.find_runs([place])
    return _timed(lambda: [runs.read(file) for file in files], _undigested)


@contextmanager
def _undigested() -> Iterator[None]:
    """The text is taken as it was written, without its digest, and nothing is compared."""

    def taken(content: Mapping[str, Any]) -> str:
        return bodies[content["system"]["name"]]

    bodies = {f"system {number}": _run(number).model_dump_json() for number in range(RUNS)}
    recorded = {body: digests.digest(digests.canonical(json.loads(body))) for body in bodies.values()}
    with mock.patch.object(digests, "canonical", taken), mock.patch.object(digests, "digest", recorded.get):
        yield


def _run(number: int) -> RunRecord:
    from tests.store import records

    return records.run(f"system {number}", {f"task_{place}": records.task((number * place % 97) / 97) for place in range(TASKS)})


if __name__ == "__main__":
    main()

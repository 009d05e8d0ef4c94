"""Rows of the response store that were damaged, or that cannot be answers, are computed again and never served."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from harness.contract import ChoiceScores, Generate, Generation, Request, Response, ScoreChoices, ScoreText, TextScore
from harness.errors import NumericError, StorageError
from harness.evaluation.response_cache import ResponseCache
from harness.store.responses import ResponseStore
from harness.store.validity import fault
from harness.store.writing import Writer

CHOICES = ScoreChoices("pick", (1, 2), ((3,), (4, 5), (6,)))
TEXT = ScoreText("read", (((), (1, 2)), ((2,), (3,))))
WRITE = Generate("say", (1, 2), 4)
RIGHT: dict[Request, Response] = {
    CHOICES: ChoiceScores("pick", (-1.5, -0.25, -7.0), (False, True, False)),
    TEXT: TextScore("read", (-3.5, -1.0), (True, False)),
    WRITE: Generation("say", " a bee", (5, 6), "eos"),
}
WRONG: list[tuple[Request, Response, str]] = [
    (CHOICES, ChoiceScores("pick", (5.0, 7.0, -1.0)), "log-probability of 5.0, which is above 0"),
    (CHOICES, ChoiceScores("pick", (-1.0, -2.0)), "2 log-probabilities for 3 choices"),
    (CHOICES, ChoiceScores("pick", (-1.0, float("-inf"), -2.0)), "not finite"),
    (CHOICES, ChoiceScores("pick", (-1.0, float("nan"), -2.0)), "not finite"),
    (CHOICES, ChoiceScores("pick", (-1.0, -1.0, -2.0), (True,)), "1 greedy flags for 3 choices"),
    (CHOICES, TextScore("pick", (-1.0, -1.0, -2.0)), "TextScore is not a response to ScoreChoices"),
    (TEXT, TextScore("read", (-1.0,)), "1 log-probabilities for 2 texts"),
    (TEXT, TextScore("read", (-1.0, 0.5)), "above 0"),
    (TEXT, ChoiceScores("read", (-1.0, -0.5)), "ChoiceScores is not a response to ScoreText"),
    (WRITE, Generation("say", "a", (1, 2, 3, 4, 5), "length"), "5 new tokens, more than the maximum of 4"),
    (WRITE, Generation("say", "a", (-1,), "eos"), "token id of -1"),
    (WRITE, Generation("say", "a", (2**40,), "eos"), "token id of 1099511627776"),
    (WRITE, ChoiceScores("say", (-1.0,)), "ChoiceScores is not a response to Generate"),
]


def key_of(request: Request) -> bytes:
    return ResponseStore.key("system", request)


def served(path: Path, requests: Iterable[Request]) -> dict[Request, Response]:
    with ResponseStore(path) as store:
        found = store.get_many({key_of(request): request for request in requests}).responses
    return {request: found[key_of(request)] for request in requests if key_of(request) in found}


def kept(path: Path, answers: dict[Request, Response]) -> Path:
    with ResponseStore(path) as store:
        store.put([(key_of(request), request, response) for request, response in answers.items()])
    return path


def rewritten(path: Path, request: Request, payload: Any) -> None:
    """Put another payload into a row, with a checksum that fits it."""
    text = json.dumps(payload)
    checksum = blake2b(key_of(request) + text.encode(), digest_size=16).digest()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        done = connection.execute("UPDATE responses SET payload = ?, checksum = ? WHERE key = ?", (text, checksum, key_of(request)))
        assert done.rowcount == 1


def test_a_response_that_fits_its_request_has_no_fault() -> None:
    assert {request: fault(request, response) for request, response in RIGHT.items()} == dict.fromkeys(RIGHT)
    assert fault(CHOICES, ChoiceScores("pick", (-1.0, 3e-7, -0.0))) is None


@pytest.mark.parametrize(("request_", "response", "reason"), WRONG)
def test_what_cannot_be_an_answer_is_not_kept(tmp_path: Path, request_: Request, response: Response, reason: str) -> None:
    with ResponseStore(tmp_path / "r.sqlite") as store:
        with pytest.raises(NumericError, match=reason) as caught:
            store.put([(key_of(request_), request_, response)], "vllm")
        assert f"vllm returned an invalid response to request '{request_.id}'" in caught.value.what
        kind = {ScoreChoices: "ChoiceScores: a finite", ScoreText: "TextScore: a finite", Generate: "Generation: text"}[type(request_)]
        assert caught.value.remedy.startswith(f"Expected {kind}")
        helps = "--dtype float32" if "not finite" in caught.value.what else "Correct the backend"
        assert helps in caught.value.remedy
        assert store.times(key_of(request_)) == 0


@pytest.mark.parametrize(
    ("request_", "payload"),
    [
        (CHOICES, {"logprobs": [5.0, 7.0, -1.0], "greedy": []}),
        (CHOICES, {"logprobs": [-1.0, -7.0], "greedy": []}),
        (CHOICES, {"logprobs": [-1.0, -7.0, -1e999], "greedy": []}),
        (CHOICES, {"logprobs": ["-1.0", "-7.0", "-2.0"], "greedy": []}),
        (CHOICES, {"logprobs": [-1, -7, -2], "greedy": []}),
        (CHOICES, {"logprobs": [-1.0, -7.0, None], "greedy": []}),
        (CHOICES, {"logprobs": [-1.0, -7.0, -2.0], "greedy": [1]}),
        (CHOICES, {"windows": [-1.0, -7.0, -2.0], "greedy": []}),
        (CHOICES, {"text": "a", "tokens": [1], "finish": "eos"}),
        (TEXT, {"windows": [-1.0], "greedy": []}),
        (WRITE, {"text": 3, "tokens": [1], "finish": "eos"}),
        (WRITE, {"text": "a", "tokens": [1.5], "finish": "eos"}),
        (WRITE, {"text": "a", "tokens": [1, 2, 3, 4, 5], "finish": "length"}),
        (WRITE, {"text": "a", "tokens": [1], "finish": "bored"}),
        (WRITE, {"text": "a", "tokens": [1]}),
        (WRITE, []),
        (WRITE, None),
    ],
)
def test_a_row_that_cannot_be_an_answer_is_not_served_whatever_its_checksum(tmp_path: Path, request_: Request, payload: Any) -> None:
    path = kept(tmp_path / "r.sqlite", RIGHT)
    rewritten(path, request_, payload)
    with ResponseStore(path) as store:
        found = store.get_many({key_of(one): one for one in RIGHT})
        assert found.damaged == {key_of(request_)}
        assert set(found.responses) == {key_of(one) for one in RIGHT if one is not request_}
        store.put([(key_of(request_), request_, RIGHT[request_])])
        assert store.times(key_of(request_)) == 1
    assert served(path, RIGHT) == RIGHT


def test_a_damaged_row_is_computed_again_and_said(tmp_path: Path) -> None:
    path = kept(tmp_path / "r.sqlite", RIGHT)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE responses SET payload = replace(payload, '-0.25', '-0.75')")
    with ResponseStore(path) as store:
        cache = ResponseCache(list(RIGHT), "system", store)
        assert cache.notes == ["1 cached response was damaged, and is computed again."]
        assert cache.answered == {"read", "say"}
        with Writer(store) as writer:
            cache.add([RIGHT[CHOICES]], writer)
        again = ResponseCache(list(RIGHT), "system", store)
        assert (again.notes, again.complete) == ([], True)
        assert again.responses["pick"] == RIGHT[CHOICES]


def test_rows_without_a_checksum_are_computed_again_and_said(tmp_path: Path) -> None:
    """A file of schema 1 is taken over: nothing tells a damaged row in it from a sound one."""
    path = tmp_path / "r.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "CREATE TABLE responses (key BLOB PRIMARY KEY NOT NULL CHECK (length(key) = 32), payload TEXT NOT NULL, "
            "times INTEGER NOT NULL DEFAULT 1) WITHOUT ROWID"
        )
        connection.execute("PRAGMA user_version = 1")
        payloads: dict[Request, str] = {CHOICES: '{"logprobs":[-9.0,-9.0,-9.0],"greedy":[]}', TEXT: '{"windows":[-9.0,-9.0],"greedy":[]}'}
        connection.executemany(
            "INSERT INTO responses (key, payload) VALUES (?, ?)", [(key_of(one), text) for one, text in payloads.items()]
        )
    with ResponseStore(path) as store:
        cache = ResponseCache(list(RIGHT), "system", store)
        assert cache.notes == ["2 cached responses were written by an earlier version, without a checksum, and are computed again."]
        assert cache.responses == {}
        with Writer(store) as writer:
            cache.add(list(RIGHT.values()), writer)
        assert store.times(key_of(CHOICES)) == 2
    assert served(path, RIGHT) == RIGHT
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)


def many(number: int) -> dict[Request, Response]:
    """Answers of every kind."""
    rng = random.Random(11)
    found: dict[Request, Response] = {}
    for n in range(number):
        scores = tuple(-rng.uniform(0, 20) for _ in range(4))
        request: Request = ScoreChoices(f"c{n}", (n,), ((1,), (2,), (3,), (4,)))
        found[request] = ChoiceScores(request.id, scores, tuple(score == max(scores) for score in scores))
        request = Generate(f"g{n}", (n,), 8)
        found[request] = Generation(request.id, rng.choice(["yes", "no", "it is 42"]), tuple(rng.randrange(30000) for _ in range(5)), "eos")
        request = ScoreText(f"t{n}", (((), (n, 1)),))
        found[request] = TextScore(request.id, (-rng.uniform(0, 90),), (False,))
    return found


def test_no_flipped_bit_changes_an_answer(tmp_path: Path) -> None:
    """600 single flips all over the pages that hold rows: keys, payloads, checksums and SQLite's own bytes between them."""
    answers = many(60)
    whole = kept(tmp_path / "whole.sqlite", answers)
    with closing(sqlite3.connect(whole)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    content, rng = whole.read_bytes(), random.Random(5)
    ends = {"unchanged": 0, "computed again": 0, "refused": 0}
    for number in range(600):
        path = tmp_path / f"{number}.sqlite"
        shutil.copyfile(whole, path)
        place = rng.randrange(4096, len(content))
        with path.open("r+b") as file:
            file.seek(place)
            file.write(bytes([content[place] ^ (1 << rng.randrange(8))]))
        try:
            found = served(path, answers)
        except StorageError:
            ends["refused"] += 1
            continue
        finally:
            path.unlink()
        assert all(answers[request] == response for request, response in found.items()), place
        ends["unchanged" if len(found) == len(answers) else "computed again"] += 1
    print(ends)
    assert ends["computed again"] > 300

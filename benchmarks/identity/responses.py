"""Attempts on the response cache: damaged rows, answers that cannot be, and a file of an earlier version."""

from __future__ import annotations

import json
import random
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

from benchmarks.identity.case import Case, Place

MODEL = "minimind2-small"
TASKS = "glue_rte,superglue_boolq"
LIMIT = 30
FILES = 3
FLIPS = 40
PAGE = 4096


def cases(place: Place) -> Iterator[Case]:
    """Change the cache of a real run, run again, and compare the scores."""
    store, whole = place.scratch / "cache" / "responses.sqlite", place.scratch / "whole.sqlite"
    right, _ = _scores(place, "first")
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(store, whole)
    for number, (attempt, change) in enumerate(_CHANGES.items()):
        _restored(whole, store)
        change(store)
        yield _again(place, f"{number}", attempt, right)
    for where, places in {"payloads": _payload_bytes(whole), "rows and pages": range(PAGE, whole.stat().st_size)}.items():
        for seed in range(FILES):
            _restored(whole, store)
            _flip(store, seed, places)
            yield _again(place, f"flips-{where[:4]}-{seed}", f"{FLIPS} flipped bits in {where}, seed {seed}", right)


def _scores(place: Place, name: str) -> tuple[dict[str, float | None] | None, str]:
    """Every score by task and metric, and what was said; None where the run was refused."""
    output = place.scratch / "results" / name
    arguments = ("run", "--model", place.models / MODEL, "--data", place.data, "--tasks", TASKS, "--limit", str(LIMIT), "--device", "cpu")
    done = place.harness(*arguments, "--output", output)
    if done.returncode not in (0, 2) or "Traceback" in done.stderr:
        raise RuntimeError(done.stderr)
    if done.returncode:
        return None, done.stderr
    tasks = json.loads((output / "results.json").read_text())["tasks"]
    return {f"{task}.{key}": metric["value"] for task, one in tasks.items() for key, metric in one["metrics"].items()}, done.stderr


def _again(place: Place, name: str, attempt: str, right: dict[str, float | None] | None) -> Case:
    scores, said = _scores(place, name)
    line = next((one for one in said.splitlines() if "cached response" in one or one.startswith("Error")), "nothing was said")
    line = line.replace(str(place.scratch), "")[:150]
    if scores is None:
        return Case("cached responses", attempt, "refused", line)
    if scores != right:
        return Case("cached responses", attempt, "SLIPPED", f"{scores} instead of {right}")
    return Case("cached responses", attempt, "recomputed" if "computed again" in line else "kept", f"same scores; {line}")


def _restored(whole: Path, store: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        store.with_name(store.name + ending).unlink(missing_ok=True)
    shutil.copyfile(whole, store)


def _payloads(change: Callable[[str], str], *, sealed: bool) -> Callable[[Path], None]:
    """Change every payload; with a checksum that fits it where `sealed`."""

    def edit(store: Path) -> None:
        with closing(sqlite3.connect(store, isolation_level=None)) as connection:
            rows = connection.execute("SELECT key, payload, checksum FROM responses").fetchall()
            for key, payload, checksum in rows:
                text = change(payload)
                fitting = blake2b(key + text.encode(), digest_size=16).digest() if sealed else checksum
                connection.execute("UPDATE responses SET payload = ?, checksum = ? WHERE key = ?", (text, fitting, key))

    return edit


def _reversed(payload: str) -> str:
    content = json.loads(payload)
    content["logprobs"] = content["logprobs"][::-1]
    return json.dumps(content)


def _with_logprobs(*values: float) -> Callable[[str], str]:
    return lambda payload: json.dumps(json.loads(payload) | {"logprobs": list(values)})


def _as_schema_1(store: Path) -> None:
    """Without checksums, and with the choices' log-probabilities in reverse."""
    _payloads(_reversed, sealed=False)(store)
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute(
            "CREATE TABLE older (key BLOB PRIMARY KEY NOT NULL, payload TEXT NOT NULL, times INTEGER NOT NULL DEFAULT 1) WITHOUT ROWID"
        )
        connection.execute("INSERT INTO older SELECT key, payload, times FROM responses")
        connection.execute("DROP TABLE responses")
        connection.execute("ALTER TABLE older RENAME TO responses")
        connection.execute("PRAGMA user_version = 1")


def _truncated(store: Path) -> None:
    content = store.read_bytes()
    store.write_bytes(content[: len(content) // 2])


def _payload_bytes(store: Path) -> Sequence[int]:
    """Where payloads lie in the file."""
    return [place for found in re.finditer(rb'\{"logprobs[^}]*\}', store.read_bytes()) for place in range(*found.span())]


def _flip(store: Path, seed: int, places: Sequence[int]) -> None:
    """Flip a single bit at some of these places; the first page, which only describes the table, is left alone."""
    content, rng = bytearray(store.read_bytes()), random.Random(seed)
    for place in rng.sample(places, FLIPS):
        content[place] ^= 1 << rng.randrange(8)
    store.write_bytes(content)


_CHANGES: dict[str, Callable[[Path], None]] = {
    "log-probabilities in reverse": _payloads(_reversed, sealed=False),
    "log-probabilities [5.0, 7.0] with a valid checksum": _payloads(_with_logprobs(5.0, 7.0), sealed=True),
    "one log-probability for two choices, valid checksum": _payloads(_with_logprobs(-1.0), sealed=True),
    "a text for a choice, valid checksum": _payloads(lambda _: '{"text":"yes","tokens":[1],"finish":"eos"}', sealed=True),
    "no JSON, valid checksum": _payloads(lambda _: "yes", sealed=True),
    "a file of schema 1 with changed answers": _as_schema_1,
    "the file cut in half": _truncated,
}

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import ChoiceScores, Generate, Generation, Request, Response, ScoreChoices, ScoreText, TextScore
from harness.errors import NumericError, StorageError
from harness.store.responses import Answer, ResponseStore

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]

tokens = st.lists(st.integers(0, 3), max_size=3).map(tuple)
some_tokens = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple)
names = st.sampled_from(["", "a", "b"])
requests = st.one_of(
    st.builds(ScoreChoices, id=names, context=tokens, choices=st.lists(some_tokens, min_size=1, max_size=3).map(tuple)),
    st.builds(ScoreText, id=names, windows=st.lists(st.tuples(tokens, some_tokens), max_size=3).map(tuple)),
    st.builds(
        Generate,
        id=names,
        context=tokens,
        max_new_tokens=st.integers(1, 3),
        stop=st.lists(st.text("a\n", max_size=2), max_size=2).map(tuple),
        temperature=st.sampled_from([0.0, 0.5]),
        top_p=st.sampled_from([0.9, 1.0]),
        seed=st.integers(0, 2),
    ),
)


def meaning(request: Request) -> Request:
    """The request without what may not matter: its id, and the seed of a greedy decode."""
    if isinstance(request, Generate) and request.temperature == 0:
        request = dataclasses.replace(request, seed=0)
    return dataclasses.replace(request, id="")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResponseStore]:
    with ResponseStore(tmp_path / "deep" / "responses.sqlite") as opened:
        yield opened


def choice(request_id: str = "x", *logprobs: float) -> ChoiceScores:
    return ChoiceScores(request_id, logprobs or (-1.0, -2.0))


def asked(number: int, request_id: str = "x") -> ScoreChoices:
    return ScoreChoices(request_id, (number,), ((1,), (2,)))


def key_of(number: int) -> bytes:
    return ResponseStore.key("system", asked(number))


def answer(number: int, response: ChoiceScores | None = None) -> Answer:
    return key_of(number), asked(number), response or choice()


def served(store: ResponseStore, *numbers: int) -> dict[int, Response]:
    """What the store serves, by the number asked."""
    numbers_of = {key_of(number): number for number in numbers}
    found = store.get_many({key: asked(number) for key, number in numbers_of.items()})
    return {numbers_of[key]: response for key, response in found.responses.items()}


@given(names, requests, names, requests)
def test_keys_are_equal_exactly_when_systems_and_questions_are(one_system: str, one: Request, other_system: str, other: Request) -> None:
    same = one_system == other_system and meaning(one) == meaning(other) and type(one) is type(other)
    assert (ResponseStore.key(one_system, one) == ResponseStore.key(other_system, other)) == same


@given(requests)
def test_the_id_does_not_enter_the_key(request: Request) -> None:
    assert ResponseStore.key("s", request) == ResponseStore.key("s", dataclasses.replace(request, id="another"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ScoreChoices("", (1, 2), ((3,),)), ScoreChoices("", (1,), ((2, 3),))),
        (ScoreChoices("", (1,), ((2, 3),)), ScoreChoices("", (1,), ((2,), (3,)))),
        (ScoreText("", (((1,), (2,)),)), ScoreChoices("", (1,), ((2,),))),
        (Generate("", (1,), 5, stop=("ab",)), Generate("", (1,), 5, stop=("a", "b"))),
        (Generate("", (1,), 5), Generate("", (1,), 6)),
        (Generate("", (1,), 5, temperature=0.7, seed=1), Generate("", (1,), 5, temperature=0.7, seed=2)),
        (Generate("", (1,), 5, temperature=0.7, top_p=0.9), Generate("", (1,), 5, temperature=0.7)),
    ],
)
def test_near_requests_have_different_keys(one: Request, other: Request) -> None:
    assert ResponseStore.key("s", one) != ResponseStore.key("s", other)


def test_a_seed_does_not_matter_when_greedy() -> None:
    assert ResponseStore.key("s", Generate("", (1,), 5, seed=1)) == ResponseStore.key("s", Generate("", (1,), 5, seed=2))


def test_a_key_stays_the_same_between_releases() -> None:
    """Stores on disk live longer than a release; raise `_KEYS` when this changes."""
    key = ResponseStore.key("system", Generate("x", (1, 2), 8, stop=("\n",), temperature=0.5, seed=3))
    assert key.hex() == "5fc2281c54cafcefa4d69deb35c0cdb55bcf420d332997d6262011e634b29614"


logprobs = st.floats(max_value=0, allow_nan=False, allow_infinity=False)
context = (1, 2)
answered = st.one_of(
    st.lists(logprobs, min_size=1).map(
        lambda values: (ScoreChoices("asker", context, ((1,),) * len(values)), ChoiceScores("x", tuple(values), (True,) * len(values)))
    ),
    st.lists(logprobs, min_size=1, max_size=3).map(
        lambda values: (ScoreText("asker", (((), (1,)),) * len(values)), TextScore("x", tuple(values)))
    ),
    st.builds(Generation, id=names, text=st.text(), tokens=tokens, finish=st.sampled_from(["eos", "stop", "length"])).map(
        lambda response: (Generate("asker", context, 3), response)
    ),
)


@given(answered)
def test_responses_come_back_exactly_with_the_asking_id(pair: tuple[Request, Response]) -> None:
    request, response = pair
    with ResponseStore(Path(":memory:")) as store:
        store.put([(key_of(0), request, response)])
        assert store.get_many({key_of(0): request}).responses == {key_of(0): dataclasses.replace(response, id="asker")}


def test_a_generation_with_half_a_surrogate_pair_comes_back(store: ResponseStore) -> None:
    request, response = Generate("x", context, 4), Generation("x", "\ud83d", (1,), "length")
    store.put([(key_of(0), request, response)])
    assert store.get_many({key_of(0): request}).responses[key_of(0)] == response


def test_only_known_keys_are_found_among_many(store: ResponseStore) -> None:
    store.put([answer(n, choice("x", -float(n), -1.0)) for n in range(0, 1500, 2)])
    found = served(store, *range(1500))
    assert set(found) == set(range(0, 1500, 2))
    assert found[1498] == choice("x", -1498.0, -1.0)
    assert served(store) == {}


def test_a_known_key_keeps_its_first_payload_and_counts(store: ResponseStore) -> None:
    assert store.times(key_of(1)) == 0
    store.put([answer(1, choice("a", -1.0, -2.0))])
    assert store.times(key_of(1)) == 1
    store.put([answer(1, choice("b", -9.0, -2.0)), answer(2)])
    assert store.times(key_of(1)) == 2
    assert store.times(key_of(2)) == 1
    assert served(store, 1) == {1: choice("x", -1.0, -2.0)}


def test_a_batch_is_kept_whole_or_not_at_all(store: ResponseStore) -> None:
    with pytest.raises(NumericError, match="'bad'"):
        store.put([answer(1), (key_of(2), ScoreText("bad", (((), (1,)),)), TextScore("bad", (float("nan"),)))])
    with pytest.raises(StorageError):
        store.put([answer(1), (b"too short", asked(1), choice())])
    assert served(store, 1) == {}
    store.put([answer(1)])
    assert store.times(key_of(1)) == 1


def test_responses_survive_the_process_being_killed(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from harness.contract import ScoreText, TextScore; from harness.store.responses import ResponseStore\n"
        "asked = ScoreText('x', (((), (1,)),))\n"
        "store = ResponseStore(Path(sys.argv[1])); store.put([(bytes(32), asked, TextScore('x', (-1.5,)))])\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, check=False).returncode == -9
    with ResponseStore(path) as store:
        found = store.get_many({bytes(32): ScoreText("x", (((), (1,)),))})
        assert found.responses == {bytes(32): TextScore("x", (-1.5,))}


def test_processes_write_at_once_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    script = (
        "import sys; from pathlib import Path\n"
        "from harness.contract import ScoreText, TextScore; from harness.store.responses import ResponseStore\n"
        "asked = ScoreText('x', (((), (1,)),))\n"
        "with ResponseStore(Path(sys.argv[1])) as store:\n"
        "    for n in range(60):\n"
        "        mine = bytes([int(sys.argv[2]), n]) + bytes(30)\n"
        "        shared = bytes([255, n]) + bytes(30)\n"
        "        store.put([(mine, asked, TextScore('x', (-1.0,))), (shared, asked, TextScore('x', (-2.0,)))])\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, path, str(n)], cwd=ROOT) for n in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    with ResponseStore(path) as store:
        request = ScoreText("x", (((), (1,)),))
        assert len(store.get_many({bytes([w, n]) + bytes(30): request for w in range(3) for n in range(60)}).responses) == 180
        assert {store.times(bytes([255, n]) + bytes(30)) for n in range(60)} == {3}


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    path.write_bytes(b"these are not the pages of a database\n" * 500)
    with pytest.raises(StorageError, match=r"r\.sqlite is damaged") as caught:
        ResponseStore(path)
    assert "Move it away" in caught.value.remedy


def test_a_damaged_database_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with ResponseStore(path) as store:
        store.put([answer(n) for n in range(2000)])
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    with ResponseStore(path) as store, pytest.raises(StorageError, match="damaged"):
        served(store, *range(2000))


def test_another_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StorageError, match="schema 99"):
        ResponseStore(path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (99,)
    connection.close()


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (id)")
    connection.close()
    with pytest.raises(StorageError, match="schema 0"):
        ResponseStore(path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        ResponseStore(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        ResponseStore(tmp_path / "file" / "r.sqlite")


def test_a_lock_that_does_not_end_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with ResponseStore(path, timeout=0.05) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked by another process"):
            store.put([answer(1)])
        other.execute("ROLLBACK")
        other.close()
        store.put([answer(1)])
        assert store.times(key_of(1)) == 1


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own page limit raises what a full disk raises."""
    path = tmp_path / "r.sqlite"
    real: Any = sqlite3.connect

    def connect(*args: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = real(*args, **options)
        connection.execute("PRAGMA max_page_count = 40")
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    with ResponseStore(path) as store:
        store.put([answer(0)])
        with pytest.raises(StorageError, match="disk is full") as caught:
            store.put([(key_of(n), Generate("x", context, 4), Generation("x", "long" * 100, (), "eos")) for n in range(1000)])
        assert "saved responses are not computed twice" in caught.value.remedy
        assert store.times(key_of(0)) == 1
        assert served(store, *range(1, 1000)) == {}


def test_a_really_full_disk_keeps_what_was_finished(small_disk: Path) -> None:
    path = small_disk / "r.sqlite"
    with ResponseStore(path) as store:
        finished, request = 0, Generate("x", context, 4)

        def fill() -> None:
            nonlocal finished
            while True:
                store.put([(key_of(finished), request, Generation("x", "long" * 2000, (), "eos"))])
                finished += 1

        with pytest.raises(StorageError) as caught:
            fill()
        assert "saved responses are not computed twice" in caught.value.remedy
    (small_disk / "ballast").unlink()
    with ResponseStore(path) as store:
        assert set(store.get_many({key_of(n): request for n in range(1000)}).responses) == {key_of(n) for n in range(finished)}
        store.put([answer(finished)])
        assert store.times(key_of(finished)) == 1

"""The backend on a server: what it computes, which servers it does not believe, and what it does when one fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from harness.contract import Generate, Message, Prompt, ScoreChoices, ScoreText
from harness.engine import base
from harness.engine.server import ServerSession, client
from harness.engine.server.client import ATTEMPTS, Client
from harness.errors import AdapterError, HarnessError, InputError, ModelError
from harness.evaluation.options import Options
from harness.evaluation.run import run
from harness.models.opening import ModelOptions
from harness.report.run_rows import run_notes
from tests.engine.fake_server import FakeServer, continued, running, scored
from tests.silent import Recorder
from tests.tasks.cases import content, write_rows, write_yaml
from tests.tiny import tiny_causal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal(tmp_path_factory.mktemp("server") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts are noted, not waited for."""
    pauses: list[float] = []
    original = Client.__post_init__

    def init(created: Client) -> None:
        created.pause = pauses.append
        original(created)

    monkeypatch.setattr(Client, "__post_init__", init)
    return pauses


def collected(batches: Any) -> dict[str, Any]:
    """Responses by id."""
    return {response.id: response for batch in batches for response in batch}


def opened(url: str, model: str, **options: Any) -> ServerSession:
    backend = base.load("server")
    session = backend.open(backend.prepare(ModelOptions(model, base_url=url, **options), lambda note: None))
    assert isinstance(session, ServerSession)
    return session


CHOICES = ScoreChoices("choices", (1, 5, 9), ((20,), (30, 31), (40,)))
TEXT = ScoreText("text", (((1,), (7, 8, 9)), ((9,), (10,))))


def test_scores_are_those_of_the_prompts_tokens(folder: Path, tokenizer: Any) -> None:
    server = FakeServer(tokenizer)
    with running(server) as url, opened(url, str(folder)).engine(None) as engine:
        by_id = collected(engine.score([CHOICES, TEXT]))
    for place, choice in enumerate(CHOICES.choices):
        values = scored(CHOICES.context + choice)[len(CHOICES.context) :]
        assert by_id["choices"].logprobs[place] == pytest.approx(sum(value or 0.0 for value in values))
    assert by_id["text"].logprobs[1] == pytest.approx(scored((9, 10))[1] or 0.0)
    best = continued((1, 5, 9), 1)
    with running(server) as url, opened(url, str(folder)).engine(None) as engine:
        responses = collected(engine.score([ScoreChoices("greedy", (1, 5, 9), (tuple(best), (best[0] - 1,)))]))
    assert responses["greedy"].greedy == (True, False)


def test_texts_are_cut_at_stop_strings(folder: Path, tokenizer: Any) -> None:
    new = continued((1, 5), 8)
    stop = tokenizer.decode(new)[4:6]
    with running(FakeServer(tokenizer)) as url, opened(url, str(folder)).engine(None) as engine:
        responses = collected(engine.generate([Generate("plain", (1, 5), 8), Generate("cut", (1, 5), 8, stop=(stop,))]))
    plain, cut = responses["plain"], responses["cut"]
    assert (plain.tokens, plain.finish) == (tuple(new), "length")
    assert plain.text == tokenizer.decode(new)
    assert cut.finish == "stop"
    assert stop not in cut.text
    assert plain.text.startswith(cut.text)


def ignores(content: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    content["choices"][0].pop("logprobs", None)
    return content


def adds_a_start(content: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    for values in content["choices"][0].get("logprobs", {}).values():
        values.insert(1, -1.0 if isinstance(values[-1], float) else {"x": -1.0})
        values.insert(1, -1.0 if isinstance(values[-1], float) else {"x": -1.0})
    return content


def constant(content: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    if "logprobs" in content["choices"][0]:
        values = content["choices"][0]["logprobs"]["token_logprobs"]
        values[1:] = [-2.5] * (len(values) - 1)
    return content


def too_likely(content: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    if "logprobs" in content["choices"][0]:
        values = content["choices"][0]["logprobs"]["token_logprobs"]
        values[1:] = [value / 100 for value in values[1:]]
    return content


class Changing:
    """Other values at every call."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, content: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        if "logprobs" in content["choices"][0]:
            values = content["choices"][0]["logprobs"]["token_logprobs"]
            values[1:] = [value - self.calls for value in values[1:]]
        return content


def scores_the_first(content: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    if "logprobs" in content["choices"][0]:
        content["choices"][0]["logprobs"]["token_logprobs"][0] = -1.0
    return content


def positive(content: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    if "logprobs" in content["choices"][0]:
        content["choices"][0]["logprobs"]["token_logprobs"][2] = 0.5
    return content


def another_tokenizer(content: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    if isinstance(body["prompt"], str):
        content["usage"]["prompt_tokens"] += 3
    return content


def another_count(content: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    content["usage"]["prompt_tokens"] += 1
    return content


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (ignores, "it returns no log-probabilities of the prompt"),
        (adds_a_start, "log-probabilities for"),
        (constant, r"the log-probability is -2\.5 at every position"),
        (too_likely, "different next tokens add up to"),
        (Changing(), "the same prompt scored twice differs"),
        (scores_the_first, "it gives the first token a log-probability"),
        (positive, "a log-probability is missing, infinite or positive"),
        (another_tokenizer, "the local tokenizer into"),
        (another_count, "prompt tokens where"),
    ],
)
def test_a_server_that_computes_something_else_is_not_believed(folder: Path, tokenizer: Any, spoil: Any, words: str) -> None:
    with running(FakeServer(tokenizer, spoil)) as url, opened(url, str(folder)).engine(None) as engine:
        with pytest.raises(ModelError, match=words) as caught:
            list(engine.score([CHOICES]))
        assert caught.value.what.startswith(f"The server at {url} with its model tiny")
        if spoil is another_tokenizer:
            assert caught.value.remedy == "Give --model the model that the server serves."
            with pytest.raises(ModelError, match="has another tokenizer than --model"):
                list(engine.generate([Generate("plain", (1, 5), 4)]))
        else:
            assert "cannot score choices or texts" in caught.value.what
            assert list(engine.generate([Generate("plain", (1, 5), 4)]))


def test_a_server_that_refuses_token_ids_is_refused_for_choices(folder: Path, tokenizer: Any) -> None:
    with (
        running(FakeServer(tokenizer, fail=lambda number: 422)) as url,
        opened(url, str(folder)).engine(None) as engine,
        pytest.raises(ModelError, match="it refuses token ids as a prompt"),
    ):
        list(engine.score([CHOICES]))


def test_busy_servers_are_asked_again(folder: Path, tokenizer: Any, no_pauses: list[float]) -> None:
    failures = {2: 429, 3: 503, 5: 500, 6: -1}  # requests 0 and 1 ask how the server reads prompts
    server = FakeServer(tokenizer, fail=failures.get)
    requests = [Generate(f"{number}", (1, 5 + number), 3) for number in range(8)]
    with running(server) as url:
        session = opened(url, str(folder))
        session.client.concurrency = 1
        with session.engine(None) as engine:
            responses = [response for batch in engine.generate(requests) for response in batch]
            assert any("asked again 4 times" in note for note in engine.notes)
    assert sorted(response.id for response in responses) == sorted(request.id for request in requests)
    assert no_pauses[0] == 7.0
    assert all(0 < pause <= 30 for pause in no_pauses)


def test_a_server_that_stays_away_ends_the_run_and_it_resumes(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"thing": f"thing {number}", "label": number % 2} for number in range(60)])
    generation = {"answer": "generate", "choices": None, "target": "thing", "metrics": ["exact_match"], "generation": {"max_new_tokens": 3}}
    task = str(write_yaml(tmp_path / "write.yaml", content(task="write", **generation)))

    def evaluated(url: str) -> Any:
        options = Options(model=str(folder), tasks=task, engine="server", base_url=url, output=tmp_path / "out")
        return run(options, Recorder(), cache=tmp_path / "cache.sqlite")

    server = FakeServer(tokenizer, fail=lambda number: 503 if number >= 40 else None)
    with running(server) as url, pytest.raises(ModelError, match=f"does not answer, {ATTEMPTS} times in a row"):
        evaluated(url)
    assert not (tmp_path / "out" / "results.json").exists()
    healthy = FakeServer(tokenizer)
    with running(healthy) as url:
        (finished,) = evaluated(url)
    assert finished.record.efficiency.requests.unique == 60
    assert 16 <= finished.record.efficiency.requests.cached < 60
    prompts = [tuple(body["prompt"]) for body in healthy.bodies if body["max_tokens"] == 3]
    assert len(prompts) == len(set(prompts)) == finished.record.efficiency.requests.computed
    assert finished.record.system.identity == "remote"
    assert "not verified" in finished.record.system.notes[0]


def test_another_model_behind_the_same_name_is_another_system(folder: Path, tokenizer: Any) -> None:
    def other(content: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        content["choices"][0]["text"] = "something else"
        return content

    backend = base.load("server")
    digests = []
    for server in (FakeServer(tokenizer), FakeServer(tokenizer), FakeServer(tokenizer, other)):
        with running(server) as url:
            digests.append(backend.identify(backend.prepare(ModelOptions(str(folder), base_url=url), lambda note: None)).digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_model_without_a_local_tokenizer_reads_messages(tokenizer: Any) -> None:
    server = FakeServer(tokenizer, models=("remote/chat-model",))
    prompt = Prompt("Say this", (Message("user", "Say this"),))
    with running(server) as url:
        session = opened(url, "remote/chat-model")
        with session.engine(None) as engine:
            response = collected(engine.generate([Generate("one", (1,), 9, prompt=prompt)]))["one"]
            assert (response.text, response.tokens) == ("you said: Say this", ())
            with pytest.raises(ModelError, match="cannot score choices"):
                list(engine.score([CHOICES]))


VLLM = ({"id": "tiny", "owned_by": "vllm", "max_model_len": 100}, {"id": "tuned", "owned_by": "vllm", "parent": "tiny"})


def by_adapter(content: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Another text for the adapter."""
    if body["model"] == "tuned":
        content["choices"][0]["token_ids"] = [token - 1 for token in content["choices"][0]["token_ids"]]
    return content


def test_an_adapter_is_a_model_of_the_server(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    server = FakeServer(tokenizer, by_adapter, models=VLLM)
    write_rows(tmp_path / "rows.jsonl", [{"thing": f"thing {number}", "label": number % 2} for number in range(3)])
    task = str(write_yaml(tmp_path / "pick.yaml", content(task="pick")))
    with running(server) as url:
        chosen = Options(model=str(folder), adapter=(None, "tuned"), tasks=task, engine="server", base_url=url, output=tmp_path / "out")
        base_run, tuned_run = run(chosen, Recorder(), cache=tmp_path / "cache.sqlite")
    assert (base_run.record.system.name, tuned_run.record.system.name) == ("tiny@server", "tiny+tuned@server")
    assert base_run.record.system.digest != tuned_run.record.system.digest
    assert (tuned_run.record.system.identity, tuned_run.record.efficiency.requests.computed) == ("remote", 3)
    scored = [body["model"] for body in server.bodies if body.get("echo")]
    assert scored == sorted(scored) != ["tiny"] * len(scored)
    assert server.paths.count("/v1/models") == 1
    assert server.paths.count("/get_model_info") == 0


@pytest.mark.parametrize(("name", "words"), [("absent", "It has tuned beside tiny"), ("tiny", "It has tuned beside tiny")])
def test_an_adapter_that_the_server_lacks_is_refused(folder: Path, tokenizer: Any, name: str, words: str) -> None:
    with running(FakeServer(tokenizer, models=VLLM)) as url, pytest.raises(AdapterError, match=f"has no adapter {name}") as caught:
        opened(url, str(folder), adapters=(name,))
    assert words in caught.value.remedy


def test_the_sampling_defaults_of_a_model_on_vllm_are_switched_off(folder: Path, tokenizer: Any) -> None:
    penalties = []
    for models in (VLLM, ("tiny",)):
        server = FakeServer(tokenizer, models=models)
        with running(server) as url, opened(url, str(folder)).engine(None) as engine:
            list(engine.generate([Generate("plain", (1, 5), 4)]))
        penalties.append(server.bodies[-1].get("repetition_penalty"))
    assert penalties == [1.0, None]


def test_prompts_fit_the_servers_context(folder: Path, tokenizer: Any) -> None:
    notes: list[str] = []
    with running(FakeServer(tokenizer, models=VLLM)) as url:
        opening = base.load("server").prepare(ModelOptions(str(folder), base_url=url), notes.append)
    assert opening.encoder.max_length == 98
    assert any("at most 98 tokens" in note for note in notes)


def test_texts_end_at_every_end_token_of_the_model(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    copied = tmp_path / "tiny"
    shutil.copytree(folder, copied)
    new = continued((1, 5), 6)
    (copied / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, new[3]]}))
    with running(FakeServer(tokenizer)) as url, opened(url, str(copied)).engine(None) as engine:
        response = collected(engine.generate([Generate("plain", (1, 5), 6)]))["plain"]
    place = new.index(new[3])
    assert (response.tokens, response.finish) == (tuple(new[:place]), "eos")


def test_a_server_that_refuses_token_ids_is_sent_text(folder: Path, tokenizer: Any) -> None:
    server = FakeServer(tokenizer, refuses_ids=True)
    with running(server) as url, opened(url, str(folder)).engine(None) as engine:
        response = collected(engine.generate([Generate("plain", (1, 5), 4, prompt=Prompt("Say this"))]))["plain"]
        assert response.text == tokenizer.decode(continued(tokenizer(["Say this"])["input_ids"][0], 4))
        sent = len(server.bodies)
        with pytest.raises(ModelError, match="bare has token ids and no text"):
            list(engine.generate([Generate("plain", (1, 5), 4, prompt=Prompt("Say this")), Generate("bare", (1, 5), 4)]))
        assert len(server.bodies) == sent
        with pytest.raises(ModelError, match=r"it refuses token ids as a prompt \(.*prompt must be a string"):
            list(engine.score([CHOICES]))


def test_at_most_16_requests_wait_at_the_same_time(folder: Path, tokenizer: Any) -> None:
    server = FakeServer(tokenizer, delay=lambda number: 0.02)
    with running(server) as url, opened(url, str(folder)).engine(None) as engine:
        list(engine.generate([Generate(f"{number}", (1, 5 + number), 3) for number in range(80)]))
    assert 2 <= server.most <= 16


def test_a_response_that_takes_too_long_is_requested_again_and_counted_once(
    folder: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.5)
    server = FakeServer(tokenizer, delay=lambda number: 1.5 if number == 4 else 0.0)
    with running(server) as url, opened(url, str(folder)).engine(None) as engine:
        responses = [response.id for batch in engine.generate([Generate(f"{n}", (1, 5 + n), 3) for n in range(6)]) for response in batch]
        assert any("asked again 1 times" in note for note in engine.notes)
    assert sorted(responses) == [f"{number}" for number in range(6)]


def test_what_a_server_answered_before_it_went_away_is_kept(folder: Path, tokenizer: Any) -> None:
    server = FakeServer(tokenizer, fail=lambda number: 400 if number == 9 else None, delay=lambda number: 0.2 if number > 9 else 0.0)
    with running(server) as url:
        session = opened(url, str(folder))
        session.client.concurrency = 4
        kept: list[str] = []
        with session.engine(None) as engine, pytest.raises(ModelError, match="refuses a request"):
            kept.extend(
                response.id
                for batch in engine.generate([Generate(f"{number}", (1, 5 + number), 3) for number in range(40)])
                for response in batch
            )
    assert len(kept) == len(set(kept)) == len(server.bodies) - 3, "all but the two that ask how prompts are read, and the refused one"
    assert len(kept) < 15


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "tiny"}, "needs --base-url"),
        ({"model": "tiny", "base_url": "ftp://x"}, "is not a URL"),
    ],
)
def test_a_server_needs_an_address(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        base.load("server").prepare(ModelOptions(**options), lambda note: None)


def test_an_unknown_model_lists_those_of_the_server(tokenizer: Any) -> None:
    with running(FakeServer(tokenizer, models=("a", "b"))) as url, pytest.raises(InputError) as caught:
        base.load("server").prepare(ModelOptions("no/such", base_url=url), lambda note: None)
    assert "a, b" in caught.value.remedy


def test_the_key_is_sent_and_stored_nowhere(folder: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_API_KEY", "secret-key-7")
    write_rows(tmp_path / "rows.jsonl", [{"thing": f"thing {number}", "label": number % 2} for number in range(4)])
    task = str(write_yaml(tmp_path / "pick.yaml", content(task="pick")))
    server = FakeServer(tokenizer)
    with running(server) as url:
        run(
            Options(model=str(folder), tasks=task, engine="server", base_url=url, output=tmp_path / "out"), Recorder(), cache=tmp_path / "c"
        )
    assert server.headers["authorization"] == "Bearer secret-key-7"
    saved = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert saved
    assert not any(b"secret-key-7" in path.read_bytes() for path in saved)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_names_the_variable(folder: Path, tokenizer: Any, status: int) -> None:
    with (
        running(FakeServer(tokenizer, fail=lambda number: status)) as url,
        pytest.raises(HarnessError, match="refuses access") as caught,
    ):
        opened(url, str(folder))
    assert "HARNESS_API_KEY" in caught.value.remedy


def test_a_refused_request_names_the_item(folder: Path, tokenizer: Any) -> None:
    with (
        running(FakeServer(tokenizer, fail=lambda number: 400 if number >= 2 else None)) as url,
        opened(url, str(folder)).engine(None) as engine,
        pytest.raises(ModelError, match=r"^item-7: The server at .* refuses a request \(status 400\)"),
    ):
        list(engine.generate([Generate("item-7", (1, 5), 3)]))


def test_choices_are_the_same_through_a_run(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"thing": f"thing {number}", "label": number % 2} for number in range(6)])
    task = str(write_yaml(tmp_path / "pick.yaml", content(task="pick")))
    with running(FakeServer(tokenizer)) as url:
        options = Options(model=str(folder), tasks=task, engine="server", base_url=url, output=tmp_path / "out")
        (finished,) = run(options, Recorder(), cache=tmp_path / "cache.sqlite")
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert record["system"]["engine"] == "server"
    assert record["system"]["identity"] == "remote"
    assert finished.record.tasks["pick"].items == 6
    assert any("weights behind it are not verified" in note for note in run_notes(finished.record))

"""Finding a model by card, hub id or folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ModelError
from harness.models import cards


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str | None]]:
    """A hub that has everything; returns what was fetched."""
    import huggingface_hub

    asked: list[tuple[str, str | None]] = []

    def snapshot_download(repo: str, revision: str | None = None, **_: Any) -> str:
        asked.append((repo, revision))
        return str(tmp_path / f"models--{repo.replace('/', '--')}" / "snapshots" / "c0ffee")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_every_shipped_card_has_its_fields() -> None:
    known = cards.cards()
    assert {"flan-t5-small", "flan-t5-base"} <= set(known)
    assert all(card.hub.count("/") == 1 and card.license and card.name == card.name.lower() for card in known.values())


@pytest.mark.parametrize("name", ["flan-t5-small", "FLAN-T5-small", "google/flan-t5-small", "Google/Flan-T5-Small"])
def test_card_name_and_hub_id_are_one_model(hub: list[tuple[str, str | None]], name: str) -> None:
    source = cards.resolve(name)
    assert (source.name, source.revision) == ("flan-t5-small", "c0ffee")
    assert source.card is not None
    assert source.card.hub == "google/flan-t5-small"
    assert hub == [("google/flan-t5-small", None)]
    assert {"flan-t5-small", "google/flan-t5-small"} <= source.names


def test_a_hub_id_without_a_card(hub: list[tuple[str, str | None]]) -> None:
    source = cards.resolve("Someone/My-Model", revision="v2")
    assert (source.name, source.card, hub) == ("My-Model", None, [("Someone/My-Model", "v2")])
    assert {"someone/my-model", "my-model"} <= source.names


@pytest.mark.parametrize("weights", [True, False])
def test_weights_are_fetched_only_where_they_are_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: bool) -> None:
    import fnmatch

    import huggingface_hub

    published = ["config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja", "model.safetensors", "pytorch_model.bin"]
    fetched: list[str] = []

    def snapshot_download(repo: str, *, allow_patterns: list[str], **_: Any) -> str:
        fetched.extend(name for name in published if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns))
        return str(tmp_path / "snapshots" / "c0ffee")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    cards.resolve("Someone/My-Model", pickles=True, weights=weights)
    assert fetched == (published if weights else published[:4])


def test_near_names_are_offered() -> None:
    with pytest.raises(ModelError, match=r"flan-t5-bse") as caught:
        cards.resolve("flan-t5-bse")
    assert "flan-t5-base" in caught.value.remedy


@pytest.mark.parametrize("name", ["zzzzzzzz", "a/b/c"])
def test_a_name_that_stands_for_nothing(name: str, in_tmp: Path) -> None:
    with pytest.raises(ModelError, match="not a model card, a local folder or a Hub id"):
        cards.resolve(name)


def test_a_folder(tmp_path: Path) -> None:
    source = cards.resolve(str(_folder(tmp_path / "my-model")))
    assert (source.name, source.folder, source.card, source.revision) == ("my-model", (tmp_path / "my-model").resolve(), None, None)
    assert "my-model" in source.names


def test_a_folder_named_like_a_card_knows_its_card(tmp_path: Path) -> None:
    source = cards.resolve(str(_folder(tmp_path / "flan-t5-small")))
    assert source.card is not None
    assert "google/flan-t5-small" in source.names


def test_a_relative_folder_goes_before_a_card(in_tmp: Path) -> None:
    folder = _folder(in_tmp / "flan-t5-base")
    assert cards.resolve("flan-t5-base").folder == folder.resolve()


def test_a_folder_without_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        cards.resolve(str(tmp_path / "empty"))


def test_a_snapshot_of_the_hubs_cache_keeps_its_name(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "hub" / "models--Someone--Great-Model" / "snapshots" / "0123abcd")
    source = cards.resolve(str(folder))
    assert (source.name, source.revision) == ("Great-Model", "0123abcd")
    assert {"someone/great-model", "great-model"} <= source.names


def test_a_snapshot_folder_goes_before_the_hub(tmp_path: Path, hub: list[tuple[str, str | None]]) -> None:
    folder = _folder(tmp_path / "data" / "google" / "flan-t5-small")
    source = cards.resolve("flan-t5-small", data=tmp_path / "data")
    assert source.folder == folder.resolve()
    assert hub == []


CARD = "models: [{name: house-model, hub: acme/house-model, kind: base, architecture: causal, parameters: 7, license: mit}]"


def test_the_users_own_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: list[tuple[str, str | None]]) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "own.yaml").write_text(CARD)
    monkeypatch.setenv("HARNESS_PATH", str(tmp_path))
    assert cards.resolve("house-model").name == "house-model"
    assert hub == [("acme/house-model", None)]


@pytest.mark.parametrize("text", ["models: [{name: x}]", "- just\n- a list", "models: {", CARD.replace("license", "licence")])
def test_a_broken_file_of_cards_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "own.yaml").write_text(text)
    monkeypatch.setenv("HARNESS_PATH", str(tmp_path))
    with pytest.raises(ModelError, match=r"own\.yaml"):
        cards.cards()


FETCH = """
from harness.errors import ModelError
from harness.models import cards
try:
    cards.resolve("someone/absent-model")
except ModelError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("environment", "state"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "the Hub does not answer"),
        ({"HF_HUB_OFFLINE": "1"}, "you are offline"),
        ({"HARNESS_OFFLINE": "1"}, "you are offline"),
    ],
)
def test_no_hub_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], state: str) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HARNESS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HF_HOME": str(tmp_path)} | environment).items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", FETCH], capture_output=True, text=True, timeout=120, check=True)
    assert "Can't load the model someone/absent-model" in done.stdout
    assert state in done.stdout
    assert "Traceback" not in done.stderr


def test_a_model_with_an_adapter_in_its_folder_is_refused(llama: Path, tmp_path: Path) -> None:
    """Transformers would load both, and results would name the model alone."""
    folder = Path(shutil.copytree(llama, tmp_path / "both"))
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds an adapter next to the model"):
        cards.resolve(str(folder))


def test_a_folder_is_not_taken_for_a_revision(llama: Path) -> None:
    with pytest.raises(ModelError, match=r"the revision of the folder .* is unknown"):
        cards.resolve(str(llama), revision="v1")

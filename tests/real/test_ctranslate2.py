"""CTranslate2 on a real T5 model: the same texts as our own engine, and a converted model that is compared before it is used."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from harness.engine import base
from harness.engine import ctranslate2 as converted
from harness.errors import InputError, ModelError
from harness.evaluation.options import Options
from harness.evaluation.run import FinishedRun, run
from harness.models.opening import ModelOptions
from tests.silent import Recorder

pytestmark = pytest.mark.real

DIALOGUES = 20


def evaluated(model: Path, data: Path, folder: Path, engine: str, **options: Any) -> FinishedRun:
    chosen: dict[str, Any] = {"tasks": "dialogsum", "limit": DIALOGUES, "device": "cpu"} | options
    (finished,) = run(
        Options(model=str(model), data=data, engine=engine, output=folder, **chosen), Recorder(), cache=folder / "cache.sqlite"
    )
    return finished


def texts(finished: FinishedRun) -> list[str]:
    lines = (finished.folder / "samples" / "dialogsum.jsonl").read_text().splitlines()
    return [json.loads(line)["prediction"] for line in lines]


def test_texts_equal_those_of_our_engine(flan_t5: Path, data: Path, tmp_path: Path) -> None:
    ours = evaluated(flan_t5, data, tmp_path / "ours", "transformers")
    theirs = evaluated(flan_t5, data, tmp_path / "theirs", "ctranslate2")
    assert texts(ours) == texts(theirs)
    assert theirs.record.system.name == f"{flan_t5.name}@ctranslate2"
    assert ours.record.system.digest != theirs.record.system.digest
    assert ours.record.tasks["dialogsum"].metrics["rouge1"].value == theirs.record.tasks["dialogsum"].metrics["rouge1"].value


def test_int8_is_another_system(flan_t5: Path, data: Path, tmp_path: Path) -> None:
    finished = evaluated(flan_t5, data, tmp_path / "int8", "ctranslate2", quantize="8bit", limit=2)
    assert finished.record.system.name == f"{flan_t5.name}@8bit@ctranslate2"
    assert finished.record.system.quantization == "8bit"


@pytest.mark.skipif(Version(metadata.version("ctranslate2")) < Version("4.8"), reason="this converter decides the scale in another way")
def test_logits_that_are_scaled_wrongly_are_refused(flan_t5: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(converted, "_scale", lambda config: setattr(config, "tie_word_embeddings", True))
    with pytest.raises(ModelError, match=r"computes flan-t5.* wrongly: a log-probability is"):
        evaluated(flan_t5, data, tmp_path / "out", "ctranslate2", limit=2)
    assert not list((tmp_path / "cache" / "ctranslate2").glob("*/model.bin"))


def test_a_conversion_that_differs_is_not_kept(flan_t5: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(converted, "_APART", -1.0)
    with pytest.raises(ModelError, match=r"computes flan-t5.* wrongly: a log-probability is"):
        evaluated(flan_t5, data, tmp_path / "out", "ctranslate2", limit=2)
    assert not list((tmp_path / "cache" / "ctranslate2").glob("*/model.bin"))


def test_what_it_cannot_do_is_refused(flan_t5: Path, smollm2: Path, data: Path, tmp_path: Path) -> None:
    backend = base.load("ctranslate2")
    with pytest.raises(InputError, match="is for encoder-decoder models"):
        backend.prepare(ModelOptions(str(smollm2)), lambda note: None)
    with pytest.raises(InputError, match="does not support --quantize 4bit"):
        backend.prepare(ModelOptions(str(flan_t5), quantize="4bit"), lambda note: None)
    with pytest.raises(InputError, match="does not support tasks that score choices"):
        evaluated(flan_t5, data, tmp_path / "out", "ctranslate2", tasks="glue_sst2", limit=2)

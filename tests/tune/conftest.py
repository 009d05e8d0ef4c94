"""Tiny models and tasks to learn, and a watch that keeps what it is told."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.models import cards
from harness.models.loading import Loaded, load_model, load_tokenizer
from harness.tasks.data import DataReader
from harness.tasks.registry import TaskRegistry
from harness.tune.mixture import Library, Mixture
from harness.tune.settings import Candidate, TuneOptions, TuneSettings
from harness.tune.tuning import Made, tune
from tests.tasks.cases import content, write_rows, write_yaml
from tests.tiny import tiny_causal, tiny_seq2seq

NOUNS = ("sky", "sea", "rose", "blood", "fire", "plum", "coal", "lemon")


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """One thread, and a collector that leaves the libraries alone: the Trainer collects garbage before each training."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _tasks_by_path_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped tasks need not be read for each training."""
    monkeypatch.setattr(TaskRegistry, "default", classmethod(lambda cls: cls()))


@pytest.fixture(scope="session", autouse=True)
def _own_datasets_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    import datasets

    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="session")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama's folder; not to be changed."""
    return tiny_causal(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def seq2seq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny T5's folder, its head its own as FLAN-T5's is; not to be changed."""
    from transformers import T5ForConditionalGeneration

    folder = tiny_seq2seq(tmp_path_factory.mktemp("models") / "tiny-t5")
    module = T5ForConditionalGeneration.from_pretrained(folder)
    torch.manual_seed(1)
    module.lm_head.weight = torch.nn.Parameter(torch.randn_like(module.lm_head.weight) * 0.3)
    module.save_pretrained(folder)
    return folder


@pytest.fixture
def bases(causal: Path, seq2seq: Path) -> dict[str, Path]:
    return {"causal": causal, "seq2seq": seq2seq}


def load(folder: Path, **options: Any) -> Loaded:
    """A folder as a run loads it."""
    source = cards.resolve(str(folder))
    return load_model(source, tokenizer=load_tokenizer(source), device="cpu", **options)


def rows(count: int, word: str = "train") -> list[dict[str, Any]]:
    return [{"thing": f"{word} {NOUNS[number % 8]} {number}", "label": number % 2} for number in range(count)]


def choice_task(folder: Path, name: str = "colours", train: int = 30, **changes: Any) -> Path:
    """A task of two choices with a train and a test split, in files of its own."""
    write_rows(folder / f"{name}-train.jsonl", rows(train, f"{name} train"))
    write_rows(folder / f"{name}-test.jsonl", rows(6, f"{name} test"))
    data = {"files": {"train": f"{name}-train.jsonl", "test": f"{name}-test.jsonl"}, "split": "test"}
    return write_yaml(folder / f"{name}.yaml", content(task=name, data=data, **changes))


def text_task(folder: Path, name: str = "say", **changes: Any) -> Path:
    """A task whose answers are generated, scored by ROUGE."""
    form: dict[str, Any] = {"answer": "generate", "choices": None, "target": "'it is ' ~ thing", "metrics": ["rouge1"]}
    return choice_task(folder, name, **form | {"generation": {"max_new_tokens": 4}} | changes)


@dataclass
class Recorder:
    """Follows trainings in tests; ends them where it is told to, as a kill would."""

    notes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    begun: list[tuple[int, int]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    validations: list[tuple[int, bool]] = field(default_factory=list)
    stop_after: int | None = None

    def candidate(self, name: str, number: int, of: int) -> None:
        self.names.append(name)

    def begin(self, facts: str, steps: int, done: int) -> None:
        self.begun.append((steps, done))

    def step(self, loss: float, tokens: int) -> None:
        assert tokens > 0
        self.losses.append(loss)
        if self.stop_after is not None and len(self.losses) > self.stop_after:
            raise KeyboardInterrupt

    def validated(self, step: int, loss: float | None, headline: float | None, best: bool) -> None:
        self.validations.append((step, best))

    def end(self) -> None:
        pass

    def note(self, message: str) -> None:
        self.notes.append(message)


def settings(**changes: Any) -> TuneSettings:
    """Settings for two steps, the method's defaults filled in."""
    given: dict[str, Any] = {
        "method": "lora",
        "tasks": ("colours.yaml",),
        "max_steps": 2,
        "batch_tokens": 128,
        "virtual_tokens": 3,
        "rank": 4,
    }
    return TuneSettings(**given | changes).completed()


def options(base: Path, *candidates: TuneSettings, name: str = "made", **changes: Any) -> TuneOptions:
    """Trainings of a base; several candidates are numbered."""
    names = [name] if len(candidates) == 1 else [f"{name}{number}" for number in range(len(candidates))]
    given: dict[str, Any] = {"validate": 4, "device": "cpu"}
    return TuneOptions(str(base), tuple(map(Candidate, names, candidates)), **given | changes)


def train(base: Path, chosen: TuneSettings, progress: Recorder | None = None, **changes: Any) -> Made:
    """One training."""
    (made,) = tune(options(base, chosen, **changes), progress or Recorder())
    return made


def mixture(chosen: TuneSettings, *, validate: int = 0, against: tuple[str, ...] = (), chat: bool = False) -> tuple[Mixture, list[str]]:
    """What settings learn, and what was noted."""
    notes: list[str] = []
    return Library(TaskRegistry(), DataReader(), validate, against, notes.append).mixture(chosen, chat), notes

"""Trainings from end to end on tiny models: what is written, that it scores as it did in training, and that nothing is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from harness.errors import AdapterError, DataError, InputError, StorageError
from harness.evaluation.options import Options
from harness.evaluation.run import run
from harness.models import adapters, attachment, cards
from harness.models.adapter_cards import AdapterCard, read_card, read_training
from harness.models.loading import Loaded
from harness.tune import checkpoints
from harness.tune.overlap import EvaluatedItems
from harness.tune.settings import METHODS
from harness.tune.tuning import Made, ranked, tune
from harness.tune.validation import Validation
from tests.silent import Recorder as RunRecorder
from tests.tune.conftest import Recorder, choice_task, load, options, settings, text_task, train

BOTH = ["causal", "seq2seq"]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def weights(made: Made) -> dict[str, torch.Tensor]:
    (path,) = made.folder.glob("*.safetensors")
    found: dict[str, torch.Tensor] = load_file(path)
    return found


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture
def place(in_tmp: Path) -> Path:
    choice_task(in_tmp)
    return in_tmp


def validation_loss(base: Path, made: Made, monkeypatch: pytest.MonkeyPatch) -> float:
    """The validation loss of what was written, loaded as for an evaluation."""
    quantize: Any = made.training.quantization
    loaded = load(base, quantize=quantize)
    found: list[Validation] = []
    original = Validation.prepare

    def prepare(*given: Any, **named: Any) -> Validation | None:
        kept = original(*given, **named)
        assert kept is not None
        found.append(kept)
        raise KeyboardInterrupt

    monkeypatch.setattr(Validation, "prepare", staticmethod(prepare))
    with pytest.raises(KeyboardInterrupt):
        train(base, settings(method=made.training.method), name="again")
    monkeypatch.setattr(Validation, "prepare", original)
    adapter = adapters.resolve("made", cards.resolve(str(base)))
    with attachment.attached(loaded, adapter) as attached:
        return found[0].score(attached.module, 0).loss


@pytest.mark.parametrize("architecture", BOTH)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_is_scored_by_its_cards_name(
    place: Path, bases: dict[str, Path], method: Any, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = bases[architecture]
    chosen = settings(method=method, lr=0.05)
    made = train(base, chosen)
    card = read_card(place / "adapters" / "made.yaml")
    assert card.weights == {base.name: f"made/{base.name}"}
    training = card.training[base.name]
    assert training == made.training == read_training(made.folder)
    assert (training.method, training.architecture, training.steps) == (method, architecture, 2)
    assert training.quantization == ("4bit" if method == "qlora" else None)
    assert training.bytes == sum(path.stat().st_size for path in made.folder.glob("*.safetensors"))
    assert training.best_step in (1, 2)
    assert 0 < training.share <= 1
    assert set(training.scores["colours"]) == {"accuracy"}
    assert not (place / "adapters" / "made" / f".{base.name}.training").exists()
    assert validation_loss(base, made, monkeypatch) == pytest.approx(training.losses.validation, abs=1e-5)
    quantize: Any = training.quantization
    finished = run(Options(str(base), ("colours.yaml",), (None, "made"), device="cpu", quantize=quantize), RunRecorder())
    names = [one.record.system.name for one in finished]
    suffix = "@4bit" if quantize else ""
    assert names == [f"{base.name}{suffix}", f"{base.name}+made{suffix}"]
    assert finished[1].record.system.adapter_digest == training.digest
    assert finished[1].record.tasks["colours"].items == 6


@pytest.mark.parametrize("architecture", BOTH)
def test_generated_answers_are_scored_by_the_tasks_own_metric(in_tmp: Path, bases: dict[str, Path], architecture: str) -> None:
    text_task(in_tmp)
    progress = Recorder()
    made = train(bases[architecture], settings(tasks=("say.yaml",), max_steps=4), progress, validate_every=2)
    score = made.training.scores["say"]["rouge1"]
    assert (score.n, score.value) == (4, made.training.headline)
    assert [step for step, _ in progress.validations] == [2, 4]
    assert len(progress.losses) == 4


def test_training_learns(in_tmp: Path, causal: Path) -> None:
    choice_task(in_tmp, target="1")
    made = train(causal, settings(max_steps=30, lr=0.02, rank=8), validate_every=10)
    assert made.training.losses.last < made.training.losses.first / 2
    assert made.training.headline == 1.0


@pytest.mark.parametrize("architecture", BOTH)
def test_the_best_model_is_kept(place: Path, bases: dict[str, Path], architecture: str) -> None:
    progress = Recorder()
    made = train(bases[architecture], settings(max_steps=6, lr=0.5), progress, validate_every=1)
    bests = [step for step, best in progress.validations if best]
    assert made.training.best_step == bests[-1]
    last = train(bases[architecture], settings(max_steps=6, lr=0.5), name="last", validate_every=6)
    assert last.training.best_step == 6
    assert equal(weights(made), weights(last)) == (bests[-1] == 6)


def test_without_validation_the_last_weights_are_kept(place: Path, causal: Path) -> None:
    training = train(causal, settings(max_steps=3), validate=0).training
    assert (training.best_step, training.scores, training.headline, training.losses.validation) == (3, {}, None, None)


KILLED = """
import os, signal, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from tests.tune.conftest import Recorder, options, settings
from harness.tune.tuning import tune

class Killer(Recorder):
    def step(self, loss, tokens):
        super().step(loss, tokens)
        if len(self.losses) == 5:
            os.kill(os.getpid(), signal.SIGKILL)

tune(options(Path(sys.argv[1]), settings(max_steps=7), validate_every=3, checkpoint_every=2), Killer())
"""


def test_a_training_killed_with_kill_9_ends_as_an_undisturbed_one(place: Path, seq2seq: Path) -> None:
    """On a model with dropout, so that the state of the random generators counts as well."""
    project = Path(__file__).resolve().parents[2]
    surroundings = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(seq2seq)]
    killed = subprocess.run(command, cwd=place, env=surroundings, capture_output=True, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (place / "adapters" / "made.yaml").exists()
    progress = Recorder()
    chosen = options(seq2seq, settings(max_steps=7), validate_every=3, checkpoint_every=2)
    (made,) = tune(chosen, progress)
    assert progress.begun == [(7, 4)]
    unperturbed = train(seq2seq, settings(max_steps=7), name="undisturbed", validate_every=3, checkpoint_every=2)
    assert equal(weights(made), weights(unperturbed))
    assert made.training.losses == unperturbed.training.losses
    assert made.training.scores == unperturbed.training.scores
    assert made.training.tokens == unperturbed.training.tokens


@pytest.mark.parametrize(
    ("method", "architecture"), [("full", "seq2seq"), ("ptuning", "causal"), ("prefix", "seq2seq"), ("dora", "causal")]
)
def test_an_interrupted_training_goes_on_whatever_the_method(place: Path, bases: dict[str, Path], method: Any, architecture: str) -> None:
    chosen, base = settings(method=method, max_steps=5), bases[architecture]
    with pytest.raises(KeyboardInterrupt):
        train(base, chosen, Recorder(stop_after=3), checkpoint_every=2, validate_every=2)
    progress = Recorder()
    made = train(base, chosen, progress, checkpoint_every=2, validate_every=2)
    assert progress.begun == [(5, 2)]
    unperturbed = train(base, chosen, name="undisturbed", checkpoint_every=2, validate_every=2)
    assert equal(weights(made), weights(unperturbed))


def test_a_training_killed_while_its_results_are_put_in_place_is_finished(
    place: Path, causal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AdapterCard, "text", killed)
        with pytest.raises(KeyboardInterrupt):
            train(causal, settings())
    assert (place / "adapters" / "made" / causal.name).is_dir()
    progress = Recorder()
    made = train(causal, settings(), progress)
    assert (progress.begun, progress.losses) == ([(2, 2)], [])
    assert read_card(place / "adapters" / "made.yaml").training[causal.name] == made.training


def test_other_settings_do_not_go_on_with_an_unfinished_training(place: Path, causal: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(causal, settings(max_steps=5), Recorder(stop_after=3))
    with pytest.raises(InputError, match=r"unfinished training with other settings \(alpha, rank\)"):
        train(causal, settings(max_steps=5, rank=2))
    progress = Recorder()
    train(causal, settings(max_steps=5, rank=2), progress, fresh=True)
    assert progress.begun == [(5, 0)]


def test_one_card_holds_weights_for_several_bases(place: Path, bases: dict[str, Path]) -> None:
    train(bases["causal"], settings())
    with pytest.raises(AdapterError, match="no weights for tiny-t5, only for tiny-llama") as caught:
        adapters.resolve("made", cards.resolve(str(bases["seq2seq"])))
    assert "harness tune --model tiny-t5 --method lora --task colours.yaml --rank 4" in caught.value.remedy
    assert caught.value.remedy.endswith("--name made")
    train(bases["seq2seq"], settings())
    card = read_card(place / "adapters" / "made.yaml")
    assert set(card.weights) == set(card.training) == {"tiny-llama", "tiny-t5"}
    for base in bases.values():
        assert adapters.resolve("made", cards.resolve(str(base))).folder == place / "adapters" / "made" / base.name


def test_a_name_that_exists_is_refused_and_left_alone(place: Path, bases: dict[str, Path]) -> None:
    train(bases["causal"], settings())
    before = tree(place / "adapters")
    with pytest.raises(AdapterError, match="exists for tiny-llama already") as caught:
        train(bases["causal"], settings(rank=2))
    assert "nothing is overwritten" in caught.value.remedy
    with pytest.raises(AdapterError, match="is of method lora, not prompt"):
        train(bases["seq2seq"], settings(method="prompt"))
    (place / "adapters" / "made.yaml").unlink()
    with pytest.raises(AdapterError, match=r"folder .* exists already"):
        train(bases["causal"], settings())
    assert {name: content for name, content in before.items() if name != "made.yaml"} == tree(place / "adapters")


@pytest.mark.parametrize("name", ["a/b", "../up", ".hidden", "", "a b"])
def test_names_that_are_no_file_names(place: Path, causal: Path, name: str) -> None:
    with pytest.raises(AdapterError, match="cannot be an adapter's name"):
        train(causal, settings(), name=name)


def test_wrong_input_is_told_before_the_model_is_loaded(place: Path, causal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("harness.models.loading.load_model", refuse)
    with pytest.raises(DataError, match="evaluated on its split"):
        train(causal, settings(train_split="test"))
    with pytest.raises(DataError, match="evaluated on its split"):
        tune(options(causal, settings(), settings(train_split="test")), Recorder())
    assert not (place / "adapters").exists()


def test_unknown_target_modules_leave_nothing_behind(place: Path, causal: Path) -> None:
    with pytest.raises(AdapterError, match="no module called no_such"):
        train(causal, settings(targets=("no_such",)))
    assert not (place / "adapters" / "made.yaml").exists()
    train(causal, settings(targets=("q_proj",)), fresh=True)


def test_a_full_disk_is_told_before_training(place: Path, causal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 5, 1000))
    progress = Recorder()
    with pytest.raises(StorageError, match="MB are free"):
        train(causal, settings(), progress)
    assert progress.losses == []


@pytest.mark.parametrize("where", ["checkpoint", "weights", "card"])
def test_a_disk_that_fills_up_costs_nothing_that_was_there(
    place: Path, bases: dict[str, Path], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(bases["causal"], settings())
    before = tree(place / "adapters")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    place_of = {"checkpoint": "harness.tune.checkpoints.save_weights", "weights": "harness.tune.methods.write"}
    original = os.replace
    with monkeypatch.context() as patch:
        if where == "card":
            patch.setattr(os, "replace", lambda *given: full() if str(given[1]).endswith("made.yaml") else original(*given))
        else:
            patch.setattr(place_of[where], full)
        with pytest.raises(StorageError, match="No space left on device"):
            train(bases["seq2seq"], settings())
    after = tree(place / "adapters")
    assert {name: after[name] for name in before} == before
    train(bases["seq2seq"], settings())
    assert set(read_card(place / "adapters" / "made.yaml").weights) == {"tiny-llama", "tiny-t5"}


def test_a_grid_trains_on_one_loaded_base(place: Path, causal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.models import loading

    loads = []
    original = loading.load_model

    def counted(*given: Any, **named: Any) -> Loaded:
        loads.append(named)
        return original(*given, **named)

    monkeypatch.setattr(loading, "load_model", counted)
    several = [settings(method="full"), settings(rank=1, lr=0.05), settings(method="prompt")]
    progress = Recorder()
    made = tune(options(causal, *several, name="grid"), progress)
    assert len(loads) == 1
    assert progress.names == [one.name for one in made] == [f"grid{number}" for number in range(3)]
    for number in (1, 2):
        alone = train(causal, several[number], name=f"alone{number}")
        assert equal(weights(alone), weights(made[number]))
    order = [one.rank for one in ranked(made)]
    assert order == sorted(order, reverse=True)


def test_a_grid_that_was_interrupted_keeps_what_was_finished(place: Path, causal: Path) -> None:
    several = [settings(rank=rank) for rank in (1, 2)]
    with pytest.raises(KeyboardInterrupt):
        tune(options(causal, *several), Recorder(stop_after=3))
    progress = Recorder()
    made = tune(options(causal, *several), progress)
    assert [one.training.settings["rank"] for one in made] == [1, 2]
    assert progress.begun == [(2, 1)]
    assert any("made0 is there already" in note for note in progress.notes)
    with pytest.raises(AdapterError, match="exists"):
        tune(options(causal, settings(rank=4), settings(rank=8)), Recorder())


def test_weights_saved_in_bfloat16_are_scored_as_they_are_saved(place: Path, causal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = train(causal, settings(weights_dtype="bfloat16", lr=0.05))
    assert {value.dtype for value in weights(made).values()} == {torch.bfloat16}
    assert validation_loss(causal, made, monkeypatch) == pytest.approx(made.training.losses.validation, abs=1e-5)
    whole = train(causal, settings(lr=0.05), name="whole")
    assert made.training.losses.validation != whole.training.losses.validation
    assert made.training.bytes < whole.training.bytes


def test_pairs_that_do_not_fit_are_noted_and_counted(place: Path, causal: Path) -> None:
    template = [{"name": "long", "prompt": "{{ 'word ' * ((thing.split() | last | int) * 4) }} {{ thing }}?"}]
    choice_task(place, templates=template)
    progress = Recorder()
    made = train(causal, settings(), progress, validate=0)
    assert made.training.too_long > 0
    assert progress.notes[0].startswith(f"{made.training.too_long} pairs are longer")


def test_the_card_tells_what_was_done(place: Path, causal: Path) -> None:
    choice_task(place, "old")
    from harness.tune.settings import Replay

    made = train(causal, settings(replay=Replay(("old.yaml",), 0.2), limit=12, seed=3))
    content = yaml.safe_load((place / "adapters" / "made.yaml").read_text())
    assert AdapterCard.model_validate(content).training[causal.name] == made.training
    training = made.training
    assert training.settings["seed"] == 3
    assert [(use.task, use.role, use.rows) for use in training.data] == [("colours", "task", 12), ("old", "replay", 3)]
    assert "--limit 12" in training.recipe
    assert "--replay old.yaml:0.2" in training.recipe
    assert training.base_digest == cards_digest(causal)
    assert {"harness", "torch", "transformers", "peft", "accelerate"} <= set(training.versions)
    assert training.peak_memory_bytes > 1e6
    assert training.tokens > 0
    assert str(place) not in (place / "adapters" / "made.yaml").read_text()


def cards_digest(base: Path) -> str:
    from harness.models.digests import model_digest

    return model_digest(base)


def test_two_trainings_with_the_same_seed_are_the_same(place: Path, causal: Path) -> None:
    one, two, other = (train(causal, settings(seed=seed), name=f"n{number}") for number, seed in enumerate((5, 5, 6)))
    assert equal(weights(one), weights(two))
    assert one.training.data_digest == two.training.data_digest
    assert not equal(weights(one), weights(other))


def test_a_gpu_other_than_the_first_is_refused(place: Path, causal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="first GPU, not cuda:1"):
        train(causal, settings(), device="cuda:1")


def test_the_library_reads_evaluated_items_once_a_grid(place: Path, causal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = EvaluatedItems.__init__

    def counted(self: EvaluatedItems, *given: Any) -> None:
        made.append(given)
        original(self, *given)

    monkeypatch.setattr(EvaluatedItems, "__init__", counted)
    tune(options(causal, settings(rank=1), settings(rank=2)), Recorder())
    assert len(made) == 1


def test_checkpoints_hold_what_training_needs(place: Path, causal: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(causal, settings(method="ptuning", max_steps=4), Recorder(stop_after=2), checkpoint_every=1)
    folder = place / "adapters" / "made" / f".{causal.name}.training"
    stored = load_file(next(folder.glob("checkpoint-*")) / checkpoints.WEIGHTS)
    assert any("mlp_head" in name for name in stored)

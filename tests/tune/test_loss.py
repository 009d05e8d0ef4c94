"""The loss and its gradients are those of transformers' own Trainer; what is trained is what a method says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from harness.models.loading import Loaded
from harness.tune.batches import Collator, Steps, split
from harness.tune.checkpoints import Workplace
from harness.tune.loss import completion_loss, completion_tokens
from harness.tune.methods import Tunable, tunable
from harness.tune.pairs import TrainingPair
from harness.tune.progress import TrainingHistory
from harness.tune.settings import TuneSettings
from harness.tune.trainer import Base, TaskTrainer, TrainingPlan
from tests.tune.conftest import Recorder, load, settings

PAIRS = [TrainingPair(tuple(range(5, 7 + 3 * n)), (*range(60 + n, 62 + 2 * n), 2)) for n in range(6)]
Gradients = list[dict[str, torch.Tensor]]


def still(base: Path) -> Loaded:
    """A base without dropout and in double precision: the order of rows moves nothing, and Adam enlarges no rounding."""
    loaded = load(base, dtype="float64")
    for part in loaded.module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        elif isinstance(getattr(part, "dropout", None), float):
            part.dropout = 0.0
    return loaded


class _Keep(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Keeps the gradients of each step, as the optimizer gets them."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.steps: Gradients = []

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        found = {name: value.grad.clone() for name, value in self.module.named_parameters() if value.grad is not None}
        self.steps.append(found)


def plain(folder: Path, base: Path, chosen: TuneSettings, steps: int) -> tuple[list[float], Gradients, dict[str, torch.Tensor]]:
    """Losses, gradients and final weights of transformers' Trainer as anybody would use it."""
    loaded = still(base)
    with tunable(loaded, chosen) as made:
        keep = _Keep(made.module)
        arguments = TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=len(PAIRS),
            max_steps=steps,
            learning_rate=chosen.lr,
            lr_scheduler_type="linear",
            max_grad_norm=1.0,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            remove_unused_columns=False,
            seed=chosen.seed,
        )
        pad = loaded.module.generation_config.pad_token_id

        def collate(pairs: list[TrainingPair]) -> dict[str, torch.Tensor]:
            return Collator(loaded.architecture, pad)([pairs])

        trainer = Trainer(model=made.module, args=arguments, train_dataset=PAIRS, data_collator=collate, callbacks=[keep])
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        return losses, keep.steps, {name: value.detach().clone() for name, value in made.parameters.items()}


def ours(
    folder: Path, base: Path, chosen: TuneSettings, steps: int, micro_tokens: int = 10_000, progress: Recorder | None = None
) -> tuple[list[float], Gradients, dict[str, torch.Tensor]]:
    loaded = still(base)
    with tunable(loaded, chosen) as made:
        trainer = _trainer(folder, loaded, made, chosen, steps, micro_tokens, progress or Recorder())
        keep = _Keep(made.module)
        trainer.add_callback(keep)
        trainer.train()
        return trainer.history.losses, keep.steps, {name: value.detach().clone() for name, value in made.parameters.items()}


def _trainer(
    folder: Path, loaded: Loaded, made: Tunable, chosen: TuneSettings, steps: int, micro_tokens: int, progress: Recorder
) -> TaskTrainer:
    assert chosen.lr is not None
    data = Steps(PAIRS, [list(range(len(PAIRS)))] * steps)
    plan = TrainingPlan(data, chosen.lr, chosen.seed, micro_tokens, checkpoint_every=100, validate_every=0)
    base = Base(loaded.architecture, loaded.module.generation_config.pad_token_id, loaded.device)
    return TaskTrainer(made, base, plan, Workplace(folder), TrainingHistory(), None, progress)


CLOSE = {"causal": 1e-5, "seq2seq": 5e-5}
"""Of gradients, and of weights after steps of 1e-3. T5's attention saturates; transformers 5.0 has no fused kernel for it, and two ways of
batching differ by 4.4e-5 there."""


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float) -> None:
    assert one.keys() == other.keys()
    assert one
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=tolerance, rtol=1e-4)


@pytest.mark.parametrize("method", ["full", "lora", "prompt", "prefix"])
@pytest.mark.parametrize("architecture", ["causal", "seq2seq"])
def test_losses_gradients_and_weights_equal_a_plain_trainers(
    bases: dict[str, Path], tmp_path: Path, method: Any, architecture: str
) -> None:
    chosen = settings(method=method, lr=1e-3)
    expected = plain(tmp_path / "plain", bases[architecture], chosen, 2)
    found = ours(tmp_path / "ours", bases[architecture], chosen, 2)
    assert found[0] == pytest.approx(expected[0], abs=1e-5)
    for mine, theirs in zip(found[1], expected[1], strict=True):
        same(mine, theirs, CLOSE[architecture])
    same(found[2], expected[2], CLOSE[architecture])


@pytest.mark.parametrize("architecture", ["causal", "seq2seq"])
def test_pieces_change_neither_loss_nor_gradients(bases: dict[str, Path], tmp_path: Path, architecture: str) -> None:
    whole = ours(tmp_path / "whole", bases[architecture], settings(), 1)
    pieces = ours(tmp_path / "pieces", bases[architecture], settings(), 1, micro_tokens=1)
    assert pieces[0] == pytest.approx(whole[0], abs=1e-5)
    same(pieces[1][0], whole[1][0], CLOSE[architecture])


@pytest.mark.parametrize("architecture", ["causal", "seq2seq"])
def test_the_loss_is_that_of_the_completion_alone(bases: dict[str, Path], architecture: str) -> None:
    loaded = load(bases[architecture])
    batch = Collator(loaded.architecture, 0)([PAIRS])
    with torch.no_grad():
        found = completion_loss(loaded.module, batch, loaded.architecture) / completion_tokens(batch, loaded.architecture)
        expected = loaded.module(**batch).loss
        changed = {**batch, "labels": batch["labels"].clone()}
        changed["labels"][0, (batch["labels"][0] != -100).nonzero()[0]] = 77
        other = completion_loss(loaded.module, changed, loaded.architecture)
    assert float(found) == pytest.approx(float(expected), abs=1e-5)
    assert float(other) != pytest.approx(float(found) * completion_tokens(batch, loaded.architecture), abs=1e-3)


def test_out_of_memory_halves_the_pieces_and_keeps_what_is_learned(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ours(tmp_path / "plain", bases["causal"], settings(), 2)
    sizes = []

    def limited(module: Any, batch: Any, architecture: Any) -> torch.Tensor:
        sizes.append(batch["input_ids"].numel())
        if sizes[-1] > 30:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return completion_loss(module, batch, architecture)

    monkeypatch.setattr("harness.tune.trainer.completion_loss", limited)
    progress = Recorder()
    found = ours(tmp_path / "short", bases["causal"], settings(), 2, progress=progress)
    assert found[0] == pytest.approx(expected[0], abs=1e-5)
    same(found[2], expected[2], 1e-6)
    assert max(sizes) > 30
    after = sizes[max(index for index, size in enumerate(sizes) if size > 30) + 1 :]
    assert len(after) > 2
    assert [note.startswith("Out of memory: computing") for note in progress.notes] == [True] * len(progress.notes)
    assert progress.notes


def test_a_single_pair_that_does_not_fit_is_told(bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.engine.transformers.memory import OutOfMemoryError

    def never(*_: Any) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes. not enough memory")

    monkeypatch.setattr("harness.tune.trainer.completion_loss", never)
    with pytest.raises(OutOfMemoryError, match="A single pair of"):
        ours(tmp_path / "never", bases["causal"], settings(), 1)


def test_other_errors_are_not_taken_for_memory(bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("harness.tune.trainer.completion_loss", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        ours(tmp_path / "broken", bases["causal"], settings(), 1)


def test_a_loss_that_is_no_number_stops_the_training(bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.errors import NumericError

    monkeypatch.setattr("harness.tune.trainer.completion_loss", lambda *given: completion_loss(*given) * float("nan"))
    with pytest.raises(NumericError, match="loss of step 1 is nan"):
        ours(tmp_path / "nan", bases["causal"], settings(), 1)


def test_pieces_stay_below_the_limit_once_halved() -> None:
    batch = Collator("causal", 0)([PAIRS])
    assert all(len(piece["input_ids"]) == 1 for piece in split(batch, 1, "causal"))

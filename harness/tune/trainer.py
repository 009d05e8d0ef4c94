"""Training through transformers' Trainer: steps of a fixed number of tokens, in micro-batches that fit memory, with exact checkpoints."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from harness.engine.transformers.memory import OutOfMemoryError, is_out_of_memory
from harness.errors import NumericError
from harness.tune import checkpoints
from harness.tune.batches import Batch, Collator, Steps, split
from harness.tune.loss import completion_loss, completion_tokens
from harness.tune.methods import Tunable
from harness.tune.progress import StepScores, TrainingHistory, TuneProgress

WARMUP = 0.03
"""Share of the steps in which the learning rate rises; then it falls to zero in a line."""

LARGEST_GRADIENT = 1.0
"""Norm beyond which gradients are scaled down."""


@dataclass(frozen=True)
class TrainingPlan:
    """How to train.

    Attributes:
        steps: what each step learns.
        lr: peak learning rate.
        seed: of whatever is random in training (nothing, unless the model has dropout).
        micro_tokens: tokens computed at once, padding included, halved when memory runs out.
        checkpoint_every: steps between checkpoints.
        validate_every: steps between validations, 0 for none; otherwise the last step is always validated.
        autocast: compute in bfloat16 where the weights are float32.
        optimizer: transformers' name of it.
    """

    steps: Steps
    lr: float
    seed: int
    micro_tokens: int
    checkpoint_every: int
    validate_every: int
    autocast: bool = False
    optimizer: str = "adamw_torch"


@dataclass(frozen=True)
class Base:
    """The model as the trainer needs it: architecture, padding token and device."""

    architecture: Literal["causal", "seq2seq"]
    pad: int
    device: torch.device


class TaskTrainer(Trainer):  # type: ignore[misc]  # transformers is not typed
    """Transformers' Trainer with steps of its own.

    A batch holds all pairs of one optimizer step. It is computed in micro-batches; where one does not fit into memory they are halved and
    the step starts again, so that the gradient of a step never changes. A checkpoint holds every trained parameter, since peft's own files
    leave out what only training needs (the encoder of p-tuning's prompts).

    Args:
        made: the model with a tuning method applied.
        base: the base model.
        plan: how to train.
        place: where checkpoints go.
        history: of the steps so far.
        validate: scores the model after a step; None for no validation.
        progress: follows the training.
    """

    def __init__(
        self,
        made: Tunable,
        base: Base,
        plan: TrainingPlan,
        place: checkpoints.Workplace,
        history: TrainingHistory,
        validate: Callable[[int], StepScores] | None,
        progress: TuneProgress,
    ) -> None:
        self.made, self.base, self.plan, self.place, self.history, self.progress = made, base, plan, place, history, progress
        self.micro_tokens = plan.micro_tokens
        use_cache = getattr(made.module.config, "use_cache", None)
        super().__init__(
            model=made.module,
            args=_arguments(plan, base, place.folder),
            train_dataset=plan.steps,
            data_collator=Collator(base.architecture, base.pad),
            callbacks=[_Follow(self, validate)],
        )
        made.module.config.use_cache = use_cache  # switched off by the Trainer; generating answers needs it
        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        """The plan's own order."""
        return torch.utils.data.SequentialSampler(self.plan.steps)

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> torch.Tensor:
        """Gradients of one step; returns the mean loss a completion token, in nats.

        Raises:
            OutOfMemoryError: a single pair does not fit.
            NumericError: the loss is no number.
        """
        model.train()
        batch = self._prepare_inputs(inputs)
        while True:
            try:
                loss = self._gradients(model, batch)
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0]
            self._halve(model, batch, reason)
        value = float(loss)
        if not math.isfinite(value):
            raise NumericError(
                f"The loss of step {self.state.global_step + 1} is {value}.",
                "Lower --lr, or train in --dtype float32; the last checkpoint is kept.",
            )
        apart = completion_tokens(batch, "seq2seq") if self.base.architecture == "seq2seq" else 0
        tokens = int(batch["attention_mask"].sum()) + apart
        self.history.losses.append(value)
        self.history.tokens += tokens
        self.progress.step(value, tokens)
        return loss

    def _gradients(self, model: Any, batch: Batch) -> torch.Tensor:
        architecture = self.base.architecture
        total = completion_tokens(batch, architecture)
        summed = torch.zeros((), device=self.base.device)
        for piece in split(batch, self.micro_tokens, architecture):
            with torch.autocast(self.base.device.type, torch.bfloat16, enabled=self.plan.autocast):
                loss = completion_loss(model, piece, architecture) / total
            self.accelerator.backward(loss)
            summed += loss.detach()
        return summed

    def _halve(self, model: Any, batch: Batch, reason: str) -> None:
        """Compute smaller pieces from now on, and forget the gradients of those that were computed."""
        pieces = split(batch, self.micro_tokens, self.base.architecture)
        if all(len(piece["input_ids"]) == 1 for piece in pieces):
            raise OutOfMemoryError(
                f"A single pair of {batch['input_ids'].shape[1]} tokens does not fit into memory ({reason}).",
                "Use --method qlora, a smaller --dtype, another device, or a task with shorter texts; the last checkpoint is kept.",
            )
        largest = max(piece["attention_mask"].numel() for piece in pieces)
        self.micro_tokens = max(1, min(self.micro_tokens, largest) // 2)
        model.zero_grad()
        gc.collect()
        if self.base.device.type == "cuda":
            torch.cuda.empty_cache()
        self.progress.note(f"Out of memory: computing {self.micro_tokens} tokens at once from now on; what a step learns stays the same.")

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The trained parameters of a checkpoint."""
        assert output_dir is not None
        checkpoints.save_weights(self.made.parameters, Path(output_dir) / checkpoints.WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoints.load_weights(self.made.parameters, Path(resume_from_checkpoint) / checkpoints.WEIGHTS)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        with checkpoints.writing(folder):
            super()._save_checkpoint(model, trial)
            self.place.finish_checkpoint(folder, self.history)


class _Follow(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Validates the model, saves the best weights, and counts seconds."""

    def __init__(self, trainer: TaskTrainer, validate: Callable[[int], StepScores] | None) -> None:
        self.trainer, self.validate = trainer, validate
        self._mark = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seconds count from here."""
        self._mark = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before the Trainer writes a checkpoint."""
        plan, step = self.trainer.plan, int(state.global_step)
        if self.validate is not None and plan.validate_every and (step % plan.validate_every == 0 or step == len(plan.steps)):
            self._validate(self.validate, step)
        history = self.trainer.history
        history.seconds += time.perf_counter() - self._mark
        self._mark = time.perf_counter()
        if step == len(plan.steps):
            control.should_save = True

    def _validate(self, validate: Callable[[int], StepScores], step: int) -> None:
        trainer = self.trainer
        scores = validate(step)
        trainer.history.validations.append(scores)
        best = trainer.history.best is scores
        if best:
            path = trainer.place.best(step)
            with checkpoints.writing(path):
                checkpoints.save_weights(trainer.made.parameters, path)
        trainer.progress.validated(step, scores.loss, scores.headline, best)


def train(trainer: TaskTrainer) -> None:
    """Take every step, from the last whole checkpoint on; afterwards the model has the best weights where it was validated."""
    last = trainer.place.last()
    if last is None or checkpoints.step_of(last) < len(trainer.plan.steps):
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    else:
        checkpoints.load_weights(trainer.made.parameters, last / checkpoints.WEIGHTS)
    best = trainer.history.best
    if best is not None:
        checkpoints.load_weights(trainer.made.parameters, trainer.place.best(best.step))
    trainer.made.module.eval()


def _arguments(plan: TrainingPlan, base: Base, folder: Path) -> Any:
    options: Mapping[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 1,
        "max_steps": len(plan.steps),
        "learning_rate": plan.lr,
        "lr_scheduler_type": "linear",
        "warmup_steps": int(WARMUP * len(plan.steps)),
        "weight_decay": 0.0,
        "max_grad_norm": LARGEST_GRADIENT,
        "optim": plan.optimizer,
        "seed": plan.seed,
        "use_cpu": base.device.type == "cpu",
        "logging_strategy": "no",
        "save_strategy": "steps",
        "save_steps": plan.checkpoint_every,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "report_to": "none",
        "log_level": "error",
    }
    made = TrainingArguments(**options)
    made._n_gpu = min(1, made.n_gpu)  # one process, one device: several visible GPUs would be filled with copies
    return made

"""The steps of a tuning: tasks become training pairs, the base gets a tuning method, it is trained and validated, a card records it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import InputError, ModelError
from harness.models import cards, digests, loading
from harness.models.adapter_cards import Losses, Training
from harness.models.encoding import Encoder
from harness.models.loading import Loaded
from harness.models.opening import open_encoder
from harness.tasks.data import DataReader
from harness.tasks.registry import TaskRegistry
from harness.tune import checkpoints, memory, methods
from harness.tune.batches import Steps, plan
from harness.tune.card import Shelf, versions
from harness.tune.methods import Tunable
from harness.tune.mixture import Library, Mixture
from harness.tune.pairs import PairMaker, TrainingPair, pairs_digest
from harness.tune.progress import StepScores, TrainingHistory, TuneProgress, ends
from harness.tune.settings import Candidate, TuneOptions, TuneSettings
from harness.tune.trainer import Base, TaskTrainer, TrainingPlan, train
from harness.tune.validation import Validation
from harness.util import paths
from harness.util.contents import Contents
from harness.util.writable import check_files

_MICRO_TOKENS = {"cpu": 2048, "mps": 2048, "cuda": 16384}
_SPARE_BYTES = 1 << 24


@dataclass(frozen=True)
class Made:
    """A candidate that was trained."""

    name: str
    folder: Path
    training: Training

    @property
    def rank(self) -> tuple[float, float]:
        """Larger is better: by validation score, then by validation loss."""
        loss = self.training.losses.validation
        lower = -math.inf if loss is None else -loss
        return (lower if self.training.headline is None else self.training.headline, lower)


@dataclass(frozen=True)
class Lesson:
    """What a candidate learns, tokenized."""

    mixture: Mixture
    encoder: Encoder
    pairs: list[TrainingPair]
    too_long: int
    steps: list[list[int]]
    digest: str


def tune(options: TuneOptions, progress: TuneProgress) -> list[Made]:
    """Train every candidate, one after the other on one loaded base, or each on a worker.

    Errors in the input are raised before the base is loaded. A candidate of a grid that was finished before is not trained again.

    Raises:
        HarnessError: bad input, or a failure that has a message; nothing that was there is overwritten.
    """
    return _Tuning.open(options, progress).run()


@dataclass
class _Tuning:
    options: TuneOptions
    progress: TuneProgress
    source: cards.ModelSource
    encoder: Encoder
    contents: Contents
    lessons: dict[str, Lesson]
    _loaded: Loaded | None = None

    @classmethod
    def open(cls, options: TuneOptions, progress: TuneProgress) -> _Tuning:
        """Find the model, check the names, read the data."""
        device = loading.pick_device(options.device)
        if device.type == "cuda" and device.index:
            raise InputError(f"Training uses the first GPU, not {options.device}.", "Choose the GPU with CUDA_VISIBLE_DEVICES.")
        data = paths.data_folder(options.data)
        source = cards.resolve(
            options.model, data=data, revision=options.revision, pickles=options.allow_pickle, remote_code=options.trust_remote_code
        )
        if source.note:
            progress.note(source.note)
        loading.check_weights(source, pickles=options.allow_pickle)
        contents = digests.model(source.folder, pickles=options.allow_pickle, remote_code=options.trust_remote_code)
        encoder = open_encoder(source, options.chat, remote_code=options.trust_remote_code)
        made = cls(options, progress, source, encoder, contents, {})
        for candidate in options.candidates:
            if made._finished(candidate) is None:
                made._shelf(candidate).check_free(candidate.settings)
                check_files(made._shelf(candidate).files)
        library = Library(TaskRegistry.default(), DataReader(data), options.validate, options.against, progress.note)
        for candidate in options.candidates:
            made.lessons[candidate.name] = made._lesson(candidate.settings, library)
        return made

    @property
    def base_digest(self) -> str:
        """Names the base exactly."""
        return self.contents.digest

    def run(self) -> list[Made]:
        """Train what is not there yet."""
        elsewhere = self._elsewhere()
        finished = []
        for number, candidate in enumerate(self.options.candidates, start=1):
            self.progress.candidate(candidate.name, number, len(self.options.candidates))
            training = elsewhere.get(candidate.name) or self._finished(candidate)
            if training is None:
                training = self._train(candidate)
            elif candidate.name not in elsewhere:
                self.progress.note(f"{candidate.name} is there already, made with the same settings.")
            finished.append(Made(candidate.name, self._shelf(candidate).folder, training))
        return finished

    def _elsewhere(self) -> dict[str, Training]:
        """What workers train of a grid, by name; nothing where there are none."""
        if self.options.workers is None:
            return {}
        from harness.tune.parallel import train_candidates

        todo = [candidate for candidate in self.options.candidates if self._finished(candidate) is None]
        trained = dict(train_candidates(self.options.workers, self.options, todo, self.source, self.progress))
        for name, training in trained.items():
            if (training.base_digest, training.data_digest) != (self.base_digest, self.lessons[name].digest):
                raise ModelError(f"{name} was trained elsewhere on another base or other data.", "Copy the same files to all machines.")
        return trained

    def _shelf(self, candidate: Candidate) -> Shelf:
        return Shelf(self.options.output, candidate.name, self.source)

    def _finished(self, candidate: Candidate) -> Training | None:
        """What an earlier call with the same grid made of a candidate."""
        training = self._shelf(candidate).finished() if self.options.grid else None
        same = training is not None and training.settings == candidate.settings.record() and training.base_digest == self.base_digest
        return training if same else None

    def _lesson(self, settings: TuneSettings, library: Library) -> Lesson:
        """The pairs of a candidate; candidates that learn the same share them."""
        mixture = library.mixture(settings, self.encoder.chat)
        limit = self.encoder.max_length
        room = limit - settings.virtual_tokens if limit is not None and settings.virtual_tokens else limit
        encoder = replace(self.encoder, max_length=room)
        pairs, too_long = PairMaker(encoder).pairs(mixture.examples)
        digest = pairs_digest(pairs)
        twin = next((lesson for lesson in self.lessons.values() if lesson.digest == digest), None)
        if too_long and twin is None:
            self.progress.note(f"{too_long:,} pairs are longer than the model takes and were left out.")
        own = pairs if twin is None else twin.pairs
        steps = plan(own, settings.seed, settings.batch_tokens, settings.epochs, settings.max_steps)
        return Lesson(mixture, encoder, own, too_long, steps, digest)

    def _train(self, candidate: Candidate) -> Training:
        settings, lesson, shelf = candidate.settings, self.lessons[candidate.name], self._shelf(candidate)
        place = shelf.workplace
        place.open(self._identity(candidate), fresh=self.options.fresh)
        loaded = self._base(settings)
        micro_tokens = self.options.micro_tokens or min(settings.batch_tokens, _MICRO_TOKENS[loaded.device.type])
        trusted = self.options.trust_remote_code
        validation = Validation.prepare(lesson.mixture.pools, lesson.encoder, loaded, micro_tokens, settings.seed, remote_code=trusted)
        last = place.last()
        history = TrainingHistory.read(last / checkpoints.PROGRESS) if last else TrainingHistory()
        memory.forget_peak(loaded.device)
        with methods.tunable(loaded, settings) as made:
            checkpoints.check_space(self.options.output, _disk_bytes(made))
            facts = f"{made.count:,} of {made.base:,} parameters, {100 * made.share:.3g} %; {len(lesson.pairs):,} pairs"
            self.progress.begin(facts, len(lesson.steps), len(history.losses))
            scorer = None if validation is None else lambda step: validation.score(made.module, step)
            base = Base(loaded.architecture, loaded.module.generation_config.pad_token_id, loaded.device)
            trainer = TaskTrainer(made, base, self._plan(settings, lesson, loaded, micro_tokens), place, history, scorer, self.progress)
            train(trainer)
            self.progress.end()
            best = history.best
            if settings.weights_dtype != "float32":
                methods.round_weights(made, settings.weights_dtype)
                best = validation.score(made.module, best.step) if validation and best else None
            final = place.folder / "final"
            with checkpoints.writing(final):
                methods.write(made, loaded, settings, final)
            self.contents.check()
            training = self._record(settings, lesson, loaded, made, history, best, final)
        shelf.place(final, training)
        return training

    def _identity(self, candidate: Candidate) -> dict[str, Any]:
        """What an unfinished training must have been begun with to be gone on with."""
        options, lesson = self.options, self.lessons[candidate.name]
        return candidate.settings.record() | {
            "base": self.base_digest,
            "data": lesson.digest,
            "dtype": options.dtype,
            "validate": options.validate,
            "validate_every": options.validate_every,
        }

    def _base(self, settings: TuneSettings) -> Loaded:
        """The base as a method needs it; the loaded one is reused where it serves.

        Full tuning keeps float32 weights and computes in bfloat16 where that is asked for: updates are smaller than bfloat16's steps.
        """
        options = self.options
        quantize: loading.Quantization | None = "4bit" if settings.method == "qlora" else None
        asked = loading.pick_dtype(options.dtype, loading.pick_device(options.device))
        dtype = "float32" if settings.method == "full" else asked
        if self._loaded is None or (self._loaded.quantization, self._loaded.dtype) != (quantize, dtype):
            self._loaded = None  # release the old one before the new one takes its memory
            self._loaded = loading.load_model(
                self.source,
                tokenizer=self.encoder.tokenizer,
                device=options.device,
                dtype=dtype,
                quantize=quantize,
                pickles=options.allow_pickle,
                remote_code=options.trust_remote_code,
                contents=self.contents,
            )
            self.contents.check()
        return self._loaded

    def _plan(self, settings: TuneSettings, lesson: Lesson, loaded: Loaded, micro_tokens: int) -> TrainingPlan:
        options, count = self.options, len(lesson.steps)
        return TrainingPlan(
            steps=Steps(lesson.pairs, lesson.steps),
            lr=settings.lr or 0.0,
            seed=settings.seed,
            micro_tokens=micro_tokens,
            checkpoint_every=options.checkpoint_every or max(1, count // 20),
            validate_every=options.validate_every or max(1, math.ceil(count / 5)),
            autocast=loading.pick_dtype(options.dtype, loaded.device) == "bfloat16",
            optimizer="paged_adamw_8bit" if settings.method == "qlora" and loaded.device.type == "cuda" else "adamw_torch",
        )

    def _record(
        self,
        settings: TuneSettings,
        lesson: Lesson,
        loaded: Loaded,
        made: Tunable,
        history: TrainingHistory,
        best: StepScores | None,
        final: Path,
    ) -> Training:
        first, last = ends(history.losses)
        full = settings.method == "full"
        return Training(
            method=settings.method,
            base=self.source.name,
            base_digest=self.base_digest,
            architecture=loaded.architecture,
            quantization=loaded.quantization,
            dtype=loaded.dtype,
            chat=lesson.encoder.chat,
            settings=settings.record(),
            recipe=settings.recipe(),
            data=lesson.mixture.uses,
            data_digest=lesson.digest,
            too_long=lesson.too_long,
            overlap=lesson.mixture.overlap,
            trainable=made.count,
            share=made.share,
            bytes=methods.weights_bytes(final),
            digest=digests.model_digest(final) if full else digests.adapter_digest(final),
            steps=len(lesson.steps),
            best_step=best.step if best else len(lesson.steps),
            tokens=history.tokens,
            seconds=round(history.seconds, 2),
            peak_memory_bytes=memory.peak(loaded.device),
            device=_device_name(loaded),
            losses=Losses(first=first, last=last, validation=best.loss if best else None),
            scores={task: dict(scores) for task, scores in best.scores.items()} if best else {},
            headline=best.headline if best else None,
            versions=versions(),
        )


def ranked(made: Sequence[Made]) -> list[Made]:
    """Candidates by validation score, the best first."""
    return sorted(made, key=lambda candidate: candidate.rank, reverse=True)


def _disk_bytes(made: Tunable) -> int:
    """Most that a training keeps at once: two checkpoints with AdamW's two moments, two best weights, and the result."""
    return made.count * 4 * (2 * 3 + 2 + 1) + _SPARE_BYTES


def _device_name(loaded: Loaded) -> str:
    import torch

    if loaded.device.type == "cuda":
        return str(torch.cuda.get_device_name(loaded.device))
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"

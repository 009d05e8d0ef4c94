"""The runs that a report on forgetting compares: a base model and its adapters, evaluated on one loaded base."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness.engine.base import load
from harness.evaluation import perplexity_text
from harness.evaluation.options import Options
from harness.evaluation.progress import Progress, StageTimer
from harness.evaluation.run import FinishedRun, run
from harness.models import cards
from harness.models.opening import ModelOptions, open_encoder
from harness.store import runs
from harness.util import paths

_SMALLER = 3 / 8
"""Batch size of the second evaluation relative to the first: no divisor, so that hardly any batch has the same shape."""


@dataclass(frozen=True)
class EvaluatedFolders:
    """Results of finished runs.

    Attributes:
        base: folder of the base model.
        tuned: folder of each adapter.
        noise: folder of the base model evaluated again in other batches, or None.
        tasks: names of the tasks.
    """

    base: Path
    tuned: tuple[Path, ...]
    noise: Path | None
    tasks: tuple[str, ...]


def score(
    options: Options, progress: Progress, *, text: Path | None = None, noise: bool = False, timer: StageTimer | None = None
) -> EvaluatedFolders:
    """Evaluate the base model and every adapter on one loaded base.

    Args:
        options: options of the run; `adapter` without the base model.
        progress: receives progress and remarks.
        text: a text whose perplexity is measured as well.
        noise: evaluate the base model a second time, in other batches.
        timer: time spent so far.

    Raises:
        HarnessError: bad input, or a failure that has a message.
    """
    file = _text_task(options, text) if text else None
    base, *tuned = _run(replace(options, adapter=(None, *options.adapters)), progress, file, timer)
    again = _noise(options, progress, file, base.folder) if noise else None
    tasks = (*base.tasks, *([perplexity_text.TASK] if file and perplexity_text.TASK not in base.tasks else []))
    return EvaluatedFolders(base.folder, tuple(finished.folder for finished in tuned), again, tasks)


def _run(
    options: Options, progress: Progress, text: Path | None, timer: StageTimer | None = None, cache: Path | None = None
) -> list[FinishedRun]:
    """Run the tasks and the text together; the text first and alone where options are set that do not apply to it."""
    unfit = (options.shots, options.limit, options.templates, options.template_file) != (None,) * 4 or bool(options.seeds)
    if text is not None and unfit:
        plain = replace(options, shots=None, limit=None, template=(), template_file=None, shot_seeds=(), tasks=(str(text),))
        run(plain, progress, cache=cache)
    elif text is not None:
        options = replace(options, tasks=(*options.task_names, str(text)))
    return run(options, progress, timer, cache=cache)


def _text_task(options: Options, text: Path) -> Path:
    source = cards.resolve(
        options.model,
        data=options.data,
        revision=options.revision,
        pickles=options.allow_pickle,
        remote_code=options.trust_remote_code,
    )
    encoder = open_encoder(source, options.chat, remote_code=options.trust_remote_code)
    return perplexity_text.write_task(text, encoder, paths.cache() / "texts")


def _noise(options: Options, progress: Progress, text: Path | None, base: Path) -> Path:
    """Evaluate the base model again, with a response cache of its own, so that its responses do not replace the first ones."""
    usual = load(options.engine).batch_tokens(ModelOptions.of(options))
    tokens = None if usual is None else max(1, int(usual * _SMALLER))
    folder = base / runs.NOISE_FOLDER
    again = replace(options, adapter=(None,), batch_tokens=tokens, output=folder)
    _run(again, progress, text, cache=folder / f"responses-{tokens}.sqlite")
    return folder

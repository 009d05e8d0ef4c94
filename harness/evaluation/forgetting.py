"""What an evaluation of forgetting takes: a base and its adapters scored on one loaded base, and their results compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness.evaluation import perplexity_text
from harness.evaluation.options import Options, Progress, StageTimer
from harness.evaluation.run import FinishedRun, run
from harness.evaluation.systems import open_encoder
from harness.models import cards
from harness.store import runs
from harness.util import paths

_SMALLER = 3 / 8
"""The second scoring's batches, in parts of the first's: not a divisor, so that hardly a batch is of the same shape."""


@dataclass(frozen=True)
class EvaluatedFolders:
    """Finished runs, by their folders.

    Attributes:
        base: the base's.
        tuned: each adapter's.
        noise: the base's in other batches, where that was asked for.
        tasks: names of the tasks asked for.
    """

    base: Path
    tuned: tuple[Path, ...]
    noise: Path | None
    tasks: tuple[str, ...]


def score(
    options: Options, progress: Progress, *, text: Path | None = None, noise: bool = False, timer: StageTimer | None = None
) -> EvaluatedFolders:
    """Score the base and every adapter on one loaded base.

    Args:
        options: of the run; `adapters` without the base.
        progress: follows the progress.
        text: a text whose likelihood is asked as well.
        noise: score the base a second time, in other batches.
        timer: where the time went so far.

    Raises:
        HarnessError: bad input, or a failure that has a message.
    """
    file = _text_task(options, text) if text else None
    found = _run(replace(options, adapters=(None, *options.adapters)), progress, file, timer)
    base, *tuned = found
    second = _noise(options, progress, file, base.folder) if noise else None
    tasks = (*base.tasks, *([perplexity_text.TASK] if file and perplexity_text.TASK not in base.tasks else []))
    return EvaluatedFolders(base.folder, tuple(one.folder for one in tuned), second, tasks)


def _run(
    options: Options, progress: Progress, text: Path | None, timer: StageTimer | None = None, kept: Path | None = None
) -> list[FinishedRun]:
    """The tasks, and the text with them; before them where settings are given that a text does not have."""
    apart = (options.shots, options.limit, options.template, options.template_file) != (None,) * 4 or bool(options.shot_seeds)
    if text is not None and apart:
        plain = replace(options, shots=None, limit=None, template=None, template_file=None, shot_seeds=(), tasks=(str(text),))
        run(plain, progress, kept=kept)
    elif text is not None:
        options = replace(options, tasks=(*options.tasks, str(text)))
    return run(options, progress, timer, kept=kept)


def _text_task(options: Options, text: Path) -> Path:
    source = cards.resolve(
        options.model,
        data=paths.data_folder(options.data),
        revision=options.revision,
        pickles=options.allow_pickle,
        remote_code=options.trust_remote_code,
    )
    encoder = open_encoder(source, options.chat, remote_code=options.trust_remote_code)
    return perplexity_text.write_task(text, encoder, paths.cache() / "texts")


def _noise(options: Options, progress: Progress, text: Path | None, base: Path) -> Path:
    """Score the base again; its answers are kept apart, so that they do not take the place of the first ones."""
    from harness.engine.transformers.budget import Budget
    from harness.models.loading import pick_device

    tokens = max(1, int(Budget.choose(options.batch_tokens, pick_device(options.device).type).score * _SMALLER))
    folder = base / runs.NOISE_FOLDER
    again = replace(options, adapters=(None,), batch_tokens=tokens, output=folder)
    _run(again, progress, text, kept=folder / f"responses-{tokens}.sqlite")
    return folder

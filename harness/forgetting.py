"""What an evaluation of forgetting takes: a base and its adapters scored on one loaded base, and their results compared."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import folders, metrics, passages
from harness.errors import InputError
from harness.interop import lm_eval_names
from harness.models import cards
from harness.options import Clock, Options, Watch
from harness.report.comparison import Comparison, Plan, compare_runs
from harness.report.forgetting.noise import NoiseOf, measure
from harness.report.naming import opened
from harness.report.same import one_system
from harness.run import Finished, run
from harness.store import runs
from harness.store.verifying import refuse_changed
from harness.systems import open_encoder
from harness.tasks.registry import Registry

_SMALLER = 3 / 8
"""The second scoring's batches, in parts of the first's: not a divisor, so that hardly a batch is of the same shape."""


@dataclass(frozen=True)
class Scored:
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


@dataclass(frozen=True)
class Found:
    """What the reports show: the base against each system, and what scoring the base again in other batches changes.

    Attributes:
        folders: of the base's results, then of each system's.
    """

    comparisons: tuple[Comparison, ...]
    noise: NoiseOf | None
    folders: tuple[Path, ...]


def score(options: Options, watch: Watch, *, text: Path | None = None, noise: bool = False, clock: Clock | None = None) -> Scored:
    """Score the base and every adapter on one loaded base.

    Args:
        options: of the run; `adapters` without the base.
        watch: follows the progress.
        text: a text whose likelihood is asked as well.
        noise: score the base a second time, in other batches.
        clock: where the time went so far.

    Raises:
        HarnessError: bad input, or a failure that has a message.
    """
    file = _text_task(options, text) if text else None
    found = _run(replace(options, adapters=(None, *options.adapters)), watch, file, clock)
    base, *tuned = found
    second = _noise(options, watch, file, base.folder) if noise else None
    tasks = (*base.tasks, *([passages.TASK] if file and passages.TASK not in base.tasks else []))
    return Scored(base.folder, tuple(one.folder for one in tuned), second, tasks)


def compare(before: Path, after: Sequence[Path], plan: Plan, noise: Path | None = None) -> Found:
    """Compare the base's results with those of every system.

    Args:
        before: the base's folder.
        after: the systems' folders.
        plan: names of tasks and targets may be globs, and paths of task files.
        noise: folder of the base's second scoring.

    Raises:
        InputError: a name is unknown, or results were not measured alike.
        StorageError: results cannot be read, or files beside them are missing or were changed.
    """
    for one in (before, *after, *([] if noise is None else [noise])):
        refuse_changed(one if one.is_dir() else one.parent, runs.read(one))
    if noise is not None:
        _refuse_another_system(before, noise)
    comparisons = tuple(compare_runs(before, one, metrics.load, _named(plan, before, one)) for one in after)
    places = (before, *after)
    if noise is None:
        return Found(comparisons, None, places)
    return Found(comparisons, measure(before, noise, metrics.load, _named(plan, before, noise)), places)


def check_margins(margins: Iterable[str], tasks: Sequence[str]) -> None:
    """Refuse margins that name nothing of the tasks asked for, before anything is scored.

    What tasks of lm-eval measure is known only once they are built; `compare` checks margins as well.

    Raises:
        InputError: a margin names no task and no metric, or a task is unknown.
    """
    own, theirs = lm_eval_names.split(tasks)
    if margins and not theirs:
        entries = Registry.default().select(own).entries
        _refuse_unknown(margins, {entry.task.task: [spec.key for spec in entry.task.metrics] for entry in entries})


def _refuse_another_system(before: Path, noise: Path) -> None:
    """Make sure that a second scoring is one of the same system: another system's flips would pass for rounding.

    Raises:
        InputError: it is not.
    """
    base, second = runs.read(before).system, runs.read(noise).system
    if not one_system(base, second):
        raise InputError(
            f"The second scoring in {noise} is of another system ({second.name}) than {before} ({base.name}).",
            "Make it again: harness forgetting --model … --adapter … --noise.",
        )


def noise_folder(before: Path) -> Path:
    """Where the second scoring of these results lies.

    Raises:
        InputError: there is none.
    """
    folder = (before if before.is_dir() else before.parent) / runs.NOISE_FOLDER
    if not (folder / runs.FILE_NAME).is_file():
        raise InputError(f"{before} has no second scoring in {folder}.", "Make one: harness forgetting --model … --adapter … --noise.")
    return folder


def _run(options: Options, watch: Watch, text: Path | None, clock: Clock | None = None, kept: Path | None = None) -> list[Finished]:
    """The tasks, and the text with them; before them where settings are given that a text does not have."""
    apart = (options.shots, options.limit, options.template, options.template_file) != (None,) * 4 or bool(options.shot_seeds)
    if text is not None and apart:
        plain = replace(options, shots=None, limit=None, template=None, template_file=None, shot_seeds=(), tasks=(str(text),))
        run(plain, watch, kept=kept)
    elif text is not None:
        options = replace(options, tasks=(*options.tasks, str(text)))
    return run(options, watch, clock, kept=kept)


def _text_task(options: Options, text: Path) -> Path:
    source = cards.resolve(
        options.model,
        data=folders.data_folder(options.data),
        revision=options.revision,
        pickles=options.allow_pickle,
        remote_code=options.trust_remote_code,
    )
    encoder = open_encoder(source, options.chat, remote_code=options.trust_remote_code)
    return passages.write_task(text, encoder, folders.cache() / "texts")


def _noise(options: Options, watch: Watch, text: Path | None, base: Path) -> Path:
    """Score the base again; its answers are kept apart, so that they do not take the place of the first ones."""
    from harness.engine.budget import Budget
    from harness.models.loading import pick_device

    tokens = max(1, int(Budget.choose(options.batch_tokens, pick_device(options.device).type).score * _SMALLER))
    folder = base / runs.NOISE_FOLDER
    again = replace(options, adapters=(None,), batch_tokens=tokens, output=folder)
    _run(again, watch, text, kept=folder / f"responses-{tokens}.sqlite")
    return folder


def _named(plan: Plan, before: Path, after: Path) -> Plan:
    records = runs.read(before), runs.read(after)
    _refuse_unknown(plan.margins, {task: one.metrics for record in records for task, one in record.tasks.items()})
    targets = opened(_tasks_of(plan.targets), records)
    return replace(plan, targets=targets, tasks=None if plan.tasks is None else opened(_tasks_of(plan.tasks), records))


def _refuse_unknown(margins: Iterable[str], tasks: Mapping[str, Iterable[str]]) -> None:
    """Refuse a margin of something that no task has: it would count for nothing in silence.

    Args:
        margins: their names.
        tasks: each with its metrics.
    """
    known = {name for task, metrics_ in tasks.items() for key in metrics_ for name in (task, key, f"{task}.{key}")}
    for name in margins:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"Did you mean {', '.join(near)}?" if near else "Name a task, a metric, or TASK.METRIC."
            raise InputError(f"--margin names {name!r}, which is none of these tasks and metrics.", hint)


def _tasks_of(names: Sequence[str]) -> list[str]:
    """The names, with paths of task files replaced by what the files define."""
    found: list[str] = []
    for name in names:
        found += Registry().add_file(Path(name)) if name.endswith((".yaml", ".yml")) else [name]
    return found

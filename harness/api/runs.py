"""`harness.evaluate` and `harness.load_run`: a model evaluated on tasks, and the object that holds the results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.keywords import keywords_of
from harness.errors import InputError
from harness.evaluation.options import Options, option_fields

if TYPE_CHECKING:
    import pandas

    from harness.models.in_memory import InMemoryModel
    from harness.store.records import MetricRecord, RunRecord

IN_MEMORY = "in-memory"
"""Name of a model in memory that has none."""


@dataclass(frozen=True)
class Run:
    """The results of one system, as `results.json` holds them.

    Attributes:
        record: everything in `results.json`.
        folder: the folder with `results.json`, samples and statistics.
        tasks: names of the tasks that were evaluated.
    """

    record: RunRecord
    folder: Path
    tasks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the system."""
        return self.record.system.name

    @property
    def scores(self) -> dict[str, float | None]:
        """Scores by "task.metric", those of groups included; None where a score is undefined."""
        return {f"{name}.{metric}": score.value for name, metric, score in self._scores()}

    def _scores(self) -> Iterator[tuple[str, str, MetricRecord]]:
        for records in (self.record.groups, self.record.tasks):
            for name, record in records.items():
                for metric, score in record.metrics.items():
                    yield name, metric, score

    def to_pandas(self) -> pandas.DataFrame:
        """A table with a row for each score.

        Raises:
            InputError: pandas is not installed.
        """
        from harness.api.tables import data_frame, run_rows

        return data_frame(run_rows(self._scores()))

    def __repr__(self) -> str:
        return f"Run({self.name!r}: {', '.join(self.tasks)}; {self.folder})"

    def _repr_html_(self) -> str:
        from harness.report.notebook import run_html

        return run_html(self.record)


@dataclass(frozen=True)
class Evaluation(Options):
    """What `harness.evaluate` takes: the options of `harness run`, and what only a program can give.

    Attributes:
        model: a model card, a folder or a Hub id; or a PreTrainedModel or PeftModel in memory.
        tokenizer: tokenizer of a model in memory.
        name: what results call a model in memory.
        progress: whether to show progress; by default on a terminal and in a notebook.
    """

    model: Any
    template_file: str | Path | None = None  # type: ignore[assignment]  # `Options` turns text into paths
    data: str | Path | None = None  # type: ignore[assignment]
    output: str | Path | None = None  # type: ignore[assignment]
    tokenizer: Any = None
    name: str = ""
    progress: bool | None = None

    def __post_init__(self) -> None:
        """Check every value."""
        if not isinstance(self.model, (str, Path)) and self.tokenizer is None:
            raise InputError(f"A {type(self.model).__name__} in memory needs its tokenizer.", "Pass tokenizer=.")
        super().__post_init__()

    @property
    def memory(self) -> InMemoryModel | None:
        """The model where it is in memory, else None."""
        if isinstance(self.model, (str, Path)):
            return None
        from harness.models.in_memory import InMemoryModel

        return InMemoryModel(self.model, self.tokenizer, self.name or _name(self.model))

    @property
    def options(self) -> Options:
        """The options of the run alone."""
        values = {field.name: getattr(self, field.name) for field in option_fields(Options)}
        memory = self.memory
        return Options(**values | {"model": str(self.model) if memory is None else memory.name}, command=self.command)


@keywords_of(Evaluation, positional=3)
def evaluate(evaluation: Evaluation) -> Run:  # noqa: D417 - its callers give the keywords of `Evaluation`, described here
    """Evaluate a model on tasks, and save the results as `harness run` does.

    Args:
        model: a model card, a local folder or a Hub id; or a PreTrainedModel or PeftModel in memory, which is evaluated as it is and put
            back in the state that it was in.
        tasks: tasks, groups, globs or YAML files.
        adapter: an adapter card, folder or Hub id; None for the base model. A PeftModel is evaluated with its active adapter unless an
            adapter is named; with None it is evaluated without.
        tokenizer: tokenizer of a model in memory.
        name: what results call a model in memory.
        progress: whether to show progress; by default on a terminal and in a notebook.
        output: folder for the results; by default results/SYSTEM.

    Further keywords are the options of `harness run`, with the same names and defaults: `harness run --help` describes them.

    Raises:
        TypeError: a keyword is unknown.
        HarnessError: bad input, or a failure that has a message.
    """
    from harness.api.progress import progress_for
    from harness.evaluation.run import run

    if len(evaluation.adapters) > 1:
        raise InputError("evaluate() takes one adapter.", "Call it once for each; responses and data are cached.")
    with progress_for(evaluation.progress) as progress:
        (finished,) = run(evaluation.options, progress, memory=evaluation.memory)
    return Run(finished.record, finished.folder, finished.tasks)


def load_run(folder: str | Path) -> Run:
    """Read the results of a finished run.

    Args:
        folder: its folder, or its `results.json`.

    Raises:
        StorageError: the results cannot be read, or were changed since the run wrote them.
    """
    from harness.store import runs
    from harness.store.verifying import refuse_changed

    path = Path(folder)
    record = runs.read(path)
    place = path if path.is_dir() else path.parent
    refuse_changed(place, record)
    return Run(record, place, tuple(record.tasks))


def _name(model: Any) -> str:
    """The last part of the name or folder that a model was loaded from."""
    config = getattr(model, "config", None)
    return Path(str(getattr(config, "_name_or_path", "") or IN_MEMORY)).name or IN_MEMORY

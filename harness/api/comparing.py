"""`harness.compare` and `harness.gate`: results of two runs compared, and a policy applied to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from harness.api.runs import Run
from harness.contract import LARGEST_SEED
from harness.errors import InputError
from harness.evaluation.options import Names, OptionSpec, option_fields, split

if TYPE_CHECKING:
    import pandas

    from harness.compare.before_after import ForgettingComparisons
    from harness.compare.comparison import RunComparison
    from harness.compare.metric import ComparisonOptions
    from harness.gate.decision import GateDecision
    from harness.stats.verdict import Verdict

Margins: TypeAlias = str | Sequence[str] | Mapping[str, float]
"""Margins as NAME=LOSS, or by name."""

Results: TypeAlias = str | Path | Run
"""A finished run: its folder, its `results.json`, or the object that `harness.evaluate` or `harness.load_run` returned."""


@dataclass(frozen=True)
class CompareOptions:
    """How two runs are compared: options of `harness compare` and keywords of `harness.compare`."""

    tasks: Annotated[Names, OptionSpec("Tasks and groups to compare, separated by commas (default: all).", short="-t")] = ()
    target: Annotated[Names, OptionSpec("Tasks you fine-tuned on, separated by commas; excluded from the forgetting verdict.")] = ()
    margin: Annotated[
        Margins, OptionSpec("Largest loss that does not matter; NAME is a task, a metric or TASK.METRIC.", metavar="NAME=LOSS")
    ] = ()
    noise: Annotated[bool, OptionSpec("Show how much evaluating the base model again in other batches changes its scores.")] = False
    seed: Annotated[int, OptionSpec("Seed for bootstrap resampling.", low=0, high=LARGEST_SEED)] = 0

    def __post_init__(self) -> None:
        """Check every value."""
        for field in option_fields(CompareOptions):
            object.__setattr__(self, field.name, field.checked(getattr(self, field.name)))

    @property
    def margins(self) -> dict[str, float]:
        """The margins by name.

        Raises:
            InputError: one is no name with a loss of at least 0.
        """
        if isinstance(self.margin, Mapping):
            return {name: _loss(name, value) for name, value in self.margin.items()}
        parts = (text.partition("=") for text in split(self.margin))
        return {name.strip(): _loss(name, value) for name, _, value in parts}

    def plan(self) -> ComparisonOptions:
        """The same for `compare.comparison`."""
        from harness.compare.metric import ComparisonOptions

        tasks = split(self.tasks)
        return ComparisonOptions(tasks=tasks or None, targets=split(self.target), margins=self.margins, seed=self.seed)


def _loss(name: str, value: str | float) -> float:
    try:
        loss = float(value)
    except ValueError as error:
        given = f"{name}={value}" if value else name
        raise InputError(f"--margin takes NAME=LOSS, not {given!r}.", "Example: --margin mmlu=0.02, in the unit of the score.") from error
    if not name.strip() or not 0 <= loss < float("inf"):
        raise InputError(f"--margin takes a name and a loss of at least 0, not '{name}={value}'.", "Example: --margin mmlu=0.02.")
    return loss


@dataclass(frozen=True)
class Comparison:
    """Two runs compared item by item, as `harness compare` prints it.

    Attributes:
        content: the comparison, with the noise where it was measured.
    """

    content: ForgettingComparisons

    @property
    def detail(self) -> RunComparison:
        """Everything that reports show: scores, tests, flipped items."""
        return self.content.comparisons[0]

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """The verdict of each task: "forgot", "improved", "retained" or "inconclusive"."""
        return {task.name: task.verdict for task in self.detail.tasks}

    def to_pandas(self) -> pandas.DataFrame:
        """A table with a row for each task and metric.

        Raises:
            InputError: pandas is not installed.
        """
        from harness.api.tables import comparison_rows, data_frame

        return data_frame(comparison_rows(self.detail))

    def to_markdown(self, *, items: int = 10) -> str:
        """The report as Markdown, such as for a pull request.

        Args:
            items: number of items shown of each task.
        """
        return self._report("md", items)

    def to_html(self, *, items: int = 10) -> str:
        """The report as a self-contained HTML page.

        Args:
            items: number of items shown of each task.
        """
        return self._report("html", items)

    def to_json(self) -> str:
        """The report as JSON; `harness forgetting --schema` prints its schema."""
        return self._report("json", 10)

    def _report(self, name: str, items: int) -> str:
        from harness.report.base import ForgettingContent, load

        content = ForgettingContent(self.content.comparisons, self.content.folders, self.content.noise, False, items)
        return load(name, "forgetting").forgetting(content)

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{task}: {verdict}" for task, verdict in self.verdicts.items())
        return f"Comparison({self.detail.after.name!r} against {self.detail.before.name!r}; {verdicts})"

    def _repr_html_(self) -> str:
        from harness.report.notebook import comparison_html

        return comparison_html(self.detail)


@dataclass(frozen=True)
class Decision:
    """What a policy decides about a run, as `harness gate` prints it.

    Attributes:
        detail: every rule with its finding.
    """

    detail: GateDecision

    @property
    def outcome(self) -> str:
        """What follows from all rules: "pass", "fail" or "inconclusive"."""
        return self.detail.outcome

    @property
    def passed(self) -> bool:
        """Whether the run passes."""
        return self.detail.outcome == "pass"

    @property
    def exit_code(self) -> int:
        """The exit code of `harness gate`: 0 pass, 1 fail, 3 inconclusive."""
        return self.detail.exit_code

    def to_pandas(self) -> pandas.DataFrame:
        """A table with a row for each rule.

        Raises:
            InputError: pandas is not installed.
        """
        from harness.api.tables import data_frame, decision_rows

        return data_frame(decision_rows(self.detail))

    def to_markdown(self) -> str:
        """The decision as Markdown, as `harness gate --summary` writes it."""
        return self._report("md")

    def to_junit(self) -> str:
        """The decision as JUnit XML, as `harness gate --junit` writes it."""
        return self._report("junit")

    def _report(self, name: str) -> str:
        from harness.report.base import load

        return load(name, "decision").decision(self.detail)

    def __repr__(self) -> str:
        return f"Decision({self.outcome}: {self.detail.headline})"

    def _repr_html_(self) -> str:
        from harness.api.tables import decision_rows, html_table

        return html_table(self.detail.headline, decision_rows(self.detail))


def compare(
    before: Results, after: Results, *, tasks: Names = (), target: Names = (), margin: Margins = (), noise: bool = False, seed: int = 0
) -> Comparison:
    """Compare two runs item by item: what did the second gain, and what did it forget?

    Args:
        before: the run of the base model.
        after: the run of the fine-tuned model.
        tasks: tasks and groups to compare; by default all that both runs have.
        target: tasks you fine-tuned on; excluded from the forgetting verdict.
        margin: largest loss that does not matter, by task, metric or "task.metric".
        noise: also show how much evaluating the base model in other batches changed; `harness forgetting --noise` evaluates it.
        seed: seed for bootstrap resampling.

    Raises:
        InputError: the runs cannot be compared.
        StorageError: results cannot be read.
    """
    options = CompareOptions(tasks, target, margin, noise, seed)
    return Comparison(compare_folders(folder_of(before), [folder_of(after)], options))


def compare_folders(before: Path, after: Sequence[Path], options: CompareOptions) -> ForgettingComparisons:
    """Compare the run in one folder with the runs in others.

    Raises:
        InputError: the runs cannot be compared.
        StorageError: results cannot be read.
    """
    from harness.compare.before_after import compare as compare_results
    from harness.compare.before_after import noise_folder

    return compare_results(before, after, options.plan(), noise_folder(before) if options.noise else None)


def gate(
    run: Results,
    baseline: Results | None = None,
    policy: str | Path | None = None,
    *,
    on_undecided: Literal["pass", "fail"] | None = None,
) -> Decision:
    """Apply a policy to a run.

    Args:
        run: the candidate.
        baseline: the run that it is compared with.
        policy: file of rules in YAML; by default no task may be forgotten beyond its margin.
        on_undecided: what counts where the data are inconclusive.

    Raises:
        InputError: results or the policy cannot be read, or a rule does not fit them.
    """
    from harness import metrics
    from harness.gate import policy as policies
    from harness.gate.decision import decide

    rules = policies.DEFAULT if policy is None else policies.read(Path(policy))
    return Decision(decide(folder_of(run), None if baseline is None else folder_of(baseline), rules, metrics.load, on_undecided))


def folder_of(results: Results) -> Path:
    """The folder, or the `results.json`, of a run."""
    return results.folder if isinstance(results, Run) else Path(results)

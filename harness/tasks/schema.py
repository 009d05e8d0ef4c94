"""The schema of task and group files. Texts are Jinja templates; data comes from Jinja expressions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$"

TaskName = Annotated[str, Field(pattern=NAME_PATTERN, description="Letters, digits, '_', '.' and '-'.")]
TemplateText = Annotated[str, Field(description="A Jinja template over the row's columns.")]
Expression = Annotated[str, Field(min_length=1, description="A Jinja expression over the row's columns.")]


class Strict(BaseModel):
    """Immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class About(Strict):
    """The structured header of a task."""

    title: str = Field(description="One line.")
    source: str = Field("", description="Where the data comes from.")
    license: str = Field("", description="SPDX name, or a few words.")
    paper: str = ""
    rows: dict[str, int] = Field(default_factory=dict, description="Rows of each split in the official release.")
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    notes: str = ""


class Merge(Strict):
    """Rows that share a key become one item."""

    by: Expression
    collect: tuple[str, ...] = Field(description="Columns gathered into a list; other columns keep the first row's value.", min_length=1)


class Explode(Strict):
    """One row becomes several items, one for each element of a list."""

    over: Expression = Field(description="An expression that gives the list.")
    name: TaskName = Field(alias="as", description="New column: the element.")
    number: TaskName = Field("number", description="New column: the element's place in the list, from 0.")


class Data(Strict):
    """Where the rows come from and how they are transformed, in the order of the fields below."""

    path: str | None = Field(None, description="Hub id of a dataset, such as cais/mmlu.")
    config: str | None = None
    revision: str | None = None
    files: dict[str, str] | None = Field(
        None, description="Split name to a csv, json(l) or parquet file; paths are relative to the task file."
    )
    split: str = Field(description="The split that is scored.")
    rename: dict[str, str] = Field(default_factory=dict, description="New column name to old.")
    explode: Explode | None = None
    filter: Expression | None = Field(None, description="Rows for which this is true are kept.")
    derive: dict[str, Expression] = Field(default_factory=dict, description="New column name to the expression that computes it.")
    merge: Merge | None = None
    id: Expression | None = Field(
        None, description="The item's id; by default the row number in the split, with the element's place after explode."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Data:
        if (self.path is None) == (self.files is None):
            raise ValueError("give either path (a Hub dataset) or files (local files), not both")
        return self


Choices = Annotated[tuple[TemplateText, ...] | Expression, Field(description="A list of templates, or an expression that gives a list.")]


class Template(Strict):
    """One template of a task."""

    name: TaskName
    system: TemplateText = Field("", description="System message in chat; comes first in plain text.")
    header: TemplateText = Field("", description="Comes once, before the few-shot examples.")
    prompt: TemplateText | None = None
    prompts: tuple[TemplateText, ...] | None = Field(
        None, description="Instead of prompt: one prompt for each choice, if the text before the choices differs."
    )
    unconditional: TemplateText = Field("", description="Prompt for the probability of a choice without the question.")
    delimiter: str = Field(" ", description="Between prompt and answer in plain text.")
    separator: str = Field("\n\n", description="After a few-shot example, in plain text.")
    choices: Choices | None = Field(None, description="Overrides the task's choices.")
    target: Expression | None = Field(None, description="Overrides the task's target.")

    @model_validator(mode="after")
    def _has_a_prompt(self) -> Template:
        if self.prompt is None and self.prompts is None:
            raise ValueError("a template needs a prompt, or prompts with one for each choice")
        return self


class Shots(Strict):
    """Few-shot examples: items with their answers before the question."""

    split: str | None = Field(None, description="Split they are drawn from; an item is never its own example.")
    number: int = Field(0, ge=0, description="How many; --shots overrides it.")
    select: Literal["first", "random"] = Field("random", description="The first rows, or rows drawn at random for each item.")


class GenerationSettings(Strict):
    """How an answer is generated."""

    max_new_tokens: int = Field(64, gt=0)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    temperature: float = Field(0.0, ge=0.0, description="0 is greedy decoding.")
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    beams: int = Field(1, ge=1, description="Rows of a beam search; 1 for none.")

    @model_validator(mode="after")
    def _one_way_to_decode(self) -> GenerationSettings:
        if self.beams > 1 and self.temperature > 0:
            raise ValueError("beam search and a temperature cannot be combined: remove one of them")
        return self


class MetricSpec(BaseModel):
    """A metric with its options: `rouge1`, or `{metric: rouge1, references: best, as: rouge1_best}`."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    metric: str
    name: str | None = Field(None, alias="as", description="Its name in results; the metric's name by default.")

    @property
    def key(self) -> str:
        """Its name in results."""
        return self.name or self.metric

    @property
    def options(self) -> dict[str, Any]:
        """The metric's options."""
        return dict(self.model_extra or {})


def _named_metric(value: Any) -> Any:
    return {"metric": value} if isinstance(value, str) else value


def _distinct_metrics(specs: tuple[MetricSpec, ...]) -> tuple[MetricSpec, ...]:
    keys = [spec.key for spec in specs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"metric {key!r} is given twice; rename one of them with 'as'")
    return specs


def _distinct_templates(templates: tuple[Template, ...]) -> tuple[Template, ...]:
    names = [template.name for template in templates]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"template {name!r} is given twice")
    return templates


class Task(Strict):
    """A task: data, templates, answer form, metrics."""

    task: TaskName
    version: int = Field(1, ge=1, description="Increase it whenever the same model would score differently.")
    about: About
    data: Data
    answer: Literal["choices", "generate", "score_text"]
    choices: Choices | None = None
    target: Expression | None = Field(
        None,
        description="choices: index or text of the correct one, or a list of them; generate: reference text or a list of them; "
        "score_text: the text to score.",
    )
    perturb: tuple[str, ...] = Field(
        (), description="Columns that perturbations change; by default the text columns that a template's prompt shows."
    )
    labels: dict[str, Expression] = Field(
        default_factory=dict, description="Facts about an item for metrics and reports: its question, category, …"
    )
    cluster: Expression | None = Field(
        None,
        description="Names the text, document or template that items share; such items are resampled together. By default the label by "
        "which a metric groups items; without one, items are independent.",
    )
    templates: Annotated[tuple[Template, ...], AfterValidator(_distinct_templates)] = ()
    template_files: tuple[str, ...] = Field(
        (), description="Further templates: files in promptsource's format; paths are relative to the task file."
    )
    shots: Shots = Shots()
    generation: GenerationSettings = GenerationSettings()
    metrics: Annotated[
        tuple[Annotated[MetricSpec, BeforeValidator(_named_metric)], ...],
        AfterValidator(_distinct_metrics),
        Field(description="May be empty only for generated texts that are to be scored later; the samples hold them."),
    ]
    headline: tuple[str, ...] = Field((), description="Metrics whose mean is the task's headline score; by default the first metric.")
    groups: tuple[TaskName, ...] = ()

    @property
    def headlines(self) -> tuple[str, ...]:
        """Names of the metrics whose mean is the task's headline score."""
        return self.headline or tuple(spec.key for spec in self.metrics[:1])

    @property
    def clustered_by(self) -> Expression | None:
        """The expression that names an item's cluster; None if items are independent."""
        labels = (self.labels.get(str(spec.options.get("by"))) for spec in self.metrics)
        return self.cluster or next(filter(None, labels), None)

    @model_validator(mode="after")
    def _headline_is_measured(self) -> Task:
        for name in self.headline:
            if name not in [spec.key for spec in self.metrics]:
                raise ValueError(f"headline names {name!r}, but the task has no such metric")
        return self

    @model_validator(mode="after")
    def _answer_is_complete(self) -> Task:
        if not self.templates and not self.template_files:
            raise ValueError("a task needs templates or template_files")
        for template in self.templates:
            if template.prompts is not None and self.answer != "choices":
                raise ValueError(f"template {template.name!r} has prompts, but only tasks with answer: choices can have them")
            if (template.target or self.target) is None:
                raise ValueError(f"template {template.name!r} has no target, and neither has the task")
            if self.answer == "choices" and (template.choices or self.choices) is None:
                raise ValueError(f"template {template.name!r} has no choices, and neither has the task")
        if not self.metrics and self.answer != "generate":
            raise ValueError(f"a task with answer: {self.answer} needs a metric")
        if self.shots.number and self.shots.split is None:
            raise ValueError("shots.number is above 0, but shots.split is missing")
        return self


class Aggregate(Strict):
    """How the scores of a group's tasks are averaged."""

    metric: str | None = Field(None, description="Metric to average; each task's headline score by default.")
    average: Literal["macro", "members", "micro"] = Field(
        "macro",
        description="macro: mean of the tasks' scores; members: mean of the direct members' scores, where a nested group counts once; "
        "micro: the metric over all items pooled.",
    )
    name: str | None = Field(None, alias="as")

    @property
    def key(self) -> str:
        """The name under which results carry it."""
        return self.name or f"{self.metric or 'score'}_{self.average}"

    @model_validator(mode="after")
    def _pools_one_metric(self) -> Aggregate:
        if self.average == "micro" and self.metric is None:
            raise ValueError("a micro average needs 'metric': it pools the items of one metric")
        return self


class Group(Strict):
    """A named list of tasks with aggregates."""

    group: TaskName
    title: str
    tasks: tuple[str, ...] = Field((), description="Names of tasks and groups, and globs; a task also joins through its own `groups`.")
    aggregate: tuple[Aggregate, ...] = ()

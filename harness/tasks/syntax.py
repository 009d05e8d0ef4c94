"""Check that every template and expression of a task compiles."""

from __future__ import annotations

from harness.tasks.files import Document
from harness.tasks.schema import Task
from harness.tasks.templates import Where, check_syntax


def check_templates(task: Task, document: Document) -> None:
    """Compile every template and expression of a task; raises TaskError naming file, line and part."""

    def check(source: str | None, location: list[str | int], *, expression: bool = False) -> None:
        if source is not None:
            check_syntax(source, Where(task.task, f"{'.'.join(map(str, location))} ({document.place(location)})"), expression=expression)

    def check_choices(choices: tuple[str, ...] | str | None, location: list[str | int]) -> None:
        if isinstance(choices, str):
            check(choices, location, expression=True)
        for number, text in enumerate(choices if isinstance(choices, tuple) else ()):
            check(text, [*location, number])

    check(task.target, ["target"], expression=True)
    check_choices(task.choices, ["choices"])
    check(task.data.explode.over if task.data.explode else None, ["data", "explode", "over"], expression=True)
    check(task.data.filter, ["data", "filter"], expression=True)
    check(task.data.id, ["data", "id"], expression=True)
    check(task.data.merge.by if task.data.merge else None, ["data", "merge", "by"], expression=True)
    check(task.cluster, ["cluster"], expression=True)
    for name, source in task.labels.items():
        check(source, ["labels", name], expression=True)
    for name, source in task.data.derive.items():
        check(source, ["data", "derive", name], expression=True)
    for number, template in enumerate(task.templates):
        for part in ("system", "header", "prompt", "unconditional"):
            check(getattr(template, part), ["templates", number, part])
        check(template.target, ["templates", number, "target"], expression=True)
        check_choices(template.choices, ["templates", number, "choices"])
        check_choices(template.prompts, ["templates", number, "prompts"])

"""Read task and group files: YAML with `include`, `expand` and `on_demand`, and errors that name file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from harness.errors import TaskError

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_VARIABLE = re.compile(r"\$\{(\w+)\}")
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Document:
    """One YAML file: its content, and the position of each part."""

    path: Path
    content: dict[str, Any]
    node: yaml.Node
    included: Document | None = None

    def place(self, location: Sequence[str | int]) -> str:
        """`file:line` of the part at `location`; of a file and those it includes, the outermost that has the deepest part of it."""
        place, best = f"{self.path}:1", -1
        document: Document | None = self
        while document is not None:
            line, depth = _line(document.node, location)
            if depth > best:
                place, best = f"{document.path}:{line}", depth
            document = document.included
        return place


def read(path: Path) -> Document:
    """Read a YAML file and the files that it includes.

    Raises:
        TaskError: the file is missing, is not YAML, has a duplicate key, or includes itself.
    """
    return _read(path, ())


def _read(path: Path, chain: tuple[Path, ...]) -> Document:
    if path in chain:
        raise TaskError(f"{path} includes itself through {chain[-1]}.", "Remove one of the includes.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise TaskError(f"Cannot read the task file {path}: {reason}.", "Check the path.") from error
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        content = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise TaskError(f"{path}{line}: not valid YAML: {problem}.", "Fix the file at that line.") from error
    if not isinstance(content, dict) or node is None:
        raise TaskError(f"{path}: a task file must be a mapping of keys to values.", "Start it with `task: NAME` or `group: NAME`.")
    _refuse_circles_and_duplicates(node, path)
    include = content.pop("include", None)
    if include is None:
        return Document(path, content, node)
    base = _read((path.parent / str(include)).resolve(), (*chain, path))
    return Document(path, _merged(base.content, content), node, base)


def expand(document: Document) -> Iterator[dict[str, Any]]:
    """The documents that a file defines: itself, or one for each value of its `expand`."""
    content = dict(document.content)
    family = content.pop("expand", None)
    if family is None:
        yield content
        return
    for values in _family(family, document):
        yield {key: _substituted(value, values, document, (key,)) for key, value in content.items()}


@dataclass(frozen=True)
class TaskFamily:
    """Tasks that are created when they are selected by name, because there are too many to list.

    Attributes:
        document: the file; its `on_demand` maps each variable to its keys and their values.
        template: its content without `on_demand`.
        variables: `${name}` stands for a key; `${name_code}` for the key's value, or `${name_PART}` for each part of a mapping.
    """

    document: Document
    template: Mapping[str, Any]
    variables: Mapping[str, Mapping[str, Mapping[str, str]]]

    def find(self, name: str) -> dict[str, Any] | None:
        """The content of the task `name`, or None if it is not of this family; two variables never take the same key."""
        pattern = re.escape(str(self.template.get("task", "")))
        for variable, keys in self.variables.items():
            options = "|".join(sorted(map(re.escape, keys), key=len, reverse=True))
            pattern = pattern.replace(re.escape(f"${{{variable}}}"), f"(?P<{variable}>{options})", 1)
        match = re.fullmatch(pattern, name)
        if match is None or len(set(match.groupdict().values())) < len(match.groupdict()):
            return None
        values = match.groupdict()
        for variable, key in match.groupdict().items():
            values |= {f"{variable}_{part}": text for part, text in self.variables[variable][key].items()}
        return {key: _substituted(value, values, self.document, (key,)) for key, value in self.template.items()}

    def example(self) -> str:
        """The name of the first task of the family."""
        chosen: dict[str, str] = {}
        for variable, keys in self.variables.items():
            chosen[variable] = next((key for key in keys if key not in chosen.values()), next(iter(keys)))
        return _VARIABLE.sub(lambda match: chosen.get(match[1], match[0]), str(self.template.get("task", "")))


def family(document: Document) -> TaskFamily | None:
    """The family that a file defines with `on_demand`, or None."""
    content = dict(document.content)
    declared = content.pop("on_demand", None)
    if declared is None:
        return None
    mappings = declared.values() if isinstance(declared, dict) else []
    if not mappings or not all(isinstance(keys, dict) and keys for keys in mappings) or "expand" in content:
        raise TaskError(
            f"{document.place(['on_demand'])}: 'on_demand' must map variables to keys and values, and cannot be combined with 'expand'.",
            "For example `on_demand: {src: {eng: eng_Latn, deu: deu_Latn}}`.",
        )
    used = [name for name in declared if f"${{{name}}}" in str(content.get("task"))]  # an included file may declare more
    variables = {name: {str(key): _parts(value) for key, value in declared[name].items()} for name in used}
    return TaskFamily(document, content, variables)


def _parts(value: Any) -> dict[str, str]:
    """A key's value by part; a value that is not a mapping is the part `code`."""
    parts = value if isinstance(value, dict) else {"code": value}
    return {str(part): str(text) for part, text in parts.items()}


def validated(model: type[Model], content: Mapping[str, Any], document: Document) -> Model:
    """Validate `content` as a `model`; raises TaskError with file, line, key and remedy."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise TaskError(*_explain(error, model, document)) from error


def _explain(error: ValidationError, model: type[BaseModel], document: Document) -> tuple[str, str]:
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    first = problems[0]
    location = [part for part in first["loc"] if not (isinstance(part, str) and part in _UNION_BRANCHES)]
    where, key = document.place(location), ".".join(map(str, location))
    if first["type"] == "extra_forbidden":
        import difflib

        near = difflib.get_close_matches(str(location[-1]), _keys(model, location[:-1]), n=1, cutoff=0.6)
        return f"{where}: unknown key {key!r}.", f"Did you mean {near[0]!r}?" if near else "`harness tasks schema` prints every key."
    message = str(first["msg"]).removeprefix("Value error, ")
    subject = f"{key!r}: " if key else ""
    return f"{where}: {subject}{message[:1].lower()}{message[1:]}.", "`harness tasks schema` prints what is allowed."


_UNION_BRANCHES = {"constrained-str", "str", "tuple[constrained-str, ...]", "tuple[str, ...]"}


def _keys(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Keys allowed at `location` of a model, following nested models."""
    import typing

    current: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part) if isinstance(current, type) and issubclass(current, BaseModel) else None
        if field is None:
            return []
        nested = [field.annotation]
        while nested and not (isinstance(nested[0], type) and issubclass(nested[0], BaseModel)):
            nested = [*typing.get_args(nested[0]), *nested[1:]]
        current = nested[0] if nested else None
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def _line(node: yaml.Node, location: Sequence[str | int]) -> tuple[int, int]:
    """Line (from 1) of the deepest part of `location` that exists below `node`, and its depth."""
    line, depth = node.start_mark.line + 1, 0
    for part in location:
        entry = None
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            entry = (node.value[part], node.value[part])
        if entry is None:
            break
        line, depth, node = entry[0].start_mark.line + 1, depth + 1, entry[1]
    return line, depth


def _refuse_circles_and_duplicates(node: yaml.Node, path: Path, above: tuple[yaml.Node, ...] = ()) -> None:
    if node in above:
        raise TaskError(f"{path}:{node.start_mark.line + 1}: this part contains itself through an alias.", "Write it out.")
    above = (*above, node)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise TaskError(f"{path}:{key.start_mark.line + 1}: the key {key.value!r} is given twice.", "Keep one of them.")
            seen.add(key.value)
            _refuse_circles_and_duplicates(value, path, above)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_circles_and_duplicates(value, path, above)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _family(family: Any, document: Document) -> Iterator[Mapping[str, str]]:
    if isinstance(family, list) and all(isinstance(values, dict) for values in family):
        yield from ({str(k): str(v) for k, v in values.items()} for values in family)
    elif isinstance(family, dict) and len(family) == 1 and isinstance(values := next(iter(family.values())), list):
        yield from ({str(next(iter(family))): str(value)} for value in values)
    else:
        raise TaskError(
            f"{document.place(['expand'])}: 'expand' must be one name with a list of values, or a list of mappings.",
            "For example `expand: {subject: [anatomy, virology]}`.",
        )


def _substituted(value: Any, variables: Mapping[str, str], document: Document, location: tuple[str | int, ...]) -> Any:
    if isinstance(value, str):
        unknown = [name for name in _VARIABLE.findall(value) if name not in variables]
        if unknown:
            raise TaskError(
                f"{document.place(location)}: ${{{unknown[0]}}} is not a variable of 'expand'.", f"Its variables: {', '.join(variables)}."
            )
        return _VARIABLE.sub(lambda match: variables[match[1]], value)
    if isinstance(value, list):
        return [_substituted(part, variables, document, (*location, number)) for number, part in enumerate(value)]
    if isinstance(value, dict):
        return {key: _substituted(part, variables, document, (*location, key)) for key, part in value.items()}
    return value

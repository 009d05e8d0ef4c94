"""A policy: a YAML file with rules and the options they need. Every error names file, line and column."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from harness.compare.metric import ComparisonOptions
from harness.errors import InputError
from harness.gate.grammar import RuleError, parse
from harness.gate.rules import NothingForgotten, Rule

KEYS = ("rules", "targets", "margins", "clusters", "tasks")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A rule as the policy states it.

    Attributes:
        text: its line.
        rule: the parsed rule.
        place: `file, line 3, column 5`; empty for the default rule.
    """

    text: str
    rule: Rule
    place: str = ""


@dataclass(frozen=True)
class Policy:
    """Rules, and how results are compared.

    Attributes:
        rules: at least one.
        targets: names of tasks and groups that the model was fine-tuned on; globs are allowed.
        margins: the largest loss that does not matter, by `task.metric`, `task` or `metric`.
        clusters: by task, the label whose equal values mark items that belong together.
        tasks: names of tasks and groups that count; None for all that both results have.
    """

    rules: tuple[PolicyRule, ...]
    targets: tuple[str, ...] = ()
    margins: Mapping[str, float] = field(default_factory=dict)
    clusters: Mapping[str, str] = field(default_factory=dict)
    tasks: tuple[str, ...] | None = None

    def options(self, seed: int = 0) -> ComparisonOptions:
        """How to compare under this policy."""
        return ComparisonOptions(tasks=self.tasks, targets=self.targets, margins=self.margins, clusters=self.clusters, seed=seed)


DEFAULT = Policy((PolicyRule("no task forgot", NothingForgotten(None)),))
"""The policy used where none is given: no task is forgotten beyond its margin."""


def read(path: Path) -> Policy:
    """Read a policy.

    Raises:
        InputError: the file cannot be read, is not YAML, or contains an invalid rule or key; names the place.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"Cannot read the policy {path}: {reason}.", "Check the path.") from error
    return _PolicyReader(path, text).policy()


@dataclass(frozen=True)
class _PolicyReader:
    path: Path
    text: str

    def policy(self) -> Policy:
        entries = self._mapping(self._root(), "A policy", KEYS)
        if "rules" not in entries:
            raise InputError(f"{self.path}, line 1, column 1: the policy has no rules.", "Add `rules:` with a list of rules.")
        return Policy(
            rules=tuple(map(self._policy_rule, self._list(entries["rules"], "rules"))),
            targets=tuple(self._names(entries.get("targets"), "targets")),
            margins=self._table(entries.get("margins"), "margins", self._margin),
            clusters=self._table(entries.get("clusters"), "clusters", lambda node: self._scalar(node, "a label")),
            tasks=tuple(self._names(entries["tasks"], "tasks")) if "tasks" in entries else None,
        )

    def _root(self) -> yaml.Node:
        try:
            node = yaml.compose(self.text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = self._place(mark.line, mark.column) if mark is not None else str(self.path)
            problem = getattr(error, "problem", None) or " ".join(str(error).split())
            hint = "Put a rule that starts with '*' in quotes." if "alias" in str(error) else "Fix the file there."
            raise InputError(f"{place}: not valid YAML: {problem}.", hint) from error
        if node is None:
            raise InputError(f"{self.path}, line 1, column 1: the policy is empty.", "Add `rules:` with a list of rules.")
        return node

    def _policy_rule(self, node: yaml.Node) -> PolicyRule:
        line, column = node.start_mark.line, node.start_mark.column
        if isinstance(node, yaml.MappingNode) and len(node.value) == 1:
            text = self._source(node.value[0])
        elif isinstance(node, yaml.ScalarNode):
            text, column = node.value, column + (node.style in ("'", '"'))
        else:
            self._fail(node, "a rule must be one line of text", "For example `- mmlu: non_inferior within 0.01`.")
        try:
            return PolicyRule(" ".join(text.split()), parse(text), self._place(line, column))
        except RuleError as error:
            place = self._place(line, column + error.column)
            raise InputError(f"{place}: {error.what} in the rule '{' '.join(text.split())}'.", error.remedy) from error

    def _source(self, pair: tuple[yaml.Node, yaml.Node]) -> str:
        """The text of a rule such as `mmlu: improved`, which YAML reads as a mapping."""
        key, value = pair
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            self._fail(value, "a rule must be one line of text", "For example `- mmlu: non_inferior within 0.01`.")
        return self.text[key.start_mark.index : value.end_mark.index]

    def _names(self, node: yaml.Node | None, what: str) -> list[str]:
        if node is None:
            return []
        if isinstance(node, yaml.ScalarNode) and node.value:
            return [name.strip() for name in node.value.split(",") if name.strip()]
        return [self._scalar(entry, "a name") for entry in self._list(node, what)]

    def _margin(self, node: yaml.Node) -> float:
        text = self._scalar(node, "a number")
        try:
            value = float(text)
        except ValueError:
            self._fail(node, f"a margin must be a number, not {text!r}", "Give it in the score's unit, such as 0.01 for shares.")
        if not 0 <= value < float("inf"):
            self._fail(node, f"a margin must be at least 0, not {text}", "Give it in the score's unit, such as 0.01 for shares.")
        return value

    def _table(self, node: yaml.Node | None, what: str, read_value: Callable[[yaml.Node], Value]) -> dict[str, Value]:
        if node is None:
            return {}
        return {name: read_value(value) for name, value in self._mapping(node, f"{what!r}", None).items()}

    def _mapping(self, node: yaml.Node, what: str, known: tuple[str, ...] | None) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._fail(node, f"{what} must be a mapping of names to values", "For example `rules:` with a list below it.")
        entries: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self._scalar(key, "a name")
            if known is not None and name not in known:
                near = difflib.get_close_matches(name, known, 1)
                self._fail(
                    key, f"{name!r} is not a key of a policy", f"Did you mean {near[0]}?" if near else f"Valid keys: {', '.join(known)}."
                )
            if name in entries:
                self._fail(key, f"{name!r} is given twice", "Remove one of them.")
            entries[name] = value
        return entries

    def _list(self, node: yaml.Node, what: str) -> Iterator[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self._fail(
                node, f"{what!r} must be a list with at least one entry", f"Write `{what}:`, and below it lines that start with '- '."
            )
        yield from node.value

    def _scalar(self, node: yaml.Node, what: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            self._fail(node, f"expected {what}", "Write it on the same line.")
        return str(node.value)

    def _place(self, line: int, column: int) -> str:
        return f"{self.path}, line {line + 1}, column {column + 1}"

    def _fail(self, node: yaml.Node, what: str, remedy: str) -> NoReturn:
        mark: Any = node.start_mark
        raise InputError(f"{self._place(mark.line, mark.column)}: {what}.", remedy)

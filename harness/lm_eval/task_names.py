"""Names of lm-eval's tasks: separated from the harness's own, and looked up in a cached index without importing lm-eval."""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import InputError, TaskError
from harness.util import paths
from harness.util.atomic import write_text

PREFIX = "lm_eval:"
"""Marks a task of lm-eval on the command line and in results."""

Kind = Literal["task", "class", "group", "tag"]
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Listed:
    """One name that lm-eval knows.

    Attributes:
        kind: "task", "class" (a task written in Python), "group" (with an aggregate), or "tag" (a list of tasks).
        path: the defining YAML file, relative to lm-eval's task folder; empty for tags.
        output: lm-eval's output type of a task, where its file says it.
        members: tasks that carry the tag, or those that the group's file names.
    """

    kind: Kind
    path: str
    output: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Installed:
    """The lm-eval package as it is installed."""

    version: str
    folder: Path

    @property
    def tasks(self) -> Path:
        """Its folder of task definitions."""
        return self.folder / "tasks"


def split(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The harness's own names, and lm-eval's without their prefix."""
    listed = list(names)
    own = tuple(name for name in listed if not name.startswith(PREFIX))
    return own, tuple(name.removeprefix(PREFIX) for name in listed if name.startswith(PREFIX))


def installed() -> Installed:
    """Where lm-eval is, found without importing it.

    Raises:
        InputError: it is not installed.
    """
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "Tasks of lm-eval need the library lm-eval, which is not installed.", "Install it: pip install 'adapter-harness[lm-eval]'."
        )
    return Installed(importlib.metadata.version("lm_eval"), Path(spec.submodule_search_locations[0]))


def index() -> Mapping[str, Listed]:
    """Every name of the installed lm-eval, in alphabetic order.

    The first call of a release reads all of lm-eval's files, which takes seconds; later ones read the cached index.

    Raises:
        InputError: lm-eval is not installed.
        StorageError: the index cannot be written.
    """
    path = index_path()
    entries = _read(path)
    if entries is None:
        entries = _build(installed())
        write_text(path, json.dumps({name: asdict(listed) for name, listed in entries.items()}, separators=(",", ":")))
    return entries


def index_path() -> Path:
    """Where the index of the installed release is stored; raises InputError where lm-eval is not installed."""
    package = installed()
    place = hashlib.sha256(str(package.folder).encode()).hexdigest()[:12]
    return paths.cache() / "lm_eval" / f"tasks-{package.version}-{place}-{_SCHEMA}.json"


def matching(pattern: str, known: Mapping[str, Listed]) -> list[str]:
    """Names that contain a text, or fit a glob such as `mmlu_*`; all for an empty text."""
    if any(mark in pattern for mark in "*?["):
        return [name for name in known if fnmatch.fnmatchcase(name, pattern)]
    return [name for name in known if pattern.lower() in name.lower()]


def unknown(name: str, known: Iterable[str]) -> TaskError:
    """A TaskError for a name that lm-eval does not know."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6) or [other for other in names if name.lower() in other.lower()][:3]
    hint = f"Did you mean {', '.join(PREFIX + other for other in near)}?" if near else "`harness tasks list --lm-eval PATTERN` finds them."
    return TaskError(f"lm-eval has no task, group or tag {name!r}.", hint)


def _read(path: Path) -> dict[str, Listed] | None:
    """The cached index, or None where it cannot be read; it is then built again."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: Listed(entry["kind"], entry["path"], entry["output"], tuple(entry["members"])) for name, entry in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _build(package: Installed) -> dict[str, Listed]:
    from lm_eval.tasks import TaskManager

    from harness.lm_eval.quiet import quiet

    with quiet():
        entries = TaskManager().task_index
    return {name: _listed(entry, package.tasks) for name, entry in sorted(entries.items())}


def _listed(entry: Any, root: Path) -> Listed:
    kinds: dict[str, Kind] = {"TASK": "task", "PY_TASK": "class", "GROUP": "group", "TAG": "tag"}
    kind, content = kinds[entry.kind.name], entry.cfg or {}
    if kind == "tag":
        members = sorted(entry.tags)
    else:
        listed = content.get("task") if kind == "group" else None
        members = [name for member in (listed if isinstance(listed, list) else []) if (name := _name(member))]
    relative = str(Path(entry.yaml_path).relative_to(root)) if entry.yaml_path else ""
    return Listed(kind, relative, str(content.get("output_type") or ""), tuple(members))


def _name(member: object) -> str:
    if isinstance(member, Mapping):
        return str(member.get("task") if isinstance(member.get("task"), str) else member.get("group") or "")
    return str(member)

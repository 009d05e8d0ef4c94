"""lm-eval's own task objects, built from its files, with their data taken from a folder of snapshots where it holds them."""

from __future__ import annotations

import fnmatch
from collections import UserDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox
import lm_eval
import lm_eval.api.metrics
import lm_eval.utils
import yaml
from lm_eval.api.group import Group
from lm_eval.api.registry import metric_registry
from lm_eval.tasks._factory import TaskFactory
from lm_eval.tasks._index import Entry, Kind, TaskIndex
from lm_eval.tasks._yaml_loader import load_yaml

from harness.errors import ContentError, DataError, HarnessError, TaskError, UnavailableError
from harness.lm_eval import squad_metrics, task_names
from harness.lm_eval.quiet import lm_eval_seeds, quiet
from harness.lm_eval.task_names import PREFIX, Listed
from harness.tasks import reading
from harness.util import paths

FEWSHOT_SEED = 1234
"""Seed of lm-eval's stream of shots."""


@dataclass
class Built:
    """Tasks and groups that names stand for.

    Attributes:
        tasks: lm-eval's task objects by their name.
        groups: lm-eval's groups that have an aggregate, nested ones included.
        labels: for each task the name, with prefix, under which the user asked for it.
        notes: what the user should know of the data.
    """

    tasks: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def build(names: Sequence[str], *, data: Path | None, shots: int | None, seed: int, remote_code: bool = False) -> Built:
    """Build lm-eval's tasks for names, groups, tags, globs or paths of YAML files, each task once.

    Args:
        names: without the prefix.
        data: folder of dataset snapshots, which take precedence over the Hub.
        shots: overrides a task's own number, unless the task's file says 0, as in lm-eval.
        seed: of the tasks' streams of shots.
        remote_code: run Python code that task files outside lm-eval's own package name.

    Raises:
        TaskError: a name stands for nothing, lm-eval cannot build it, or its file names Python code that is not allowed.
        DataError: a task's data are not available, or lack a requested split.
    """
    squad_metrics.provide()
    _sandbox_templates()
    built = Built()
    registry = LmEvalRegistry()
    factory = Factory(data, shots, built.notes, remote_code)
    with quiet(), lm_eval_seeds():
        for name in names:
            for entry in _entries(name, registry):
                for part in _parts(factory, entry, registry):
                    _collect(part, PREFIX + name, built)
        for task in built.tasks.values():
            _set_shots(task, shots, seed)
    return built


def _sandbox_templates() -> None:
    """Render lm-eval's templates where they cannot reach Python: its own environment lets any expression import modules."""
    if not isinstance(lm_eval.utils.env, jinja2.sandbox.SandboxedEnvironment):
        sandboxed = jinja2.sandbox.SandboxedEnvironment(
            loader=jinja2.BaseLoader(), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
        )
        sandboxed.filters.update(lm_eval.utils.env.filters)
        lm_eval.utils.env = sandboxed


class Factory(TaskFactory):  # type: ignore[misc]  # lm-eval's classes are untyped for mypy
    """lm-eval's factory, whose tasks read their data through `LmEvalData`."""

    def __init__(self, folder: Path | None, shots: int | None, notes: list[str], remote_code: bool) -> None:
        super().__init__()
        self._folder, self._shots, self._notes, self._remote_code = folder, shots, notes, remote_code

    def _load_full_config(self, entry: Any, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
        if entry.yaml_path:  # what is refused may need packages merely to be built
            if not self._remote_code and names_code(Path(entry.yaml_path)):
                raise TaskError(
                    f"{entry.yaml_path} names Python code (!function or class), and building the task would run it.",
                    "Pass --trust-remote-code if you trust whoever wrote it.",
                )
            plain = load_yaml(entry.yaml_path, resolve_func=False)
            multimodal = bool(plain.get("doc_to_image") or plain.get("doc_to_audio"))
            _check(entry.name, unsafe=bool(plain.get("unsafe_code")), multimodal=multimodal)
        config: dict[str, Any] = super()._load_full_config(entry, overrides)
        return config if entry.kind is Kind.GROUP else self._with_data(config)

    def _build_group_members(
        self, member_list: list[Any], group_name: str, overrides: dict[str, Any] | None, registry: LmEvalRegistry
    ) -> list[Any]:
        def prepared(member: Any) -> Any:
            inline = isinstance(member, dict) and "group" not in member and member.get("task") not in registry
            return self._with_data({**(overrides or {}), **member}) if inline else member

        members: list[Any] = super()._build_group_members([prepared(member) for member in member_list], group_name, overrides, registry)
        return members

    def _with_data(self, config: dict[str, Any]) -> dict[str, Any]:
        """The configuration with a reader of its own in the place of `datasets.load_dataset`."""
        path = config.get("dataset_path")
        if not path or config.get("custom_dataset"):
            return config
        if "class" in config:  # reads its data itself, and may take the path from here
            local = _local(self._folder, path)
            return config | {"dataset_path": str(local)} if local else config
        source = LmEvalData(str(config["task"]), self._folder, config, self._shots, self._notes)
        return config | {"custom_dataset": source.reader(), "dataset_kwargs": None}


class _Code:
    """Stands for a Python function in a file that is only looked at."""


class _PlainLoader(yaml.SafeLoader):
    """Reads lm-eval's YAML without importing anything."""


_PlainLoader.add_constructor("!function", lambda _loader, _node: _Code())


def names_code(path: Path) -> bool:
    """Whether a task file names Python code, itself or in a file that it includes.

    Code is a function, a class, or a metric that lm-eval does not have and would look for among the scripts of the `evaluate` library.

    Those of lm-eval's own package, and below the user's folders of plug-ins (HARNESS_PATH), are trusted like what lies beside them.
    """
    path = path.resolve()
    trusted = [Path(lm_eval.__file__).resolve().parent, *(folder.resolve() for folder in paths.added("lm_eval"))]
    if any(folder in path.parents for folder in trusted):
        return False
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_PlainLoader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise TaskError(f"{path} cannot be read: {error}.", "Correct the file.") from error
    return _holds_code(content) or any(names_code(path.parent / name) for name in _included(content))


def _holds_code(content: Any) -> bool:
    if isinstance(content, dict):
        return "class" in content or _names_script(content.get("metric_list")) or any(map(_holds_code, content.values()))
    return any(map(_holds_code, content)) if isinstance(content, list) else isinstance(content, _Code)


def _names_script(listed: Any) -> bool:
    metrics = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return any(bool(entry.get("hf_evaluate")) or entry.get("metric") not in metric_registry for entry in metrics)


def _included(content: Any) -> list[str]:
    included = content.get("include") if isinstance(content, dict) else None
    return [str(name) for name in (included if isinstance(included, list) else [included]) if name]


@dataclass(frozen=True)
class LmEvalData:
    """Where one task's data come from.

    Args:
        task: its name, for messages.
        folder: folder of dataset snapshots.
        config: lm-eval's configuration of the task.
        shots: the option; None for the number in the task file.
        notes: gets a remark for a split that is missing and not needed.
    """

    task: str
    folder: Path | None
    config: Mapping[str, Any]
    shots: int | None
    notes: list[str]

    def reader(self) -> Callable[..., Any]:
        """A function that lm-eval calls for the dataset; it may be given the task's metadata, which it does not need."""

        def read(**_: Any) -> Any:
            return self.load()

        return read

    def load(self) -> Any:
        """All splits, those that are missing and not needed replaced by the requested one.

        Raises:
            DataError: the dataset, its config, or a split that is needed is not available.
        """
        splits = self._read()
        return splits if not hasattr(splits, "keys") else self._completed(splits)

    def _read(self) -> Any:
        path, name = str(self.config["dataset_path"]), self.config.get("dataset_name")
        local = _local(self.folder, path)
        options = dict(self.config.get("dataset_kwargs") or {})
        options.pop("trust_remote_code", None)
        revision = options.pop("revision", None)
        only = options.pop("split", None)
        try:
            with reading.hub_silent(local is not None):
                if local is not None:
                    source = reading.open_folder(local, name, **options)
                elif "data_files" in options and "/" not in path:
                    source = reading.open_files(path, **options)
                else:
                    source = _hub_source(path, name, revision, options)
                splits = {split: source.dataset(split) for split in source.splits if only is None and self._asks(split)}
                return source.dataset(only) if only is not None else reading.datasets_library().DatasetDict(splits)
        except ContentError:
            raise
        except (ConnectionError, FileNotFoundError) as error:
            raise UnavailableError(
                f"Task {PREFIX}{self.task}: the dataset {path} is not available: not on the Hub, in the cache or in the data folder.",
                f"Download it elsewhere (`hf download --repo-type dataset {path} --local-dir DIR/{path}`) and give --data DIR.",
            ) from error
        except Exception as error:
            config = f" (config {name})" if name else ""
            raise DataError(f"Task {PREFIX}{self.task}: the dataset {path}{config} cannot be read: {error}.", "Check the files.") from error

    def _asks(self, split: str) -> bool:
        """Whether lm-eval reads a split; functions of the task may read any."""
        named = {self.config.get(f"{kind}_split") for kind in ("training", "validation", "test", "fewshot")}
        own = self.config.get("fewshot_config")
        return split in named | {own.get("split") if isinstance(own, dict) else None} or not any(named)

    def _completed(self, splits: Any) -> Any:
        config = self.config
        asked = config.get("test_split") or config.get("validation_split")
        if asked not in splits:
            raise DataError(
                f"Task {PREFIX}{self.task}: the dataset {config['dataset_path']} has no split {asked!r}.",
                f"Its splits: {', '.join(splits)}.",
            )
        own = config.get("fewshot_config") if isinstance(config.get("fewshot_config"), dict) else {}
        shot_split = (own or {}).get("split") or config.get("fewshot_split")
        named = {config.get("training_split"), config.get("validation_split"), config.get("test_split"), shot_split}
        pool = shot_split or (None if (own or {}).get("samples") else config.get("training_split") or config.get("validation_split"))
        for split in sorted(str(split) for split in named - {None} - set(splits)):
            if split == pool and self._draws_shots():
                raise DataError(
                    f"Task {PREFIX}{self.task}: the dataset {config['dataset_path']} has no split {split!r} to draw shots from.",
                    f"Its splits: {', '.join(splits)}. Ask for --shots 0, or complete the data.",
                )
            splits[split] = splits[asked]
            self.notes.append(f"{PREFIX}{self.task}: the data have no split {split!r}; nothing is asked of it.")
        return splits

    def _draws_shots(self) -> bool:
        own = self.config.get("num_fewshot")
        return own != 0 and bool(own if self.shots is None else self.shots)


def _hub_source(path: str, name: str | None, revision: str | None, options: Mapping[str, Any]) -> reading.DataSource:
    """A config of a hub dataset, from the hub's cache where the hub does not answer."""
    if not paths.offline():
        try:
            return reading.open_hub(path, name, revision, answered=True, **options)
        except ConnectionError:
            pass
    return reading.open_hub(path, name, revision, answered=False, **options)


def _local(folder: Path | None, path: str) -> Path | None:
    """The snapshot of a dataset in the data folder, where there is one."""
    if folder is None:
        return None
    if not folder.is_dir():
        raise DataError(f"The data folder {folder} does not exist.", "Give another with --data or HARNESS_DATA.")
    return folder / path if (folder / path).is_dir() else None


class LmEvalRegistry(UserDict[str, Any]):
    """lm-eval's index, from the cache, and the tasks in `lm_eval/` below the user's folders (HARNESS_PATH); read when a name is looked up.

    A task's file seldom names another task, and the first reading of an installed lm-eval takes seconds.
    """

    def __init__(self) -> None:
        pass

    @cached_property
    def data(self) -> dict[str, Any]:  # type: ignore[override]  # typed as an attribute there
        """Every name with lm-eval's entry."""
        root = task_names.installed().tasks
        entries = {name: _entry(name, listed, root) for name, listed in task_names.index().items()}
        with quiet():
            entries |= TaskIndex.build(paths.added("lm_eval"))
        return entries


def _entry(name: str, listed: Listed, root: Path) -> Any:
    kinds = {"task": Kind.TASK, "class": Kind.PY_TASK, "group": Kind.GROUP, "tag": Kind.TAG}
    tags = set(listed.members) if listed.kind == "tag" else set()
    return Entry(name, kinds[listed.kind], root / listed.path if listed.path else None, None, tags)


def _entries(name: str, registry: Mapping[str, Any]) -> list[Any]:
    if name.endswith((".yaml", ".yml")):
        try:
            entry = TaskIndex.entry_from_path(Path(name))
        except Exception as error:
            raise TaskError(f"lm-eval cannot read the task file {name}: {error}.", "Check the file.") from error
        if entry is None:
            raise TaskError(f"The task file {name} does not exist, or names neither a task nor a group.", "Check the path.")
        return [entry]
    if name in registry:
        return [registry[name]]
    matches = [entry for other, entry in registry.items() if fnmatch.fnmatchcase(other, name)]
    if not matches:
        raise task_names.unknown(name, registry)
    return matches


def _parts(factory: Factory, entry: Any, registry: LmEvalRegistry) -> list[Any]:
    """The task, the group, or the tasks of the tag that an entry defines."""
    try:
        part = factory.build(entry, registry=registry)
    except HarnessError:
        raise
    except Exception as error:
        raise TaskError(
            f"lm-eval cannot build {PREFIX}{entry.name}: {type(error).__name__}: {error}.",
            "Its task may need a package that is not installed, or other data.",
        ) from error
    return list(part) if isinstance(part, list) else [part]


def _collect(part: Any, label: str, built: Built) -> None:
    tasks = part.get_all_tasks() if isinstance(part, Group) else [part]
    for group in [part, *part.get_all_groups()] if isinstance(part, Group) else []:
        if group.aggregate_metric_list:
            built.groups.setdefault(group.name, group)
    for task in tasks:
        _check(task.task_name, unsafe=getattr(task, "UNSAFE_CODE", False), multimodal=getattr(task, "MULTIMODAL", False))
        built.tasks.setdefault(task.task_name, task)
        built.labels.setdefault(task.task_name, label)


def _check(name: str, *, unsafe: bool, multimodal: bool) -> None:
    """Refuse what cannot be asked here."""
    if unsafe:
        raise TaskError(
            f"{PREFIX}{name} runs code that the model writes, which the harness does not do.",
            "Run it in a sandbox with `python -m harness.lm_eval.command run … --confirm_run_unsafe_code`.",
        )
    if multimodal:
        raise TaskError(f"{PREFIX}{name} asks about images or sound; the harness evaluates text.", "Leave it out.")


def _set_shots(task: Any, shots: int | None, seed: int) -> None:
    """lm-eval's rule: a number on the command line replaces the task's own, unless that is 0."""
    own = task.get_config("num_fewshot")
    if own != 0:
        task.set_config(key="num_fewshot", value=(own or 0) if shots is None else shots)
    task.set_fewshot_seed(seed=seed)

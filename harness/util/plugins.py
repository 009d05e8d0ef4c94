"""Plug-ins: classes registered by name, built with options that are checked.

Metrics and perturbations are such classes. They come from the package, from entry points, and from the user's folders.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import pkgutil
import sys
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from harness.errors import InputError
from harness.util import paths

Made = TypeVar("Made")

_FILES: dict[str, str] = {}
"""SHA-256 (hex) of the imported files of the user, by module name."""

_PACKAGES: dict[str, str] = {}
"""Distribution and version of installed plug-ins, by the name of their package."""

_DIGITS = 16


def code_of(cls: type) -> dict[str, str]:
    """The field `code` of a signature: identifies the code of a class if the class, or one of its bases, is a plug-in; empty otherwise.

    A file of the user is identified by the SHA-256 of its content; an installed package by its name and version, and by the SHA-256 of the
    module, which may be edited in place.
    """
    codes: dict[str, None] = {}
    for base in cls.__mro__:
        if base.__module__ in _FILES:
            codes[_FILES[base.__module__][:_DIGITS]] = None
        elif (package := base.__module__.partition(".")[0]) in _PACKAGES and package != "harness":
            path = getattr(sys.modules.get(base.__module__), "__file__", None)
            content = Path(path).read_bytes() if path and Path(path).is_file() else b""
            codes[f"{_PACKAGES[package]} {hashlib.sha256(content).hexdigest()[:_DIGITS]}"] = None
    return {"code": ", ".join(codes)} if codes else {}


def failed_at(error: BaseException) -> str | None:
    """Where an exception was raised in, or below, the code of a plug-in; None where no plug-in is involved."""
    place, trace = None, error.__traceback__
    while trace is not None:
        code, module = trace.tb_frame.f_code, str(trace.tb_frame.f_globals.get("__name__", ""))
        package = module.partition(".")[0]
        if module in _FILES or (package in _PACKAGES and package != "harness"):
            place = f"{code.co_filename}, line {trace.tb_lineno}, in {code.co_name}"
        trace = trace.tb_next
    return place


class Plugins(Generic[Made]):
    """Registry of the classes of one kind.

    Args:
        kind: name of the kind in messages.
        package: the package with the built-in classes.
        folder: the user's files are `FOLDER/*.py` below HARNESS_PATH, and the group of entry points is `harness.FOLDER`.
        error: class of the errors for the user's mistakes.
    """

    def __init__(self, kind: str, package: str, folder: str, error: type[InputError] = InputError) -> None:
        self.kind, self.package, self.folder, self.error = kind, package, folder, error
        self._classes: dict[str, type[Made]] = {}
        self._imported: set[Path] = set()
        self._discovered = False

    def register(self, name: str, cls: type[Made]) -> None:
        """Register `cls` under `name`.

        Raises:
            InputError: another class has that name.
        """
        holder = self._classes.get(name)
        if holder is not None and (holder.__module__, holder.__qualname__) != (cls.__module__, cls.__qualname__):
            raise self.error(
                f"{self.kind.capitalize()} name {name!r} of {cls.__module__}.{cls.__qualname__} is taken by "
                f"{holder.__module__}.{holder.__qualname__}.",
                f"Register the new {self.kind} under another name.",
            )
        self._classes[name] = cls

    def registered(self) -> Mapping[str, type[Made]]:
        """All classes registered so far, by name."""
        return types.MappingProxyType(self._classes)

    def known(self) -> Mapping[str, type[Made]]:
        """Every class by name: built in, installed as a plug-in, and in the user's folders; all are imported on first use."""
        if not self._discovered:
            self._discover()
            self._discovered = True
        return self.registered()

    def load_folder(self, path: Path) -> None:
        """Register the classes in `FOLDER/*.py` below `path`, if there are any.

        Raises:
            InputError: a file cannot be imported, or uses the name of another class.
        """
        self.known()
        self._import_files(path / self.folder)

    def build(self, name: str, options: Mapping[str, Any], hint: str = "", also: Iterable[str] = ()) -> Made:
        """Build `name` with options, which are checked against the annotations of its fields.

        Args:
            name: of a registered class.
            options: values of its fields.
            hint: added to the message about an unknown name.
            also: further names to suggest for an unknown name.

        Raises:
            InputError: the name is unknown, an option is unknown or missing, or its value is not allowed.
        """
        cls = self._classes.get(name)
        if cls is None:
            raise self.error(f"Unknown {self.kind} {name!r}.", " ".join(filter(None, (self._near(name, also), hint))))
        made: Any = cls
        subject = f"{self.kind.capitalize()} {name!r}"
        fields = dataclasses.fields(made)
        known = [f.name for f in fields]
        unknown = sorted(set(options) - set(known))
        if unknown:
            allowed = f"Its options: {', '.join(known)}." if known else "It takes no options."
            raise self.error(f"{subject} has no option {unknown[0]!r}.", allowed)
        hints = get_type_hints(made)
        for f in fields:
            if f.name not in options and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
                raise self.error(f"{subject} needs the option {f.name!r}.", f"It takes {_allowed(hints[f.name])}.")
        for option, value in options.items():
            if not _fits(value, hints[option]):
                raise self.error(f"{subject}: option {option!r} cannot be {value!r}.", f"It takes {_allowed(hints[option])}.")
        try:
            return cls(**options)
        except (TypeError, ValueError) as error:
            raise self.error(f"{subject}: {error}.") from error

    def _near(self, name: str, also: Iterable[str]) -> str:
        names = sorted({*self._classes, *also})
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        return f"Did you mean {', '.join(near)}?" if near else f"Known {self.kind}s: {', '.join(names)}."

    def _discover(self) -> None:
        for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for entry in importlib.metadata.entry_points(group=f"harness.{self.folder}"):
            self._import_entry(entry)
        for folder in paths.added(self.folder):
            self._import_files(folder)

    def _import_files(self, folder: Path) -> None:
        for file in sorted(file.resolve() for file in folder.glob("*.py") if not file.name.startswith("_")):
            if file not in self._imported:
                self._import_file(file)
                self._imported.add(file)

    def _import_entry(self, entry: importlib.metadata.EntryPoint) -> None:
        try:
            loaded = entry.load()
            if entry.dist is not None:
                _PACKAGES[str(getattr(loaded, "__module__", entry.module)).partition(".")[0]] = f"{entry.dist.name} {entry.dist.version}"
        except self.error:
            raise
        except Exception as error:
            raise self.error(
                f"The {self.kind} plug-in {entry.name!r} ({entry.value}) cannot be imported: {type(error).__name__}: {error}.",
                "Fix or uninstall the package that provides it.",
            ) from error

    def _import_file(self, file: Path) -> None:
        # Dataclasses look their module up by name, so it must be in sys.modules before it runs.
        name = f"harness_{self.folder}_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            raise self.error(f"The {self.kind} file {file} is not a Python module.")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            source = file.read_bytes()  # run exactly what was hashed: Python trusts a compiled file by size and time
            _FILES[name] = hashlib.sha256(source).hexdigest()
            exec(spec.loader.source_to_code(source, str(file)), module.__dict__)
        except self.error:
            del sys.modules[name]
            raise
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise self.error(
                f"The {self.kind} file {file} cannot be imported: {type(error).__name__}: {error}.", "Fix the file, or move it away."
            ) from error


def _fits(value: object, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(hint))
    if origin in (Union, types.UnionType):
        return any(_fits(value, arm) for arm in get_args(hint))
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)


def _allowed(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Literal:
        return " or ".join(str(choice) for choice in get_args(hint))
    if origin in (Union, types.UnionType):
        return " or ".join(_allowed(arm) for arm in get_args(hint))
    names: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", types.NoneType: "nothing"}
    return names.get(hint, str(hint))

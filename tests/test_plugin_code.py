"""The code of a plug-in is in the signatures of its classes, and the file that runs is the file that was hashed."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.engine import base as engines
from harness.evaluation.signatures import metric_signature, perturbation_signature
from harness.metrics import base as metrics
from harness.perturb import base as perturbations
from harness.toxicity import base as toxicity
from harness.util.plugins import Plugins, code_of

METRIC = """
from harness.metrics.base import Metric, metric, per_item

@metric("{name}")
class Own(Metric):
    form = "choices"
    constant = {value}
"""
PERTURBATION = """
from dataclasses import dataclass
from harness.perturb.base import Perturbation, perturbation

@perturbation("{name}")
@dataclass(frozen=True)
class Own(Perturbation):
    constant = {value}
"""
SCORER = """
from harness.toxicity.base import Scorer, scorer

@scorer("{name}")
class Own(Scorer):
    constant = {value}
"""
BACKEND = """
from harness.engine.base import Backend, backend

@backend("{name}")
class Own(Backend):
    constant = {value}

    def open(self, opening):
        raise NotImplementedError
"""


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Plug-ins made here are forgotten afterwards."""
    registries: list[Plugins[Any]] = [metrics.PLUGINS, perturbations.PLUGINS, toxicity.PLUGINS, engines.PLUGINS]
    before = [dict(one.known()) for one in registries]
    yield
    for one, classes in zip(registries, before, strict=True):
        one._classes = classes


def loaded(registry: Plugins[Any], folder: Path, text: str, name: str, value: int) -> type:
    path = folder / registry.folder / "own.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(name=name, value=value))
    registry.load_folder(folder)
    return dict(registry.registered())[name]


def test_the_code_of_a_backend_is_in_the_key_of_its_responses(tmp_path: Path) -> None:
    keys = {loaded(engines.PLUGINS, tmp_path / f"{value}", BACKEND, f"own{value}", value)().cache_key.split(":", 1)[1] for value in (1, 2)}
    assert len(keys) == 2
    assert all(len(key.removeprefix("1:")) == 16 for key in keys)
    assert engines.load("mock").cache_key == f"mock:{engines.load('mock').revision}"


def test_the_code_is_in_the_signatures(tmp_path: Path) -> None:
    def signatures(folder: str, value: int) -> tuple[Any, ...]:
        name = f"own_{folder}"
        metric, perturbation, scorer = (
            loaded(registry, tmp_path / folder, text, name, value)
            for registry, text in ((metrics.PLUGINS, METRIC), (perturbations.PLUGINS, PERTURBATION), (toxicity.PLUGINS, SCORER))
        )
        found = (
            metric_signature(metric, metric().signature, (), {}),
            perturbation_signature(perturbation(), 0, ()),
            scorer().signature,
        )
        return tuple(one.get("code") for one in found)

    one, other = signatures("one", 1), signatures("two", 2)
    assert all(len(code) == 16 for code in one)
    assert all(mine != theirs for mine, theirs in zip(one, other, strict=True))


def test_equal_files_have_equal_codes_wherever_they_lie(tmp_path: Path) -> None:
    registry: Plugins[Any] = Plugins("metric", "harness.metrics", "metrics")
    codes = []
    for folder in ("one", "two"):
        path = tmp_path / folder / "metrics" / "own.py"
        path.parent.mkdir(parents=True)
        path.write_text("class Own: pass\n")
        registry.load_folder(tmp_path / folder)
        module = next(one for name, one in sys.modules.items() if getattr(one, "__file__", None) == str(path))
        codes.append(code_of(module.Own))
    assert codes[0] == codes[1] != {}


def test_a_file_that_changed_but_kept_time_and_size_runs_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "metrics" / "own.py"
    path.parent.mkdir()
    found = []
    for value in (1, 2):
        path.write_text(f"class Own:\n    value = {value}\n")
        os.utime(path, ns=(10**18, 10**18))
        registry: Plugins[Any] = Plugins("metric", "harness.metrics", "metrics")
        registry.load_folder(tmp_path)
        module = next(one for one in sys.modules.values() if getattr(one, "__file__", None) == str(path))
        found.append((module.Own.value, code_of(module.Own)["code"]))
    assert [value for value, _ in found] == [1, 2]
    assert found[0][1] != found[1][1]


def test_an_installed_plug_in_is_named_with_its_version_and_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ownpackage.py").write_text("class Own: pass\n")
    info = tmp_path / "own_plugin-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-plugin\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[harness.metrics]\nown = ownpackage:Own\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    registry: Plugins[Any] = Plugins("metric", "harness.metrics", "metrics")
    registry.known()
    code = code_of(sys.modules["ownpackage"].Own)["code"]
    assert code.startswith("own-plugin 1.2 ")


def test_built_in_classes_have_no_code() -> None:
    @dataclass(frozen=True)
    class Here(metrics.Metric[Any]):
        pass

    assert code_of(Here) == {}
    assert all(code_of(cls) == {} for cls in metrics.PLUGINS.known().values() if cls.__module__.startswith("harness."))

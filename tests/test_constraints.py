"""The files that pin releases agree with the bounds in pyproject.toml and with the Makefile."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from harness.util.libraries import DISTRIBUTION, EXTRAS

TOP = Path(__file__).resolve().parent.parent
ELSEWHERE = {"vllm"}
"""Extras that are in none of these environments: vLLM brings its own torch."""


def direct() -> dict[str, Requirement]:
    """Everything that pyproject.toml names, by canonical name."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name not in ELSEWHERE for line in lines]
    requirements: dict[str, Requirement] = {}
    for line in [*project["dependencies"], *extras]:
        requirement = Requirement(line)
        if requirement.name != project["name"]:
            known = requirements.setdefault(canonicalize_name(requirement.name), requirement)
            assert known.specifier == requirement.specifier, f"{requirement.name} has two bounds"
    return requirements


def pinned(name: str) -> dict[str, Version]:
    """The releases of a file of constraints, by canonical name; a line that is anything else fails."""
    releases: dict[str, Version] = {}
    for line in (TOP / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9A-Za-z.]*)", line)
        assert match, f"{name}: {line!r} is not NAME==VERSION"
        key = canonicalize_name(match[1])
        assert key not in releases, f"{name} pins {key} twice"
        releases[key] = Version(match[2])
    return releases


def lower(requirement: Requirement) -> Version:
    """A requirement's lowest release."""
    (bound,) = [Version(limit.version) for limit in requirement.specifier if limit.operator in (">=", "==")]
    return bound


def torch_of_the_makefile() -> Requirement:
    match = re.search(r"^TORCH \?= (.+)$", (TOP / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert match
    return Requirement(match[1])


def test_the_lowest_are_the_lower_bounds() -> None:
    expected = {name: lower(requirement) for name, requirement in direct().items() if name != "torch"}
    assert pinned("constraints-lowest.txt") == expected


def test_the_tested_releases_are_within_the_bounds() -> None:
    tested = pinned("constraints.txt")
    for name, requirement in direct().items():
        assert name in tested, f"constraints.txt lacks {name}: make constraints"
        assert requirement.specifier.contains(tested[name]), f"{name} {tested[name]}"


def test_what_torch_needs_is_pinned_as_well() -> None:
    """`pip freeze` leaves setuptools out unless it is asked for all."""
    pins, seen, todo = pinned("constraints.txt"), set[str](), ["torch"]
    while todo:
        if (name := canonicalize_name(todo.pop())) not in seen:
            seen.add(name)
            needed = [Requirement(line) for line in importlib.metadata.requires(name) or ()]
            todo += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    assert not {name for name in seen if name not in pins}
    assert "pip freeze --all" in (TOP / "Makefile").read_text(encoding="utf-8")


def test_torch_is_the_makefiles_everywhere() -> None:
    assert torch_of_the_makefile().specifier.contains(pinned("constraints.txt")["torch"])
    assert "torch" not in pinned("constraints-lowest.txt")


LIGHT = {"filelock", "jinja2", "numpy", "pydantic", "pyyaml", "rich", "scipy", "typer"}


def test_the_base_install_needs_no_model_library() -> None:
    """Reading results (gate, leaderboard, ...) installs these alone; everything that evaluates models is in extras."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == DISTRIBUTION
    assert {canonicalize_name(Requirement(line).name) for line in project["dependencies"]} == LIGHT


def test_every_optional_library_names_an_extra_that_installs_it() -> None:
    extras = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(EXTRAS.values()) <= set(extras)
    brought = {
        "huggingface_hub": "transformers",
        "pyarrow": "datasets",
        "profanity_check": "alt-profanity-check",
        "tokenizers": "transformers",
    }
    for module, extra in EXTRAS.items():
        package = canonicalize_name(brought.get(module, module))
        assert package in {canonicalize_name(Requirement(line).name) for line in extras[extra]}, module

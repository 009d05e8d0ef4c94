"""Which tests belong to which tier."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import conftest, tiers


def test_a_test_of_real_models_or_data_is_real() -> None:
    assert tiers.markers(tiers.TESTS / "engine" / "test_planning.py", ["tmp_path", "smollm2", "models"]) == ["real"]
    assert tiers.markers(tiers.TESTS / "engine" / "test_planning.py", ["tmp_path"]) == []


@pytest.mark.parametrize("name", tiers.SLOW_PATHS)
def test_slow_paths_exist(name: str) -> None:
    path = tiers.TESTS / name
    assert path.exists(), f"{name} moved: change SLOW_PATHS in tests/tiers.py"
    assert tiers.markers(path / "test_any.py" if path.is_dir() else path, []) == ["slow"]


def test_real_fixtures_are_those_of_conftest() -> None:
    assert all(hasattr(conftest, name) for name in tiers.REAL_FIXTURES)


def test_the_markers_reach_the_tests(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> None:
    collected = {Path(item.path).relative_to(tiers.TESTS).as_posix(): item for item in request.session.items}
    for name, item in collected.items():
        assert bool(item.get_closest_marker("slow")) >= (name in tiers.SLOW_PATHS)
    assert pytestconfig.getini("markers")

"""Metrics' statistics beside the samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.errors import StorageError
from harness.store import samples
from harness.store.samples import StatisticsRecord

from .written import write_statistics

tables = arrays.arrays(
    np.float64,
    st.tuples(st.integers(0, 6), st.integers(1, 5)),
    elements=st.sampled_from([0.0, 1.0]) | st.floats(allow_nan=False, allow_infinity=False),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(tables)
def test_tables_come_back_to_the_last_bit(tmp_path: Path, table: np.ndarray) -> None:
    write_statistics({"mine": StatisticsRecord("bleu", {"smooth": "floor"}, table)}, tmp_path, "quiz")
    (found,) = samples.read_statistics(tmp_path, "quiz", None).values()
    assert (found.metric, found.options) == ("bleu", {"smooth": "floor"})
    np.testing.assert_array_equal(found.table, table)
    assert found.table.shape == table.shape


def test_cells_of_a_large_matrix_take_little_room(tmp_path: Path) -> None:
    cells = np.eye(77 * 77)[np.random.default_rng(0).integers(0, 77 * 77, size=50)]
    path = write_statistics({"f1_macro": StatisticsRecord("f1_macro", {}, cells)}, tmp_path, "raft")
    assert path == tmp_path / "samples" / "raft.statistics.json"
    assert path.stat().st_size < 20_000
    np.testing.assert_array_equal(samples.read_statistics(tmp_path, "raft", None)["f1_macro"].table, cells)


def test_each_metric_has_a_line_of_plain_json(tmp_path: Path) -> None:
    record = StatisticsRecord("accuracy", {"normalize": "none", "range": (1, 2)}, np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]]))
    path = write_statistics({"acc": record, "again": record}, tmp_path, "a/b.c")
    assert len(path.read_text().splitlines()) == 4
    content = json.loads(path.read_text())["acc"]
    assert content["places"] == [1, 0, 1]
    assert content["options"] == {"normalize": "none", "range": [1, 2]}


def test_a_table_that_is_not_finite_is_left_out(tmp_path: Path) -> None:
    finite, infinite = (StatisticsRecord("perplexity", {}, np.array([[value, 1.0]])) for value in (1.0, np.inf))
    write_statistics({"one": finite, "two": infinite}, tmp_path, "quiz")
    assert list(samples.read_statistics(tmp_path, "quiz", None)) == ["one"]


def test_results_without_statistics_have_none(tmp_path: Path) -> None:
    assert samples.read_statistics(tmp_path, "quiz", None) == {}


@pytest.mark.parametrize(
    "text",
    ["", "[1]", '{"acc": 1}', '{"acc": {"metric": "accuracy", "options": {}, "width": 2, "columns": [9], "rows": [[1]], "places": [0]}}'],
)
def test_a_file_that_was_changed_is_named(tmp_path: Path, text: str) -> None:
    path = write_statistics({}, tmp_path, "quiz")
    assert samples.read_statistics(tmp_path, "quiz", None) == {}
    path.write_text(text)
    with pytest.raises(StorageError, match=r"quiz\.statistics\.json"):
        samples.read_statistics(tmp_path, "quiz", None)


def test_clusters_come_back_and_must_fit_the_rows(tmp_path: Path) -> None:
    record = StatisticsRecord("accuracy", {}, np.ones((3, 2)), np.array([0, 0, 1]))
    path = write_statistics({"acc": record}, tmp_path, "quiz")
    found = samples.read_statistics(tmp_path, "quiz", None)["acc"].clusters
    assert found is not None
    assert found.tolist() == [0, 0, 1]
    path.write_text(path.read_text().replace('"clusters": [0, 0, 1]', '"clusters": [0, 0]'))
    with pytest.raises(StorageError, match="2 clusters for 3 rows"):
        samples.read_statistics(tmp_path, "quiz", None)

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.contract import TextOutcome
from harness.errors import MetricError
from harness.evaluation.scoring import TaskScorer
from harness.metrics import load
from tests.tasks.cases import task

SCRIPT = """
import datasets
import evaluate


class {cls}(evaluate.Metric):
    def _info(self):
        features = datasets.Features({{"predictions": datasets.Value("string"), "references": {references}}})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references, scale=1.0):
        {body}
"""
MEAN = 'return {"same_length": scale * sum(len(p) == len(r) for p, r in zip(predictions, references)) / len(references)}'
LONGEST = 'return {"longest": max(map(len, predictions))}'
TWO = 'return {"words": sum(len(p.split()) for p in predictions) / len(predictions), "items": len(predictions), "all": [1.0]}'
ANY = 'return {"hit": sum(p in r for p, r in zip(predictions, references)) / len(predictions)}'
OUTCOMES = [TextOutcome("a", ("b",)), TextOutcome("bb", ("c",)), TextOutcome("ccc", ("ddd",))]


def script(folder: Path, name: str, body: str, references: str = 'datasets.Value("string")') -> str:
    path = folder / f"{name}.py"
    path.write_text(SCRIPT.format(cls=name.title().replace("_", ""), body=body, references=references))
    return f"evaluate:{path}"


def test_a_mean_over_items_keeps_its_item_values(tmp_path: Path) -> None:
    metric = load(script(tmp_path, "same_length", MEAN))
    statistics = metric.statistics(OUTCOMES)
    assert float(metric.score(statistics.sum(axis=0))) == pytest.approx(2 / 3)
    assert metric.item_scores(statistics) == pytest.approx([1.0, 0.0, 1.0])
    assert metric.no_interval(statistics) is None


def test_a_value_that_is_no_mean_has_no_interval(tmp_path: Path) -> None:
    metric = load(script(tmp_path, "longest_text", LONGEST))
    statistics = metric.statistics(OUTCOMES)
    assert float(metric.score(statistics.sum(axis=0))) == pytest.approx(3.0)
    assert metric.item_scores(statistics) is None
    assert "cannot be resampled" in str(metric.no_interval(statistics))


def test_options_go_to_compute_and_into_the_signature(tmp_path: Path) -> None:
    name = script(tmp_path, "scaled_length", MEAN)
    plain, scaled = load(name), load(name, {"scale": 30.0})
    assert float(scaled.score(scaled.statistics(OUTCOMES).sum(axis=0))) == pytest.approx(20.0)
    assert plain.signature != scaled.signature
    assert "evaluate" in plain.signature


def test_signature_follows_the_script(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = load(script(tmp_path / "one", "edited", MEAN)), load(script(tmp_path / "two", "edited", LONGEST))
    assert one.signature["script"] != two.signature["script"]


def test_a_key_chooses_among_several_values(tmp_path: Path) -> None:
    name = script(tmp_path, "two_values", TWO)
    metric = load(f"{name}:words")
    assert float(metric.score(metric.statistics(OUTCOMES).sum(axis=0))) == pytest.approx(1.0)
    assert metric.name == f"{name}:words"
    with pytest.raises(MetricError, match="several values: words, items, all"):
        load(name).statistics(OUTCOMES)
    with pytest.raises(MetricError, match="no value 'letters'"):
        load(f"{name}:letters").statistics(OUTCOMES)
    with pytest.raises(MetricError, match="not a number but list"):
        load(f"{name}:all").statistics(OUTCOMES)


def test_several_references_go_to_modules_that_take_them(tmp_path: Path) -> None:
    several = [TextOutcome("a", ("b", "a")), TextOutcome("b", ("c",))]
    takes = load(script(tmp_path, "any_of", ANY, 'datasets.Sequence(datasets.Value("string"))'))
    assert takes.item_scores(takes.statistics(several)) == pytest.approx([1.0, 0.0])
    with pytest.raises(MetricError, match="takes one reference per item"):
        load(script(tmp_path, "one_only", ANY)).statistics(several)


def test_direction_is_the_task_authors_to_say(tmp_path: Path) -> None:
    name = script(tmp_path, "direction", MEAN)
    assert load(name).higher_is_better
    assert not load(name, {"lower_is_better": True}).higher_is_better
    with pytest.raises(MetricError, match="lower_is_better"):
        load(name, {"lower_is_better": "yes"})


def test_a_failing_script_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match="fails on these texts: ValueError: no good"):
        load(script(tmp_path, "failing", 'raise ValueError("no good")')).statistics(OUTCOMES)


def test_a_module_that_cannot_be_had_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match="cannot load") as caught:
        load(f"evaluate:{tmp_path}/missing.py").statistics(OUTCOMES)
    assert "path of a script" in caught.value.remedy
    assert "\n" not in caught.value.what


def test_a_hub_name_offline_is_one_clear_error(tmp_path: Path) -> None:
    code = (
        "from harness.metrics import load; load('evaluate:accuracy').statistics([__import__('harness').contract.TextOutcome('a', ('a',))])"
    )
    environment = os.environ | {"HARNESS_OFFLINE": "1", "HF_HOME": str(tmp_path), "HF_EVALUATE_CACHE": str(tmp_path)}
    finished = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert "MetricError: The evaluate library cannot load 'accuracy'" in finished.stderr
    assert "give the path of a script" in finished.stderr.splitlines()[-1]


def test_a_name_is_needed() -> None:
    with pytest.raises(MetricError, match="does not name a metric"):
        load("evaluate:")


def test_no_outcomes_give_an_empty_table(tmp_path: Path) -> None:
    assert load(script(tmp_path, "empty", MEAN)).statistics([]).shape == (0, 3)
    assert np.isnan(load(script(tmp_path, "empty", MEAN)).score(np.zeros(3)))


def test_a_script_that_a_task_file_names_runs_only_with_permission(tmp_path: Path) -> None:
    name = script(tmp_path, "traced", f"open({str(tmp_path / 'trace')!r}, 'w').close(); {MEAN}")
    for metric in (name, {"metric": "evaluate", "module": name.removeprefix("evaluate:")}):
        made = task(answer="generate", choices=None, target="thing", metrics=[metric])
        with pytest.raises(MetricError, match=r"Task colours: the metric .* is a Python script") as caught:
            TaskScorer.of(made)
        assert "--trust-remote-code" in caught.value.remedy
        assert not (tmp_path / "trace").exists()
        metric_made = next(iter(TaskScorer.of(made, remote_code=True).metrics.values()))
        metric_made.statistics(OUTCOMES)
        assert (tmp_path / "trace").exists()
        (tmp_path / "trace").unlink()

from __future__ import annotations

import importlib.metadata
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import MetricError
from harness.metrics import known, load, load_folder
from harness.metrics.base import check_form

EXAMPLE = '''
from dataclasses import dataclass
from typing import ClassVar

from harness.metrics.base import Metric, metric, per_item


@metric("{name}")
@dataclass(frozen=True)
class Brevity(Metric):
    """Share of answers of at most `most` characters."""

    form: ClassVar = "generate"
    most: int = 10

    def statistics(self, outcomes):
        return per_item([float(len(outcome.prediction) <= self.most) for outcome in outcomes])
'''
OPTIONS: dict[str, dict[str, object]] = {
    "accuracy": {"normalize": "bytes"},
    "mcc": {"normalize": "tokens"},
    "f1": {"positive": 0},
    "f1_macro": {"normalize": "characters"},
    "rouge1": {"references": "best"},
    "rouge2": {"statistic": "recall"},
    "rougeL": {"stemmer": False},
    "rougeLsum": {"stemmer": False},
    "bleu": {"tokenize": "char"},
    "chrf": {"beta": 3},
    "chrf++": {"lowercase": True},
    "ter": {"normalized": True},
    "exact_match": {"ignore_case": True},
    "choice_em": {"normalize": "pmi"},
    "choice_f1": {"normalize": "tokens"},
    "all_correct": {"by": "question", "normalize": "bytes"},
    "agreement": {"by": "pair", "normalize": "bytes"},
    "reciprocal_rank": {"by": "query", "k": 5},
    "pearson": {"gold": "score", "missing": 0},
    "spearman": {"gold": "score", "which": "last"},
    "bbq_bias": {"condition": "ambiguous", "normalize": "bytes"},
    "nist": {"references": "best"},
}
REQUIRED = {
    "all_correct": {"by": "question"},
    "agreement": {"by": "pair"},
    "reciprocal_rank": {"by": "query"},
    "pearson": {"gold": "score"},
    "spearman": {"gold": "score"},
    "expected_pearson": {"gold": "score"},
    "expected_spearman": {"gold": "score"},
    "bbq_bias": {"condition": "ambiguous"},
}
WITHOUT_OPTIONS = {
    "quasi_exact_match",
    "exact_number",
    "mc2",
    "stereotype_preference",
    "meteor",
    "cider",
    "token_f1",
    "perplexity",
    "word_perplexity",
    "byte_perplexity",
    "bits_per_byte",
}


def python(code: str, **environment: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_every_shipped_metric_is_known_and_declares_itself() -> None:
    assert {*OPTIONS, *REQUIRED, *WITHOUT_OPTIONS, "evaluate"} <= set(known())
    for name, cls in known().items():
        assert cls.name == name
        assert cls.form in ("choices", "generate", "score_text")
        assert cls.low < cls.high
        assert not math.isnan(cls.low)
        assert cls.unit


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_signature_changes_with_an_option(name: str) -> None:
    default, changed = load(name, REQUIRED.get(name)), load(name, OPTIONS[name])
    assert default.signature != changed.signature
    assert default.signature == load(name, REQUIRED.get(name)).signature
    assert default.signature.long.startswith(f"{name}|version:1")


def test_signatures_name_the_library_that_computes() -> None:
    assert load("rouge1").signature["rouge-score"] == importlib.metadata.version("rouge-score")
    assert load("bleu").signature["sacrebleu"] == importlib.metadata.version("sacrebleu")
    assert load("rouge1").signature["stemmer"] is True


def test_unknown_metric_suggests_a_near_one() -> None:
    with pytest.raises(MetricError, match="Unknown metric 'rougeK'") as caught:
        load("rougeK")
    assert "rougeL" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "options", "message", "remedy"),
    [
        ("rouge1", {"stem": True}, "no option 'stem'", "references, statistic, stemmer"),
        ("quasi_exact_match", {"stem": True}, "no option 'stem'", "takes no options"),
        ("all_correct", {}, "needs the option 'by'", "a text"),
        ("bbq_bias", {}, "needs the option 'condition'", "ambiguous or disambiguated"),
        ("rouge1", {"statistic": "f2"}, "'statistic' cannot be 'f2'", "f1 or precision or recall"),
        ("rouge1", {"stemmer": 1}, "'stemmer' cannot be 1", "true or false"),
        ("chrf", {"beta": "2"}, "'beta' cannot be '2'", "a whole number"),
        ("chrf", {"beta": True}, "'beta' cannot be True", "a whole number"),
        ("bleu", {"smooth": "floor", "smooth_value": "x"}, "'smooth_value' cannot be 'x'", "a number or nothing"),
        ("evaluate", {}, "name a metric", ""),
    ],
)
def test_wrong_options_are_named(name: str, options: dict[str, object], message: str, remedy: str) -> None:
    with pytest.raises(MetricError, match=message) as caught:
        load(name, options)
    assert remedy in caught.value.remedy


def test_form_is_checked() -> None:
    check_form(load("accuracy"), "choices")
    with pytest.raises(MetricError, match="scores the answer form 'choices'") as caught:
        check_form(load("accuracy"), "generate")
    assert "rouge1" in caught.value.remedy


def test_a_folder_adds_metrics_once(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "brevity.py").write_text(EXAMPLE.format(name="brevity_in_folder"))
    load_folder(tmp_path)
    load_folder(tmp_path)
    assert load("brevity_in_folder", {"most": 3}).signature.long == "brevity_in_folder|version:1|most:3"
    load_folder(tmp_path / "nothing here")


def test_a_taken_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "mine.py").write_text(EXAMPLE.format(name="accuracy"))
    with pytest.raises(MetricError, match=r"'accuracy' .* taken"):
        load_folder(tmp_path)
    assert known()["accuracy"].__module__ == "harness.metrics.choice"


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "broken.py").write_text("import no_such_module_anywhere\n")
    with pytest.raises(MetricError, match=r"broken\.py cannot be imported: ModuleNotFoundError"):
        load_folder(tmp_path)


def test_metrics_below_harness_path_are_found(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "brevity.py").write_text(EXAMPLE.format(name="brevity"))
    assert python("from harness import metrics; print(metrics.load('brevity').most)", HARNESS_PATH=str(tmp_path)) == "10"


def test_installed_plugins_are_found(tmp_path: Path) -> None:
    (tmp_path / "brevity_plugin.py").write_text(EXAMPLE.format(name="brevity"))
    distribution = tmp_path / "brevity_plugin-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: brevity-plugin\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("[harness.metrics]\nbrevity = brevity_plugin\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    assert python("from harness import metrics; print(metrics.load('brevity').most)", PYTHONPATH=path) == "10"


def test_listing_metrics_imports_no_heavy_library() -> None:
    heavy = "torch transformers datasets evaluate sacrebleu rouge_score nltk pycocoevalcap scipy sklearn"
    code = f"import sys; from harness import metrics; metrics.known(); print([m for m in '{heavy}'.split() if m in sys.modules])"
    assert python(code) == "[]"

"""Scorers by name: what a specification says, what is computed, and a user's own in one file."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from harness import toxicity
from harness.errors import MetricError, NumericError
from harness.toxicity.base import FloatArray, Scorer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "toxicity.md"
BLOCKS = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
"""The examples of the page on toxicity, by file name."""

SHOUTING = '''
from dataclasses import dataclass

import numpy as np

from harness.toxicity.base import Scorer, scorer


@scorer("{name}")
@dataclass(kw_only=True)
class Shouting(Scorer):
    """Share of capitals among a text's letters."""

    argument = "least"
    least: int = 1
    mark: str = "none"

    def compute(self, texts):
        letters = [[one for one in text if one.isalpha()] for text in texts]
        return np.array([sum(map(str.isupper, some)) / len(some) if len(some) >= self.least else 0.0 for some in letters])
'''


@dataclass(kw_only=True)
class Counted(Scorer):
    """Remembers what it was asked to compute."""

    name = "counted"
    gives: float = 0.25

    def compute(self, texts: Sequence[str]) -> FloatArray:
        self.__dict__.setdefault("asked", []).append(list(texts))
        return np.full(len(texts), self.gives)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    toxicity.release()
    yield
    toxicity.release()


def own(folder: Path, name: str) -> Path:
    """A folder with a scorer of the user's."""
    (folder / "toxicity").mkdir()
    (folder / "toxicity" / "mine.py").write_text(SHOUTING.format(name=name))
    return folder


def python(code: str, **environment: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_equal_texts_are_computed_once() -> None:
    scorer = Counted()
    assert scorer.score(["a", "b", "a", " \n", ""]).tolist() == [0.25, 0.25, 0.25, 0.0, 0.0]
    assert scorer.score(["b", "c"]).tolist() == [0.25, 0.25]
    assert scorer.score([]).shape == (0,)
    assert scorer.__dict__["asked"] == [["a", "b"], ["c"]]


@pytest.mark.parametrize("value", [float("nan"), 1.01, -0.01])
def test_what_is_no_probability_is_refused(value: float) -> None:
    with pytest.raises(NumericError, match="not from 0 to 1"):
        Counted(gives=value).score(["a"])


def test_scores_for_other_texts_than_asked_are_refused() -> None:
    class Short(Counted):
        def compute(self, texts: Sequence[str]) -> FloatArray:
            return np.zeros(1)

    with pytest.raises(NumericError, match=r"shape \(1,\) for 2 texts"):
        Short().score(["a", "b"])


def test_identity_tells_every_option_but_the_threshold() -> None:
    scorer = Counted(threshold=0.75)
    assert scorer.identity.long == "counted|version:1|gives:0.25"
    assert scorer.signature.long == "counted|version:1|gives:0.25|threshold:0.75"
    assert Counted(gives=0.5).identity != scorer.identity


def test_a_specification_sets_argument_and_options(tmp_path: Path) -> None:
    folder = own(tmp_path, "shouting")
    toxicity.load_folder(folder)
    scorer = toxicity.load("shouting:3,threshold=0.4, mark=a,b")
    assert scorer.threshold == 0.4
    (file,) = folder.rglob("*.py")
    code = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    assert scorer.identity.long == f"shouting|version:1|least:3|mark:a,b|code:{code}"
    assert scorer.score(["AB", "ABCd"]).tolist() == [0.0, 0.75]
    assert toxicity.load("shouting:3,threshold=0.4, mark=a,b") is scorer
    assert toxicity.load("shouting") is not scorer
    toxicity.release()
    assert toxicity.load("shouting:3,threshold=0.4, mark=a,b") is not scorer


@pytest.mark.parametrize(
    ("spec", "message", "remedy"),
    [
        ("clasifier", "Unknown toxicity scorer 'clasifier'", "Did you mean classifier?"),
        ("perspective-api", "Unknown toxicity scorer", "profanity"),
        ("some/model", "Unknown toxicity scorer", "classifier:some/model"),
        ("", "Unknown toxicity scorer ''", "profanity"),
        ("profanity:much", "has much after the colon", "Write profanity."),
        ("classifier:", "has nothing after the colon", "Write classifier:MODEL."),
        ("profanity,label=toxic", "no option 'label'", "threshold"),
        ("classifier,_scores=1", "no option '_scores'", "model, label"),
        ("profanity,threshold=high", "'threshold' cannot be 'high'", "number"),
        ("profanity,threshold=1.5", "from 0 to 1, not 1.5", ""),
        ("profanity,threshold=nan", "from 0 to 1, not nan", ""),
    ],
)
def test_a_wrong_specification_is_told(spec: str, message: str, remedy: str) -> None:
    with pytest.raises(MetricError, match=re.escape(message)) as caught:
        toxicity.load(spec)
    assert remedy in caught.value.remedy


def test_shipped_scorers_are_known_and_made_without_what_they_need() -> None:
    assert {"classifier", "profanity"} <= set(toxicity.known())
    for name, cls in toxicity.known().items():
        assert cls.name == name
        assert issubclass(cls, Scorer)
    assert toxicity.load("classifier:/no/such/folder").threshold == 0.5


def test_a_scorer_below_harness_path_is_found(tmp_path: Path) -> None:
    code = "from harness import toxicity; print(toxicity.load('shouting').score(['ABcd'])[0])"
    assert python(code, HARNESS_PATH=str(own(tmp_path, "shouting"))) == "0.5"


def test_an_installed_scorer_is_found(tmp_path: Path) -> None:
    (tmp_path / "shouting_plugin.py").write_text(SHOUTING.format(name="shouting"))
    distribution = tmp_path / "shouting_plugin-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting-plugin\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("[harness.toxicity]\nshouting = shouting_plugin\n")
    code = "from harness import toxicity; print(toxicity.load('shouting').score(['ABcd'])[0])"
    assert python(code, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path])) == "0.5"


def test_a_taken_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match=r"'profanity' .* taken"):
        toxicity.load_folder(own(tmp_path, "profanity"))
    assert toxicity.known()["profanity"].__module__ == "harness.toxicity.profanity"


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "toxicity").mkdir()
    (tmp_path / "toxicity" / "broken.py").write_text("import no_such_module_anywhere\n")
    with pytest.raises(MetricError, match=r"broken\.py cannot be imported: ModuleNotFoundError"):
        toxicity.load_folder(tmp_path)


def test_the_example_of_the_page_on_toxicity_is_right(tmp_path: Path) -> None:
    assert set(BLOCKS) == {"toxicity/words.py"}
    (tmp_path / "toxicity").mkdir()
    (tmp_path / "toxicity" / "words.py").write_text(BLOCKS["toxicity/words.py"])
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "banned.yaml").write_text("[mud, puddle]")
    code = (
        "from harness import lists, toxicity; one = toxicity.load('words:banned');"
        "print(*one.score(['a puddle, of MUD', 'muddle', 'a b c mud']), one.identity['digest'] == lists.digest('banned'))"
    )
    found = python(code, HARNESS_PATH=str(tmp_path))
    assert found == "0.5 0.0 0.25 True"


def test_making_scorers_imports_no_heavy_library() -> None:
    heavy = "torch transformers sklearn scipy joblib profanity_check huggingface_hub"
    code = (
        "import sys; from harness import metrics, toxicity; toxicity.known(); toxicity.load('profanity'); toxicity.load();"
        f"metrics.load('toxic_fraction'); print([one for one in '{heavy}'.split() if one in sys.modules])"
    )
    assert python(code) == "[]"

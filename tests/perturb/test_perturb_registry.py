"""Perturbations by name: presets, rates, and one file that adds one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.perturb import PRESETS, load, parse

PAGE = Path(__file__).resolve().parents[2] / "docs" / "perturbations.md"


def python(code: str, **environment: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def labels(text: str) -> list[str]:
    return [one.label for one in parse(text)]


def test_presets_are_helms() -> None:
    assert labels("robustness") == ["mild_mix"]
    assert labels("fairness") == ["dialect", "gender", "person_name"]
    assert labels("canonical") == ["mild_mix", "dialect", "gender", "person_name"]
    everything = {one.name: one for one in parse("robustness_all")}
    assert set(everything) == {"contraction", "expansion", "filler", "lowercase", "misspelling", "spaces", "synonym", "typos"}
    rates = {name: getattr(one, "rate", None) for name, one in everything.items()}
    assert rates == {
        "contraction": None,
        "expansion": None,
        "filler": 0.1,
        "lowercase": None,
        "misspelling": 0.1,
        "spaces": None,
        "synonym": 0.1,
        "typos": 0.01,
    }
    for preset in PRESETS:
        families = {one.family for one in parse(preset)}
        assert families == {preset.removesuffix("_all")} or (preset == "canonical" and families == {"robustness", "fairness"})


def test_names_presets_and_rates_mix_and_none_comes_twice() -> None:
    assert labels("robustness, typos:0.05,mild_mix ,typos:0.05,canonical,typos") == [
        "mild_mix",
        "typos:0.05",
        "dialect",
        "gender",
        "person_name",
        "typos",
    ]


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("typo", "Unknown perturbation 'typo'", "Did you mean typos"),
        ("fairnes", "Unknown perturbation 'fairnes'", "Did you mean fairness"),
        ("qqqq", "Unknown perturbation 'qqqq'", "robustness_all"),
        ("typo:0.1", "Unknown perturbation 'typo'", "Did you mean typos"),
        ("robustness:0.1", "preset of several", "typos:0.05"),
        ("lowercase:0.1", "'lowercase' has no rate", "Write `lowercase`"),
        ("typos:lots", "'lots' is not a number", "typos:0.05"),
        ("typos:1.5", "a share from 0 to 1, not 1.5", ""),
        ("typos:nan", "a share from 0 to 1, not nan", ""),
        (" , ", "The list of perturbations is empty", "canonical"),
    ],
)
def test_mistakes_are_told(text: str, message: str, remedy: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse(text)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("spaces", {"rate": 0.1}, "no option 'rate'"),
        ("spaces", {"most": 0}, "most is at least 1, not 0"),
        ("mild_mix", {"most": 0}, "most is at least 1, not 0"),
        ("extra_space", {"spaces": 0}, "spaces is at least 1, not 0"),
        ("gender", {"to": "neutral"}, "'to' cannot be 'neutral'"),
        ("person_name", {"target": "martian"}, "no group 'martian'"),
        ("filler", {"hesitation": False, "uncertainty": False}, "so there are no fillers"),
        ("typos", {"rate": "high"}, "'rate' cannot be 'high'"),
    ],
)
def test_wrong_options_are_told(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(name, options)


def example() -> str:
    """The perturbation that the page writes."""
    return PAGE.read_text(encoding="utf-8").split("```python\n# perturbations/", 1)[1].split("\n", 1)[1].split("```", 1)[0]


USE = "from harness import perturb as p; [one] = p.parse('shout:1'); print(p.perturb(one, 'Is it (b) cold?', seed=0, item='1', field='q'))"


def test_one_file_of_the_user_adds_a_perturbation(tmp_path: Path) -> None:
    (tmp_path / "perturbations").mkdir()
    (tmp_path / "perturbations" / "shout.py").write_text(example(), encoding="utf-8")
    assert python(USE, HARNESS_PATH=str(tmp_path)) == "IS IT (b) COLD?"


def test_installed_plugins_are_found(tmp_path: Path) -> None:
    (tmp_path / "shout_plugin.py").write_text(example(), encoding="utf-8")
    distribution = tmp_path / "shout_plugin-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: shout-plugin\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("[harness.perturbations]\nshout = shout_plugin\n")
    assert python(USE, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path])) == "IS IT (b) COLD?"


def test_a_taken_name_and_a_broken_file_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "perturbations"
    folder.mkdir()
    tell = "from harness import perturb as p\ntry: p.known()\nexcept Exception as error: print(type(error).__name__, error)"
    (folder / "mine.py").write_text(example().replace('"shout"', '"typos"'), encoding="utf-8")
    told = python(tell, HARNESS_PATH=str(tmp_path))
    assert told.startswith("InputError Perturbation name 'typos'")
    assert "is taken by harness.perturb.typos.Typos" in told
    (folder / "mine.py").write_text("import no_such_module_anywhere\n", encoding="utf-8")
    assert "mine.py cannot be imported: ModuleNotFoundError" in python(tell, HARNESS_PATH=str(tmp_path))


def test_listing_perturbations_loads_nothing_heavy() -> None:
    code = "import sys; from harness import perturb; perturb.known(); print([m for m in ('torch', 'nltk', 'numpy') if m in sys.modules])"
    assert python(code) == "[]"


def test_the_page_shows_what_perturbations_do_now() -> None:
    done = subprocess.run(
        [sys.executable, str(PAGE.with_name("perturbation_lines.py")), "--check"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    table = PAGE.read_text(encoding="utf-8").split("<!-- lines -->\n")[1].split("\n<!-- end")[0]
    assert table.count("\n") == 21

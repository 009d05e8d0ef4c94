"""`harness plot` as a user calls it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.compare.comparing import Made, choices, folder
from tests.compare.measured import measured, quiz


@pytest.fixture
def results(in_tmp: Path) -> Path:
    measured(in_tmp / "results" / "base", {"quiz": quiz()}, "base")
    measured(in_tmp / "results" / "tuned", {"quiz": quiz(share=0.8)}, "tuned")
    return in_tmp / "results"


def test_a_folder_takes_every_figure(call: Call, results: Path) -> None:
    done = call("plot", results, "--out", "figures")
    assert done.code == 0, done.err
    assert done.out.split() == [f"figures/{kind}_quiz.svg" for kind in ("reliability", "families", "drops")]
    assert all(Path(name).read_text().startswith("<?xml") for name in done.out.split())


def test_one_figure_goes_to_one_file(call: Call, results: Path) -> None:
    done = call("plot", results / "base", "--what", "drops", "--task", "quiz", "--out", "new/drops.png")
    assert done.code == 0, done.err
    assert Path("new/drops.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "all.svg"), "3 figures do not fit into one file"),
        (("--out", "all.pdf"), "Figures are .svg or .png, not .pdf."),
        (("--task", "nobody", "--out", "out"), "No result has a task or group 'nobody'"),
        (("--what", "reliability", "--measure", "ece_5_bin", "--out", "out"), "These results have no reliability diagram"),
    ],
)
def test_what_cannot_be_is_one_message(call: Call, results: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in call("plot", results, *arguments).message
    assert sorted(path.name for path in results.parent.iterdir()) == ["results"]


def test_results_without_measures_say_what_would_make_them(call: Call, in_tmp: Path) -> None:
    folder(in_tmp / "run", {"quiz": Made(choices([True, False]), {"accuracy": ("accuracy", {})})})
    message = call("plot", "run", "--what", "drops", "--out", "drops.svg").message
    assert "--measures robustness,fairness" in message
    assert not Path("drops.svg").exists()


def test_a_file_that_cannot_be_written_is_told(call: Call, results: Path) -> None:
    Path("file").write_text("kept")
    assert "Cannot write" in call("plot", results, "--what", "drops", "--out", "file/drops.svg").message
    assert Path("file").read_text() == "kept"


def test_without_matplotlib_it_says_how_to_get_it(call: Call, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None if name == "matplotlib" else there(name, package))
    assert "pip install 'adapter-harness[plot]'" in call("plot", results, "--out", "figures").message


def test_pages_have_the_measures_of_the_results(call: Call, results: Path) -> None:
    assert call("leaderboard", results, "--html", "board.html").code == 0
    assert call("forgetting", "--before", results / "base", "--after", results / "tuned", "--html", "forgotten.html").code == 0
    for page in ("board.html", "forgotten.html"):
        text = Path(page).read_text()
        assert '<section id="measures"' in text
        assert '"diagrams":[{' in text
        assert '"drops":[{' in text
    assert '"changes":[{"quiz":' in Path("forgotten.html").read_text()

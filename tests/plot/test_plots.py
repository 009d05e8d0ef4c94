"""Figures as files: what is in them, and that they are the same each time."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.collections import LineCollection

from harness import metrics
from harness.compare.figures import sides
from harness.errors import InputError
from harness.metrics.calibration import reliability
from harness.report.plots.base import FigureRequest, FigureSource, Plot, What
from harness.report.plots.plots import places, plots, write
from harness.report.plots.style import MARKERS
from harness.store import runs
from tests.compare.comparing import Made, choices, folder
from tests.compare.measured import all_of, measured, quiz, read

SVG = "{http://www.w3.org/2000/svg}"
NASTY = '<script>alert(1)</script> $x^{2}$ & "q"'


def found(*paths: Path, kind: What, tasks: tuple[str, ...] = (), metric: str = "ece_10_bin") -> list[Plot]:
    return plots(FigureSource(sides(read(*paths)), metrics.load, reliability), FigureRequest((kind,), tasks, metric))


def words(plot: Plot, target: Path) -> list[str]:
    """Every text of the figure, as SVG holds it."""
    write([plot], [target], "svg")
    root = ElementTree.parse(target).getroot()
    return ["".join(one.itertext()) for one in root.iter(f"{SVG}text")]


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return measured(tmp_path / "one", {"quiz": quiz()}, "tiny")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return measured(tmp_path / "other", {"quiz": quiz(share=0.8, seed=5)}, "tiny+lora", adapter="lora")


def test_a_reliability_diagram_holds_its_bins_its_error_and_its_names(one: Path, tmp_path: Path) -> None:
    (plot,) = found(one, kind="reliability")
    assert (plot.name, plot.title) == ("reliability_quiz", "tiny: reliability on quiz")
    texts = words(plot, tmp_path / "a.svg")
    assert texts.count("30") == 10
    assert plot.title in texts
    record = runs.read(one).tasks["quiz"].metrics["ece_10_bin"]
    assert record.ci
    caption = " ".join(texts).replace("\N{NO-BREAK SPACE}", " ")
    assert f"ece_10_bin {record.value:.3f} [{record.ci[0]:.3f}, {record.ci[1]:.3f}], n 300, by chance" in caption
    assert len(plot.draw().axes[0].collections) == 10, "an interval for each bin"


def test_another_measures_bins_are_drawn_where_asked(one: Path) -> None:
    record = runs.read(one).tasks["quiz"].metrics["platt_ece"]
    (plot,) = found(one, kind="reliability", metric="platt_ece")
    assert f"platt_ece {record.value:.3f}" in plot.draw().axes[0].get_xlabel()


def test_several_systems_stand_side_by_side_with_markers_of_their_own(one: Path, other: Path) -> None:
    (plot,) = found(one, other, kind="reliability")
    figure = plot.draw()
    assert [ax.get_title() for ax in figure.axes] == ["tiny", "tiny+lora"]
    assert [{line.get_marker() for line in ax.lines[1:]} for ax in figure.axes] == [{MARKERS[0]}, {MARKERS[1]}]
    assert plot.title == "Reliability on quiz"


def test_the_families_have_a_panel_each_and_reasons_below(one: Path, other: Path, tmp_path: Path) -> None:
    (plot,) = found(one, other, kind="families")
    figure = plot.draw()
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["accuracy", "calibration", "robustness", "fairness"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["tiny", "tiny+lora"]
    texts = words(plot, tmp_path / "a.svg")
    assert "No bias: answers are choices or scores, not texts" in texts
    record = runs.read(one).tasks["quiz"].metrics["accuracy"]
    assert record.ci
    assert f"{record.value:.3f} [{record.ci[0]:.3f}, {record.ci[1]:.3f}]  n 300" in texts
    assert "ece_10_bin, share; less is better" in texts


def test_a_family_without_a_value_in_one_system_says_whose(one: Path, tmp_path: Path) -> None:
    small = measured(tmp_path / "small", {"quiz": quiz(20)}, "small")
    (plot,) = found(one, small, kind="families")
    texts = words(plot, tmp_path / "a.svg")
    assert "—" in texts
    caption = " ".join(texts)
    assert "No calibration of small: only 20 items; calibration needs 300" in caption
    assert "small was measured differently from tiny: data digest:" in caption


def test_drops_have_a_line_for_each_perturbation_and_system(one: Path, other: Path, tmp_path: Path) -> None:
    (plot,) = found(one, other, kind="drops")
    (ax,) = plot.draw().axes
    names = ["typos", "person_name", "worst of robustness", "worst of fairness"]
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"{name}, {who}" for name in names for who in ("tiny", "tiny+lora")]
    drop = runs.read(one).tasks["quiz"].perturbations[0]
    assert drop.drop.value is not None
    assert drop.drop.ci
    assert drop.before.value is not None
    assert drop.after.value is not None
    texts = words(plot, tmp_path / "a.svg")
    lost = f"lost {drop.drop.value:.3f} [{drop.drop.ci[0]:.3f}, {drop.drop.ci[1]:.3f}]"
    assert f"{drop.before.value:.3f} → {drop.after.value:.3f}  {lost}" in texts
    assert "200 of 300 items changed" in texts
    lines = [collection for collection in ax.collections if isinstance(collection, LineCollection)]
    drawn = {tuple(segment[:, 0]) for collection in lines for segment in collection.get_segments()}
    assert drop.drop.ci in drawn


@pytest.mark.parametrize("kind", ["reliability", "families", "drops"])
@pytest.mark.parametrize("form", ["svg", "png"])
def test_equal_results_give_equal_bytes(one: Path, other: Path, tmp_path: Path, kind: What, form: str) -> None:
    contents = []
    for name in ("first", "second"):
        made = found(one, other, kind=kind)
        files, chosen = places(made, tmp_path / f"{name}.{form}")
        write(made, files, chosen)
        contents.append(files[0].read_bytes())
    assert contents[0] == contents[1]
    assert contents[0].startswith(b"<?xml" if form == "svg" else b"\x89PNG")
    assert not re.search(rb"20\d\d-\d\d-\d\dT|[Mm]atplotlib v", contents[0])


def test_names_stay_text(tmp_path: Path) -> None:
    path = measured(tmp_path / "run", {NASTY: quiz()}, NASTY)
    for kind in ("reliability", "families", "drops"):
        (plot,) = found(path, kind=kind)
        assert "/" not in plot.name
        texts = words(plot, tmp_path / "a.svg")
        assert NASTY in " ".join(texts)
        root = ElementTree.parse(tmp_path / "a.svg").getroot()
        assert not list(root.iter(f"{SVG}script"))


def test_tasks_and_groups_are_chosen_by_name_or_glob(tmp_path: Path) -> None:
    path = measured(tmp_path, {"exam_x": quiz(200), "exam_y": quiz(160, seed=1), "quiz": quiz()}, groups=all_of(["exam_x", "exam_y"]))
    assert [one.name for one in found(path, kind="families")] == [f"families_{name}" for name in ("exam", "exam_x", "exam_y", "quiz")]
    assert [one.name for one in found(path, kind="families", tasks=("exam_*",))] == ["families_exam_x", "families_exam_y"]
    assert [one.name for one in found(path, kind="reliability")] == ["reliability_exam", "reliability_quiz"]


@pytest.mark.parametrize(
    ("kind", "said", "remedy"),
    [
        ("reliability", "no reliability diagram", "--measures calibration"),
        ("families", "only accuracy was measured", "--measures all"),
        ("drops", "no drop on perturbed items", "--measures robustness,fairness"),
    ],
)
def test_where_there_is_nothing_to_draw_it_says_what_would_measure_it(tmp_path: Path, kind: What, said: str, remedy: str) -> None:
    path = folder(tmp_path, {"quiz": Made(choices([True, False]), {"accuracy": ("accuracy", {})})})
    with pytest.raises(InputError) as refused:
        found(path, kind=kind)
    assert said in refused.value.what
    assert remedy in refused.value.remedy


def test_why_a_diagram_is_missing_is_told(tmp_path: Path) -> None:
    path = measured(tmp_path, {"quiz": quiz(20)})
    with pytest.raises(InputError, match="tiny on quiz: only 20 items; calibration needs 300"):
        found(path, kind="reliability")


def test_a_task_without_choices_has_no_diagram_and_says_so(tmp_path: Path) -> None:
    path = measured(tmp_path, {"quiz": quiz(20)})
    record = runs.read(path)
    why = "answers are not choices"
    plain = record.tasks["quiz"].model_copy(update={"without": {"calibration": why}, "metrics": {}})
    runs.write(record.model_copy(update={"tasks": {f"text{number}": plain for number in range(6)}}), path)
    with pytest.raises(InputError, match=f"tiny on text0: {why};.* and 2 more\\."):
        found(path, kind="reliability")


def test_an_unknown_task_is_refused(one: Path) -> None:
    with pytest.raises(InputError, match="No result has a task or group 'quizz'"):
        found(one, kind="drops", tasks=("quizz",))


def test_figures_of_names_that_look_alike_go_to_files_of_their_own(tmp_path: Path) -> None:
    path = measured(tmp_path / "run", {"a b": quiz(), "a:b": quiz(seed=1)})
    files, form = places(found(path, kind="drops"), tmp_path / "out")
    assert [file.name for file in files] == ["drops_a-b.svg", "drops_a-b-2.svg"]
    assert form == "svg"


def test_a_user_s_settings_do_not_change_a_figure(one: Path, tmp_path: Path) -> None:
    import matplotlib

    (plot,) = found(one, kind="reliability")
    write([plot], [tmp_path / "a.svg"], "svg")
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path"}):
        write([plot], [tmp_path / "b.svg"], "svg")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_measure_of_other_shots_is_told_apart(one: Path, tmp_path: Path) -> None:
    made = quiz()
    shots = measured(tmp_path / "shots", {"quiz": replace(made, signature=made.signature.replace("shots:0", "shots:5"))}, "shots")
    for kind in ("reliability", "drops"):
        (plot,) = found(one, shots, kind=kind)
        assert "shots was measured differently from tiny: shots: 5 instead of 0." in " ".join(words(plot, tmp_path / "a.svg"))

"""`harness gate` on results of real tiny models: every exit code, what is printed, and what is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from harness.evaluation.options import Options
from harness.evaluation.run import run
from harness.store import runs
from tests.cli.conftest import Call
from tests.gate.junit import problems
from tests.silent import Recorder
from tests.tasks.cases import content, write_rows, write_yaml
from tests.tiny import tiny_causal

ITEMS = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two tiny models on two tasks: `better` and `worse` by their likelihood of texts, and `shots` measured otherwise."""
    place = tmp_path_factory.mktemp("gate")
    rows = [{"thing": f"thing {number}", "label": number % 2, "text": f"the cat number {number} sat"} for number in range(ITEMS)]
    write_rows(place / "rows.jsonl", rows)
    data = {"files": {"test": "rows.jsonl"}, "split": "test"}
    write_yaml(place / "colours.yaml", content(task="colours", data=data, shots={"split": "test", "number": 0}))
    form = {"answer": "score_text", "choices": None, "target": "text", "metrics": ["bits_per_byte"]}
    asked = [{"name": "plain", "prompt": "It is said that"}]
    write_yaml(place / "read.yaml", content(task="read", data=data, templates=asked, **form))
    bits = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(place / "cache"))
        for seed in (0, 1):
            model = tiny_causal(place / f"tiny{seed}", seed=seed)
            tasks = tuple(str(place / f"{name}.yaml") for name in ("colours", "read"))
            (done,) = run(Options(model=str(model), tasks=tasks, device="cpu", output=place / f"out{seed}"), Recorder())
            bits[seed] = done.record.tasks["read"].metrics["bits_per_byte"].value or 0.0
        run(Options(model=str(model), tasks=tasks[:1], device="cpu", shots=1, output=place / "shots"), Recorder())
    for name, seed in zip(("better", "worse"), sorted(bits, key=lambda seed: bits[seed]), strict=True):
        (place / f"out{seed}").rename(place / name)
    return place


UNDECIDED = "rules: [no task forgot]\ntasks: [colours]\n"
"""60 items are too few to say that no more than 0.01 was lost."""


def policy(text: str) -> Path:
    path = Path("gate.yaml")
    path.write_text(text, encoding="utf-8")
    return path


pytestmark = pytest.mark.usefixtures("in_tmp")


def test_pass(call: Call, made: Path) -> None:
    rules = policy("rules:\n  - colours: non_inferior within 0.2\n  - read: improved\n  - signature must match\n")
    done = call("gate", made / "better", "--baseline", made / "worse", "--policy", rules, "--junit", "gate.xml")
    assert (done.code, done.err) == (0, "")
    assert "pass: tiny" in done.out
    assert "3 rules: 3 passed." in done.out
    assert problems(Path("gate.xml").read_text()) == []


def test_fail_by_the_rule_that_holds_without_a_policy(call: Call, made: Path) -> None:
    done = call("gate", made / "worse", "--baseline", made / "better")
    assert (done.code, done.err) == (1, "")
    assert "no task forgot" in done.out
    assert "read.bits_per_byte changed by" in done.out
    assert "fail: tiny" in done.out
    assert f"See what was lost: harness forgetting --before {made / 'better'} --after {made / 'worse'} --details" in done.out


def test_cannot_tell_says_how_many_items_would(call: Call, made: Path) -> None:
    given = ("--baseline", made / "worse", "--policy", policy(UNDECIDED))
    done = call("gate", made / "better", *given, "--junit", "gate.xml", "--summary", "gate.md")
    assert (done.code, done.err) == (3, "")
    needed = done.out.split("evaluate colours on about ")[1].split()[0]
    assert int(needed.replace(",", "")) > ITEMS
    assert "--on-undecided pass or --on-undecided fail" in done.out
    assert problems(Path("gate.xml").read_text()) == []
    assert 'errors="1"' in Path("gate.xml").read_text()
    assert "<h3>harness gate: inconclusive</h3>" in MarkdownIt("commonmark").enable("table").render(Path("gate.md").read_text())


@pytest.mark.parametrize(("chosen", "code"), [("pass", 0), ("fail", 1)])
def test_undecided_is_the_users_choice(call: Call, made: Path, chosen: str, code: int) -> None:
    done = call("gate", made / "better", "--baseline", made / "worse", "--policy", policy(UNDECIDED), "--on-undecided", chosen)
    assert (done.code, done.err) == (code, "")
    assert f"1 rule: 1 inconclusive, inconclusive counts as {chosen}." in done.out


def test_a_system_against_itself_passes_and_says_why(call: Call, made: Path) -> None:
    done = call("gate", made / "better", "--baseline", made / "better")
    assert (done.code, done.err) == (0, "")
    assert "nothing can have changed" in " ".join(done.out.split())


def test_without_a_baseline_a_policy_of_thresholds_serves(call: Call, made: Path) -> None:
    rules = policy("rules: [colours.accuracy >= 0.01, read.bits_per_byte <= 100, efficiency.items_per_second > 0]\n")
    assert call("gate", made / "better" / "results.json", "--policy", rules).code == 0
    assert call("gate", made / "better", "--policy", policy("rules: [colours.accuracy >= 0.99]\n")).code == 1


def test_a_result_of_another_signature_is_refused(call: Call, made: Path) -> None:
    message = call("gate", made / "shots", "--baseline", made / "better", "--junit", "gate.xml").message
    assert "The settings of colours differ" in message
    assert "shots: 1 instead of 0" in message
    assert not Path("gate.xml").exists()


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("rules:\n  - colours.accuracy => 0.5\n", "gate.yaml, line 2, column 22: '=>' is not a comparison in the rule"),
        (
            "rules:\n  - colours.acuracy >= 0.5\n",
            "gate.yaml, line 2, column 5: the rule 'colours.acuracy >= 0.5' cannot be applied: colours has no",
        ),
        ("rules:\n  - colors >= 0.5\n", "Did you mean colours?"),
        (
            "rules:\n  - colours >= 0.5\n  - read: improved\n",
            "gate.yaml, line 3, column 5: the rule 'read: improved' cannot be applied: it compares",
        ),
        ("rulez: []\n", "gate.yaml, line 1, column 1: 'rulez' is not a key of a policy"),
    ],
)
def test_a_policy_with_a_mistake_names_file_line_and_what_is_wrong(call: Call, made: Path, rules: str, told: str) -> None:
    assert told in call("gate", made / "better", "--policy", policy(rules), "--summary", "gate.md").message
    assert not Path("gate.md").exists()


def test_other_bad_input(call: Call, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "none is given" in call("gate", made / "better").message
    assert "There is no run at" in call("gate", "nowhere", "--baseline", made / "better").message
    assert "There is no run at" in call("gate", made / "better", "--baseline", ".").message
    assert "Cannot read the policy nowhere.yaml" in call("gate", made / "better", "--policy", "nowhere.yaml").message
    assert "'--on-undecided'" in call("gate", made / "better", "--on-undecided", "maybe").message
    assert call("gate").message
    Path("folder").mkdir()
    rules = policy("rules: [colours >= 0.01]\n")
    (Path("folder") / "binary").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "folder/binary")
    message = call("gate", made / "better", "--policy", rules, "--summary", "folder/binary").message
    assert "folder/binary cannot be appended to" in message
    assert "Cannot write folder" in call("gate", made / "better", "--policy", rules, "--junit", "folder").message


def test_the_summary_of_a_github_step_is_added_to_and_other_files_are_replaced(
    call: Call, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = policy("rules: [colours >= 0.01]\n")
    step, other = Path("step.md"), Path("other.md")
    step.write_text("# Built\n")
    other.write_text("# Old\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step.absolute()))
    for path in (step, other):
        assert call("gate", made / "better", "--policy", rules, "--summary", path).code == 0
    assert step.read_text().startswith("# Built\n\n### harness gate: pass\n")
    assert other.read_text().startswith("### harness gate: pass\n")
    html = MarkdownIt("commonmark").enable("table").render(step.read_text())
    assert html.count("<tr>") == 2


def test_results_that_were_edited_by_hand_are_refused(call: Call, made: Path) -> None:
    record = json.loads((made / "better" / "results.json").read_text())
    record["tasks"]["colours"]["metrics"]["accuracy"]["value"] = "high"
    Path("results.json").write_text(json.dumps(record))
    message = call("gate", "results.json", "--baseline", made / "better").message
    assert "field tasks.colours.metrics.accuracy.value" in message


def test_exit_codes_of_a_process_of_its_own(made: Path) -> None:
    """What CI sees, without colours."""
    given = ["--baseline", str(made / "worse"), "--policy", str(policy(UNDECIDED))]
    command = [sys.executable, "-m", "harness", "gate", str(made / "better"), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (3, "")
    assert "\x1b[" not in done.stdout
    assert runs.read(made / "better").system.name in done.stdout

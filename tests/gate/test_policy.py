"""Policy files: what they hold, and that every mistake names its file, line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import InputError
from harness.gate.policy import DEFAULT, Policy, read
from harness.gate.rules import Improved, NonInferior, NothingForgotten, Relative, Threshold


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gate.yaml"


def written(file: Path, text: str) -> Policy:
    file.write_text(text, encoding="utf-8")
    return read(file)


def refused(file: Path, text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        written(file, text)
    return caught.value


def test_a_whole_policy(file: Path) -> None:
    policy = written(
        file,
        """# what may ship
rules:
  - dialogsum.rougeL >= 0.25       # a comment
  - no task forgot more than 0.01
  - mmlu: non_inferior within 0.01
  - lm_eval:arc_easy:   improved
  - "*.accuracy >= 0.2"
  - efficiency.items_per_second >= 0.8 × baseline
targets: [dialogsum, summaries]
margins: {mmlu: 0.02, glue_rte.accuracy: 0.05}
clusters: {boolq: passage}
tasks: mmlu, dialogsum
""",
    )
    assert [policy_rule.rule for policy_rule in policy.rules] == [
        Threshold("dialogsum.rougeL", ">=", 0.25),
        NothingForgotten(0.01),
        NonInferior("mmlu", 0.01),
        Improved("lm_eval:arc_easy"),
        Threshold("*.accuracy", ">=", 0.2),
        Relative("efficiency.items_per_second", ">=", 0.8),
    ]
    assert [policy_rule.text for policy_rule in policy.rules][2:4] == ["mmlu: non_inferior within 0.01", "lm_eval:arc_easy: improved"]
    assert policy.rules[0].place == f"{file}, line 3, column 5"
    options = policy.options()
    assert (options.targets, options.tasks) == (("dialogsum", "summaries"), ("mmlu", "dialogsum"))
    assert (options.margins, options.clusters) == ({"mmlu": 0.02, "glue_rte.accuracy": 0.05}, {"boolq": "passage"})


def test_without_a_policy_nothing_may_be_forgotten() -> None:
    assert [policy_rule.rule for policy_rule in DEFAULT.rules] == [NothingForgotten(None)]
    assert DEFAULT.options().targets == ()


@pytest.mark.parametrize(
    ("text", "place", "what", "remedy"),
    [
        ("rules:\n  - a.b => 0.5\n", "line 2, column 9", "'=>' is not a comparison in the rule 'a.b => 0.5'", "Write"),
        (
            "rules:\n  - a.b >= 1\n  -   mmlu:  imporved\n",
            "line 3, column 14",
            "after 'mmlu', found 'imporved'",
            "Did you mean 'improved'",
        ),
        ("rules:\n  - 'a.b is 1'\n", "line 2, column 10", "after 'a.b', found 'is'", "A rule has one of"),
        ("rules:\n  - {a: {b: c}}\n", "line 2, column 9", "a rule must be one line of text", "non_inferior within"),
        ("rules:\n  - [a]\n", "line 2, column 5", "a rule must be one line of text", "non_inferior within"),
        ("rules:\n  -\n", "line 2, column 4", "a rule starts with the name", "A rule has one of"),
        ("rules: []\n", "line 1, column 8", "'rules' must be a list with at least one entry", "- "),
        ("rules: a.b >= 1\n", "line 1, column 8", "'rules' must be a list", "- "),
        ("rule:\n  - a.b >= 1\n", "line 1, column 1", "'rule' is not a key of a policy", "Did you mean rules?"),
        ("targets: [a]\n", "line 1, column 1", "the policy has no rules", "rules:"),
        ("- a.b >= 1\n", "line 1, column 1", "A policy must be a mapping", "rules:"),
        ("", "line 1, column 1", "the policy is empty", "rules:"),
        ("rules: [a.b >= 1]\nrules: [a.b >= 2]\n", "line 2, column 1", "'rules' is given twice", "Remove one"),
        ("rules: [a.b >= 1]\nmargins: {a: wide}\n", "line 2, column 14", "a margin must be a number, not 'wide'", "0.01"),
        ("rules: [a.b >= 1]\nmargins: {a: -1}\n", "line 2, column 14", "a margin must be at least 0, not -1", "0.01"),
        ("rules: [a.b >= 1]\nmargins: {a: .nan}\n", "line 2, column 14", "a margin must be a number", "0.01"),
        ("rules: [a.b >= 1]\nmargins: 0.1\n", "line 2, column 10", "'margins' must be a mapping", "For example"),
        ("rules: [a.b >= 1]\ntargets: [[a]]\n", "line 2, column 11", "expected a name", "same line"),
        ("rules: [a.b >= 1\n", "line 2, column 1", "not valid YAML", "Fix"),
        ("rules:\n  - *.accuracy >= 1\n", "line 2, column 6", "not valid YAML", "in quotes"),
    ],
)
def test_mistakes_name_file_line_and_column(file: Path, text: str, place: str, what: str, remedy: str) -> None:
    error = refused(file, text)
    assert error.what.startswith(f"{file}, {place}: ")
    assert what in error.what
    assert remedy in error.remedy
    assert error.exit_code == 2


def test_a_file_that_cannot_be_read(file: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot read the policy .*No such file"):
        read(file)
    file.write_bytes(b"rules: [\xff]")
    with pytest.raises(InputError, match="not UTF-8"):
        read(file)

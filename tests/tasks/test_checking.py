from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.models.encoding import Encoder
from harness.tasks.checking import TaskCheck, check_files
from tests.tasks.cases import ROWS, content, write_rows, write_yaml
from tests.tiny import tokenizer

MANY = [{"thing": f"thing {number}", "label": number % 2} for number in range(700)]
SUMMARY = content(answer="generate", choices=None, target="label", metrics=["exact_match"])


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Check one task with these rows; the registry is empty beside it."""
    monkeypatch.setattr("harness.util.paths.shipped", lambda kind: tmp_path / "none")

    def checked(
        rows: Sequence[Mapping[str, Any]] = ROWS, whole: Mapping[str, Any] | None = None, encoder: Encoder | None = None, **changes: Any
    ) -> TaskCheck:
        write_rows(tmp_path / "rows.jsonl", rows)
        path = write_yaml(tmp_path / "task.yaml", (dict(whole) if whole else content()) | changes)
        (result,) = check_files([path], encoder=encoder)
        return result

    return checked


def encoder(max_length: int | None = None, *, seq2seq: bool = False, lower: bool = False) -> Encoder:
    words = tokenizer(end=seq2seq)
    if lower:
        from tokenizers import normalizers

        words.backend_tokenizer.normalizer = normalizers.Lowercase()
    return Encoder(words, "seq2seq" if seq2seq else "causal", max_length, chat=False)


def test_a_valid_task_is_described_in_one_line(check: Any) -> None:
    assert check(MANY) == TaskCheck("colours", "OK", "700 items, 1 template, 1 metric")


WARNED: list[tuple[str, list[dict[str, Any]], dict[str, Any], str]] = [
    ("repeats", [*ROWS, ROWS[0], ROWS[0]], {}, "items that repeat an earlier one: 2 of 5 items (3, 4)"),
    (
        "answer not among the choices",
        [*ROWS, {"thing": "grass", "label": 2}],
        {},
        "items that would stop a run: 1 of 4 items (3). Task colours, template plain, item 3: "
        "the target 2 is neither an index nor one of the choices ['red', 'blue']",
    ),
    ("one class", [{"thing": f"x{n}", "label": 1} for n in range(6)], {}, "the correct answer is always 'blue' (6 items checked)"),
    ("equal choices", ROWS, {"choices": ["red", "blue", " red"]}, "items with two choices of the same text: 3 of 3 items (0, 1, 2)"),
    (
        "equal choices of some items",
        [{"thing": f"x{n}", "label": n % 2, "other": "red" if n % 50 == 0 else "green"} for n in range(250)],
        {"choices": ["red", "blue", "{{ other }}"]},
        "items with two choices of the same text: 5 of 250 items (0, 50, 100, …)",
    ),
    ("clusters of one item", MANY[:20], {"cluster": "thing"}, "every item is its own cluster: `cluster` has no effect"),
    ("few clusters", MANY[:20], {"cluster": "label"}, "all 20 items belong to 2 clusters, so confidence intervals are wide"),
    ("one cluster", MANY[:20], {"cluster": "'all'"}, "all 20 items belong to 1 cluster, so scores have no confidence intervals"),
]


@pytest.mark.parametrize(("rows", "changes", "told"), [case[1:] for case in WARNED], ids=[case[0] for case in WARNED])
def test_what_distorts_scores_is_a_warning_with_counts_and_examples(
    check: Any, rows: list[dict[str, Any]], changes: dict[str, Any], told: str
) -> None:
    result = check(rows, **changes)
    assert result.state == "OK"
    assert result.warnings == (told,)


def test_the_same_correct_answer_in_other_words_is_no_single_class(check: Any) -> None:
    rows = [{"thing": f"x{n}", "label": 0, "one": f"a{n}", "two": f"b{n}"} for n in range(4)]
    assert check(rows, choices=["{{ one }}", "{{ two }}"]).warnings == ()


def test_empty_references_are_warned_of(check: Any) -> None:
    rows = [{"thing": "x", "label": "red"}, {"thing": "y", "label": " "}, {"thing": "z", "label": "blue"}]
    assert check(rows, SUMMARY).warnings == ("items with an empty reference: 1 of 3 items (1)",)


def test_a_task_without_metrics_needs_no_references(check: Any) -> None:
    assert check(ROWS, SUMMARY, target="''", metrics=[]).warnings == ()


@pytest.mark.parametrize("label", [lambda n: int(n > 500), lambda n: n % 2], ids=["sorted", "alternating"])
def test_the_order_of_classes_does_not_make_them_one(check: Any, label: Callable[[int], int]) -> None:
    assert check([{"thing": f"x{n}", "label": label(n)} for n in range(1000)]).warnings == ()


def test_a_sample_of_a_large_split_is_checked(check: Any) -> None:
    (told,) = check([{"thing": f"x{n}", "label": n % 2} for n in range(600)], choices=["red", "blue", "{{ 'blue' }}"]).warnings
    assert told.startswith("items with two choices of the same text: 300 of 300 items")


def test_shots_that_contain_the_item_are_counted(check: Any, tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"thing": "grass", "label": 0}, ROWS[2]])
    files = {"files": {"test": "rows.jsonl", "train": "train.jsonl"}, "split": "test"}
    told = check(data=files, shots={"split": "train", "number": 1}).warnings
    assert told == (
        "items that are also in 'train', the split of the few-shot examples: 1 of 3 items (2); an item is never its own example",
    )
    assert check(shots={"split": "test", "number": 2}).warnings == (), "shots from the scored split itself are a choice"


def test_a_warning_about_some_templates_names_them_and_one_about_all_appears_once(check: Any) -> None:
    plain, other = {"name": "plain", "prompt": "{{ thing }}?"}, {"name": "other", "prompt": "{{ thing }}!"}
    doubled = {"choices": ["a", "b", "a"]}
    assert check(templates=[plain, other | doubled]).warnings == (
        "template other: items with two choices of the same text: 3 of 3 items (0, 1, 2)",
    )
    assert len(check(templates=[plain | doubled, other | doubled]).warnings) == 1


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"metrics": ["accurracy"]}, "Unknown metric 'accurracy'"),
    ({"metrics": ["rouge1"]}, "scores the answer form 'generate'"),
    ({"target": "colour"}, "'colour' is undefined"),
    ({"target": "label + 5"}, "the target"),
    ({"templates": [{"name": "plain", "prompt": "{{ thing.upper( }}"}]}, "task.yaml:"),
    ({"templates": [{"name": "plain", "prompt": "{{ things }}"}]}, "'things' is undefined"),
    ({"data": {"files": {"test": "nowhere.jsonl"}, "split": "test"}}, "nowhere.jsonl does not exist"),
    ({"shots": {"split": "train", "number": 1}}, "no split 'train'"),
    ({"shots": {"split": "test", "number": 3}}, "has only 2 other items"),
    ({"colour": "red"}, "unknown key 'colour'"),
]


@pytest.mark.parametrize(("changes", "told"), WRONG, ids=[told for _, told in WRONG])
def test_what_would_stop_every_run_is_an_error(check: Any, changes: dict[str, Any], told: str) -> None:
    result = check(**changes)
    assert result.state == "error"
    assert told in result.summary


def test_a_missing_dataset_is_not_an_error(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    result = check(data={"path": "nobody/nothing", "split": "test"})
    assert result.state == "no data"
    assert "can't load the dataset nobody/nothing" in result.summary


def test_a_snapshot_may_lack_a_split_that_the_release_has(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "us" / "colours" / "test.jsonl", ROWS)
    states = {}
    for split, rows in (("test", {}), ("train", {"train": 9}), ("trian", {"train": 9})):
        about = {"title": "Colours", "rows": rows}
        path = write_yaml(tmp_path / f"{split}.yaml", content(task=split, about=about, data={"path": "us/colours", "split": split}))
        (result,) = check_files([path], tmp_path / "data")
        states[split] = result.state
    assert states == {"test": "OK", "train": "no data", "trian": "error"}


def test_choices_of_the_same_tokens_need_a_tokenizer_to_be_seen(check: Any) -> None:
    changes = {"choices": ["Red", "red"]}
    assert check(**changes).warnings == ()
    assert check(encoder=encoder(), **changes).warnings == ()
    assert check(encoder=encoder(lower=True), **changes).warnings == ("items with two choices of the same tokens: 3 of 3 items (0, 1, 2)",)


def test_choices_with_prompts_of_their_own_may_be_the_same(check: Any) -> None:
    template = {"name": "pair", "prompts": ["Red is {{ thing }}", "Blue is {{ thing }}"], "choices": ["indeed", "indeed"]}
    assert check(templates=[template]).warnings == ("the correct answer is always 'indeed' (3 items checked)",)
    assert len(check(templates=[template], encoder=encoder(256)).warnings) == 1


def test_prompts_over_the_context_are_counted_with_the_longest(check: Any) -> None:
    rows = [*MANY[:90], {"thing": "long " * 40, "label": 0}, {"thing": "long " * 60, "label": 1}]
    (told,) = check(rows, encoder=encoder(128)).warnings
    words = tokenizer()
    longest = max(len(words(f"What colour is {rows[91]['thing']}? {colour}").input_ids) for colour in ("red", "blue")) - 1
    assert told.startswith(f"2 of the 50 longest items exceed the model's 128 tokens, answer included; item 91 has {longest}.")
    assert check(rows, encoder=encoder(longest)).warnings == ()
    (only,) = check(rows, encoder=encoder(longest - 1)).warnings
    assert only.startswith("1 of the 50")


def test_shots_and_the_text_to_be_generated_count_for_the_context(check: Any) -> None:
    rows = [{"thing": f"thing {n}", "label": f"colour {n % 7}"} for n in range(20)]
    longest = max(len(tokenizer()(f"What colour is thing {n}?").input_ids) for n in range(20))
    generation = {"generation": {"max_new_tokens": 10}}
    assert check(rows, SUMMARY, encoder(longest + 10), **generation).warnings == ()
    assert len(check(rows, SUMMARY, encoder(longest + 9), **generation).warnings) == 1
    assert check(rows, SUMMARY, encoder(longest, seq2seq=True), **generation).warnings == ()
    shots = generation | {"shots": {"split": "test", "number": 1}}
    assert len(check(rows, SUMMARY, encoder(longest + 10), **shots).warnings) == 1


def test_groups_are_checked_after_their_tasks(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    group = {"group": "things", "title": "Things", "tasks": ["colours"], "aggregate": [{"metric": "accuracy"}]}
    paths = [write_yaml(tmp_path / "a_group.yaml", group), write_yaml(tmp_path / "task.yaml", content())]
    assert [(result.name, result.state, result.summary) for result in check_files(paths)] == [
        ("colours", "OK", "3 items, 1 template, 1 metric"),
        ("things", "OK", "group of 1 task, accuracy_macro"),
    ]
    write_yaml(paths[0], group | {"aggregate": [{"metric": "f1_macro"}]})
    *_, wrong = check_files(paths)
    assert wrong.state == "error"
    assert "averages 'f1_macro', but its task colours has no such metric" in wrong.summary
    write_yaml(paths[0], group | {"tasks": ["colors"]})
    *_, wrong = check_files(paths)
    assert "names 'colors', but there is no such task or group" in wrong.summary


def test_two_files_may_not_define_the_same_name(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    states = [
        (result.state, result.summary) for result in check_files([write_yaml(tmp_path / name, content()) for name in ("a.yaml", "b.yaml")])
    ]
    assert [state for state, _ in states] == ["error", "OK"]
    assert f"{tmp_path / 'a.yaml'} already defines 'colours'" in states[0][1]


def test_tasks_made_on_demand_are_checked_by_their_first(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    keys = {"de": "German", "en": "English"}
    whole = content(task="colours_${src}_${tgt}", on_demand={"src": keys, "tgt": keys})
    (result,) = check_files([write_yaml(tmp_path / "task.yaml", whole)])
    assert (result.name, result.state) == ("colours_de_en", "OK")

"""Which rows are learned, and which must not be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness.errors import DataError, TaskError
from harness.tune.mixture import Mixture, train_split
from harness.tune.settings import Replay
from tests.tasks.cases import content, task, write_rows, write_yaml
from tests.tune.conftest import choice_task, mixture, rows, settings


def learned(found: Mixture, name: str = "colours") -> list[str]:
    return [one.item.id for one in found.examples if one.variant.task.task == name]


def test_every_row_of_the_train_split_once(in_tmp: Path) -> None:
    choice_task(in_tmp)
    found, notes = mixture(settings())
    assert sorted(map(int, learned(found))) == list(range(30))
    assert notes == []
    (use,) = found.uses
    assert (use.task, use.role, use.split, use.rows, use.pairs, use.templates) == ("colours", "task", "train", 30, 30, ("plain",))
    assert found.overlap is not None
    assert (found.overlap.near_duplicates, found.overlap.compared_with) == (0, ("colours",))


def test_the_evaluated_split_is_refused(in_tmp: Path) -> None:
    choice_task(in_tmp)
    with pytest.raises(DataError, match="evaluated on its split 'test'"):
        mixture(settings(train_split="test"))
    data = {"files": {"train": "colours-train.jsonl"}, "split": "train"}
    write_yaml(in_tmp / "colours.yaml", content(data=data))
    with pytest.raises(DataError, match="evaluated on its split 'train'"):
        mixture(settings())


def test_rows_that_are_evaluated_under_another_split_are_refused_or_left_out(in_tmp: Path) -> None:
    choice_task(in_tmp)
    evaluated = rows(6, "colours test")
    write_rows(in_tmp / "colours-train.jsonl", [*rows(10), evaluated[3]])
    with pytest.raises(DataError, match=r"1 of 11 rows of its split 'train' are evaluated as well, row 10") as caught:
        mixture(settings())
    assert "--drop-duplicates" in caught.value.remedy
    found, notes = mixture(settings(drop_duplicates=True))
    assert "10" not in learned(found)
    assert len(learned(found)) == 10
    assert found.overlap is not None
    assert (found.overlap.near_duplicates, found.overlap.left_out) == (1, True)
    assert len(notes) == 1


def test_near_duplicates_are_told_and_kept(in_tmp: Path) -> None:
    choice_task(in_tmp)
    write_rows(in_tmp / "colours-train.jsonl", [*rows(10), {"thing": "Colours: test sea 1!", "label": 0}])
    found, notes = mixture(settings())
    assert len(learned(found)) == 11
    assert found.overlap is not None
    assert (found.overlap.near_duplicates, found.overlap.left_out) == (1, False)
    assert "1 training rows" in notes[0]


def test_further_tasks_are_compared_with(in_tmp: Path) -> None:
    choice_task(in_tmp)
    choice_task(in_tmp, "other")
    write_rows(in_tmp / "other-test.jsonl", rows(1, "colours train"))
    with pytest.raises(DataError, match="evaluated as well"):
        mixture(settings(), against=("other.yaml",))


def test_evaluated_items_that_cannot_be_read_are_told(in_tmp: Path) -> None:
    choice_task(in_tmp)
    (in_tmp / "colours-test.jsonl").unlink()
    found, notes = mixture(settings())
    assert found.overlap is None
    assert "could not be compared" in notes[0]


def test_a_limit_draws_rows_by_seed(in_tmp: Path) -> None:
    choice_task(in_tmp)
    one, again, other = (sorted(learned(mixture(settings(limit=8, seed=seed))[0])) for seed in (0, 0, 1))
    assert len(one) == 8
    assert one == again
    assert one != other


def test_validation_items_are_held_out_and_do_not_depend_on_the_seed(in_tmp: Path) -> None:
    choice_task(in_tmp)
    held = set()
    for seed in (0, 1):
        found, _ = mixture(settings(seed=seed), validate=4)
        ids = {item.id for item in found.pools[0].validation}
        assert len(ids) == 4
        assert not ids & set(learned(found))
        assert len(learned(found)) == 26
        held.add(frozenset(ids))
    assert len(held) == 1


def test_a_small_split_gives_at_most_a_fifth_for_validation(in_tmp: Path) -> None:
    choice_task(in_tmp, train=10)
    found, _ = mixture(settings(), validate=32)
    assert len(found.pools[0].validation) == 2


def test_a_validation_split_of_its_own_is_used(in_tmp: Path) -> None:
    choice_task(in_tmp)
    write_rows(in_tmp / "own.jsonl", rows(9, "validation"))
    files = {"train": "colours-train.jsonl", "test": "colours-test.jsonl", "validation": "own.jsonl"}
    write_yaml(in_tmp / "colours.yaml", content(data={"files": files, "split": "test"}))
    found, _ = mixture(settings(), validate=5)
    assert len(learned(found)) == 30
    assert all("validation" in item.row["thing"] for item in found.pools[0].validation)


def test_tasks_are_mixed_by_size_or_equally(in_tmp: Path) -> None:
    choice_task(in_tmp, "small", train=10)
    choice_task(in_tmp, "large", train=50)
    both = ("small.yaml", "large.yaml")
    by_size, _ = mixture(settings(tasks=both))
    assert Counter(one.variant.task.task for one in by_size.examples) == {"small": 10, "large": 50}
    equal, _ = mixture(settings(tasks=both, mix="equal"))
    assert Counter(one.variant.task.task for one in equal.examples) == {"small": 30, "large": 30}
    assert set(Counter(learned(equal, "small")).values()) == {3}
    assert set(Counter(learned(equal, "large")).values()) == {1}
    assert [(use.rows, use.pairs) for use in equal.uses] == [(10, 30), (30, 30)]


def test_replayed_tasks_are_a_share_of_the_whole(in_tmp: Path) -> None:
    choice_task(in_tmp, train=36)
    choice_task(in_tmp, "old", train=50)
    found, _ = mixture(settings(replay=Replay(("old.yaml", "colours.yaml"), 0.1)), validate=4)
    assert len(learned(found)) == 32
    assert len(learned(found, "old")) == 4
    assert [use.role for use in found.uses] == ["task", "replay"]
    assert found.pools[1].validation == ()


def test_all_wordings_draws_one_for_each_row(in_tmp: Path) -> None:
    template_variants = [{"name": name, "prompt": name + " {{ thing }}?"} for name in ("one", "two", "three")]
    choice_task(in_tmp, templates=template_variants)
    assert {one.variant.template.name for one in mixture(settings())[0].examples} == {"one"}
    assert {one.variant.template.name for one in mixture(settings(template="two"))[0].examples} == {"two"}
    drawn = [one.variant.template.name for one in mixture(settings(template="all"))[0].examples]
    assert set(drawn) == {"one", "two", "three"}
    assert drawn == [one.variant.template.name for one in mixture(settings(template="all"))[0].examples]


def test_the_split_to_learn() -> None:
    about = {"title": "x", "rows": {"train": 1, "test": 1}}
    assert train_split(task(about=about)) == "train"
    assert train_split(task(shots={"split": "dev", "number": 0})) == "dev"
    with pytest.raises(TaskError, match="no split to learn from"):
        train_split(task())

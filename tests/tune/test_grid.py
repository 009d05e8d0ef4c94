"""Lists of values become candidates with names of their own."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import InputError
from harness.tune.grid import candidates
from harness.tune.settings import METHODS, Replay, TuneSettings

BASE = TuneSettings(method="lora", tasks=("dialogsum",))


def names(**lists: Any) -> list[str]:
    return [one.name for one in candidates("x", BASE, lists)]


def test_one_candidate_has_the_name_itself() -> None:
    (one,) = candidates("x", BASE, {"rank": [4]})
    assert (one.name, one.settings.rank, one.settings.alpha) == ("x", 4, 8.0)


def test_names_tell_the_values_that_differ() -> None:
    assert names(rank=[2, 4, 8, 16]) == ["x_r2", "x_r4", "x_r8", "x_r16"]
    assert names(rank=[2, 4], lr=[1e-3], seed=[0, 1]) == ["x_r2_seed0", "x_r2_seed1", "x_r4_seed0", "x_r4_seed1"]
    assert names(targets=[("q", "v"), ("all-linear",)]) == ["x_q+v", "x_all-linear"]


def test_what_a_method_does_not_have_makes_no_candidates_of_its_own() -> None:
    assert names(method=["lora", "prompt"], rank=[4, 8]) == ["x_lora_r4", "x_lora_r8", "x_prompt"]


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ({"rank": [0]}, "--rank must be 1 or more, not 0"),
        ({"rank": [8, -1]}, "--rank must be 1 or more, not -1"),
        ({"virtual_tokens": [0], "method": ["prompt"]}, "--virtual-tokens must be 1 or more"),
        ({"max_steps": [0]}, "--max-steps"),
        ({"lr": [0.0]}, "--lr must be above 0"),
        ({"epochs": [float("nan")]}, "--epochs must be above 0"),
        ({"method": ["prompt"], "rank": [8]}, "--rank belongs to low-rank methods; prompt has none"),
        ({"virtual_tokens": [8]}, "--virtual-tokens belongs to soft prompts; lora has none"),
    ],
)
def test_values_out_of_range(lists: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        candidates("x", BASE, lists)


def test_every_method_has_defaults_of_its_own_and_says_how_to_make_it_again() -> None:
    for method in METHODS:
        done = TuneSettings(method=method, tasks=("a", "b"), replay=Replay(("c",), 0.1)).completed()
        assert done.lr
        assert (done.rank is not None) == (method in ("lora", "qlora", "dora"))
        assert (done.virtual_tokens is not None) == (method in ("prompt", "prefix", "ptuning"))
        recipe = done.recipe()
        assert recipe.startswith(f"--method {method} --task a,b ")
        assert "--replay c:0.1" in recipe
        assert ("--rank 8 --alpha 16" in recipe) == (done.rank is not None)
        assert done.record()["seed"] == 0
        assert "drop_duplicates" not in done.record()


def test_a_share_of_replay_lies_between_nothing_and_everything() -> None:
    with pytest.raises(InputError, match="share between 0 and 1"):
        TuneSettings(method="lora", tasks=("a",), replay=Replay(("b",), 1.0)).completed()

"""`--engine-args`: parsed and described from the fields of a dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from harness.engine import base
from harness.engine.arguments import EngineArguments, argument
from harness.engine.vllm.arguments import VllmArguments
from harness.errors import InputError
from harness.models.opening import ModelOptions


@dataclass(frozen=True)
class Knobs(EngineArguments):
    size: int = argument(1, "how large", low=1, high=9, changes_numbers=True)
    share: float | None = argument(None, "how much", low=0.0)
    loud: bool = argument(False, "how loud")
    kind: Literal["a", "b"] | None = argument(None, "which", changes_numbers=True)


def test_values_have_the_types_of_their_fields() -> None:
    assert Knobs.parse(" size=3, share=0.5,loud=yes,kind=b ", "x") == Knobs(3, 0.5, True, "b")
    assert Knobs.parse("", "x") == Knobs()


def test_the_text_reads_back_and_leaves_out_defaults() -> None:
    knobs = Knobs(3, 0.5, True, "b")
    assert knobs.text == "kind=b,loud=true,share=0.5,size=3"
    assert knobs.changing == "kind=b,size=3"
    assert Knobs.parse(knobs.text, "x") == knobs
    assert Knobs.parse("size=1,loud=false", "x").text == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size=0", "size takes whole number from 1 to 9, not '0'"),
        ("size=2.5", "size takes whole number"),
        ("share=-1", "share takes number from 0, not"),
        ("share=nan", "share takes number"),
        ("share=inf", "share takes number"),
        ("loud=maybe", "loud takes true or false"),
        ("kind=c", "kind takes a or b"),
        ("size=2,size=3", "has size twice"),
        ("size", "has no value for 'size'"),
        ("colour=red", "of --engine x does not know 'colour'"),
    ],
)
def test_a_bad_argument_is_one_message(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Knobs.parse(text, "x")
    assert caught.value.exit_code == 2


def test_an_unknown_key_and_help_list_all_keys() -> None:
    for text in ("help", "colour=red"):
        with pytest.raises(InputError) as caught:
            VllmArguments.parse(text, "vllm")
        for key, takes, does in VllmArguments.describe():
            assert f"{key} ({takes}): {does}" in caught.value.remedy


def test_backends_without_arguments_refuse_them() -> None:
    with pytest.raises(InputError, match=r"--engine transformers does not support --engine-args") as caught:
        base.check_options(base.load("transformers"), ModelOptions("m", engine_args="max_num_seqs=4"))
    assert "--engine vllm" in caught.value.remedy
    with pytest.raises(InputError, match="max_num_seqs takes whole number from 1, not 'many'"):
        base.check_options(base.load("vllm"), ModelOptions("m", engine_args="max_num_seqs=many"))

"""Reports say when systems differ in precision or in the form of their prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.compare.comparability import system_notes
from harness.compare.leaderboard import leaderboard, select
from harness.store.records import SystemRecord, system_record
from tests.store import records


def system(name: str, **changes: Any) -> tuple[str, SystemRecord]:
    return name, system_record(records.system(name, **changes))


def test_systems_that_are_run_alike_need_no_note() -> None:
    assert system_notes([system("a"), system("b")]) == ()
    chats = [system(name, chat_template_digest="c" * 64) for name in ("a", "b")]
    assert system_notes(chats) == ()


def test_precision_and_prompt_form_are_told_with_whose_they_are() -> None:
    notes = system_notes([system("a"), system("b", dtype="bfloat16"), system("c", dtype="bfloat16", chat_template_digest="c" * 64)])
    assert notes == (
        "Weights differ in precision: float32 for a; bfloat16 for b, c.",
        "Prompts differ: plain text for a, b; chat template for c.",
    )


def test_two_templates_of_one_tokenizer_are_told_apart_and_two_models_own_are_not() -> None:
    one = [system("a", chat_template_digest="1" * 64), system("b", chat_template_digest="2" * 64)]
    assert system_notes(one) == ("Prompts differ: chat template 11111111 for a; chat template 22222222 for b.",)
    own = [
        system("a", chat_template_digest="1" * 64, tokenizer_digest="x"),
        system("b", chat_template_digest="2" * 64, tokenizer_digest="y"),
    ]
    assert system_notes(own) == ()


def test_a_leaderboard_carries_the_notes_whatever_families_are_chosen() -> None:
    runs = [(Path(name), records.run(name, system=system(name, dtype=dtype)[1])) for name, dtype in (("a", "float32"), ("b", "float16"))]
    board = leaderboard(runs)
    note = "Weights differ in precision: float32 for a; float16 for b."
    assert note in board.notes
    assert note in select(board, ("accuracy",)).notes


def test_weights_behind_a_server_are_marked() -> None:
    notes = system_notes([system("a"), system("b", identity="remote"), system("c", identity="remote")])
    assert notes == ("A server computed b, c: the weights behind it are not verified.",)

"""From items to requests, with a tokenizer of one token a character so that lengths can be counted by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from harness.contract import Generate, Item, ScoreChoices, ScoreText
from harness.errors import TaskError
from harness.evaluation.progress import StageTimer
from harness.evaluation.requests import ItemRequests, RequestBuilder
from harness.models.encoding import Encoder
from harness.tasks.prompts import TemplateVariant, draw_shots
from harness.tasks.templates import Where, render
from tests.tasks.cases import item, task

BARE = {"name": "bare", "prompt": "{{ text }}", "delimiter": "=", "separator": "|"}


@pytest.fixture(scope="module")
def characters() -> Any:
    """One token a character, none for `~`, and no special tokens around texts."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<s>": 0, "</s>": 1, "?": 2} | {chr(code): code for code in range(32, 127) if chr(code) != "?"}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    core.normalizer = normalizers.Replace("~", "")
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="?")


def rows(*texts: str) -> list[Item]:
    return [item(number, text=text, label=number % 2) for number, text in enumerate(texts)]


def prepared(
    tokenizer: Any,
    items: Sequence[Item],
    *,
    length: int | None = None,
    pool: Sequence[Item] = (),
    shots: int = 0,
    seed: int = 0,
    architecture: Literal["causal", "seq2seq"] = "causal",
    select: Literal["first", "random"] = "first",
    **changes: Any,
) -> list[ItemRequests]:
    made = task(**{"templates": [BARE], "choices": ["no", "yes!"], "shots": {"split": "dev", "select": select}} | changes)
    encoder = Encoder(tokenizer, architecture, length, chat=False)
    return RequestBuilder(TemplateVariant(made, made.templates[0], False), encoder, pool, shots, seed).prepare(items, StageTimer())


GENERATE: dict[str, Any] = {"answer": "generate", "choices": None, "target": "text", "metrics": ["rouge1"]}
SCORE: dict[str, Any] = {"answer": "score_text", "choices": None, "target": "text", "metrics": ["perplexity"]}


def ids(text: str) -> tuple[int, ...]:
    return tuple(2 if character == "?" else ord(character) for character in text)


def test_a_question_is_one_request_with_all_choices(characters: Any) -> None:
    (item_requests,) = prepared(characters, rows("abc"))
    assert item_requests.request == ScoreChoices("colours/bare/0", ids("abc"), (ids("=no"), ids("=yes!")))
    assert (item_requests.text, item_requests.shots_dropped, item_requests.text_cut) == ("abc", 0, False)


def test_choices_with_prompts_of_their_own_are_scored_as_texts(characters: Any) -> None:
    template = {"name": "each", "prompts": ["{{ text }}1", "{{ text }}22"], "delimiter": "="}
    (item_requests,) = prepared(characters, rows("abc"), templates=[template])
    assert item_requests.request == ScoreText("colours/each/0", ((ids("abc1"), ids("=no")), (ids("abc22"), ids("=yes!"))))
    (cut,) = prepared(characters, rows("abcdefgh"), templates=[template], length=10)
    assert (cut.text_cut, cut.text) == (True, "abcd1"), "abcd22=yes! less one is 10"


def test_the_probability_without_the_question_is_asked_where_a_metric_wants_it(characters: Any) -> None:
    template = {**BARE, "unconditional": "so"}
    pmi = [{"metric": "accuracy", "normalize": "pmi", "as": "pmi"}, "accuracy"]
    (item_requests,) = prepared(characters, rows("abc"), templates=[template], metrics=pmi)
    assert item_requests.prior is not None
    assert item_requests.requests == (item_requests.request, item_requests.prior)
    assert (item_requests.prior.context, item_requests.prior.choices) == (ids("so"), (ids("=no"), ids("=yes!")))
    assert item_requests.prior.id != item_requests.request.id
    assert prepared(characters, rows("abc"))[0].prior is None


def test_shots_stand_before_the_question(characters: Any) -> None:
    (item_requests,) = prepared(characters, rows("abc"), pool=rows("x", "y"), shots=2)
    assert item_requests.text == "x=no|y=yes!|abc"
    assert isinstance(item_requests.request, ScoreChoices)
    assert item_requests.request.context == ids(item_requests.text)


def test_a_shot_is_rendered_once_for_all_the_prompts_it_stands_in(characters: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []

    def counting(source: str, row: Mapping[str, Any], where: Where) -> str:
        if source == BARE["prompt"]:
            rendered.append(row["text"])
        return render(source, row, where)

    monkeypatch.setattr("harness.tasks.prompts.render", counting)
    item_requests = prepared(characters, rows("abc", "de", "f"), pool=rows("x", "y"), shots=2)
    assert [one.text for one in item_requests] == ["x=no|y=yes!|abc", "x=no|y=yes!|de", "x=no|y=yes!|f"]
    assert sorted(rendered) == ["abc", "de", "f", "x", "y"]


def test_items_prepared_together_are_asked_as_if_each_were_alone(characters: Any) -> None:
    items, pool = rows(*"abcdef"), rows(*"uvwxyz", "a", "b")
    together = prepared(characters, items, pool=pool, shots=3, select="random", length=17)
    alone = [prepared(characters, [one], pool=pool, shots=3, select="random", length=17)[0] for one in items]
    assert together == alone
    assert len({one.text for one in together}) == 6
    assert any(one.shots_dropped for one in together)


def test_generation_settings_and_seed_go_into_the_request(characters: Any) -> None:
    settings = {"max_new_tokens": 9, "stop": ["\n"], "temperature": 0.7, "top_p": 0.9}
    (item_requests,) = prepared(characters, rows("abc"), generation=settings, **GENERATE)
    request = item_requests.request
    assert isinstance(request, Generate)
    assert (request.context, request.max_new_tokens, request.stop) == (ids("abc"), 9, ("\n",))
    assert (request.temperature, request.top_p) == (0.7, 0.9)


def test_an_items_seed_depends_on_run_seed_and_item_alone(characters: Any) -> None:
    def seeds(items: Sequence[Item], seed: int, **changes: Any) -> dict[str, int]:
        item_requests = prepared(characters, items, seed=seed, **GENERATE | changes)
        return {one.question.item.id: one.request.seed for one in item_requests if isinstance(one.request, Generate)}

    items = rows("a", "b", "c", "d")
    all_seeds = seeds(items, 0)
    assert len(set(all_seeds.values())) == 4
    assert seeds([items[2], items[0]], 0) == {"2": all_seeds["2"], "0": all_seeds["0"]}
    assert all(seeds(items, 1)[one] != all_seeds[one] for one in all_seeds)
    assert seeds(items, 0, task="shades")["0"] != all_seeds["0"]


def test_a_scored_text_follows_its_prompt_and_delimiter(characters: Any) -> None:
    (item_requests,) = prepared(characters, rows("abc"), **SCORE)
    assert item_requests.request == ScoreText("colours/bare/0", ((ids("abc"), ids("=abc")),))
    (alone,) = prepared(characters, rows("abc"), templates=[{"name": "bare", "prompt": ""}], **SCORE)
    assert alone.request == ScoreText("colours/bare/0", (((0,), ids("abc")),))


def test_whole_shots_go_first_when_the_prompt_is_too_long(characters: Any) -> None:
    """Context + longest choice `=yes!` (5) - 1 must be at most the length: 17 leaves 13 for the context."""
    item_requests = prepared(characters, rows("ab", "abcdefgh", "a" * 13), length=17, pool=rows("x", "yy", "zzz"), shots=3)
    assert [one.text for one in item_requests] == ["x=no|ab", "x=no|abcdefgh", "a" * 13]
    assert [one.shots_dropped for one in item_requests] == [2, 2, 3]
    assert not any(one.text_cut for one in item_requests)
    assert [one.text for one in prepared(characters, rows("ab"), length=23, pool=rows("x", "yy", "zzz"), shots=3)] == ["x=no|yy=yes!|ab"]


def test_the_shots_that_stay_are_the_first_drawn(characters: Any) -> None:
    drawing = task(shots={"split": "dev", "select": "random"})
    pool, asked_item = rows(*"pqrstuvw"), item(99, text="ab", label=0)
    drawn = draw_shots(drawing, pool, asked_item, 4, 0)
    (item_requests,) = prepared(characters, [asked_item], length=20, pool=pool, shots=4, select="random")
    kept = [part[0] for part in item_requests.text.split("|")[:-1]]
    assert 0 < len(kept) == 4 - item_requests.shots_dropped < 4
    assert kept == [one.row["text"] for one in drawn[: len(kept)]]


def test_generation_leaves_room_for_the_answer(characters: Any) -> None:
    short = {"max_new_tokens": 5}
    item_requests = prepared(characters, rows("ab", "abcdef"), length=10, pool=rows("x"), shots=1, generation=short, **GENERATE)
    assert [(one.text, one.shots_dropped, one.text_cut) for one in item_requests] == [("ab", 1, False), ("abcde", 1, True)]
    roomy = prepared(characters, rows("ab"), length=11, pool=rows("x"), shots=1, generation=short, **GENERATE)
    assert roomy[0].text == "x=x|ab"


def test_the_text_is_cut_at_its_end_when_no_shot_is_left(characters: Any) -> None:
    (item_requests,) = prepared(characters, rows("abcdefgh"), length=9)
    assert (item_requests.text, item_requests.text_cut) == ("abcde", True)
    assert isinstance(item_requests.request, ScoreChoices)
    assert len(item_requests.request.context) + 5 - 1 == 9
    assert item_requests.question.item.row["text"] == "abcdefgh", "the item itself stays whole"


def test_only_the_longest_field_is_cut(characters: Any) -> None:
    template = {**BARE, "prompt": "{{ short }}/{{ text }}?"}
    one = item(0, short="abc", text="defghij", unused="x" * 100, label=0)
    (item_requests,) = prepared(characters, [one], length=12, templates=[template])
    assert item_requests.text == "abc/def?"


def test_what_fits_to_the_last_token_is_not_cut(characters: Any) -> None:
    (item_requests,) = prepared(characters, rows("abcde"), length=9)
    assert (item_requests.text, item_requests.text_cut) == ("abcde", False)


def test_an_item_that_never_fits_is_told(characters: Any) -> None:
    template = {**BARE, "prompt": "{{ text }} and a long template"}
    with pytest.raises(TaskError, match=r"Task colours, item 0: the prompt is longer than the model's context of 12 tokens") as caught:
        prepared(characters, rows("ab"), length=12, templates=[template])
    assert "data.filter" in caught.value.remedy
    with pytest.raises(TaskError, match="item 0"):
        prepared(characters, rows("a"), length=3)


def test_encoder_and_decoder_have_the_length_each_to_itself(characters: Any) -> None:
    (item_requests,) = prepared(characters, rows("abcdefgh"), length=8, architecture="seq2seq")
    assert (item_requests.text, item_requests.text_cut) == ("abcdefgh", False)
    (cut,) = prepared(characters, rows("abcdefghi"), length=8, architecture="seq2seq")
    assert (cut.text, cut.text_cut) == ("abcdefgh", True)
    (free,) = prepared(characters, rows("a" * 5000), architecture="seq2seq", pool=rows("x"), shots=1)
    assert (free.shots_dropped, free.text_cut) == (0, False)


def test_a_long_scored_text_is_split_into_windows_not_cut(characters: Any) -> None:
    template = {"name": "bare", "prompt": "q:", "delimiter": ""}
    (item_requests,) = prepared(characters, rows("abcdefghij"), length=6, templates=[template], **SCORE)
    assert isinstance(item_requests.request, ScoreText)
    assert sum((scored for _, scored in item_requests.request.windows), ()) == ids("abcdefghij")
    assert all(len(context) + len(scored) - 1 <= 6 for context, scored in item_requests.request.windows)
    assert len(item_requests.request.windows) > 1
    assert not item_requests.text_cut


@pytest.mark.parametrize("architecture", ["causal", "seq2seq"])
def test_a_choice_without_tokens_is_told_with_its_item(characters: Any, architecture: Literal["causal", "seq2seq"]) -> None:
    """The tokenizer drops every `~`."""
    items = [*rows("ab"), item(7, text="cd", label=0)]
    template = {**BARE, "delimiter": "", "choices": ["no", "{{ '~' if text == 'cd' else 'yes' }}"]}
    with pytest.raises(TaskError, match=r"Task colours, item 7: the choice '~' has no tokens of its own"):
        prepared(characters, items, templates=[template], architecture=architecture)


def test_a_scored_text_without_tokens_is_told_with_its_item(characters: Any) -> None:
    template = {**BARE, "prompt": "x", "delimiter": ""}
    with pytest.raises(TaskError, match=r"Task colours, item 1: the text '~' has no tokens of its own"):
        prepared(characters, rows("ab", "~"), templates=[template], **SCORE)


def test_one_requests_content_does_not_depend_on_the_others(characters: Any) -> None:
    items, pool = rows(*("abcdefghijkl"[:length] for length in range(1, 12))), rows(*"uvwxyz")
    together = prepared(characters, items, length=19, pool=pool, shots=3)
    alone = [prepared(characters, [one], length=19, pool=pool, shots=3)[0] for one in items]
    assert together == alone


def test_seconds_are_counted(characters: Any) -> None:
    made = task(templates=[BARE])
    seconds = StageTimer()
    RequestBuilder(TemplateVariant(made, made.templates[0], False), Encoder(characters, "causal", None, False), (), 0, 0).prepare(
        rows("a"), seconds
    )
    assert seconds.render > 0
    assert seconds.tokenize > 0


def test_every_setting_of_a_generation_reaches_the_request(characters: Any) -> None:
    settings = {"max_new_tokens": 7, "stop": ["."], "beams": 4}
    (item_requests,) = prepared(characters, rows("abc"), **GENERATE, generation=settings)
    request = item_requests.request
    assert isinstance(request, Generate)
    assert (request.max_new_tokens, request.stop, request.temperature, request.top_p, request.beams) == (7, (".",), 0.0, 1.0, 4)
    sampled = {"temperature": 0.5, "top_p": 0.8}
    (item_requests,) = prepared(characters, rows("abc"), **GENERATE, generation=sampled)
    request = item_requests.request
    assert isinstance(request, Generate)
    assert (request.temperature, request.top_p, request.beams) == (0.5, 0.8, 1)

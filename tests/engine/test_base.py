"""The registry of backends: names, capabilities, refusals, and the keys of cached responses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from harness.contract import Generate, Message, Prompt, Request, ScoreChoices, ScoreText, System
from harness.engine import base
from harness.engine.base import Backend, Capabilities
from harness.errors import InputError
from harness.models.opening import ModelOptions
from harness.store.responses import ResponseStore

SYSTEM = System("m", "m", "a", "causal", "float32", "8bit", "M", "A", "T", None, None, 2, 1)
LEAST = ModelOptions("m")


def test_listing_the_backends_imports_no_model_library() -> None:
    heavy = "{'torch', 'transformers', 'peft', 'vllm', 'safetensors', 'tokenizers', 'datasets'}"
    code = f"import sys; from harness.engine.base import names; print(names()); assert not {heavy} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "('transformers', 'ctranslate2', 'mock', 'server', 'vllm')"


def test_an_unknown_backend_names_those_that_exist() -> None:
    with pytest.raises(InputError, match="Unknown engine 'vlm'") as caught:
        base.load("vlm")
    assert "vllm" in caught.value.remedy


def test_the_keys_of_cached_responses_are_those_of_earlier_versions() -> None:
    assert base.response_key(SYSTEM) == "M|A|float32|8bit|T|engine:6"
    assert base.response_key(replace(SYSTEM, engine="vllm", adapter_digest=None)) == "M|-|float32|8bit|T|engine:vllm:2"


@pytest.mark.parametrize(
    "request_",
    [
        ScoreChoices("i", (1, 2), ((3,), (4,)), Prompt("Is it?", (Message("user", "Is it?"),), " "), ("yes", "no")),
        ScoreText("i", (((1,), (2, 3)),), ((Prompt(""), "Once"),)),
        Generate("i", (1, 2), 3, prompt=Prompt("Go on")),
    ],
)
def test_texts_beside_token_ids_are_no_part_of_a_request(request_: Request) -> None:
    """Backends that read token ids answer the same with and without them, and responses cached before stay valid."""
    bare = {"prompt": None, "answers": ()} if isinstance(request_, ScoreChoices) else {"texts": ()}
    plain = replace(request_, **({"prompt": None} if isinstance(request_, Generate) else bare))
    assert plain == request_
    assert hash(plain) == hash(request_)
    assert ResponseStore.key("system", plain) == ResponseStore.key("system", request_)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"quantize": "4bit"}, "--quantize"),
        ({"merge": True}, "--merge"),
        ({"trust_remote_code": True}, "--trust-remote-code"),
        ({"devices": ("cuda:0", "cuda:1")}, "--device with several devices"),
    ],
)
def test_an_option_that_a_backend_does_not_support_is_refused(options: dict[str, object], what: str) -> None:
    with pytest.raises(InputError, match=f"--engine vllm does not support {what}") as caught:
        base.check_options(base.load("vllm"), replace(LEAST, **options))  # type: ignore[arg-type]
    assert "--engine transformers" in caught.value.remedy
    base.check_options(base.load("transformers"), replace(LEAST, **options))  # type: ignore[arg-type]


class Least(Backend):
    """Supports nothing."""

    name = "least"


class ChatOnly(Backend):
    """Reads chat messages alone."""

    name = "chat"
    capabilities = Capabilities(generation=True, chat_only=True)


def test_a_backend_that_reads_chats_alone_refuses_plain_prompts() -> None:
    with pytest.raises(InputError, match="--engine chat does not support --no-chat"):
        base.check_options(ChatOnly(), replace(LEAST, chat=False))


@pytest.mark.parametrize(
    ("needed", "what"),
    [
        (ScoreChoices("i", (1,), ((2,),)), "score choices"),
        (ScoreText("i", (((1,), (2,)),)), "score texts"),
        (Generate("i", (1,), 1), "generate text"),
        (Generate("i", (1,), 1, temperature=1.0), "generate text"),
        (Generate("i", (1,), 1, beams=2), "generate text"),
    ],
)
def test_a_request_that_a_backend_does_not_support_is_refused(needed: Request, what: str) -> None:
    with pytest.raises(InputError, match=f"--engine least does not support tasks that {what}") as caught:
        base.check_requests(Least(), [needed])
    assert "transformers" in caught.value.remedy
    base.check_requests(base.load("transformers"), [needed])


class TextOnly(Backend):
    """Tokenizes text itself."""

    name = "text"
    capabilities = Capabilities(choices=True, texts=True, generation=True, reads="text")


@pytest.mark.parametrize(
    ("bare", "with_text"),
    [
        (ScoreChoices("i", (1,), ((2,),)), ScoreChoices("i", (1,), ((2,),), Prompt("a"), ("b",))),
        (ScoreText("i", (((1,), (2,)),)), ScoreText("i", (((1,), (2,)),), ((Prompt(""), "b"),))),
        (Generate("i", (1,), 1), Generate("i", (1,), 1, prompt=Prompt("a"))),
    ],
)
def test_a_backend_that_reads_text_refuses_token_ids_alone(bare: Request, with_text: Request) -> None:
    with pytest.raises(InputError, match="--engine text does not support tasks that give token ids without text"):
        base.check_requests(TextOnly(), [with_text, bare])
    base.check_requests(TextOnly(), [with_text])
    base.check_requests(base.load("mock"), [bare])


def test_sampling_and_beams_are_refused_apart_from_generation() -> None:
    with pytest.raises(InputError, match="does not support tasks that sample"):
        base.check_requests(ChatOnly(), [Generate("i", (1,), 1, temperature=1.0)])
    with pytest.raises(InputError, match="--engine vllm does not support tasks with beam search"):
        base.check_requests(base.load("vllm"), [Generate("i", (1,), 1, beams=2)])

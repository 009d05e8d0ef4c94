"""Whether a model's forward lets sequences share keys and values: asked of the model itself, with a handful of tokens."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from harness.contract import Generate, ScoreChoices, TokenIds, Usage
from harness.engine.caches import KeysValues, bytes_a_token
from harness.engine.causal import CausalForward
from harness.engine.planning import Row, rows_of
from harness.engine.seq2seq import Seq2SeqForward
from harness.engine.slots import CausalSlots, Seq2SeqSlots, Waiting
from harness.engine.soft_prompts import SoftPrompt, SourcePrompt, soft_prompt, source_prompt
from harness.errors import BrokenModelError

Found = TypeVar("Found")

_EXACT = 1e-3
_ROUNDED = 5e-2
"""How far logits may lie apart, as a share of their spread: in float32, and in half precision or quantized."""

_BROKEN = (TypeError, ValueError, RuntimeError, AttributeError, KeyError, IndexError, NotImplementedError, AssertionError)


@dataclass(frozen=True)
class Probed:
    """One sequence of a probe, computed as the engine does without sharing.

    Attributes:
        tokens: the sequence.
        start: position of the first of the logits.
        logits: [kept, vocabulary].
    """

    tokens: TokenIds
    start: int
    logits: torch.Tensor


@dataclass(frozen=True)
class Abilities:
    """What a model's forward allows.

    Attributes:
        share: scoring behind held prefixes, several sequences in a row.
        slots: continuous decoding.
        anytime: a row may begin to be decoded while others are under way.
        longest: longest sequence for which this holds (a sliding window sees less than longer ones have), None for any.
        token_bytes: bytes that the keys and values of one token take (of the source's, in an encoder-decoder model).
        why: what is said where something is not allowed.
        probed: a sequence with which sharing was tried, to hold the model's own forward against; None where it was not.
    """

    share: bool
    slots: bool
    anytime: bool = True
    longest: int | None = None
    token_bytes: int = 0
    why: str | None = None
    probed: Probed | None = None


def window(config: Any) -> int | None:
    """Longest sequence of which every token sees all before it, None for any; 0 where layers are not attention throughout.

    Args:
        config: of a decoder-only transformers model.
    """
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention", "sliding_attention"}:
        return 0
    sizes = [getattr(config, name, None) for name in ("window_size", "attention_chunk_size")]
    if "sliding_attention" in kinds or (not kinds and getattr(config, "use_sliding_window", True)):
        sizes.append(getattr(config, "sliding_window", None))
    return min((size for size in sizes if isinstance(size, int)), default=None)


def causal_abilities(forward: CausalForward) -> Abilities:
    """Run a few tokens both ways, with and without sharing."""
    config = forward.module.config.get_text_config()
    longest = window(config)
    kind = config._attn_implementation
    if longest == 0 or kind not in ("sdpa", "eager"):
        what = "layers that are not attention" if longest == 0 else f"{kind} attention"
        return Abilities(False, False, why=f"This model has {what}: nothing is shared between its prompts.")
    words = trial_words(forward.module, 12)
    trial = CausalForward(forward.module, forward.pad, Usage(), forward.soft)
    probed: list[Probed] = []
    share = tried(lambda: apart(*_scored(trial, words, probed)), forward.module)
    content: list[KeysValues] = []
    slots = share and tried(lambda: apart(*_stepped(trial, words, content)), forward.module)
    why = None if share and slots else "This model's forward takes no keys and values of ours: nothing is shared between its prompts."
    token_bytes = bytes_a_token(content[0]) if content else 0
    return Abilities(share, slots, longest=longest, token_bytes=token_bytes, why=why, probed=probed[0] if share else None)


def readable_soft_prompt(module: Any) -> SoftPrompt | None:
    """A decoder-only model's soft prompt; None where it has none whose keys and values can be read."""
    return _read(soft_prompt, module)


def readable_source_prompt(module: Any) -> SourcePrompt | None:
    """An encoder-decoder model's soft prompt; None where it has none that can be read."""
    return _read(source_prompt, module)


def _read(how: Callable[[Any], Found | None], module: Any) -> Found | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return how(module)
        except _BROKEN:
            return None


def seq2seq_abilities(forward: Seq2SeqForward) -> Abilities:
    """Decode a few tokens both ways, in slots and by one forward; at the same time, and one row later than the other.

    A soft prompt of which scores or texts come out otherwise than by peft's own forward is not to be used.
    """
    words = trial_words(forward.module, 12)
    trial = replace(forward, usage=Usage())
    boolean = forward.module.config._attn_implementation == "sdpa"
    content: list[KeysValues] = []

    def decoded(late: bool) -> tuple[torch.Tensor, torch.Tensor]:
        return _decoded(trial, words, Seq2SeqSlots(trial, 2, trial.virtual_source + 8, 4, 64, True, boolean), late, content)

    share = forward.soft is None or tried(lambda: apart(*_sourced(trial, words)), forward.module)
    slots = share and tried(lambda: apart(*decoded(False)), forward.module)
    anytime = slots and tried(lambda: apart(*decoded(True)), forward.module)
    why = None if slots else "This model's decoder takes no keys and values of ours: texts are generated in fixed batches."
    return Abilities(share, slots, anytime, token_bytes=bytes_a_token(content[0]) if content else 0, why=why)


def trial_words(module: Any, number: int) -> TokenIds:
    """Distinct token ids from all over a model's vocabulary."""
    size = module.get_input_embeddings().weight.shape[0]
    return tuple((size // 3 + place * (size // 17 + 1)) % size for place in range(number))


def invocation_tokens(module: Any) -> TokenIds:
    """The tokens from which on an aLoRA adapter is active; none for a module that is computed alike everywhere."""
    configs = getattr(module, "peft_config", {}).values()
    return tuple(token for config in configs for token in getattr(config, "alora_invocation_tokens", None) or ())


def tried(difference: Callable[[], float], module: Any) -> bool:
    """Whether two ways of computing come to the same, as far as the weights' precision lets one tell; not where one of them fails."""
    weight = module.get_input_embeddings().weight.dtype
    exact = weight == torch.float32 and not getattr(module, "is_quantized", False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a model may warn of what it is only tried with
        try:
            return difference() <= (_EXACT if exact else _ROUNDED)
        except _BROKEN:
            return False


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference of log-probabilities, as a share of their standard deviation."""
    one, other = (torch.log_softmax(logits.float(), dim=-1) for logits in (one, other))
    return float((one - other).abs().max() / other.std().clamp_min(1e-6))


def _scored(forward: CausalForward, words: TokenIds, probed: list[Probed]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits behind a held prefix in two strips, and those of the same positions without sharing."""
    contexts = (words[:4], words[:2] + words[7:9], words[:3])
    choices = (words[8:11], words[8:9] + words[3:5], words[1:2])
    questions = [rows_of(ScoreChoices("", context, choices), None) for context in contexts]
    strips = [[*questions[0], *questions[1]], [*questions[2]]]
    rows: list[Row] = [row for strip in strips for row in strip]
    plain, there = forward.plain(rows)
    _check_numbers(plain)
    probed.append(Probed(rows[0].tokens, rows[0].start, plain[there[0]]))
    shared, here = forward.packed(strips, (words[:1], words[1:2]))
    return shared[[place for own in here for place in own]], plain[[place for own in there for place in own]]


def _check_numbers(logits: torch.Tensor) -> None:
    """Raise BrokenModelError where no token can be chosen from logits, or any is NaN."""
    if not bool(torch.isfinite(logits.amax(dim=-1)).all()):
        raise BrokenModelError(
            f"The model gives logits that are no numbers in {str(logits.dtype).removeprefix('torch.')}: every score would be meaningless.",
            "Half precision can overflow: try --dtype float32 or bfloat16; otherwise its weights or a setting in config.json are broken.",
        )


def _stepped(forward: CausalForward, words: TokenIds, content: list[KeysValues]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits after a step of two rows of unlike lengths in slots, and those of the whole sequences."""
    prompts = (words[:4], words[:2] + words[8:9])
    slots = CausalSlots(forward, 2, forward.virtual + 8, 64)
    slots.admit([Waiting(Generate("", prompt, 1), (words[:2],)) for prompt in prompts])
    stepped = slots.step([words[10], words[11]])
    content.append(slots.content)
    plain, _ = forward.plain([Row((), (*prompt, words[10 + number]), len(prompt), ()) for number, prompt in enumerate(prompts)])
    return stepped, plain


def _decoded(
    forward: Seq2SeqForward, words: TokenIds, slots: Seq2SeqSlots, late: bool, content: list[KeysValues]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits after two tokens of a row in slots beside another, and those of one forward."""
    first, second = (Waiting(Generate("", source, 4)) for source in (words[:8], words[2:7]))
    tokens = words[9:11]
    if late:
        slots.admit([first])
        slots.step(tokens[:1])
        slots.admit([second])
    else:
        slots.admit([first, second])
    slots.step([words[0], tokens[0]])
    stepped = slots.step([words[1], tokens[1]])
    content.append(slots.content)
    (row,) = rows_of(ScoreChoices("", words[2:7], ((*tokens, words[0]),)), forward.start)
    plain, (where,) = forward.plain([row])
    return stepped[1:], plain[where[-1:]]


def _sourced(forward: Seq2SeqForward, words: TokenIds) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of choices whose sources are encoded apart, and those of one forward."""
    asked = [ScoreChoices("", words[:4], (words[8:11], words[4:5])), ScoreChoices("", words[2:8], (words[9:11],))]
    rows = [row for one in asked for row in rows_of(one, forward.start)]
    (apart_from, here), (plain, there) = forward.score(rows), forward.plain(rows)
    return apart_from[[place for own in here for place in own]], plain[[place for own in there for place in own]]

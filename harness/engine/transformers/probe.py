"""Whether a model's forward lets sequences share keys and values, tried out on a handful of tokens."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from harness.contract import Generate, ScoreChoices, TokenIds, Usage
from harness.engine.transformers.caches import KeysValues, bytes_a_token
from harness.engine.transformers.causal import CausalForward
from harness.engine.transformers.decode_slots import CausalDecodeSlots, Seq2SeqDecodeSlots, Waiting
from harness.engine.transformers.planning import SequenceRow, rows_of
from harness.engine.transformers.seq2seq import Seq2SeqForward
from harness.engine.transformers.soft_prompts import SoftPrompt, SourcePrompt, soft_prompt, source_prompt
from harness.errors import BrokenModelError

Found = TypeVar("Found")

_EXACT = 1e-3
_ROUNDED = 5e-2
"""How far logits may lie apart, as a share of their spread: in float32, and in half precision or quantized."""

_BROKEN = (TypeError, ValueError, RuntimeError, AttributeError, KeyError, IndexError, NotImplementedError, AssertionError)


@dataclass(frozen=True)
class ProbedSequence:
    """One sequence of a probe, computed as the engine does without sharing.

    Attributes:
        tokens: the sequence.
        start: position of the first of the logits.
        logits: [selected, vocabulary].
    """

    tokens: TokenIds
    start: int
    logits: torch.Tensor


@dataclass(frozen=True)
class Abilities:
    """What a model's forward allows.

    Attributes:
        share: scoring behind a cached prefix, several sequences in a packed row.
        continuous_batching: decoding in decode slots.
        blocks: attention of packed rows in blocks.
        anytime: a row may begin to be decoded while others are under way.
        longest: longest sequence for which this holds (a sliding window sees less than longer ones have), None for any.
        token_bytes: bytes that the keys and values of one token take (of the source's, in an encoder-decoder model).
        why: a note for the user where something is not allowed.
        probed: a sequence of the probe of sharing, to compare with the model's own forward pass; None where sharing was not probed or is
            not allowed.
    """

    share: bool
    continuous_batching: bool
    blocks: bool = False
    anytime: bool = True
    longest: int | None = None
    token_bytes: int = 0
    why: str | None = None
    probed: ProbedSequence | None = None


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


def rescaled(config: Any) -> int | None:
    """Longest sequence within which a token's rotary position is the same in every forward pass, None for any.

    Dynamic scaling and LongRoPE turn all positions of a pass by other angles where one of them is beyond this length, so that keys cached
    by an earlier pass no longer match.

    Args:
        config: of a decoder-only transformers model.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]
    lengths = [
        kind.get("original_max_position_embeddings") or config.max_position_embeddings
        for kind in kinds
        if kind.get("rope_type") in ("dynamic", "longrope")
    ]
    return min(lengths, default=None)


def causal_abilities(forward: CausalForward) -> Abilities:
    """Run a few tokens both ways, with and without sharing."""
    config = forward.module.config.get_text_config()
    longest = min((length for length in (window(config), rescaled(config)) if length is not None), default=None)
    kind = config._attn_implementation
    if longest == 0 or kind not in ("sdpa", "eager"):
        what = "layers that are not attention" if longest == 0 else f"{kind} attention"
        return Abilities(False, False, why=f"This model has {what}: nothing is shared between its prompts.")
    words = trial_words(forward.module, 12)
    trial = CausalForward(forward.module, forward.pad, Usage(), forward.soft)
    probed: list[ProbedSequence] = []
    share = tried(lambda: apart(*_scored(trial, words, probed)), forward.module)
    in_blocks = replace(trial, blocks=True, usage=Usage())
    kernel = kind == "sdpa" and forward.device.type == "cpu"
    blocks = share and kernel and tried(lambda: apart(*_scored(in_blocks, words, [])), forward.module)
    trial = in_blocks if blocks else trial
    content: list[KeysValues] = []
    slots = share and tried(lambda: apart(*_stepped(trial, words, content)), forward.module)
    why = None if share and slots else "This model's forward takes no keys and values of ours: nothing is shared between its prompts."
    token_bytes = bytes_a_token(content[0]) if content else 0
    return Abilities(share, slots, blocks, longest=longest, token_bytes=token_bytes, why=why, probed=probed[0] if share else None)


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
    """Decode a few tokens both ways, in decode slots and by one forward; at the same time, and one row later than the other.

    A soft prompt whose scores or texts differ from those of peft's own forward is not used.
    """
    words = trial_words(forward.module, 12)
    trial = replace(forward, usage=Usage())
    boolean = forward.module.config._attn_implementation == "sdpa"
    content: list[KeysValues] = []

    def decoded(late: bool) -> tuple[torch.Tensor, torch.Tensor]:
        return _decoded(trial, words, Seq2SeqDecodeSlots(trial, 2, trial.virtual_source + 8, 4, 64, True, boolean), late, content)

    share = forward.soft is None or tried(lambda: apart(*_sourced(trial, words)), forward.module)
    slots = share and tried(lambda: apart(*decoded(False)), forward.module)
    anytime = slots and tried(lambda: apart(*decoded(True)), forward.module)
    why = None if slots else "This model's decoder takes no keys and values of ours: texts are generated in fixed batches."
    return Abilities(share, slots, anytime=anytime, token_bytes=bytes_a_token(content[0]) if content else 0, why=why)


def trial_words(module: Any, number: int) -> TokenIds:
    """Distinct token ids from all over a model's vocabulary."""
    size = module.get_input_embeddings().weight.shape[0]
    return tuple((size // 3 + place * (size // 17 + 1)) % size for place in range(number))


def invocation_tokens(module: Any) -> TokenIds:
    """The tokens after which an active aLoRA adapter takes effect; empty if no active adapter depends on such tokens."""
    if not hasattr(module, "get_base_model"):  # not a peft model: adapters in it are switched off
        return ()
    configs = [module.peft_config[name] for name in module.active_adapters]
    return tuple(token for config in configs for token in getattr(config, "alora_invocation_tokens", None) or ())


def tried(difference: Callable[[], float], module: Any) -> bool:
    """Whether two computations agree within the precision of the weights; False where one of them fails."""
    weight = module.get_input_embeddings().weight.dtype
    exact = weight == torch.float32 and not getattr(module, "is_quantized", False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a model may warn of what it is only tried with
        try:
            return difference() <= (_EXACT if exact else _ROUNDED)
        except _BROKEN:
            return False


def apart(first: torch.Tensor, second: torch.Tensor) -> float:
    """Largest difference of log-probabilities, as a share of their standard deviation."""
    first, second = (torch.log_softmax(logits.float(), dim=-1) for logits in (first, second))
    return float((first - second).abs().max() / second.std().clamp_min(1e-6))


def _scored(forward: CausalForward, words: TokenIds, probed: list[ProbedSequence]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits behind a cached prefix in two packed rows, and those of the same positions without sharing.

    The first row is added to `probed`.
    """
    contexts = (words[:4], words[:2] + words[7:9], words[:3])
    choices = (words[8:11], words[8:9] + words[3:5], words[1:2])
    questions = [rows_of(ScoreChoices("", context, choices), None) for context in contexts]
    packed_rows = [[*questions[0], *questions[1]], [*questions[2]]]
    rows: list[SequenceRow] = [row for packed_row in packed_rows for row in packed_row]
    plain, there = forward.plain(rows)
    _check_finite(plain)
    probed.append(ProbedSequence(rows[0].tokens, rows[0].start, plain[there[0]]))
    shared, here = forward.packed(packed_rows, (words[:1], words[1:2]))
    return shared[[place for row_places in here for place in row_places]], plain[[place for row_places in there for place in row_places]]


def _check_finite(logits: torch.Tensor) -> None:
    """Raise BrokenModelError if the largest logit at a position is NaN or infinite."""
    if not bool(torch.isfinite(logits.amax(dim=-1)).all()):
        raise BrokenModelError(
            f"The model's logits are NaN or infinite in {str(logits.dtype).removeprefix('torch.')}: every score would be meaningless.",
            "Half precision can overflow: try --dtype float32 or bfloat16. Otherwise a weight, or a setting in config.json, is broken.",
        )


def _stepped(forward: CausalForward, words: TokenIds, content: list[KeysValues]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits after a step of two rows of unlike lengths in slots, and those of the whole sequences."""
    prompts = (words[:4], words[:2] + words[8:9])
    slots = CausalDecodeSlots(forward, 2, forward.virtual + 8, 64)
    slots.admit([Waiting(Generate("", prompt, 1), (words[:2],)) for prompt in prompts])
    stepped = slots.step([words[10], words[11]])
    content.append(slots.content)
    plain, _ = forward.plain([SequenceRow((), (*prompt, words[10 + number]), len(prompt), ()) for number, prompt in enumerate(prompts)])
    return stepped, plain


def _decoded(
    forward: Seq2SeqForward, words: TokenIds, slots: Seq2SeqDecodeSlots, late: bool, content: list[KeysValues]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits after two tokens of a row in a decode slot beside another, and those of one forward."""
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
    questions = [ScoreChoices("", words[:4], (words[8:11], words[4:5])), ScoreChoices("", words[2:8], (words[9:11],))]
    rows = [row for question in questions for row in rows_of(question, forward.start)]
    (apart_from, here), (plain, there) = forward.score(rows), forward.plain(rows)
    return apart_from[[place for row_places in here for place in row_places]], plain[
        [place for row_places in there for place in row_places]
    ]

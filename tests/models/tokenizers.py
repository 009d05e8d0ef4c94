"""Small tokenizers of every kind that is told apart, trained on a few sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from tests.tiny import TEXTS

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ACROSS = r"\w+ \w+|\s+|."
"""A regular expression whose words hold spaces."""

_MARK = "▁"
_BYTES = pre_tokenizers.ByteLevel.alphabet()
_MORE = ("'s don't 12345 3.14 1,000", "中文 字 日本語", "é e\u0301 ﬁ ŉ İ ß", "a  b   c\n\n d\n\te ", "Ж Ω ж", "to be or not to be")


def _trained(core: Tokenizer, trainer: Any, *, start: bool = True, added: Sequence[AddedToken] = ()) -> Any:
    from transformers import PreTrainedTokenizerFast

    core.train_from_iterator([*TEXTS, *_MORE] * 3, trainer)
    if start:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))])
    core.add_special_tokens([AddedToken("<|im_end|>"), *added])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>" if start else None, eos_token="</s>", unk_token="<unk>")


def _bpe(splitter: Any, normalizer: Any = None, *, alphabet: Sequence[str] = (), added: Sequence[AddedToken] = (), size: int = 500) -> Any:
    core = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    if splitter is not None:
        core.pre_tokenizer = splitter
    if normalizer is not None:
        core.normalizer = normalizer
    specials = ["<s>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=specials, initial_alphabet=list(alphabet), show_progress=False)
    return _trained(core, trainer, added=added)


def byte_level(pattern: str | None = None, *, space: bool = False, digits: bool = False, **more: Any) -> Any:
    """A byte-level BPE that finds words by a regular expression, GPT-2's own by default."""
    stages: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    if pattern:
        stages.append(pre_tokenizers.Split(Regex(pattern), "isolated"))
    stages.append(pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=pattern is None))
    return _bpe(pre_tokenizers.Sequence(stages) if len(stages) > 1 else stages[0], alphabet=_BYTES, **more)


def unigram(*, scheme: str = "always", runs: str = " ", strip: bool = False) -> Any:
    """T5's kind, with Unicode's compatibility forms for its own normalization; NLLB's strips texts and has marks for runs of spaces."""
    core = Tokenizer(models.Unigram())
    stripping = [normalizers.Strip(left=False, right=True)] if strip else []
    core.normalizer = normalizers.Sequence([normalizers.NFKC(), *stripping, normalizers.Replace(Regex(" {2,}"), runs)])
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False)
    return _trained(core, trainer, start=False)


def word_piece() -> Any:
    """BERT's kind."""
    core = Tokenizer(models.WordPiece(unk_token="<unk>"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return _trained(core, trainers.WordPieceTrainer(vocab_size=300, special_tokens=["<s>", "</s>", "<unk>"], show_progress=False))


def _sentences(normalizer: Any, splitter: Any, *, ignore_merges: bool = False) -> Any:
    """A BPE that learned words and runs of marks, and then reads whole texts."""
    made = _bpe(pre_tokenizers.Metaspace(prepend_scheme="first"), alphabet=_MARK)
    core = made.backend_tokenizer
    core.normalizer = normalizer
    core.model.ignore_merges = ignore_merges
    if splitter is None:
        from transformers import PreTrainedTokenizerFast

        bare = Tokenizer(core.model)
        bare.normalizer, bare.post_processor = normalizer, core.post_processor
        bare.add_special_tokens([*map(AddedToken, ("<s>", "</s>", "<unk>", "<|im_end|>"))])
        return PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    core.pre_tokenizer = splitter
    return made


def _space_to_mark() -> Any:
    return normalizers.Replace(" ", _MARK)


CUT: dict[str, Callable[[], Any]] = {
    "GPT-2": byte_level,
    "GPT-2, space added": lambda: byte_level(space=True),
    "GPT-2 as an expression": lambda: byte_level(GPT2),
    "Llama 3": lambda: byte_level(LLAMA3),
    "GPT-4o": lambda: byte_level(GPT4O),
    "Qwen 2": lambda: byte_level(LLAMA3.replace("{1,3}", ""), normalizer=normalizers.NFC()),
    "digits alone": lambda: byte_level(digits=True),
    "a token that takes spaces": lambda: byte_level(added=[AddedToken("<mask>", lstrip=True, rstrip=True)]),
    "tokens of spaces": lambda: byte_level(added=[AddedToken("  ", special=False), AddedToken("\n\n", special=False)]),
    "T5": unigram,
    "T5, first word": lambda: unigram(scheme="first"),
    "NLLB": lambda: unigram(runs=_MARK, strip=True),
    "BERT": word_piece,
    "Llama 2": lambda: _sentences(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
    "Gemma": lambda: _sentences(_space_to_mark(), pre_tokenizers.Split(" ", "merged_with_previous")),
    "Gemma, no pre-tokenizer": lambda: _sentences(_space_to_mark(), None),
}
"""Tokenizers whose texts may be cut."""

WHOLE: dict[str, Callable[[], Any]] = {
    "words across spaces": lambda: byte_level(ACROSS),
    "one part not known": lambda: byte_level(GPT2 + r"|\w \w"),
    "a token across spaces": lambda: byte_level(added=[AddedToken("to be", special=False)]),
    "BPE across spaces": lambda: _bpe(pre_tokenizers.Metaspace(prepend_scheme="first", split=False), alphabet=_MARK),
    "a mark put before texts": lambda: _sentences(normalizers.Sequence([normalizers.Prepend(_MARK), _space_to_mark()]), None),
    "spaces taken from the left": lambda: byte_level(normalizer=normalizers.Strip()),
    "marks for runs of spaces, words by an expression": lambda: byte_level(normalizer=normalizers.Replace(Regex(" {2,}"), _MARK)),
    "no words, merges for parts of words only": lambda: _sentences(_space_to_mark(), None, ignore_merges=True),
    "no words, Unigram": lambda: _unsplit_unigram(),
    "merges left out at random": lambda: _with_dropout(),
}
"""Tokenizers whose texts are always read whole."""


def _unsplit_unigram() -> Any:
    made = unigram()
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    return made


def _with_dropout() -> Any:
    made = byte_level()
    made.backend_tokenizer.model.dropout = 0.5
    return made

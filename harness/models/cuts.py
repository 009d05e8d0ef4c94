"""Places at which a text may be cut so that the token ids of its parts, joined, are exactly those of the whole.

Such a place is a space after a letter, digit or ASCII mark, for a tokenizer that meets one of these conditions:

* its pre-tokenizer always ends a word there (the regular expressions of GPT-2, Llama 3, GPT-4o and similar models, Metaspace, BERT's):
  words are tokenized one by one, and no known expression looks back beyond the beginning of a word or ahead beyond a space;
* it is a BPE without words (Llama's and Gemma's), and no token of its vocabulary contains such a place: then no merge crosses it, and the
  merges on either side do not depend on the other side.

Normalizers must work character by character, or within runs of spaces and combining marks, which such a place never divides; added tokens
must not span it. Any other tokenizer has no such places.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_BEFORE = frozenset(
    chr(code)
    for first, last in ((0x21, 0x7E), (0xC0, 0x24F), (0x388, 0x3FF), (0x400, 0x481), (0x48A, 0x52F))
    for code in range(first, last + 1)
)
"""Characters that may precede a cut: no normalization makes them begin or end with white space, vanish, or join what follows."""

_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)")
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = tuple(
    rf"[^\r\n\p{{L}}\p{{N}}]?{letters}{ending}"
    for letters in (rf"{_UPPER}*{_LOWER}+", rf"{_UPPER}+{_LOWER}*")
    for ending in ("", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?")
)
_SPACE = r"\s+"
_ALTERNATIVES = frozenset(
    (
        *_CONTRACTIONS,
        *_CASED,
        _SPACE,
        r"\s+(?!\S)",
        r"\s*[\r\n]+",
        r"\s*[\r\n]",
        r" ?\p{L}+",
        r" ?\p{N}+",
        r"\p{N}",
        r"\p{N}+",
        r"\p{N}{1,3}",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
        r"[^\r\n\p{L}\p{N}]?+\p{L}+",
        r" ?[^\s\p{L}\p{N}]+",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
        r" ?[^\s\p{L}\p{N}]++[\r\n]*",
    )
)
"""Parts of the known regular expressions: none matches a space except after white space, none looks beyond the next character."""

_BAR = re.compile(r"\|(?![^()]*\))")  # not inside a group


@dataclass(frozen=True, slots=True)
class Cuts:
    """The places at which texts may be cut for one tokenizer.

    Attributes:
        before: characters that may precede the space.
    """

    before: frozenset[str]

    def last(self, text: str, end: int) -> int:
        """The last place in `text` whose space is before `end`, or 0."""
        place = text.rfind(" ", 1, end)
        while place > 0 and text[place - 1] not in self.before:
            place = text.rfind(" ", 1, place)
        return max(place, 0)


def find(tokenizer: Any) -> Cuts | None:
    """Where texts may be cut for a transformers tokenizer; None if no safe place is known."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        return None
    try:
        normalizer, splitter = _parts(core.normalizer, "normalizers"), _parts(core.pre_tokenizer, "pretokenizers")
    except Exception:  # noqa: BLE001 - parts written in Python cannot be serialized, and may raise anything
        return None
    if getattr(core.model, "dropout", None) or not (_ends_words(normalizer, splitter) or _never_crossed(core, normalizer, splitter)):
        return None
    return _beside_added(tokenizer.added_tokens_decoder.values(), normalized=bool(normalizer))


def _parts(part: Any, inner: str) -> list[dict[str, Any]]:
    """The settings of a normalizer or pre-tokenizer; of a sequence, those of its members."""
    if part is None:
        return []
    settings = json.loads(part.__getstate__())
    return list(settings[inner]) if settings["type"] == "Sequence" else [settings]


def _ends_words(normalizer: Sequence[Mapping[str, Any]], splitter: Sequence[Mapping[str, Any]]) -> bool:
    marks = [part["type"] for part in splitter] == ["Metaspace"]
    if not all(_is_local(part, marks=marks) for part in normalizer):
        return False
    for part in splitter:
        if _is_boundary(part):
            return part is splitter[-1] or all(
                _is_boundary(rest) or _is_character_class(rest) or rest["type"] == "ByteLevel" for rest in splitter
            )
        if not _is_character_class(part):
            return False
    return False


def _is_local(part: Mapping[str, Any], *, marks: bool) -> bool:
    """Whether a normalizer works character by character, or within runs of spaces or of combining marks.

    Args:
        part: its settings.
        marks: whether `▁` marks words, and so may replace spaces.
    """
    kind = part["type"]
    if kind == "Replace":
        return part["pattern"] == {"Regex": " {2,}"} and (part["content"] == " " or (marks and part["content"] == "▁"))
    if kind == "Strip":
        return not part["strip_left"]
    return kind in ("Precompiled", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "BertNormalizer")


def _is_boundary(part: Mapping[str, Any]) -> bool:
    """Whether a pre-tokenizer always begins a new word at a space after a character of `_BEFORE`."""
    kind = part["type"]
    if kind == "Split":
        alternatives = _alternatives(part)
        return _SPACE in alternatives and _ALTERNATIVES.issuperset(alternatives)
    if kind == "ByteLevel":
        return bool(part.get("use_regex", True))
    return kind in ("BertPreTokenizer", "WhitespaceSplit") or (kind == "Metaspace" and bool(part.get("split", True)))


def _is_character_class(part: Mapping[str, Any]) -> bool:
    """Whether a pre-tokenizer only separates runs of digits."""
    return part["type"] == "Digits" or (part["type"] == "Split" and _alternatives(part) <= {r"\p{N}", r"\p{N}+", r"\p{N}{1,3}"})


def _alternatives(part: Mapping[str, Any]) -> set[str]:
    known = part["behavior"] == "Isolated" or (part["behavior"] == "Removed" and part["invert"])
    return set(_BAR.split(part["pattern"].get("Regex", ""))) if known else {""}


def _never_crossed(core: Any, normalizer: Sequence[Mapping[str, Any]], splitter: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the model is a BPE over whole texts, and no token contains `▁`, which encodes a space, after a character of `_BEFORE`."""
    model = core.model
    if type(model).__name__ != "BPE" or model.ignore_merges or model.continuing_subword_prefix or model.end_of_word_suffix:
        return False
    to_mark = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    gemma = list(normalizer) == [to_mark] and all(part["type"] == "Split" and part["pattern"] == {"String": " "} for part in splitter)
    llama = not normalizer and [part["type"] for part in splitter] == ["Metaspace"] and splitter[0]["replacement"] == "▁"
    if not (gemma or llama):
        return False
    vocabulary = core.get_vocab(with_added_tokens=False)
    crossing = re.compile(f"[{re.escape(''.join(sorted(_BEFORE)))}]▁")
    return "▁" in vocabulary and not any(map(crossing.search, vocabulary))


def _beside_added(tokens: Any, *, normalized: bool) -> Cuts | None:
    """Exclude places that added tokens span; None if an added token contains a space, since it could span any place."""
    before = set(_BEFORE)
    for token in tokens:
        text = token.content
        foreign = normalized and token.normalized and not text.isascii()
        if foreign or re.search(r"\S\s", text) or (token.single_word and text[:1].isspace()):
            return None
        if token.rstrip:
            before.discard(text[-1:])
    return Cuts(frozenset(before))

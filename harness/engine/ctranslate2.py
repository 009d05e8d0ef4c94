"""The backend on CTranslate2, for texts of encoder-decoder models on a CPU, in float32 or int8.

A model is converted once, into the cache. While it is converted, its log-probabilities are compared with those of transformers: converters
have scaled the logits of T5 models wrongly without an error.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contract import Generate, Response, ScoreRequest, Usage
from harness.engine.base import Backend, Capabilities, Session, backend
from harness.engine.endings import Endings
from harness.errors import InputError, ModelError
from harness.util import locks, paths

if TYPE_CHECKING:
    from harness.models.identity import ModelIdentity
    from harness.models.opening import AnyAdapter, ModelOptions, Note, Opening

_TOGETHER = 32
"""Texts whose responses are saved together."""
_TOKENS = 4096
"""Source tokens in a batch."""
_APART = 1e-3
"""Nats by which a converted model's log-probability may differ from that of transformers, of a sum over a short text."""
_PROBE = ("The cat sat on the mat and looked at the dog.", "a cat on a mat")


@backend("ctranslate2")
class CTranslate2Backend(Backend):
    """Computes in this process, on a CPU. `--quantize 8bit` computes with int8 weights, which is another system."""

    revision = 1
    capabilities = Capabilities(generation=True, encoder_decoder=True, quantization=True)

    def prepare(self, options: ModelOptions, note: Note) -> Opening:
        """Find the model.

        Raises:
            InputError: it is not an encoder-decoder model, or the quantization is not supported.
            ModelError: the library is missing.
        """
        opening = super().prepare(options, note)
        if options.quantize == "4bit":
            raise InputError("--engine ctranslate2 does not support --quantize 4bit.", "Use 8bit, which computes with int8 weights.")
        if opening.encoder.architecture != "seq2seq":
            raise InputError(
                f"--engine ctranslate2 is for encoder-decoder models; {opening.name} is decoder-only, where it is slower.",
                "Use --engine transformers.",
            )
        library()
        return opening

    def identify(self, opening: Opening) -> ModelIdentity:
        """Identify the model; weights are in float32 apart from int8."""
        from dataclasses import replace

        return replace(super().identify(opening), dtype="float32")

    def open(self, opening: Opening) -> Session:
        """Convert the model if necessary; it is loaded when the engine is entered."""
        return CTranslate2Session(opening)


def library() -> Any:
    """The library; raises ModelError where it is missing."""
    try:
        import ctranslate2
    except ImportError as error:
        raise ModelError(
            f"--engine ctranslate2 needs the library ctranslate2 ({error}).", "pip install 'adapter-harness[ctranslate2]'."
        ) from error
    return ctranslate2


@dataclass
class CTranslate2Session:
    """A converted model.

    Args:
        opening: the model.
    """

    opening: Opening
    _translator: Any = None

    @contextmanager
    def engine(self, adapter: AnyAdapter | None) -> Iterator[CTranslate2Engine]:
        """An engine for the model; adapters are refused before."""
        del adapter
        if self._translator is None:
            compute = "int8" if self.opening.options.quantize == "8bit" else "float32"
            self._translator = library().Translator(str(self._converted()), device="cpu", compute_type=compute)
        yield CTranslate2Engine(self._translator, self.opening)

    def close(self) -> None:
        """Free the model."""
        self._translator = None

    def _converted(self) -> Path:
        """The converted model in the cache, converted and compared first if it is not there."""
        assert self.opening.contents is not None
        root = paths.cache() / "ctranslate2"
        folder = root / f"{self.opening.contents.digest[:32]}-{metadata.version('ctranslate2')}"
        if (folder / "model.bin").exists():
            return folder
        with locks.locked(root, lambda _: None):
            if not (folder / "model.bin").exists():
                with tempfile.TemporaryDirectory(dir=root) as scratch:
                    made = Path(scratch) / "model"
                    _convert(self.opening, made)
                    shutil.rmtree(folder, ignore_errors=True)
                    made.rename(folder)
        return folder


def _convert(opening: Opening, folder: Path) -> None:
    """Convert a model, and compare a log-probability with that of transformers.

    Raises:
        ModelError: it cannot be converted, or computes something else.
    """
    import torch
    from ctranslate2.converters import TransformersConverter

    from harness.models import loading

    class Converter(TransformersConverter):  # type: ignore[misc]  # the library has no types
        """Reads a model with the scale of its logits."""

        def load_model(self, *arguments: Any, **options: Any) -> Any:
            model = super().load_model(*arguments, **options)
            _scale(model.config)
            return model

    source = opening.files
    try:
        Converter(str(source.folder)).convert(str(folder), quantization="float32")
    except Exception as error:
        raise ModelError(
            f"CTranslate2 cannot convert {opening.name}: {type(error).__name__}: {error}", "Use --engine transformers."
        ) from error
    tokenizer = opening.encoder.tokenizer
    loaded = loading.load_model(source, tokenizer=tokenizer, device="cpu", dtype="float32", contents=opening.contents)
    given, written = ([*tokenizer(text)["input_ids"]] for text in _PROBE)
    with torch.inference_mode():
        logits = loaded.module(input_ids=torch.tensor([given]), labels=torch.tensor([written])).logits[0]
    expected = float(torch.log_softmax(logits.float(), dim=-1)[range(len(written)), written].sum())
    translator = library().Translator(str(folder), device="cpu", compute_type="float32")
    names = tokenizer.convert_ids_to_tokens
    (scored,) = translator.score_batch([names(given)], [names(written[:-1])])
    converted = float(sum(scored.log_probs))
    if abs(converted - expected) > _APART:
        raise ModelError(
            f"CTranslate2 computes {opening.name} wrongly: a log-probability is {converted:.4f}, and {expected:.4f} with transformers.",
            "Use --engine transformers.",
        )
    (folder / "checked.json").write_text(json.dumps({"logprob": converted, "transformers": expected}), encoding="utf-8")


def _scale(config: Any) -> None:
    """Let the converter scale a T5 model's logits as the model does.

    It decides by `tie_word_embeddings`, which transformers 5 sets for T5 whatever the checkpoint says; `scale_decoder_outputs` says it.
    """
    if hasattr(config, "scale_decoder_outputs"):
        config.tie_word_embeddings = config.scale_decoder_outputs


@dataclass
class CTranslate2Engine:
    """Computes requests on a converted model.

    Args:
        translator: the loaded model.
        opening: the model.
    """

    translator: Any
    opening: Opening
    usage: Usage = field(default_factory=Usage)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        from harness.models import loading

        tokenizer = self.opening.encoder.tokenizer
        self._endings = Endings(tokenizer, loading.end_tokens(self.opening.files, tokenizer))

    def score(self, requests: Sequence[ScoreRequest], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Nothing is scored: such requests are refused before."""
        del requests, done
        return iter(())

    def generate(self, requests: Sequence[Generate], done: Container[str] = ()) -> Iterator[list[Response]]:
        """Continue prompts: those of one length limit together, the longest first."""
        tokenizer = self.opening.encoder.tokenizer
        waiting = sorted(
            (request for request in requests if request.id not in done),
            key=lambda request: (request.max_new_tokens, -len(request.context), request.id),
        )
        for limit, group in groupby(waiting, key=lambda request: request.max_new_tokens):
            same = list(group)
            for first in range(0, len(same), _TOGETHER):
                batch = same[first : first + _TOGETHER]
                began = time.perf_counter()
                outputs = self.translator.translate_batch(
                    [tokenizer.convert_ids_to_tokens(list(request.context)) for request in batch],
                    beam_size=1,
                    max_decoding_length=limit,
                    max_input_length=0,
                    max_batch_size=_TOKENS,
                    batch_type="tokens",
                    return_end_token=True,
                )
                self.usage.decode_seconds += time.perf_counter() - began
                self.usage.batches += 1
                tokens = [tokenizer.convert_tokens_to_ids(output.hypotheses[0]) for output in outputs]
                prompt = sum(len(request.context) for request in batch)
                self.usage.requested_tokens += prompt
                self.usage.prefill_tokens += prompt
                self.usage.decode_tokens += sum(map(len, tokens))
                yield [self._endings.generation(request, ids) for request, ids in zip(batch, tokens, strict=True)]

"""A model opened by transformers: loaded once, with one adapter after the other attached to it; or in memory, as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.engine.transformers.budget import Budget
from harness.engine.transformers.engine import TransformersEngine
from harness.engine.transformers.trust import trusted
from harness.models import adapters, attachment, in_memory, loading
from harness.models.in_memory import AdapterInMemory, InMemoryModel

if TYPE_CHECKING:
    from harness.models.opening import AnyAdapter, Opening


@dataclass
class TransformersSession:
    """A model in this process, with one adapter at a time.

    Args:
        opening: the model.
    """

    opening: Opening
    _loaded: loading.Loaded | None = None

    @contextmanager
    def engine(self, adapter: AnyAdapter | None) -> Iterator[TransformersEngine]:
        """An engine for the model with an adapter, or without; the model is as it was when the block ends."""
        memory = self.opening.memory
        if memory is not None:
            assert adapter is None or isinstance(adapter, AdapterInMemory)
            with in_memory.prepared(memory, adapter) as module:
                engine = self._engine(module, memory)
                yield engine if adapter is None else trusted(engine, adapter.name)
            return
        assert adapter is None or isinstance(adapter, adapters.Adapter)
        loaded = self.loaded()
        if adapter is None:
            yield self._engine(loaded.module, loaded)
            return
        with attachment.attached(loaded, adapter, pickles=self.opening.options.allow_pickle) as attached:
            yield trusted(self._engine(attached.module, loaded, attached.warnings), adapter.name)

    def loaded(self) -> loading.Loaded:
        """The model, loaded on the first call."""
        if self._loaded is None:
            options = self.opening.options
            self._loaded = loading.load_model(
                self.opening.files,
                tokenizer=self.opening.encoder.tokenizer,
                device=options.device,
                dtype=options.dtype,
                quantize=options.quantize,
                pickles=options.allow_pickle,
                remote_code=options.trust_remote_code,
                contents=self.opening.contents,
            )
        return self._loaded

    def close(self) -> None:
        """Forget the model that was loaded; one in memory stays with its owner."""
        self._loaded = None

    def _engine(self, module: Any, model: loading.Loaded | InMemoryModel, notes: Sequence[str] = ()) -> TransformersEngine:
        budget = Budget.choose(self.opening.options.batch_tokens, model.device.type)
        return TransformersEngine(module, model.tokenizer, model.architecture, budget, notes=list(notes))

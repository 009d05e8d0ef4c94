"""The backend on transformers models, decoder-only and encoder-decoder; torch is imported when a model is opened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.contract import Generate, ScoreRequest
from harness.engine.base import SETTINGS, Backend, BatchPlan, Capabilities, Session, backend

if TYPE_CHECKING:
    from harness.models.opening import ModelOptions, Opening


@backend("transformers")
class TransformersBackend(Backend):
    """Computes on a model in this process, in full or reduced precision, with every adapter that peft knows."""

    revision = 6
    capabilities = Capabilities(
        choices=True,
        texts=True,
        generation=True,
        sampling=True,
        beams=True,
        adapters=None,
        merge=True,
        quantization=True,
        remote_code=True,
        encoder_decoder=True,
        memory=True,
        devices=True,
        settings=SETTINGS - {"base_url", "engine_args"},
    )

    @property
    def cache_key(self) -> str:
        """The revision alone: responses were cached by it before there were other backends."""
        return f"{self.revision}"

    def devices(self, options: ModelOptions) -> tuple[str, ...]:
        """The devices named, or all GPUs of the machine where none is."""
        if options.devices != ("auto",):
            return options.devices
        import torch

        return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count())) or options.devices

    def batch_tokens(self, options: ModelOptions) -> int:
        """Tokens in a batch, padding included."""
        from harness.engine.transformers.budget import Budget
        from harness.models.loading import pick_device

        return Budget.choose(options.batch_tokens, pick_device(options.device).type).score

    def plan(self, opening: Opening, scorings: Sequence[ScoreRequest], generations: Sequence[Generate]) -> Iterable[BatchPlan]:
        """The batches of requests, as if the model lets prompts share all they can."""
        from harness.engine.transformers.explain import plan_opening

        return plan_opening(opening, scorings, generations)

    def open(self, opening: Opening) -> Session:
        """Open the model; its weights are loaded when the first engine is entered."""
        from harness.engine.transformers.session import TransformersSession

        return TransformersSession(opening)

"""The harness's engine as a model of lm-eval.

Importing this module registers it under the name `harness`. lm-eval 0.4.13 finds only models that are registered when it looks: it reads no
entry points for models, and `--include_path` is for tasks. `python -m harness.lm_eval.command` imports this module and then is lm-eval's
own command line; in Python, `import harness.lm_eval.model` before `lm_eval.simple_evaluate(model="harness", …)` does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import lm_eval.models
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from tqdm import tqdm  # type: ignore[import-untyped]  # it has no stubs

from harness.contract import Generate, Response
from harness.errors import InputError
from harness.evaluation.options import Dtype, Options
from harness.evaluation.systems import open_model
from harness.lm_eval.chat import chat_formatter
from harness.lm_eval.requests import (
    MAX_GEN_TOKS,
    ROLLING_LENGTH,
    RequestPlan,
    Rules,
    plan_choices,
    plan_generation,
    plan_pairs,
    plan_rolling,
)
from harness.models import identity, loading

assert lm_eval.models.MODEL_MAPPING  # lm-eval's own models are registered first, and stay beside ours


class _Notes:
    """Prints what the loading of a model has to say, and follows nothing else."""

    def start(self, system: str, totals: object) -> None:
        """Nothing to show."""

    def advance(self, label: str, items: int) -> None:
        """Nothing to show."""

    def tokens(self, count: int) -> None:
        """Nothing to show."""

    def workers(self, workers: object) -> None:
        """Nothing to show."""

    def note(self, message: str) -> None:
        """Print the note above lm-eval's progress bars."""
        tqdm.write(message)


@register_model("harness")
class HarnessLM(TemplateLM):  # type: ignore[misc]  # lm-eval's classes are untyped for mypy
    """A model on the harness's engine: contexts are computed once for all their continuations.

    Args:
        model: card name, hub id or folder; `pretrained` is another name for it.
        adapter: adapter card, hub id or folder.
        dtype: auto, float32, bfloat16 or float16.
        quantize: 8bit or 4bit.
        device: auto, cpu, cuda or cuda:i.
        batch_tokens: tokens in a batch, padding included; lm-eval's `--batch_size` counts rows and is not used.
        max_length: longest sequence; by default what the model's positions allow (encoder-decoder models with relative positions have no
            limit, where lm-eval cuts T5's source to 512 tokens without a word).
        max_gen_toks: new tokens where a task does not say.
        data: folder of model snapshots.
        revision: branch, tag or commit of a hub model.
        allow_pickle, trust_remote_code, any_base: as for `harness run`.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        pretrained: str | None = None,
        adapter: str | None = None,
        dtype: Dtype = "auto",
        quantize: Literal["8bit", "4bit"] | None = None,
        device: str | None = None,
        batch_tokens: int | None = None,
        max_length: int | None = None,
        max_gen_toks: int = MAX_GEN_TOKS,
        data: str | None = None,
        revision: str | None = None,
        allow_pickle: bool = False,
        trust_remote_code: bool = False,
        any_base: bool = False,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        name = model or pretrained
        if name is None:
            raise InputError("The model is not named.", "Give --model_args model=NAME_OR_FOLDER.")
        options = Options(
            model=str(name),
            tasks=(),
            dtype=dtype,
            quantize=quantize,
            device=str(loading.pick_device(device or "auto")),
            batch_tokens=batch_tokens,
            data=Path(data) if data else None,
            revision=revision,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
            any_base=any_base,
            adapter=adapter or (),
            chat=False,
        )
        self._stack = ExitStack()
        self._open(options, max_length)
        self._max_gen_toks = int(max_gen_toks)

    def _open(self, options: Options, max_length: int | None) -> None:
        systems = open_model(options, _Notes())
        opening, backend = systems.opening, systems.backend
        self.tokenizer = opening.encoder.tokenizer
        self.backend = opening.encoder.architecture
        self._rules = Rules(self.tokenizer, opening.encoder.architecture, max_length or opening.encoder.max_length)
        (adapter,) = opening.adapters
        system = identity.system(opening, backend.identify(opening), adapter, backend.name, engine_code=backend.code)
        self.engine = self._stack.enter_context(systems.engine(adapter))
        self._device = loading.pick_device(options.devices[0])
        self._info = {"model_num_parameters": system.parameters, "model_dtype": f"torch.{system.dtype}"}

    @property
    def eot_token_id(self) -> int:
        """Id of the end-of-sequence token."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """Id of the token that stands for an empty context."""
        return self._rules.prefix

    @property
    def max_length(self) -> int:
        """Longest sequence, in tokens."""
        return self._rules.max_length or ROLLING_LENGTH

    @property
    def max_gen_toks(self) -> int:
        """New tokens where a task does not say."""
        return self._max_gen_toks

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer, for lm-eval's cache of requests."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The text of chat turns in the model's own template."""
        return chat_formatter(self.tokenizer)(chat_history, add_generation_prompt=add_generation_prompt)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids of a text."""
        return self._rules.encode([string], special=add_special_tokens)[0]

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, greedy) of each request's continuation."""
        groups = [(request.task_name, request.doc_id) for request in requests]
        plan = plan_choices(self._rules, [request.args for request in requests], groups, "choices")
        return self._answers("loglikelihood", plan, requests, disable_tqdm)

    def _loglikelihood_tokens(self, requests: Sequence[Any], disable_tqdm: bool = False, **_: Any) -> list[tuple[float, bool]]:
        pairs = [self._rules.fitted(tuple(context), tuple(continuation)) for _, context, continuation in requests]
        plan = plan_pairs(pairs, [0] * len(pairs), "choices")
        return plan.answers(self._computed(plan, disable_tqdm))

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood in nats of each request's whole text."""
        plan = plan_rolling(self._rules, [text for (text,) in (request.args for request in requests)], "text")
        return self._answers("loglikelihood_rolling", plan, requests, disable_tqdm)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """New text after each request's prompt, cut before the first stop."""
        arguments = [request.args for request in requests]
        plan = plan_generation(self._rules, arguments, "generate", default_tokens=self._max_gen_toks)
        return self._answers("generate_until", plan, requests, disable_tqdm)

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval keeps of the model beside its arguments."""
        return dict(self._info)

    def _answers(self, kind: str, plan: RequestPlan, requests: Sequence[Any], disable_tqdm: bool) -> list[Any]:
        answers = plan.answers(self._computed(plan, disable_tqdm))
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial(kind, request.args, answer)
        return answers

    def _computed(self, plan: RequestPlan, disable_tqdm: bool) -> dict[str, Response]:
        scorings = [request for request in plan.requests if not isinstance(request, Generate)]
        generations = [request for request in plan.requests if isinstance(request, Generate)]
        responses: dict[str, Response] = {}
        with tqdm(total=len(plan.requests), disable=disable_tqdm, desc="Running requests") as bar:
            for batches in (self.engine.score(scorings), self.engine.generate(generations)):
                for batch in batches:
                    responses |= {response.id: response for response in batch}
                    bar.update(len(batch))
        return responses

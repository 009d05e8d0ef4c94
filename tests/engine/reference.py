"""What texts are held against: loops of full forwards of the module as it is, with nothing held, shared, padded or batched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from harness.contract import Generate, Generation, TokenIds
from harness.models.loading import Loaded


@torch.no_grad()
def next_logits(loaded: Loaded, context: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """Logits [vocabulary] of the token after an answer's beginning."""
    module = loaded.module
    if loaded.architecture == "causal":
        logits: torch.Tensor = module(input_ids=torch.tensor([[*context, *answer]]), use_cache=False).logits
    else:
        decoder = torch.tensor([[module.generation_config.decoder_start_token_id, *answer]])
        logits = module(input_ids=torch.tensor([list(context)]), decoder_input_ids=decoder, use_cache=False).logits
    return logits[0, -1]


def greedy(loaded: Loaded, requests: Iterable[Generate]) -> dict[str, Generation]:
    """The likeliest continuations, by id; requests without stop strings."""
    return {request.id: _greedy(loaded, request) for request in requests}


def _greedy(loaded: Loaded, request: Generate) -> Generation:
    assert request.temperature == 0
    assert request.beams == 1
    assert not request.stop
    ends = loaded.module.generation_config.eos_token_id
    found: list[int] = []
    while len(found) < request.max_new_tokens:
        token = int(next_logits(loaded, request.context, found).argmax())
        if token in ends:
            return _generation(loaded, request.id, found, ended=True)
        found.append(token)
    return _generation(loaded, request.id, found, ended=False)


def beam_search(loaded: Loaded, request: Generate) -> Generation:
    """The text of the highest mean log-probability that so many beams find, a forward for each beam and token.

    An end token counts as a token. Of the candidates of a step, those that end and are among the best `beams` are finished texts; the
    best `beams` of the others go on, whatever the finished ones have reached.
    """
    ends = loaded.module.generation_config.eos_token_id
    running: list[tuple[float, TokenIds]] = [(0.0, ())]
    finished: list[tuple[float, TokenIds]] = []
    for length in range(1, request.max_new_tokens + 1):
        candidates: list[tuple[float, TokenIds]] = []
        for total, tokens in running:
            table = torch.log_softmax(next_logits(loaded, request.context, tokens).double(), dim=-1)
            candidates += [(total + value, (*tokens, token)) for token, value in enumerate(table.tolist())]
        candidates.sort(reverse=True)
        finished += [(total / length, tokens) for total, tokens in candidates[: request.beams] if tokens[-1] in ends]
        running = [(total, tokens) for total, tokens in candidates if tokens[-1] not in ends][: request.beams]
    best = max(finished + [(total / request.max_new_tokens, tokens) for total, tokens in running])[1]
    ended = best[-1] in ends
    return _generation(loaded, request.id, best[:-1] if ended else best, ended=ended)


def _generation(loaded: Loaded, name: str, tokens: Sequence[int], *, ended: bool) -> Generation:
    text = loaded.tokenizer.decode(list(tokens), skip_special_tokens=True)
    return Generation(name, text, tuple(tokens), "eos" if ended else "length")

"""Log-probabilities at the positions that are read, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from harness.engine.transformers.caches import to_device
from harness.engine.transformers.planning import SequenceRow
from harness.errors import NumericError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK_ELEMENTS = {"cpu": 1 << 21}
"""Float32 logits turned into log-probabilities at a time: what stays in a CPU's caches (8 MiB), elsewhere 128 MiB."""


@contextmanager
def select_logits(module: Any, select: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """While active, the output head sees only the hidden states that `select` picks.

    `select` maps hidden states [batch, length, width] to [selected, width]; the model's logits then are [1, selected, vocabulary]. Whatever
    the model does to its logits afterwards (scaling, soft caps) still happens, which taking the head by hand would lose.
    """

    def pick(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (select(args[0]).unsqueeze(0), *args[1:])

    handle = module.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()


class ContinuationScore(NamedTuple):
    """A continuation: its natural-log probability, and whether each of its tokens is the likeliest."""

    logprob: float
    greedy: bool


def read_off(
    logits: torch.Tensor, rows: Sequence[SequenceRow], where: Sequence[Sequence[int]], name: Callable[[int], str]
) -> list[dict[int, ContinuationScore]]:
    """Read the scores of each row's continuations off its logits, by their places.

    Args:
        logits: [selected, vocabulary], any floating dtype; taken to float32 here.
        rows: the rows.
        where: for each row, which logits are those of the positions that it reads, in order.
        name: gives the id of a row's request, for messages.

    Raises:
        NumericError: a log-probability is not finite.
    """
    places: list[int] = []
    tokens: list[int] = []
    owners: list[tuple[int, int]] = []
    for number, (row, row_places) in enumerate(zip(rows, where, strict=True)):
        for read in row.reads:
            places += row_places[: len(read.tokens)]
            tokens += read.tokens
            owners += [(number, read.place)] * len(read.tokens)
    normalizer = torch.empty(logits.shape[0], dtype=torch.float32, device=logits.device)
    likeliest = torch.empty(logits.shape[0], dtype=torch.long, device=logits.device)
    step = max(1, _CHUNK_ELEMENTS.get(logits.device.type, 1 << 25) // logits.shape[1])
    for low in range(0, logits.shape[0], step):
        part = logits[low : low + step].float()
        normalizer[low : low + step] = torch.logsumexp(part, dim=-1)
        likeliest[low : low + step] = part.argmax(dim=-1)
    index, wanted = to_device(torch.tensor([places, tokens]), logits.device)
    chosen = logits[index, wanted].float() - normalizer[index]
    values, hits = torch.stack([chosen, likeliest[index] == wanted]).tolist()
    scores: list[dict[int, ContinuationScore]] = [{} for _ in rows]
    for (number, place), value, hit in zip(owners, values, hits, strict=True):
        if not math.isfinite(value):
            raise NumericError(
                f"The model gave a log-probability of {value} for {name(number)}.",
                "Half precision can overflow: try --dtype float32 or bfloat16; otherwise the weights are broken.",
            )
        before = scores[number].get(place, ContinuationScore(0.0, True))
        scores[number][place] = ContinuationScore(before.logprob + value, before.greedy and bool(hit))
    return scores

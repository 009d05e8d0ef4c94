"""How much arithmetic a workload needs with nothing computed twice, and how much this machine can do.

Counted are products of matrices: 2 operations for each weight and token, 4 x layers x heads x head width for each pair of a token and one
that it attends to, and the output head where logits are read. Norms, activations and softmax are not counted.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from benchmarks.engine.workloads import Workload
from harness.contract import Generate, Request
from harness.engine.transformers.budget import Budget
from harness.engine.transformers.packing import attention, lay_out
from harness.engine.transformers.planning import Planned, rows_of
from harness.engine.transformers.prefixes import plan_passes
from harness.evaluation.options import Options
from harness.lm_eval.suite import open_suite
from harness.models import cards
from harness.models.opening import open_encoder


def matrix_rate(device: str = "cpu", dtype: str = "float32", times: int = 8) -> float:
    """The best rate at matrix products, of this process's threads or of a GPU, in operations a second."""
    size = 2048 if device == "cpu" else 8192
    one, other = (torch.randn(size, size, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    seconds = []
    for _ in range(times):
        _wait(device)
        began = time.perf_counter()
        torch.mm(one, other)
        _wait(device)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Causal:
    """Operations of a decoder-only model: for a token, for a pair of tokens in all layers, and for a position's logits."""

    token: float
    pair: float
    logits: float

    @classmethod
    def of(cls, model: Path) -> Causal:
        """Counted on the model's shapes."""
        config, module = _shapes(model, AutoModelForCausalLM)
        pair = 4 * config.num_hidden_layers * config.num_attention_heads * (config.hidden_size // config.num_attention_heads)
        return cls(2 * _weights(module.get_decoder()), pair, 2 * config.hidden_size * config.vocab_size)

    def scoring(self, requests: Sequence[Any]) -> float:
        """Scored choices, each distinct token once behind what stands before it, as the engine's plan lays them out."""
        budget = Budget.choose(None, "cpu")
        passes = plan_passes([Planned(one, rows_of(one, None)) for one in requests], budget.score, budget.packed_row, 1 << 30)
        tokens = pairs = kept = 0
        prefix: set[tuple[Any, ...]] = set()
        for batch in passes:
            before = 0
            for number, piece in enumerate(batch.prefix):
                if batch.prefix[: number + 1] not in prefix:
                    prefix.add(batch.prefix[: number + 1])
                    tokens += len(piece)
                    pairs += len(piece) * before + len(piece) * (len(piece) + 1) // 2
                before += len(piece)
            packed_rows = [
                lay_out([row.tokens for planned in packed_row for row in planned.rows], batch.skip) for packed_row in batch.packed_rows
            ]
            tokens += sum(map(len, packed_rows))
            pairs += sum(int(attention([packed_row], batch.skip).sum()) for packed_row in packed_rows)
            kept += sum(row.selected for planned in batch.requests for row in planned.rows)
        return tokens * self.token + pairs * self.pair + kept * self.logits

    def generating(self, requests: Sequence[Generate], decoded: int) -> float:
        """Prompts, and answers of `decoded` tokens in all, taken to be equally long."""
        total, answer = 0.0, decoded / len(requests)
        for one in requests:
            length = len(one.context) + answer - 1
            total += length * self.token + length * (length + 1) / 2 * self.pair + answer * self.logits
        return total


@dataclass(frozen=True)
class Seq2Seq:
    """Operations of an encoder-decoder model: a source's token, its pairs, a target's token with its logits, and its pairs."""

    source: float
    source_pair: float
    target: float
    target_pair: float

    @classmethod
    def of(cls, model: Path) -> Seq2Seq:
        """Counted on the model's shapes; the keys and values of cross-attention belong to the source."""
        config, module = _shapes(model, AutoModelForSeq2SeqLM)
        named = module.get_decoder().named_parameters()
        crossed = sum(weight.numel() for name, weight in named if "EncDecAttention.k" in name or "EncDecAttention.v" in name)
        width = config.num_heads * config.d_kv
        return cls(
            2 * (_weights(module.get_encoder()) + crossed),
            4 * config.num_layers * width,
            2 * (_weights(module.get_decoder()) - crossed + config.d_model * config.vocab_size),
            4 * config.num_decoder_layers * width,
        )

    def scoring(self, requests: Sequence[Any]) -> float:
        """Each distinct source once, and each distinct beginning of its choices."""
        targets: dict[Any, set[Any]] = {}
        for one in requests:
            for row in rows_of(one, 0):
                targets.setdefault(row.source, set()).update(row.tokens[: end + 1] for end in range(len(row.tokens)))
        return sum(self._one(len(source), len(beginnings), map(len, beginnings)) for source, beginnings in targets.items())

    def generating(self, requests: Sequence[Generate], decoded: int) -> float:
        """Sources, and answers of `decoded` tokens in all, taken to be equally long."""
        answer = decoded / len(requests)
        return sum(self._one(len(one.context), answer, [answer * (answer + 1) / 2]) for one in requests)

    def _one(self, source: int, tokens: float, seen: Iterable[float]) -> float:
        return source * self.source + source**2 * self.source_pair + tokens * self.target + (tokens * source + sum(seen)) * self.target_pair


def useful(workload: Workload, models: Path, tasks: Path, decoded: int) -> float:
    """Operations of all of a workload's requests."""
    model = models / workload.model
    source = cards.resolve(str(model))
    encoder = open_encoder(source, False)
    counter: Causal | Seq2Seq = Causal.of(model) if encoder.architecture == "causal" else Seq2Seq.of(model)
    total = 0.0
    for part in workload.parts:
        names = tuple(f"{tasks / name}.yaml" for name in part.tasks)
        options = Options(model=str(model), tasks=names, shots=part.shots, limit=workload.limit, chat=False)
        requests: list[Request] = open_suite(names, options, encoder).requests
        texts = [one for one in requests if isinstance(one, Generate)]
        total += counter.generating(texts, decoded) if texts else counter.scoring(requests)
    return total


def _shapes(model: Path, kind: Any) -> tuple[Any, Any]:
    config = AutoConfig.from_pretrained(model)
    with torch.device("meta"):
        return config, kind.from_config(config)


def _weights(module: Any) -> int:
    """Elements of matrices that tokens are multiplied by: all but embeddings."""
    tables = {id(one.weight) for one in module.modules() if isinstance(one, torch.nn.Embedding)}
    return sum(weight.numel() for weight in module.parameters() if weight.dim() == 2 and id(weight) not in tables)


def main() -> None:
    """Print the matrix rate as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()
    print(json.dumps(matrix_rate(given.device, given.dtype)))


if __name__ == "__main__":
    main()

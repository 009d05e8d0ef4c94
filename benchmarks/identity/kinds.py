"""Adapters and weights of unusual kinds: those that rewrite the base, those that are active only after certain tokens, invalid dtypes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.identity.case import Case, Place
from benchmarks.identity.contents import _save_adapter

TASK: dict[str, Any] = {
    "task": "blue",
    "about": {"title": "Blue"},
    "data": {"files": {"test": "rows.jsonl"}, "split": "test"},
    "answer": "choices",
    "choices": [" yes", " no"],
    "target": "a",
    "templates": [{"name": "plain", "delimiter": "", "prompt": "<|im_start|>user\nIs the {{ q }} blue?<|im_end|>\n<|im_start|>assistant"}],
    "metrics": ["accuracy"],
}
INVOCATION = "<|im_start|>assistant"
CLOSE = 2e-3

Scores = dict[str, list[float]]


def cases(place: Place) -> Iterator[Case]:
    """Real runs with adapters and weights that were made for this benchmark."""
    folder = place.scratch / "task"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps({"q": q, "a": n % 2}) + "\n" for n, q in enumerate(["sky", "deep sea", "sun"])))
    (folder / "task.yaml").write_text(yaml.safe_dump(TASK))
    bench = _Bench(place, folder / "task.yaml", place.models / "minimind2-small")
    for name in ("lora", "pissa", "olora", "alora"):
        _save_adapter(bench.model, place.scratch / name)
    for name in ("pissa", "olora"):
        _configure(place.scratch / name, init_lora_weights=name)
    _configure(place.scratch / "alora", alora_invocation_tokens=_tokens(bench.model, INVOCATION))
    base, lora = bench.scores("none", "alone")[0], bench.scores(str(place.scratch / "lora"), "alone")[0]
    for name in ("pissa", "olora"):
        yield from _rewriting(bench, name, base, lora)
    yield _activated(bench)
    yield from _invalid_dtypes(bench)


class _Bench:
    """Runs of one task with one model."""

    def __init__(self, place: Place, task: Path, model: Path) -> None:
        self.place, self.task, self.model = place, task, model

    def run(self, output: Path, *options: str | Path, model: Path | None = None) -> Any:
        """Run it."""
        arguments = ("run", "-m", model or self.model, "-t", self.task, "--no-chat", "--device", "cpu", "--dtype", "float32")
        return self.place.harness(*arguments, "--output", output, *options)

    def scores(self, adapters: str, name: str) -> list[Scores]:
        """Log-probabilities by item of each system, without cached responses if `name` is "alone"."""
        names = adapters.split(",")
        output = self.place.scratch / "out" / f"{name}-{'-'.join(Path(adapter).name for adapter in names)}"
        done = self.run(output, "--adapter", adapters, *(["--fresh"] if name == "alone" else []))
        if done.returncode:
            raise RuntimeError(done.stderr)
        return [_read(output if len(names) == 1 else output / _system(self.model, adapter)) for adapter in names]


def _rewriting(bench: _Bench, name: str, base: Scores, lora: Scores) -> Iterator[Case]:
    adapter, other = bench.place.scratch / name, bench.place.scratch / "lora"
    scores = bench.scores(f"{adapter},{other},none", "together")
    yield _compared(f'an adapter saved with init_lora_weights "{name}", then another one on the same base', scores[1], lora)
    yield _compared(f'an adapter saved with init_lora_weights "{name}", then the base', scores[2], base)
    yield _compared(f'the base from the cache, after a run with "{name}"', bench.scores("none", f"cached-{name}")[0], base)
    yield _compared(f'an adapter saved with init_lora_weights "{name}" against peft', scores[0], _peft(bench, adapter, scores[0]), CLOSE)


def _activated(bench: _Bench) -> Case:
    adapter = bench.place.scratch / "alora"
    scores = bench.scores(str(adapter), "alora")[0]
    return _compared("an aLoRA adapter against peft's own forward", scores, _peft(bench, adapter, scores), CLOSE)


def _peft(bench: _Bench, adapter: Path, computed: Scores) -> Scores:
    """Log-probabilities from calls of peft's forward with whole sequences."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    encoder = AutoTokenizer.from_pretrained(bench.model)
    base = AutoModelForCausalLM.from_pretrained(bench.model, dtype=torch.float32)
    module = PeftModel.from_pretrained(base, str(adapter)).eval()
    rows = [json.loads(line) for line in (bench.task.parent / "rows.jsonl").read_text().splitlines()]
    expected: Scores = {}
    for number, row in enumerate(rows):
        prompt = TASK["templates"][0]["prompt"].replace("{{ q }}", row["q"])
        before = encoder(prompt, add_special_tokens=False)["input_ids"]
        for choice in TASK["choices"]:
            tokens = encoder(choice, add_special_tokens=False)["input_ids"]
            ids = torch.tensor([before + tokens])
            with torch.inference_mode():
                logprobs = module(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.log_softmax(-1)[0]
            value = sum(float(logprobs[len(before) - 1 + place, token]) for place, token in enumerate(tokens))
            expected.setdefault(f"{number}", []).append(value)
    assert list(expected) == list(computed)
    return expected


def _compared(attempt: str, scores: Scores, expected: Scores, within: float = 0.0) -> Case:
    apart = max(abs(value - other) for key in expected for value, other in zip(scores[key], expected[key], strict=True))
    first = next(iter(expected))
    seen = f"first item {[round(value, 3) for value in scores[first]]}, correct is {[round(value, 3) for value in expected[first]]}"
    return Case("adapter", attempt, "kept" if apart <= within else "SLIPPED", f"{seen}; at most {apart:.2g} apart")


def _invalid_dtypes(bench: _Bench) -> Iterator[Case]:
    """Weights of dtypes that a library would cast silently."""
    import torch

    types: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "int8": lambda tensor: (tensor * 50).to(torch.int8),
        "bool": lambda tensor: tensor > 0,
        "complex64": lambda tensor: tensor.to(torch.complex64),
    }
    for name, cast in types.items():
        model, adapter = (bench.place.scratch / f"{kind}-{name}" for kind in ("model", "adapter"))
        shutil.copytree(bench.model, model)
        _recast(model / "model.safetensors", "q_proj", cast)
        shutil.copytree(bench.place.scratch / "lora", adapter)
        _recast(adapter / "adapter_model.safetensors", "lora_B", cast)
        for kind in ("a model", "an adapter"):
            of_model = kind == "a model"
            given = () if of_model else ("--adapter", adapter)
            done = bench.run(bench.place.scratch / "out" / f"{kind}-{name}", *given, model=model if of_model else None)
            said = next((line for line in done.stderr.splitlines() if line.startswith("Error")), done.stdout[:100])
            refused = done.returncode == 2 and name in said
            seen = f"exit {done.returncode}: {said.replace(str(bench.place.scratch), '')}"
            yield Case("weights", f"{name} values in a tensor of {kind}", "refused" if refused else "SLIPPED", seen)


def _recast(path: Path, part: str, cast: Callable[[Any], Any]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    name = next(name for name in tensors if part in name)
    save_file(tensors | {name: cast(tensors[name])}, path, {"format": "pt"})


def _configure(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"task_type": "CAUSAL_LM"} | values))


def _tokens(model: Path, text: str) -> list[int]:
    from transformers import AutoTokenizer

    tokens: list[int] = AutoTokenizer.from_pretrained(model)(text, add_special_tokens=False)["input_ids"]
    return tokens


def _system(model: Path, adapter: str) -> str:
    return model.name if adapter == "none" else f"{model.name}+{Path(adapter).name}"


def _read(folder: Path) -> Scores:
    lines = (folder / "samples" / f"{TASK['task']}.jsonl").read_text().splitlines()
    return {sample["id"]: sample["logprobs"] for sample in map(json.loads, lines)}

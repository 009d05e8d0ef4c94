"""One side's run of one part, in a process of its own; writes what it measured to a file.

`ours` is the command `harness run` and `lm_eval` the command `lm_eval run`, both as a user starts them, with all they read and write.
Seconds of scoring are, on our side, those of tokenizing, scoring and generating; on lm-eval's those inside its model's `loglikelihood` and
`generate_until`, which tokenize as well. `ctranslate2` continues the prompts of an earlier run of ours.

lm-eval ties T5's head to the embedding after loading, which makes FLAN-T5 decode noise; here it is kept from that.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Report:
    """What one process measured.

    Attributes:
        scoring: seconds.
        decoded: tokens generated that belong to answers.
        tokens: on our side, tokens asked, computed, and padding.
        scores: metrics by task.
        peak_bytes: most memory that the process held.
        texts_equal: of CTranslate2, how many texts are ours, of how many.
    """

    scoring: float = 0.0
    decoded: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    texts_equal: tuple[int, int] | None = None


def ours(given: argparse.Namespace) -> Report:
    """`harness run` on lm-eval's tasks."""
    from harness.cli import main
    from harness.store import runs

    tasks = ",".join(f"lm_eval:{given.tasks_folder / name}.yaml" for name in given.tasks.split(","))
    command = ["harness", "run", "--model", str(given.model), "--tasks", tasks, "--shots", str(given.shots), "--limit", str(given.limit)]
    command += ["--no-chat", "--dtype", given.dtype, "--device", given.device, "--output", str(given.output), "--fresh"]
    command += ["--adapter", given.adapters] if given.adapters else []
    command += ["--merge"] if given.merge else []
    _as_command(command, main)
    report = Report()
    for path in runs.find_runs([given.output]):
        record = runs.read(path)
        spent = record.efficiency
        report.scoring += sum(spent.seconds[name] for name in ("score", "generate"))
        for name, count in spent.tokens.model_dump().items():
            report.tokens[name] = report.tokens.get(name, 0) + count
        for task, one in record.tasks.items():
            name, metric = next(iter(one.metrics.items()))
            report.scores.setdefault(f"{Path(task.removeprefix('lm_eval:')).stem} {name}", metric.value or 0.0)
    report.scoring += spent.seconds["tokenize"]
    report.decoded = report.tokens["decode"]
    return report


def lm_eval(given: argparse.Namespace) -> Report:
    """`lm_eval run` with its own backend."""
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.models.huggingface import HFLM

    report = Report()
    for method in ("loglikelihood", "generate_until"):
        setattr(HFLM, method, _timed(getattr(HFLM, method), report))
    HFLM._model_generate = _counted(HFLM._model_generate, report)
    command = ["lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={given.model},dtype={given.dtype}", "--device", given.device]
    command += ["--tasks", *given.tasks.split(","), "--num_fewshot", str(given.shots), "--limit", str(given.limit)]
    command += ["--batch_size", str(given.batch_size), "--include_path", str(given.tasks_folder), "--output_path", str(given.output)]
    with _own_head():
        _as_command(command, cli_evaluate)
    (path,) = given.output.rglob("results_*.json")
    for task, found in json.loads(path.read_text())["results"].items():
        name, value = next((name, value) for name, value in found.items() if "," in name and "stderr" not in name)
        report.scores[f"{task} {name}"] = float(value)
    return report


def ctranslate2(given: argparse.Namespace) -> Report:
    """CTranslate2 on the prompts that an earlier run of ours kept, longest first, at a batch of so many."""
    import ctranslate2 as library
    from transformers import AutoTokenizer

    from benchmarks.engine.workloads import NEW_TOKENS
    from harness.compare.pairing import Results

    converted = given.output / "converted"
    if not converted.exists():
        library.converters.TransformersConverter(str(given.model)).convert(str(converted))
    (path,) = given.ours.rglob("*.jsonl")
    kept = Results.read(path.parent.parent).task_samples(path.stem, None).samples
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    translator = library.Translator(str(converted), device="cpu", compute_type="float32", intra_threads=2, inter_threads=1)
    translator.translate_batch([["▁warm", "</s>"]], beam_size=1, max_decoding_length=2)
    began = time.perf_counter()
    prompts = tokenizer([one.prompt for one in kept], truncation=True, max_length=512).input_ids
    sources = [tokenizer.convert_ids_to_tokens(ids) for ids in prompts]
    found = translator.translate_batch(sources, beam_size=1, max_decoding_length=NEW_TOKENS, max_batch_size=given.batch_size)
    ids = [tokenizer.convert_tokens_to_ids(one.hypotheses[0]) for one in found]
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    scoring = time.perf_counter() - began
    same = sum(text.split("\n\n")[0].strip() == (one.text or "").strip() for text, one in zip(texts, kept, strict=True))
    return Report(scoring=scoring, decoded=sum(len(one) + 1 for one in ids), texts_equal=(same, len(kept)))


def _as_command(command: Sequence[str], main: Callable[[], Any]) -> None:
    sys.argv = list(command)
    try:
        main()
    except SystemExit as done:
        if done.code:
            raise


def _timed(method: Callable[..., Any], report: Report) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            report.scoring += time.perf_counter() - began

    return timed


def _counted(method: Callable[..., Any], report: Report) -> Callable[..., Any]:
    """Count the tokens of each answer: those up to the first end token, or up to where its row begins to be padding."""

    def counted(self: Any, context: Any, *args: Any, **kwargs: Any) -> Any:
        rows = method(self, context, *args, **kwargs)
        answers = rows[:, context.shape[1] :] if self.backend == "causal" else rows[:, 1:]
        for answer in answers.tolist():
            ends = [place for place, token in enumerate(answer) if token in (self.eot_token_id, self.tokenizer.pad_token_id)]
            report.decoded += ends[0] + 1 if ends else len(answer)
        return rows

    return counted


@contextmanager
def _own_head() -> Iterator[None]:
    """Keep `tie_weights()`, when it is called without arguments after loading, from tying T5's head."""
    from transformers import T5ForConditionalGeneration

    tie = T5ForConditionalGeneration.tie_weights

    def while_loading(self: Any, *args: Any, **kwargs: Any) -> None:
        if args or kwargs:
            tie(self, *args, **kwargs)

    setattr(T5ForConditionalGeneration, "tie_weights", while_loading)  # noqa: B010 - an assignment would be an error to mypy
    try:
        yield
    finally:
        setattr(T5ForConditionalGeneration, "tie_weights", tie)  # noqa: B010


def _peak(device: str) -> int:
    """Most bytes held: on the GPU where it computed, else by the process."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Run and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=("ours", "lm_eval", "ctranslate2"))
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tasks-folder", type=Path)
    parser.add_argument("--tasks", default="")
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--adapters", default="")
    parser.add_argument("--merge", action="store_true")
    parser.add_argument("--ours", type=Path, help="a run of ours whose prompts CTranslate2 gets")
    given = parser.parse_args()
    report = {"ours": ours, "lm_eval": lm_eval, "ctranslate2": ctranslate2}[given.side](given)
    report.peak_bytes = _peak(given.device)
    given.report.write_text(json.dumps(asdict(report)))
    sys.stdout.flush()
    os._exit(0) if given.side == "ctranslate2" else None


if __name__ == "__main__":
    main()
